"""A fingerprint of files: their names, sizes and contents, hashed once while they stay unchanged.

The digests are cached by path, size, times and inode, one file of the cache for each folder. A
damaged cache is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from registry_core.errors import DataError, escape_surrogates
from registry_core.settings import cache_folder
from registry_core.types import Progress

# A plugin's name has no dot, so no plugin's cache is in this folder.
_CACHE = ".file-digests"

# A file that changed this shortly before could change again with the same size and time.
_RECENT_SECONDS = 2.0

# Files that are hashed at once by threads.
_AT_ONCE = 64


def files_fingerprint(
    files: Sequence[str | Path], part: str, examples: int, name: str, progress: Progress | None
) -> str:
    """The fingerprint of a split that is read from files.

    Args:
        files: in the examples' order, which counts. Their common folder does not.
        part: which part of the files the split is, in words.
        examples: how many examples it has.
        name: of the split, for errors and progress.
        progress: told how much is hashed, if something is.

    Returns:
        `sha256:` and 64 hex digits.

    Raises:
        DataError: a file is missing, cannot be read, is no file, or changed while it was read.
    """
    paths = [Path(file).absolute() for file in files]
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    digests = _digests(paths, folder, name, progress)
    whole = hashlib.sha256(b"mlreg files 1")
    for path, (size, digest) in zip(paths, digests, strict=True):
        relative = os.fsencode(path.relative_to(folder))
        whole.update(b"%d:%b %d %b\n" % (len(relative), relative, size, digest.encode()))
    whole.update(f"{examples} {part}".encode())
    return f"sha256:{whole.hexdigest()}"


def _digests(
    paths: Sequence[Path], folder: Path, name: str, progress: Progress | None
) -> list[tuple[int, str]]:
    """Size and sha256 of each file."""
    cache = cache_folder(_CACHE) / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()}.json"
    known = _read_cache(cache)
    keys = [os.fspath(path.relative_to(folder)) for path in paths]
    identities = [_identity(path, name) for path in paths]
    new = [
        (key, path, identity)
        for key, path, identity in zip(keys, paths, identities, strict=True)
        if known.get(key, [])[:-1] != identity
    ]
    total, done = sum(size for _, _, (size, *_) in new), 0
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            hashed = pool.map(lambda each: _hashed(each[1], each[2], name), some)
            for (key, _, identity), digest in zip(some, hashed, strict=True):
                known[key] = [*identity, digest]
                done += identity[0]
                if progress is not None:
                    progress.step(f"hashing the {name} files", done, total)
    found = [(int(known[key][0]), str(known[key][-1])) for key in keys]
    if new:
        _write_cache(cache, known)
    return found


def _identity(path: Path, name: str) -> list[int]:
    """Size, times and inode of a file; all change, or one, when its content does."""
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, name, error) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise DataError(
            f"files= of the {name} split names {_plain(path)}, which is {kind}.",
            "Name each file: files=sorted(folder.rglob('*.csv'))",
        )
    return _identity_of(found)


def _identity_of(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _hashed(path: Path, identity: list[int], name: str) -> str:
    try:
        with path.open("rb") as stream:
            before = _identity_of(os.fstat(stream.fileno()))
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            after = _identity_of(os.fstat(stream.fileno()))
    except OSError as error:
        raise _unreadable(path, name, error) from error
    if not identity == before == after:
        raise DataError(
            f"{_plain(path)}, a file of the {name} split, changed while it was read.",
            "Wait until nothing writes to it, and start again.",
        )
    return digest


def _read_cache(cache: Path) -> dict[str, list[Any]]:
    """File -> its identity and digest; empty if the cache is missing or damaged."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(cache.read_bytes())
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if _is_entry(value)}
    return {}


def _is_entry(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 5
        and all(type(each) is int for each in value[:4])
        and isinstance(value[4], str)
        and len(value[4]) == 64
    )


def _write_cache(cache: Path, known: Mapping[str, list[Any]]) -> None:
    """Replace the cache; without one that cannot be written, files are hashed again next time."""
    newest = time.time_ns() - int(_RECENT_SECONDS * 1e9)
    settled = {key: each for key, each in known.items() if max(each[1], each[2]) < newest}
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", dir=cache.parent, delete=False
        ) as draft:
            try:
                json.dump(settled, draft)
                draft.close()
                Path(draft.name).replace(cache)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise


def _unreadable(path: Path, name: str, error: OSError) -> DataError:
    missing = isinstance(error, FileNotFoundError)
    what = "does not exist" if missing else f"cannot be read: {error.strerror}"
    return DataError(
        f"{_plain(path)}, a file of the {name} split, {what}.",
        "Restore it, or correct files= in mlreg_dataset." if missing else "",
    )


def _plain(path: Path) -> str:
    return escape_surrogates(path)
