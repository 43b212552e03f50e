"""How a signal stops a run: after the current batch, or at once when it comes a second time.

Outside training, the first signal stops it at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from registry_core.errors import Interrupted
from registry_core.process.guard import warn

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Whether a signal has asked to stop, for code that finishes its batch first.

    `outcome` says in a sentence what remains after stopping here; the running code keeps it true.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.outcome = ""
        self._deferring = False
        self._signals: list[signal.Signals] = []

    @contextmanager
    def defer_interrupts(self) -> Iterator[None]:
        """In this block, the first signal is only noted; it raises when the block is left.

        Raises:
            Interrupted: a signal came. A second one raises wherever it arrives.
        """
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        self.raise_if_requested()

    def raise_if_requested(self) -> None:
        """Raise Interrupted if a signal asked to stop."""
        for signum in self._signals:
            if signal.getsignal(signum) != self.receive:
                # during training no hook returns, so the plugin guard cannot restore it
                signal.signal(signum, self.receive)
                if self.signum is None:  # a server's own handlers are gone with it
                    warn(f"A plugin replaced the handler of {signum.name}; it was restored.")
        if self.signum is not None:
            raise Interrupted(self.signum, self.outcome)

    def receive(self, signum: int, frame: FrameType | None = None) -> None:
        """Note the signal; a handler for `signal.signal`."""
        first = self.signum is None
        self.signum = signum
        if not (first and self._deferring):
            self.raise_if_requested()

    def listen(self, signums: Sequence[signal.Signals]) -> None:
        """Handle these signals; `raise_if_requested` restores the handler if it was replaced."""
        self._signals = list(signums)
        for signum in signums:
            signal.signal(signum, self.receive)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request to stop, until the block ends."""
    request = StopRequest()
    previous = {
        signum: signal.getsignal(signum)
        for signum in STOPPING
        if signal.getsignal(signum) is not signal.SIG_IGN  # nohup has SIGHUP ignored
    }
    request.listen(list(previous))
    try:
        yield request
    finally:
        request.listen([])
        for signum, handler in previous.items():
            if handler is not None:  # not installed from Python
                signal.signal(signum, handler)
