"""How a signal stops a run: at the next batch's end, or at once when asked twice.

Outside training, where nothing is half done that would be worth finishing, once is at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from registry_core.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Whether a signal has asked to stop, for code that may finish its batch first.

    `outcome` is what state remains when it stops, as a sentence; whoever changes it says so.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.outcome = ""
        self._patient = False

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Within this block the first signal is only noted; leaving it, a noted one is raised.

        Raises:
            Interrupted: a signal came; the second one raises from wherever it arrives.
        """
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
        self.obey()

    def obey(self) -> None:
        """Stop here, if a signal asked to; raises Interrupted."""
        if self.signum is not None:
            raise Interrupted(self.signum, self.outcome)

    def receive(self, signum: int, frame: FrameType | None = None) -> None:
        """Note the signal; a handler for `signal.signal`."""
        first = self.signum is None
        self.signum = signum
        if not (first and self._patient):
            self.obey()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request to stop, until the block ends."""
    request = StopRequest()
    previous = {
        signum: signal.signal(signum, request.receive)
        for signum in STOPPING
        if signal.getsignal(signum) is not signal.SIG_IGN  # nohup asked not to be hung up
    }
    try:
        yield request
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
