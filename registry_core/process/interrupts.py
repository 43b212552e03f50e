"""How a signal stops a run: at the next batch's end, or at once when asked twice.

Outside training, where nothing is half done that would be worth finishing, once is at once.
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
    """Whether a signal has asked to stop, for code that may finish its batch first.

    `outcome` is what state remains when it stops, as a sentence; whoever changes it says so.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.outcome = ""
        self._patient = False
        self._signals: list[signal.Signals] = []

    @contextmanager
    def defer_interrupts(self) -> Iterator[None]:
        """Within this block the first signal is only noted; leaving it, a noted one is raised.

        Raises:
            Interrupted: a signal came; the second one raises from wherever it arrives.
        """
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
        self.raise_if_requested()

    def raise_if_requested(self) -> None:
        """Stop here, if a signal asked to; raises Interrupted."""
        for signum in self._signals:
            if signal.getsignal(signum) != self.receive:
                # during training no hook returns, so the plugin guard cannot restore it
                signal.signal(signum, self.receive)
                warn(f"A plugin replaced the handler of {signum.name}; it was restored.")
        if self.signum is not None:
            raise Interrupted(self.signum, self.outcome)

    def receive(self, signum: int, frame: FrameType | None = None) -> None:
        """Note the signal; a handler for `signal.signal`."""
        first = self.signum is None
        self.signum = signum
        if not (first and self._patient):
            self.raise_if_requested()

    def listen(self, signums: Sequence[signal.Signals]) -> None:
        """Handle these signals, and stay their handler: `raise_if_requested` restores it."""
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
        if signal.getsignal(signum) is not signal.SIG_IGN  # nohup asked not to be hung up
    }
    request.listen(list(previous))
    try:
        yield request
    finally:
        request.listen([])
        for signum, handler in previous.items():
            if handler is not None:  # not installed from Python
                signal.signal(signum, handler)
