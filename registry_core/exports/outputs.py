"""Files and folders that commands write outside the registry.

A result is written as a draft beside its destination and moved there at the end: it appears
complete or not at all. Anything but a regular file (a device, a pipe, a link) is never replaced: as
root, `-o /dev/null` would break every other program on the machine. Knows nothing of models.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry_core.dataclass import dataclass
from registry_core.errors import MlregError, StorageError, UsageError
from registry_core.refs import shown

# the path itself is invalid: a usage error rather than a failing disk
_BAD_PATH = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EISDIR}
# file systems without hard links: FAT, and some network file systems
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
# errors of rename for a folder that is not empty, or is a mount point or working folder
_OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY, errno.EBUSY, errno.ENOTDIR, errno.EISDIR}

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Output:
    """A path outside the registry that a command writes to.

    Args:
        path: the destination.
        folder: whether the result is a folder rather than a file.
        overwrite: whether an existing regular file may be replaced; a folder never is.
        command: the command up to the path, for the line of an error that can be typed.
        fallback: a path that would work, for the same line.
        numbered: the destination is a numbered folder in the folder that the user named, which may
            hold others and is made if it does not exist: what TensorFlow Serving watches.
        endings: extensions that the name may have, with the usual one first; a name without an
            extension is fine too. Empty takes any.
    """

    path: Path
    folder: bool
    overwrite: bool
    command: str
    fallback: Path
    numbered: bool = False
    endings: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse a path that cannot be written, before anything is computed for it.

        Raises:
            UsageError: something exists there that is not replaced, the path is invalid, or its
                name is that of another kind of file.
            StorageError: the path cannot be examined.
        """
        if str(self._named) == "-":
            raise self._refused(
                "A file is written, and '-' means standard output.", "Name a file with -o."
            )
        self._check_ending()
        try:
            if self.numbered:
                self._check_numbered()
            elif (mode := self._mode()) is None:
                self._check_parent(self.path)
            else:
                self._check_kind(mode)
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    @contextmanager
    def draft(self, ending: str = "") -> Iterator[Path]:
        """A path to write to in the block; at the end it is moved to the destination.

        Args:
            ending: extension of the draft's name, for libraries that choose a format by it.

        Raises:
            UsageError: something appeared at the destination meanwhile.
            StorageError: the disk is full or read-only, or the folder cannot be written.
        """
        self.check()
        try:
            beside = self.path.parent
            if self.numbered and not beside.exists():
                beside = beside.parent  # on the same disk
            with tempfile.TemporaryDirectory(dir=beside, prefix=".mlreg-") as around:
                draft = Path(around) / f"export{ending}"
                yield draft
                _give_usual_modes(draft)
                self._put(draft)
        except OSError as error:
            raise self._failed(error) from error

    def write_text(self, text: str) -> None:
        """Write a text in UTF-8, as `draft` does."""
        with self.draft(self.path.suffix) as draft:
            draft.write_text(text, "utf-8")

    @property
    def _named(self) -> Path:
        """The path that the user named."""
        return self.path.parent if self.numbered else self.path

    def _check_ending(self) -> None:
        ending = self.path.suffix.lower()
        if not self.endings or not ending or ending in self.endings:
            return
        right = _free(self.path.with_suffix(self.endings[0]))
        raise UsageError(
            f"{shown(self.path.name)} would hold another kind of file than its name says.",
            f"Name a file that ends in {' or '.join(self.endings)} with -o.",
            f"{self.command} {shlex.quote(str(right))}",
        )

    def _check_numbered(self) -> None:
        around = self._named
        if not os.path.lexists(around):
            self._check_parent(around)
            return
        if not around.is_dir():
            raise self._refused(f"{around} is not a folder.", "Name a folder with -o.")
        others = sorted(
            each.name
            for each in around.iterdir()
            if not (each.name.isdecimal() or each.name.startswith("."))
        )
        if others:
            raise self._refused(
                f"{around} holds other things than numbered versions, such as {shown(others[0])}.",
                "Name a new folder with -o, or one that has a numbered folder for each version.",
            )
        if os.path.lexists(self.path):
            raise self._refused(
                f"{self.path} already exists.",
                "Name another folder with -o; a folder is never replaced.",
            )

    def _check_parent(self, path: Path) -> None:
        parent = path.parent
        if parent.is_dir():
            return
        above = next(each for each in path.parents if each.exists() or each == each.parent)
        if not above.is_dir():
            raise self._refused(f"{above} is not a folder.", "Name a path in a folder with -o.")
        raise UsageError(
            f"The folder {parent} does not exist.",
            "Create it first, or name another path with -o.",
            f"mkdir -p {shlex.quote(str(parent))}",
        )

    def _check_kind(self, mode: int) -> None:
        if stat.S_ISDIR(mode):
            full = self.folder and any(self.path.iterdir())
            if full or not self.folder:
                raise self._refused(
                    f"{self.path} is a folder{' that is not empty' if full else ''}.",
                    "Name another path with -o; a folder is never replaced.",
                )
            if self.path.samefile(Path.cwd()):  # a rename would leave the shell in a removed folder
                raise self._refused(
                    f"{self.path} is the working folder.", "Name another path with -o."
                )
        elif not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
            raise self._refused(
                f"{self.path} is {kind}; only regular files are replaced.",
                "Name a path that does not exist, with -o.",
            )
        elif self.folder or not self.overwrite:
            raise self._refused(
                f"{self.path} already exists.",
                "Name another path with -o"
                + ("; the export is a folder." if self.folder else ", or add --overwrite."),
            )

    def _put(self, draft: Path) -> None:
        """Move the draft to the destination, without replacing anything that appeared there."""
        try:
            if self.numbered:
                self._put_numbered(draft)
            elif self.folder:
                draft.rename(self.path)  # replaces an empty folder, and nothing else
            elif self.overwrite and (mode := self._mode()) is not None:
                self._check_kind(mode)
                draft.replace(self.path)
            else:
                _link(draft, self.path)
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
            self.check()
            raise self._refused(
                f"{self.path} cannot be replaced: {error.strerror}.", "Name another path with -o."
            ) from error

    def _put_numbered(self, draft: Path) -> None:
        made = not self._named.exists()
        if made:
            self._named.mkdir()
        try:
            self._check_numbered()
            draft.rename(self.path)
        except BaseException:
            if made:
                with suppress(OSError):
                    self._named.rmdir()
            raise

    def _mode(self) -> int | None:
        """The mode of the destination, without following a link; None if it does not exist."""
        try:
            return os.lstat(self.path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _refused(self, what: str, remedy: str) -> UsageError:
        return UsageError(what, remedy, f"{self.command} {shlex.quote(str(_free(self.fallback)))}")

    def _failed(self, error: OSError | ValueError) -> MlregError:
        """The error for a failed file operation or an invalid path."""
        reason = getattr(error, "strerror", None) or str(error)
        number = getattr(error, "errno", None)
        if number is None or number in _BAD_PATH:
            return self._refused(
                f"{_short(self.path)} is not a valid path: {reason}.",
                "Name another path with -o.",
            )
        if number in (errno.ENOSPC, errno.EDQUOT):
            folder = self.path.parent
            return StorageError(
                f"The disk of {folder} is full: {reason}.",
                "Nothing was written. Free some space, or name another path with -o.",
                f"df -h {shlex.quote(str(folder))}",
            )
        return StorageError(
            f"{_short(self.path)} cannot be written: {reason}.",
            "Nothing was written. Name another path with -o, or change the folder's permissions.",
            f"ls -ld {shlex.quote(str(self.path.parent))}",
        )


def _link(draft: Path, target: Path) -> None:
    """Move the draft to `target` unless that exists: link fails where rename would replace."""
    try:
        os.link(draft, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # create an empty file exclusively, then replace it by the draft
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        draft.replace(target)


def _give_usual_modes(draft: Path) -> None:
    """Give a draft the modes that new files and folders get here.

    The umask, a default ACL and the set-group-ID bit decide them. Copies from the registry, and
    files that libraries write through temporary files, have other modes.
    """
    file, folder = draft.with_name("file"), draft.with_name("folder")
    file.touch()
    folder.mkdir()
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (file, folder)]
    for path in (draft, *(draft.rglob("*") if draft.is_dir() else ())):
        if not path.is_symlink():
            path.chmod(modes[path.is_dir()])


def _free(path: Path) -> Path:
    """The path, or one beside it that does not exist."""
    for number in range(1, 100):
        found = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not os.path.lexists(found):
            return found
    return path


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:80]}…{text[-40:]}"
