"""The log of a run: a line with its time for each event, kept with the run and then its version.

A terminal shows the same events once. Nothing here knows terminals.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol

from registry_core.errors import Interrupted, MlregError, UsageError, one_line
from registry_core.formatting import duration, literal, metrics_line, size
from registry_core.process.guard import warnings_to
from registry_core.records import LOG_FILE, RunLog, Version
from registry_core.refs import parse_words, shown
from registry_core.store import Store
from registry_core.types import Observer

STAGES = {
    "data": "Loading the data",
    "model": "Preparing the model",
    "fit": "Training",
    "evaluate": "Evaluating on the test split",
    "validate": "Evaluating on the validation split",
    "save": "Saving",
    "plot": "Drawing the figures",
    "register": "Registering",
}

# A download, a calculation and a long epoch get a line no more often than this, and a calculation
# that is done sooner gets none.
SECONDS_BETWEEN_LINES = 10.0
SECONDS_WITHOUT_LINE = 2.0
SECONDS_WITHIN_EPOCH = 60.0

_LONGEST_LINE = 2_000


def now() -> float:
    """Seconds of a clock that never goes back."""
    return time.monotonic()


class Lines:
    """An observer that writes a line for each event that belongs in a log.

    Args:
        write: takes each line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._epoch = self._epochs = self._steps = self._examples = 0
        self._last_line = 0.0
        self._last_of_epoch = now()

    def say(self, text: str) -> None:
        self._write(text)

    def warn(self, text: str) -> None:
        self._write(f"Warning: {text}")

    def step(self, what: str, done: int, total: int | None = None) -> None:
        moment = now()
        if done and moment - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = moment
            of = f" of {size(total)}" if total else ""
            self._write(f"{what}: {size(done)}{of}")

    def stage_began(self, name: str) -> None:
        self._write(f"{STAGES[name]} …")

    def resumed(self, epoch: int, step: int) -> None:
        self._epoch = epoch
        if step or not epoch:
            self._write(f"Resumed in epoch {epoch + 1}, after {step:,} of its batches")
        else:
            self._write(f"Resumed after epoch {epoch}")

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        self._epochs, self._steps, self._examples = epochs, steps_per_epoch, examples
        self._last_of_epoch = now()

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        moment = now()
        if moment - self._last_of_epoch >= SECONDS_WITHIN_EPOCH and step < self._steps:
            self._last_of_epoch = moment
            self._write(
                f"epoch {self._epoch + 1}/{self._epochs}, step {step:,}/{self._steps:,}  "
                f"{metrics_line(metrics)}"
            )

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        self._epoch, self._last_of_epoch = epoch + 1, now()
        rate = f"  {self._examples / seconds:,.0f} examples/s" if seconds > 0 else ""
        self._write(
            f"epoch {epoch + 1}/{self._epochs}  {metrics_line(metrics)}  {duration(seconds)}{rate}"
        )

    def calculated(self, what: str, done: int, total: int) -> None:
        moment = now()
        if not done:
            self._last_line = moment - SECONDS_BETWEEN_LINES + SECONDS_WITHOUT_LINE
        elif moment - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = moment
            self._write(f"{what}: {done:,} of {total:,}")


class ObserverPair:
    """Passes everything on to two observers."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._each = (first, second)

    def say(self, text: str) -> None:
        for each in self._each:
            each.say(text)

    def warn(self, text: str) -> None:
        for each in self._each:
            each.warn(text)

    def step(self, what: str, done: int, total: int | None = None) -> None:
        for each in self._each:
            each.step(what, done, total)

    def stage_began(self, name: str) -> None:
        for each in self._each:
            each.stage_began(name)

    def resumed(self, epoch: int, step: int) -> None:
        for each in self._each:
            each.resumed(epoch, step)

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        for each in self._each:
            each.training_started(epochs, steps_per_epoch, examples)

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        for each in self._each:
            each.batch_done(step, metrics)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        for each in self._each:
            each.epoch_done(epoch, metrics, seconds)

    def calculated(self, what: str, done: int, total: int) -> None:
        for each in self._each:
            each.calculated(what, done, total)


class LogFolder(Protocol):
    """Where a run's log is written; the store has one for each run."""

    def log(self, line: str, last: bool = False) -> None: ...


@contextmanager
def logged(observer: Observer, folder: LogFolder, of_plugins: bool = True) -> Iterator[Observer]:
    """An observer that passes everything on and writes the log, and why the run ended.

    If the log cannot be written, there is a warning, and the run continues without it.

    Args:
        observer: hears everything.
        folder: the run's.
        of_plugins: whether warnings about plugins in this process are of this run.
    """
    writable = True

    def write(text: str, last: bool = False) -> None:
        nonlocal writable
        if not writable:
            return
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            folder.log(f"{at} {literal(text)[:_LONGEST_LINE]}", last)
        except (OSError, MlregError) as error:
            writable = False
            why = error.what if isinstance(error, MlregError) else one_line(error)
            observer.warn(f"The run's log ends here: {why}")

    both = ObserverPair(observer, Lines(write))
    try:
        with warnings_to(both.warn) if of_plugins else nullcontext():
            yield both
    except MlregError as error:
        write(f"Failed: {error.what} {error.remedy}".rstrip(), last=True)
        raise
    except (Interrupted, KeyboardInterrupt) as interruption:
        write(f"Stopped by {interruption}." if str(interruption) else "Stopped.", last=True)
        raise
    except BaseException as error:
        write(f"Failed: {type(error).__qualname__}: {one_line(error)}", last=True)
        raise


def find_log(store: Store, words: Sequence[str]) -> RunLog:
    """What the log of a run says.

    Args:
        store: has the run, or the version that it made.
        words: a reference to a version, in one or two words; or a run's id, or its end.

    Raises:
        UsageError: there is no such version or run, or it has no log.
        IntegrityError: the log is damaged.
    """
    is_run = len(words) == 1 and re.fullmatch(r"(\d{8}T\d{6}Z-)?[0-9a-f]{4,8}", words[0])
    if is_run and words[0] not in store.model_names():
        return _log_of_run(store, words[0])
    return _log_of_version(store, store.resolve(parse_words(list(words))))


def _log_of_run(store: Store, name: str) -> RunLog:
    if (run := store.unfinished_run(name)) is not None:  # a whole id: no other run is looked at
        return _log_of_unfinished(store, run.id)
    unfinished = [run.id for run in store.unfinished_runs() if run.is_called(name)]
    made = store.versions_of_run(name)
    if len(unfinished) + len(made) != 1:
        which = [*unfinished, *(version.ref for version in made)]
        raise UsageError(
            f"{len(which)} runs match {shown(name)}." if which else f"No run {shown(name)}.",
            f"These: {', '.join(which)}." if which else "`mlreg runs` lists them with their ids.",
            f"mlreg show {which[0]} --log" if which else "mlreg runs",
        )
    if made:
        return _log_of_version(store, made[0])
    return _log_of_unfinished(store, unfinished[0])


def _log_of_unfinished(store: Store, run: str) -> RunLog:
    if not (content := store.run_log(run)):
        raise UsageError(f"Run {run} has no log.", "An older mlreg began it.", "mlreg runs")
    return RunLog(run, None, _lines(content))


def _log_of_version(store: Store, version: Version) -> RunLog:
    if version.file(LOG_FILE) is None:
        raise UsageError(
            f"{version.ref} has no log.",
            "It was imported, or an older mlreg registered it.",
            f"mlreg show {version.ref}",
        )
    return RunLog(version.run, version.ref, _lines(store.read(version, LOG_FILE)))


def _lines(content: bytes) -> list[str]:
    return [literal(line) for line in content.decode("utf-8", "backslashreplace").splitlines()]
