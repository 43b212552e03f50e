"""Reading known files from a tar archive as a stream, without extracting it to disk."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

from cifar_plugin.data.errors import SourceError

_MAX_MEMBERS = 100


def members(archive: Path, wanted: Collection[str], largest: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each wanted file, in the archive's order.

    Args:
        archive: a gzipped tar.
        wanted: names inside the archive.
        largest: the largest allowed size of a file in it, in bytes.

    Raises:
        SourceError: it is damaged, a wanted file is missing, or a file is too large.
    """
    missing = set(wanted)
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for number, member in enumerate(tar, start=1):
                # also for skipped files, because skipping decompresses them
                if member.size > largest or number > _MAX_MEMBERS:
                    raise SourceError(
                        f"{archive.name} claims {member.size:,} bytes for its file "
                        f"{number}, {member.name!r}; refused."
                    )
                if member.name not in missing or not member.isfile():
                    continue
                file = tar.extractfile(member)
                assert file is not None  # noqa: S101 - a regular file has content
                content = file.read()
                missing.remove(member.name)
                yield member.name, content
                if not missing:
                    return
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise SourceError(f"{archive.name} cannot be read: {error}.") from error
    raise SourceError(f"{archive.name} lacks {', '.join(sorted(missing))}.")
