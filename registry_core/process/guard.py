"""Restores process-wide state that a plugin's code changed, and warns with the plugin's name.

A hook may change the working directory, the umask or a signal handler for its own purposes. If
that lasted, it would decide where the model is written, who can read it and whether Ctrl-C works.
`sys.path`, `warnings` and a raised recursion limit are left alone: the plugin's model may need them
until the run ends.
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

from registry_core.errors import PluginError
from registry_core.process import streams

# SIGPIPE: a run must survive the reader of its log
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)

# mlreg and its libraries derive folders from these.
_VARIABLES = ("HOME", "TMPDIR", "MLREG_HOME", "MLREG_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME")

# After an `os.closerange`, free descriptors below this are filled.
_FILLED = 256


class ClosedFilesError(PluginError):
    """A plugin closed descriptors that it did not open; others may be closed too."""


class PluginGuard:
    """A context for a plugin's code: restores what it changed, and warns.

    Args:
        owner: the plugin, quoted: `'flowers'`, `'flowers' or 'audit'`.
        where: the code, as the end of a sentence: `in mlreg_dataset`.

    Raises:
        ClosedFilesError: the code closed descriptors that it did not open.
    """

    def __init__(self, owner: str, where: str) -> None:
        self._owner = owner
        self._where = where

    def __enter__(self) -> None:
        global _used
        _used = True
        _canary.place()
        streams.reopen_standard()
        self._process = os.getpid()
        self._before = {name: state.read() for name, state in _STATES.items()}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if os.getpid() != self._process:
            os._exit(1)  # a forked child: the run belongs to its parent
        closed = [fd for fd in (0, 1, 2) if not streams.is_open(fd)]
        lost = not (_canary.is_there() and streams.is_intact())
        if closed or lost:
            streams.repair()
        changed = [name for name, state in _STATES.items() if state.restore(self._before[name])]
        changed += [f"descriptor {fd}" for fd in closed]
        if changed:
            warn(
                f"Plugin {self._owner} changed {', '.join(changed)} {self._where}; "
                f"{'it was' if len(changed) == 1 else 'they were'} restored."
            )
        if lost:
            self._close_the_gaps(error)

    def _close_the_gaps(self, error: BaseException | None) -> None:
        global _closed_by
        _closed_by = (
            f"Plugin {self._owner} closed file descriptors that it did not open {self._where}."
        )
        _canary.place()
        # a reused number would be closed by the object that had it before
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in range(3, _FILLED):
            if not streams.is_open(fd):
                os.dup2(nowhere, fd, inheritable=False)
        os.close(nowhere)
        if error is None or getattr(error, "errno", None) == errno.EBADF:
            raise closed_files() from error


def closed_files() -> ClosedFilesError:
    """The error for a descriptor of mlreg's that is closed."""
    return ClosedFilesError(
        _closed_by or "A plugin closed a file descriptor that mlreg was using.",
        "A plugin must close only what it opened: no os.closerange, no loop over numbers.",
    )


def used() -> bool:
    """Whether a plugin's code has run in this process; it may have left threads behind."""
    return _used


def warn(warning: str) -> None:
    """Warn about a plugin; `warnings_to` says where the warning goes."""
    _sink(warning)


@contextmanager
def warnings_to(sink: Callable[[str], None]) -> Iterator[None]:
    """Inside the block warnings go to `sink`; elsewhere they are Python's warnings."""
    global _sink
    before, _sink = _sink, sink
    try:
        yield
    finally:
        _sink = before


def _python_warning(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=2)


_used = False
_closed_by = ""
_sink: Callable[[str], None] = _python_warning


class _State(NamedTuple):
    """One kind of process-wide state.

    Args:
        read: returns the current value.
        write: sets an earlier value.
        differs: whether what it was (first) is to be restored, given what it is now (second).
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]
    differs: Callable[[Any, Any], bool] = lambda before, now: bool(before != now)

    def restore(self, before: Any) -> bool:
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
    # reading needs writing; meanwhile other threads' files are too private rather than too open
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _handlers() -> Mapping[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}  # other threads cannot change them
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
    # it may be half imported
    return dict(numpy.geterr()) if numpy is not None and hasattr(numpy, "geterr") else None


def _set_number_errors(errors: Mapping[str, str]) -> None:
    sys.modules["numpy"].seterr(**errors)


def _stream(name: str) -> _State:
    def write(stream: Any) -> None:
        setattr(sys, name, stream)
        streams.reopen_standard()  # if it was closed

    def differs(before: Any, now: Any) -> bool:
        return now is not before or not streams.is_usable(now)

    return _State(lambda: getattr(sys, name), write, differs)


# what a warning calls it -> how it is read and restored
_STATES: Mapping[str, _State] = {
    # first, because restoring the others needs some recursion depth
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
    """An unused descriptor: if it was closed, others were too."""

    def __init__(self) -> None:
        self._fd = -1
        self._file = (0, 0)

    def place(self) -> None:
        """Open it, if it is not open."""
        if self.is_there():
            return
        # a pipe has an inode of its own, so a reused number is noticed
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
