"""What a plugin's code may not change for good: it is put back after each call, and told.

A hook that changes the working directory, the umask or a signal's handler means its own work, and
would change where the model is written, who may read it and whether Ctrl-C stops the run.
`sys.path`, `warnings` and a raised recursion limit are a plugin's to change: its model may need
them for as long as the run lasts.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, NamedTuple

from registry_core import streams
from registry_core.errors import PluginError

# SIGPIPE: whoever reads the log may leave, and the run goes on
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)

# What mlreg and its libraries find places by.
_VARIABLES = ("HOME", "TMPDIR", "MLREG_HOME", "MLREG_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME")

# After an `os.closerange`, numbers below this are kept from being given to other files.
_FILLED = 256


class ClosedFilesError(PluginError):
    """A plugin closed descriptors that are not its own; what else is open cannot be relied on."""


class PluginGuard:
    """A context in which a plugin's code runs; puts back what it changed, and warns.

    Args:
        owner: whose code it is, quoted: `'cifar10'`, `'cifar10' or 'audit'`.
        where: which code: `in mlreg_dataset`.

    Raises:
        ClosedFilesError: it closed descriptors that are not its own.
    """

    def __init__(self, owner: str, where: str) -> None:
        self._owner = owner
        self._where = where

    def __enter__(self) -> None:
        global _used
        _used = True
        _canary.place()
        streams.fill_standard()
        self._process = os.getpid()
        self._before = {name: state.read() for name, state in _STATES.items()}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if os.getpid() != self._process:
            os._exit(1)  # a child that the plugin forked; the run is its parent's
        closed = [fd for fd in (0, 1, 2) if not streams.is_open(fd)]
        lost = not (_canary.is_there() and streams.are_whole())
        if closed or lost:
            streams.mend()
        changed = [name for name, state in _STATES.items() if state.put_back(self._before[name])]
        changed += [f"descriptor {fd}" for fd in closed]
        if changed:
            tell(
                f"Plugin {self._owner} changed {', '.join(changed)} {self._where}: put back as "
                f"{'it was' if len(changed) == 1 else 'they were'}."
            )
        if lost:
            self._close_the_gaps(error)

    def _close_the_gaps(self, error: BaseException | None) -> None:
        global _closed_by
        _closed_by = f"Plugin {self._owner} closed files that are not its own {self._where}."
        _canary.place()
        # a number given anew would be closed by whoever believes that it is still theirs
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in range(3, _FILLED):
            if not streams.is_open(fd):
                os.dup2(nowhere, fd, inheritable=False)
        os.close(nowhere)
        if error is None or getattr(error, "errno", None) == errno.EBADF:
            raise closed_files() from error


def closed_files() -> ClosedFilesError:
    """What to raise where a file of mlreg's turns out to be closed."""
    return ClosedFilesError(
        _closed_by or "A file of mlreg's was closed while it was in use, by a plugin's code.",
        "Close what the plugin opened and nothing else: no os.closerange, no loop over numbers.",
    )


def used() -> bool:
    """Whether code of a plugin has run in this process: it may have left threads running."""
    return _used


def tell(warning: str) -> None:
    """Warn of what a plugin did; see `telling`."""
    _tell(warning)


@contextmanager
def telling(how: Callable[[str], None]) -> Iterator[None]:
    """Within this block warnings go there; elsewhere they are Python's own."""
    global _tell
    before, _tell = _tell, how
    try:
        yield
    finally:
        _tell = before


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=2)


_used = False
_closed_by = ""
_tell: Callable[[str], None] = _warn


class _State(NamedTuple):
    """Something that belongs to the whole process.

    Args:
        read: what it is now.
        write: make it what it was.
        differs: whether what it is now (second) is to be put back to what it was (first).
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]
    differs: Callable[[Any, Any], bool] = lambda before, now: bool(before != now)

    def put_back(self, before: Any) -> bool:
        """Make it what it was; returns whether it was something else."""
        if not self.differs(before, self.read()):
            return False
        with suppress(OSError, ValueError):  # a folder that is gone, a locale that is not there
            self.write(before)
        return True


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a Path costs ten times as much
    except OSError:
        return None  # it was removed


def _umask() -> int:
    # there is no way to ask; others' threads make files that are too private, not too open
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _handlers() -> Mapping[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}  # only there can they be changed
    return {signum: signal.getsignal(signum) for signum in _SIGNALS}


def _handle(handlers: Mapping[int, Any]) -> None:
    for signum, handler in handlers.items():
        if handler is not None:  # not installed from Python
            signal.signal(signum, handler)


def _blocked() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ())) & set(_SIGNALS)


def _block(signums: set[int]) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, set(_SIGNALS) - signums)


def _locale() -> str:
    import locale

    return locale.setlocale(locale.LC_ALL)


def _set_locale(name: str) -> None:
    import locale

    with suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, name)


def _variables() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in _VARIABLES}


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _number_errors() -> dict[str, str] | None:
    numpy = sys.modules.get("numpy")
    # half imported, it has not everything yet
    return dict(numpy.geterr()) if numpy is not None and hasattr(numpy, "geterr") else None


def _set_number_errors(errors: Mapping[str, str]) -> None:
    sys.modules["numpy"].seterr(**errors)


def _stream(name: str) -> _State:
    def write(stream: Any) -> None:
        setattr(sys, name, stream)
        streams.fill_standard()  # for one that is closed

    def differs(before: Any, now: Any) -> bool:
        return now is not before or not streams.is_usable(now)

    return _State(lambda: getattr(sys, name), write, differs)


# in words -> how it is read and put back
_STATES: Mapping[str, _State] = {
    # first: what puts the others back calls functions too
    "the recursion limit": _State(
        sys.getrecursionlimit, sys.setrecursionlimit, lambda before, now: now < before
    ),
    "the working directory": _State(
        _folder, os.chdir, lambda before, now: before not in (None, now)
    ),
    "the umask": _State(_umask, os.umask),
    "signal handlers": _State(_handlers, _handle),
    "blocked signals": _State(_blocked, _block, lambda before, now: bool(now - before)),
    "sys.stdin": _stream("stdin"),
    "sys.stdout": _stream("stdout"),
    "sys.stderr": _stream("stderr"),
    "the locale": _State(_locale, _set_locale),
    "environment variables": _State(_variables, _set_variables),
    "NumPy's error state": _State(
        _number_errors, _set_number_errors, lambda before, now: before not in (None, now)
    ),
}


class _Canary:
    """A descriptor that nobody uses: where it is gone, others are too."""

    def __init__(self) -> None:
        self._fd = -1
        self._file = (0, 0)

    def place(self) -> None:
        """Open it, if it is not."""
        if self.is_there():
            return
        # a pipe is no other file's inode, so its number given to another file is noticed
        self._fd, other = os.pipe()
        os.close(other)
        self._file = self._now()

    def is_there(self) -> bool:
        return self._fd >= 0 and self._now() == self._file

    def _now(self) -> tuple[int, int]:
        try:
            found = os.fstat(self._fd)
        except OSError:
            return -1, -1
        return found.st_dev, found.st_ino


_canary = _Canary()
