"""Where a command may write outside the registry, and how the result gets there.

A result is written as a draft in the folder of its destination, and appears there whole or not at
all. What exists and is not a regular file (a device, a pipe, a link) is never replaced: for root,
`-o /dev/null` would break every other program of the machine. Knows paths, and nothing of models.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry_core.errors import MlregError, StorageError, UsageError

# the path itself cannot name a file, whoever asks: a usage error rather than a failing disk
_BAD_PATH = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EISDIR}
# file systems without hard links: FAT, and some that are mounted from a network
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
# what rename says of a folder that is not empty, or that is in use as a mount or a working folder
_IN_THE_WAY = {errno.EEXIST, errno.ENOTEMPTY, errno.EBUSY, errno.ENOTDIR, errno.EISDIR}

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Output:
    """A place outside the registry that a command writes to.

    Args:
        path: where the result is to be.
        folder: whether the result is a folder; else it is one file.
        overwrite: whether a regular file that is there may be replaced; a folder never is.
        command: the command, up to the path, for the line that says what to type next.
        fallback: a path that would do, for the same line.
    """

    path: Path
    folder: bool
    overwrite: bool
    command: str
    fallback: Path

    def check(self) -> None:
        """Refuse a place that cannot be written, before anything is computed for it.

        Raises:
            UsageError: something is there that is not replaced, or nothing can be there.
            StorageError: the place cannot be looked at.
        """
        if str(self.path) == "-":
            raise self._refused(
                "Nothing is written to standard output: '-' is not a file.", "Name a file with -o."
            )
        try:
            if (mode := self._mode()) is None:
                self._check_parent()
            else:
                self._check_kind(mode)
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    @contextmanager
    def draft(self, ending: str = "") -> Iterator[Path]:
        """Give a path to write to; what is there at the end is moved to its place.

        Args:
            ending: how the draft's name ends, for libraries that choose a format by it.

        Raises:
            UsageError: something came to be at the place meanwhile.
            StorageError: the disk is full or read-only, or the folder cannot be written.
        """
        self.check()
        try:
            with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".mlreg-") as around:
                draft = Path(around) / f"export{ending}"
                yield draft
                _give_usual_modes(draft)
                self._put(draft)
        except OSError as error:
            raise self._failed(error) from error

    def _check_parent(self) -> None:
        parent = self.path.parent
        if parent.is_dir():
            return
        above = next(each for each in self.path.parents if each.exists() or each == each.parent)
        if not above.is_dir():
            raise self._refused(f"{above} is not a folder.", "Name a place in a folder, with -o.")
        raise UsageError(
            f"There is no folder {parent}.",
            "Make it first, or name another place with -o.",
            f"mkdir -p {shlex.quote(str(parent))}",
        )

    def _check_kind(self, mode: int) -> None:
        if stat.S_ISDIR(mode):
            full = self.folder and any(self.path.iterdir())
            if full or not self.folder:
                raise self._refused(
                    f"{self.path} is a folder{' with something in it' if full else ''}.",
                    "Name another place with -o; a folder is never replaced.",
                )
            if self.path.samefile(Path.cwd()):  # a rename would leave the shell in a removed one
                raise self._refused(
                    f"{self.path} is the folder that this is run in.", "Name another one with -o."
                )
        elif not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "no regular file")
            raise self._refused(
                f"{self.path} is {kind}, and only a regular file is ever replaced.",
                "Name a path where nothing is, with -o.",
            )
        elif self.folder or not self.overwrite:
            raise self._refused(
                f"{self.path} exists already.",
                "Name another place with -o"
                + ("; a folder goes there." if self.folder else ", or replace it: --overwrite."),
            )

    def _put(self, draft: Path) -> None:
        """Move the draft to its place; nothing that came to be there meanwhile is replaced."""
        try:
            if self.folder:
                draft.rename(self.path)  # replaces an empty folder, and nothing else
            elif self.overwrite and (mode := self._mode()) is not None:
                self._check_kind(mode)
                draft.replace(self.path)
            else:
                _link(draft, self.path)
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
            self.check()
            raise self._refused(
                f"{self.path} cannot be replaced: {error.strerror}.", "Name another place with -o."
            ) from error

    def _mode(self) -> int | None:
        """What is there, without following a link; None where nothing is."""
        try:
            return os.lstat(self.path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _refused(self, what: str, remedy: str) -> UsageError:
        return UsageError(what, remedy, f"{self.command} {shlex.quote(str(_free(self.fallback)))}")

    def _failed(self, error: OSError | ValueError) -> MlregError:
        """What the file system, or Python's own look at the path, says: in our words."""
        reason = getattr(error, "strerror", None) or str(error)
        number = getattr(error, "errno", None)
        if number is None or number in _BAD_PATH:
            return self._refused(
                f"{_short(self.path)} cannot be a file's path: {reason}.",
                "Name another place with -o.",
            )
        if number in (errno.ENOSPC, errno.EDQUOT):
            folder = self.path.parent
            return StorageError(
                f"The disk of {folder} is full: {reason}.",
                "Nothing was written. Make room, or name another place with -o.",
                f"df -h {shlex.quote(str(folder))}",
            )
        return StorageError(
            f"{_short(self.path)} cannot be written: {reason}.",
            "Nothing was written. Name another place with -o, or change the folder's permissions.",
            f"ls -ld {shlex.quote(str(self.path.parent))}",
        )


def _link(draft: Path, target: Path) -> None:
    """Give the draft its name, unless anything has it: link fails where rename would replace."""
    try:
        os.link(draft, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # the name is claimed by an empty file of our own, which the draft then replaces
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        draft.replace(target)


def _give_usual_modes(draft: Path) -> None:
    """Give what was written the modes that new files and folders get here.

    The umask, a default ACL and a set-group-ID bit decide them; copies out of the registry, and
    what libraries write through temporary files, would keep modes of their own.
    """
    file, folder = draft.with_name("file"), draft.with_name("folder")
    file.touch()
    folder.mkdir()
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (file, folder)]
    for path in (draft, *(draft.rglob("*") if draft.is_dir() else ())):
        if not path.is_symlink():
            path.chmod(modes[path.is_dir()])


def _free(path: Path) -> Path:
    """The path, or one beside it where nothing is."""
    for number in range(1, 100):
        found = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not os.path.lexists(found):
            return found
    return path


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:80]}…{text[-40:]}"
