"""Messages about missing permissions: which file of a registry cannot be read or written, and why.

Some of the system's errors name the file; SQLite's do not. So the permissions are checked again,
from the registry's folder inwards. Nothing here changes a mode.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from registry_core.errors import StorageError

# What any change of a registry writes to, from the outside in; what is missing is left out.
_WRITTEN = (
    "registry.sqlite3",
    "ledger.jsonl",
    "runs",
    "objects",
    "objects/ledger.head",
    "objects/sha256",
)


def denied(
    registry: Path, error: OSError | None, writing: bool, outcome: str = ""
) -> StorageError | None:
    """The error to raise for a missing permission; None if the error was about something else.

    Args:
        registry: the registry's folder.
        error: what the system raised; None if SQLite could not open or write its file.
        writing: whether the registry was being written to.
        outcome: the state of the registry now, as a sentence.
    """
    if error is not None and error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return None
    place = _named(error, writing) or closed(registry, writing)
    if place is None:
        if error is None:
            return None
        place = registry
    if _is_mounted_read_only(place) and writing:
        return StorageError(
            f"Cannot write to {place}: its file system is mounted read-only.",
            _joined(outcome, "Mount it for writing, or use another registry."),
            f"findmnt -T {shlex.quote(str(place))}",
        )
    return StorageError(
        f"Cannot {'write to' if writing else 'read'} {place}: permission denied.",
        _joined(outcome, f"{_owned(place)}Check its permissions."),
        f"ls -ld {shlex.quote(str(place))}",
    )


def closed(registry: Path, writing: bool) -> Path | None:
    """The outermost part of a registry that the user cannot read or write.

    Args:
        registry: the registry's folder; need not exist.
        writing: whether to check everything that a change writes to.
    """
    places = [str(registry), *(f"{registry}/{name}" for name in _WRITTEN), *_shards(registry)]
    return _first_closed(registry.parent, places, writing)


def check_writable(registry: Path) -> None:
    """Raise now the error that registering something would raise later.

    Users with different umasks may have created parts of the registry.

    Raises:
        PermissionError: names the part that the user cannot write to.
    """
    if (place := closed(registry, writing=True)) is not None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def _named(error: OSError | None, writing: bool) -> Path | None:
    """The file that the error names by its full path, or the folder above it that is closed."""
    if error is None or not isinstance(error.filename, str) or not error.filename.startswith("/"):
        return None
    file = Path(error.filename)
    return _first_closed(file.parent, [error.filename], writing) or file


def _first_closed(folder: Path, places: Iterable[str], writing: bool) -> Path | None:
    """The first folder on the way that cannot be entered, or the first place without permission."""
    right = os.R_OK | os.W_OK if writing else os.R_OK
    for above in (*reversed(folder.absolute().parents), folder.absolute()):
        if not os.path.lexists(above):
            return above.parent  # what is missing could not be created there
        if not os.access(above, os.X_OK):
            return above
    for place in places:
        if os.access(place, right | os.X_OK):
            continue  # hundreds of folders, so the common case is one system call
        part = Path(place)
        if not os.path.lexists(part):
            if writing and not os.access(part.parent, os.W_OK | os.X_OK):
                return part.parent
        elif part.is_dir() or not os.access(part, right):
            return part
    return None


def _shards(registry: Path) -> Iterator[str]:
    """The folders of the objects, named by the first two digits of the digests."""
    with suppress(OSError), os.scandir(registry / "objects" / "sha256") as found:
        yield from sorted(each.path for each in found if len(each.name) == 2)


def _owned(place: Path) -> str:
    """The owner of a file, and the user: `It belongs to anna, group ml, mode …; you are ben. `."""
    try:
        status = place.stat()
    except OSError:
        return ""
    mode = stat.filemode(status.st_mode)
    with suppress(OSError, AttributeError):
        os.getxattr(place, "system.posix_acl_access")
        mode += "+"  # as `ls` marks an access control list
    owner, group, you = _user(status.st_uid), _group(status.st_gid), _user(os.geteuid())
    return f"It belongs to {owner}, group {group}, mode {mode}; you are {you}. "


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _is_mounted_read_only(place: Path) -> bool:
    try:
        return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))
