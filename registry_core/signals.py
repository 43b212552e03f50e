"""How a signal stops a run: at the next batch's end, or at once when asked twice.

Outside training, where nothing is half done that would be worth finishing, once is at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from registry_core.errors import Interrupted
from registry_core.plugin_guard import tell

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Whether a signal has asked to stop, for code that may finish its batch first.

    `outcome` is what state remains when it stops, as a sentence; whoever changes it says so.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.outcome = ""
        self._patient = False
        self._heard: list[signal.Signals] = []

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
        for signum in self._heard:
            if signal.getsignal(signum) != self.receive:
                # a callback did; the hooks' own calls are looked after where they are made
                signal.signal(signum, self.receive)
                tell(f"Code of a plugin replaced the handler of {signum.name}: put back as it was.")
        if self.signum is not None:
            raise Interrupted(self.signum, self.outcome)

    def receive(self, signum: int, frame: FrameType | None = None) -> None:
        """Note the signal; a handler for `signal.signal`."""
        first = self.signum is None
        self.signum = signum
        if not (first and self._patient):
            self.obey()

    def hear(self, signums: Sequence[signal.Signals]) -> None:
        """From now on be the handler of these signals, whoever else would like to be."""
        self._heard = list(signums)
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
    request.hear(list(previous))
    try:
        yield request
    finally:
        request.hear([])
        for signum, handler in previous.items():
            if handler is not None:  # not installed from Python
                signal.signal(signum, handler)
