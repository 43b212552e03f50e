"""Who owns stdout: while a command runs, mlreg alone.

A plugin may print when it is imported, in a hook, from C code, from a thread or from a process
that it starts; none of that may end up in the middle of a table or of `--json`. So descriptor 1 and
`sys.stdout` lead to stderr for as long as a command runs, and what mlreg itself shows goes through
`out()`, which has a private descriptor. Nothing here knows what is shown.
"""

from __future__ import annotations

import fcntl
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TextIO

# Private descriptors are above what a careless `os.closerange(3, 64)` or `(3, 256)` closes.
_LEAST_PRIVATE = 512


@dataclass
class _Taken:
    """The streams of a running command.

    Args:
        found: `sys.stdout` and `sys.stderr` as they were before.
        out: what mlreg shows.
        err: what mlreg says beside it.
        copies: 1 and 2 -> a private descriptor that leads where it led before.
    """

    found: tuple[TextIO, TextIO]
    out: TextIO
    err: TextIO
    copies: dict[int, int]


_taken: _Taken | None = None
_lost: list[TextIO] = []  # on descriptors that a plugin closed; closing them again would hurt


def out() -> TextIO:
    """Where mlreg shows what was asked for."""
    return _taken.out if _taken else sys.stdout


def err() -> TextIO:
    """Where mlreg tells of progress, warnings and errors."""
    return _taken.err if _taken else sys.stderr


def are_taken() -> bool:
    """Whether a command runs."""
    return _taken is not None


def take(quiet: bool = False) -> None:
    """From here on, what others print goes to stderr; does nothing the second time.

    Args:
        quiet: what others print goes nowhere, to stderr too.
    """
    global _taken
    if _taken is not None:
        return
    found = sys.stdout, sys.stderr
    for stream in found:
        _flush(stream)
    copies = {fd: _private_copy(fd) for fd in (1, 2) if is_open(fd)}
    out, err = (_own(stream, fd, copies) for fd, stream in zip((1, 2), found, strict=True))
    _taken = _Taken(found, out, err, copies)
    if quiet:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for fd in copies:
            os.dup2(nowhere, fd)
        os.close(nowhere)
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        return
    if len(copies) == 2:
        os.dup2(2, 1)
    if out is found[0]:
        sys.stdout = _ToStderr()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in order with what is written to stderr


def give_back() -> None:
    """Undo `take`, for a program that goes on after the command."""
    global _taken
    if _taken is None:
        return
    taken, _taken = _taken, None
    for stream in (sys.stdout, sys.stderr, taken.out, taken.err):
        _flush(stream)
    own = {1: taken.out, 2: taken.err}
    for fd, copy in taken.copies.items():
        with suppress(OSError):  # a plugin closed the copy
            os.dup2(copy, fd)
            if own[fd] in taken.found:
                os.close(copy)
            else:
                own[fd].close()
    sys.stdout, sys.stderr = taken.found


@contextmanager
def silenced() -> Iterator[None]:
    """Within this block nothing that is printed goes anywhere: a shell waits for completions."""
    take(quiet=True)
    try:
        yield
    finally:
        give_back()


def are_whole() -> bool:
    """Whether the descriptors are open that mlreg's own output needs."""
    return _taken is None or all(map(is_open, _taken.copies.values()))


def mend() -> None:
    """Make usable again what a plugin closed, as far as that is possible."""
    fill_standard()
    if _taken is None:
        return
    for fd, copy in _taken.copies.items():
        if is_open(copy):
            continue
        # where stdout led is lost with its private descriptor, as 1 leads to stderr
        _taken.copies[fd] = _private_copy(2)
        if fd == 2:
            _lost.append(_taken.err)
            _taken.err = _text(_taken.copies[fd], like=_taken.err)
        else:
            _lost.append(_taken.out)
            _taken.out = open(os.devnull, "w")  # noqa: PTH123, SIM115


def fill_standard() -> None:
    """Open what is closed of descriptors 0 to 2, and make streams of Python's for them.

    The next file to be opened would get the free number, and what others print would end up in it.
    While a command runs, 1 and 2 lead to stderr then; else to nothing.
    """
    for fd in (0, 1, 2):
        if is_open(fd):
            continue
        stderr = _taken.copies.get(2, -1) if _taken and fd else -1
        opened = os.dup(stderr) if is_open(stderr) else os.open(os.devnull, os.O_RDWR)
        if opened != fd:
            os.dup2(opened, fd)
            os.close(opened)
        os.set_inheritable(fd, True)
    # started with one of them closed (`mlreg list >&-`), Python has None in its place
    if not is_usable(sys.stdin):
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if not is_usable(sys.stdout):
        sys.stdout = _on(1)
    if not is_usable(sys.stderr):
        sys.stderr = _on(2)


def escape_what_cannot_be_encoded() -> None:
    """On a stdout that is not UTF-8, and for half a surrogate pair, show escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_output() -> None:
    """What is still buffered for stdout must not raise at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, out().fileno())
    os.close(nowhere)


def is_open(fd: int) -> bool:
    """Whether a descriptor is open."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def is_usable(stream: Any) -> bool:
    """Whether there is a stream, neither closed nor taken off its buffer."""
    try:
        return stream is not None and not stream.closed
    except AttributeError:
        return True  # a stand-in that is never closed
    except ValueError:
        return False


def _in_a_child() -> None:
    """A process that a plugin forks writes to stderr, and keeps nobody's pipe open."""
    if _taken is not None and {1, 2} <= _taken.copies.keys():
        with suppress(OSError):
            os.dup2(_taken.copies[2], _taken.copies[1], inheritable=False)


os.register_at_fork(after_in_child=_in_a_child)


class _ToStderr(io.TextIOBase):
    """In the place of a `sys.stdout` that has no descriptor: writes to mlreg's stderr."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return err().write(text)


def _own(stream: TextIO, fd: int, copies: Mapping[int, int]) -> TextIO:
    """A stream on the private descriptor; the stream itself where it leads elsewhere."""
    leads_there = _descriptor(stream) == fd and fd in copies
    return _text(copies[fd], like=stream) if leads_there else stream


def _text(fd: int, like: TextIO) -> TextIO:
    return open(
        fd,
        "w",
        encoding=like.encoding,
        errors="backslashreplace",
        buffering=1 if like is sys.stderr or os.isatty(fd) else -1,
    )


def _on(fd: int) -> TextIO:
    return open(fd, "w", errors="backslashreplace", buffering=1, closefd=False)


def _private_copy(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LEAST_PRIVATE)
    except OSError:  # a process may have no more than a few hundred descriptors here
        return os.dup(fd)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _flush(stream: TextIO | None) -> None:
    with suppress(OSError, ValueError, AttributeError):
        if stream is not None:
            stream.flush()
