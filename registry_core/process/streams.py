"""While a command runs, stdout belongs to mlreg alone.

A plugin may print at import, in a hook, from C code, from a thread or from a child process. None of
that may end up inside a table or the `--json` object. So descriptor 1 and `sys.stdout` lead to
stderr while a command runs, and mlreg's own output goes through `out()`, on a private descriptor.
Nothing here knows what is shown.
"""

from __future__ import annotations

import fcntl
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from registry_core.dataclass import dataclass

# Private descriptors are above what a careless `os.closerange(3, 64)` or `(3, 256)` closes.
_LEAST_PRIVATE = 512


@dataclass
class _Claimed:
    """The streams of a running command.

    Args:
        found: `sys.stdout` and `sys.stderr` as they were before.
        out: mlreg's data.
        err: mlreg's progress, warnings and errors.
        copies: 1 and 2 -> a private duplicate of the descriptor as it was before.
    """

    found: tuple[TextIO, TextIO]
    out: TextIO
    err: TextIO
    copies: dict[int, int]


_claimed: _Claimed | None = None


def out() -> TextIO:
    """The stream for mlreg's data."""
    return _claimed.out if _claimed else _or_nowhere(sys.stdout)


def err() -> TextIO:
    """The stream for mlreg's progress, warnings and errors."""
    return _claimed.err if _claimed else _or_nowhere(sys.stderr)


def claim(quiet: bool = False) -> None:
    """Send what others print to stderr from now on; does nothing if it is done already.

    Args:
        quiet: discard what others print, on stderr too.
    """
    global _claimed
    if _claimed is not None:
        return
    found = sys.stdout, sys.stderr
    for stream in found:
        _flush(stream)
    copies = {fd: _private_copy(fd) for fd in (1, 2) if is_open(fd)}
    streams = zip((1, 2), map(_or_nowhere, found), strict=True)
    out, err = (_own(stream, fd, copies) for fd, stream in streams)
    _claimed = _Claimed(found, out, err, copies)
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


def release() -> None:
    """Undo `claim`, in a program that continues after the command."""
    global _claimed
    if _claimed is None:
        return
    claimed, _claimed = _claimed, None
    for stream in (sys.stdout, sys.stderr, claimed.out, claimed.err):
        _flush(stream)
    for fd, copy in claimed.copies.items():
        with suppress(OSError):  # a plugin closed the copy
            os.dup2(copy, fd)
            os.close(copy)
    sys.stdout, sys.stderr = claimed.found


@contextmanager
def silenced() -> Iterator[None]:
    """Discard everything that is printed inside the block: the shell expects completions only."""
    claim(quiet=True)
    try:
        yield
    finally:
        release()


@contextmanager
def discarded() -> Iterator[None]:
    """Discard what libraries print and log inside the block, also from C++ code.

    What mlreg shows during a command goes through `out` and `err`, and is still seen.
    """
    import logging
    import warnings

    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    copies = {fd: _private_copy(fd) for fd in (1, 2) if is_open(fd)}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for fd in copies:
        os.dup2(nowhere, fd)
    os.close(nowhere)
    found, level = (sys.stdout, sys.stderr), logging.root.manager.disable
    sys.stdout = sys.stderr = cast(TextIO, _NOWHERE)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        sys.stdout, sys.stderr = found
        for fd, copy in copies.items():
            os.dup2(copy, fd)
            os.close(copy)


def is_intact() -> bool:
    """Whether the private descriptors are open."""
    return _claimed is None or all(map(is_open, _claimed.copies.values()))


def repair() -> None:
    """Reopen the streams that a plugin closed, as far as possible."""
    reopen_standard()
    if _claimed is None:
        return
    for fd, copy in _claimed.copies.items():
        if is_open(copy):
            continue
        # the original stdout is lost with its private descriptor: 1 leads to stderr
        _claimed.copies[fd] = _private_copy(2)
        if fd == 2:
            _claimed.err = _text(_claimed.copies[fd], like=_claimed.err)
        else:
            _claimed.out = _text(os.open(os.devnull, os.O_WRONLY), like=_claimed.out)


def reopen_standard() -> None:
    """Open those of descriptors 0 to 2 that are closed, and recreate Python's streams for them.

    Otherwise the next file to be opened would get the free number, and prints would end up in it.
    While a command runs, 1 and 2 then lead to stderr; else to /dev/null.
    """
    for fd in (0, 1, 2):
        if is_open(fd):
            continue
        stderr = _claimed.copies.get(2, -1) if _claimed and fd else -1
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


def escape_unencodable() -> None:
    """Write escapes for what the encoding of stdout and stderr does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def can_ask() -> bool:
    """Whether somebody at a terminal can be asked something, and answer."""
    try:
        return is_usable(sys.stdin) and sys.stdin.isatty() and err().isatty()
    except (OSError, ValueError, AttributeError):
        return False


def drop_output() -> None:
    """Discard what is still buffered for stdout, so that it does not raise at exit."""
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
    """Whether a stream is there, neither closed nor detached."""
    try:
        return stream is not None and not stream.closed
    except AttributeError:
        return True  # a replacement without that attribute
    except ValueError:
        return False


def _in_a_child() -> None:
    """In a forked child, lead mlreg's stdout to stderr: the child must not hold the pipe open."""
    if _claimed is not None and {1, 2} <= _claimed.copies.keys():
        with suppress(OSError):
            os.dup2(_claimed.copies[2], _claimed.copies[1], inheritable=False)


os.register_at_fork(after_in_child=_in_a_child)


class _ToStderr(io.TextIOBase):
    """Replaces a `sys.stdout` that has no descriptor; writes to mlreg's stderr."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return err().write(text)


class _Nowhere(io.TextIOBase):
    """Stands for the stream of a program that has none, such as a service."""

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


_NOWHERE = _Nowhere()


def _or_nowhere(stream: TextIO | None) -> TextIO:
    return cast(TextIO, stream if is_usable(stream) else _NOWHERE)


def _own(stream: TextIO, fd: int, copies: Mapping[int, int]) -> TextIO:
    """A stream on the private descriptor; the stream itself if it is not on this descriptor."""
    leads_there = _descriptor(stream) == fd and fd in copies
    return _text(copies[fd], like=stream) if leads_there else stream


def _text(fd: int, like: TextIO) -> TextIO:
    return open(
        fd,
        "w",
        encoding=like.encoding,
        errors="backslashreplace",
        buffering=1 if like is sys.stderr or os.isatty(fd) else -1,
        closefd=False,  # a plugin may have closed it, and another file have its number
    )


def _on(fd: int) -> TextIO:
    return open(fd, "w", errors="backslashreplace", buffering=1, closefd=False)


def _private_copy(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LEAST_PRIVATE)
    except OSError:  # the limit of open files is below that
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
