"""Reports the progress of several runs at a time on stderr, each by its place in the group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from registry_core.lifecycle.observers import SilentObserver
from registry_core.lifecycle.run_log import Lines
from registry_core.terminal.output import print_warning, stderr
from registry_core.terminal.text import safe_text
from registry_core.types import Observer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from registry_core.lifecycle.seeds import Place


class RunsObserver(Observer, Protocol):
    """Hears of what concerns all runs, and gives each an observer of its own."""

    def observe(self, place: Place) -> AbstractContextManager[Observer]: ...


@contextmanager
def runs_progress(quiet: bool = False) -> Iterator[RunsLines]:
    """Yield the observer of several runs that fits stderr.

    Args:
        quiet: report only warnings.
    """
    console = stderr()
    if quiet:
        yield RunsLines(lambda text: None)
    else:
        yield RunsLines(lambda text: console.print(safe_text(text)))


class RunsLines(SilentObserver):
    """Prints the lines of a log for each run, after its place: `2/8  epoch 1/3  loss 1.2`.

    Args:
        write: takes each line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lock = threading.Lock()

    @contextmanager
    def observe(self, place: Place) -> Iterator[Observer]:
        label = f"{place.number:>{len(str(place.runs))}}/{place.runs}"

        def write(text: str) -> None:
            with self._lock:
                if (warning := text.removeprefix("Warning: ")) != text:
                    print_warning(f"{label}  {warning}")
                else:
                    self._write(f"{label}  {text}")

        yield Lines(write)

    def say(self, text: str) -> None:
        self._write(text)

    def warn(self, text: str) -> None:
        print_warning(text)
