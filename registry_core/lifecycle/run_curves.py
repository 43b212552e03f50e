"""How far a run is and its metrics after each epoch, for those who look at it while it runs.

A run appends a line to `epochs.jsonl` in its folder after each epoch, and replaces `progress.json`
there at most once a second. Neither is synced: after a crash of the machine the last ones may be
missing. A run that is resumed first writes how many epochs its checkpoint has; what was written
about later ones does not count any more.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any, Protocol

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError, MlregError, UsageError, one_line
from registry_core.lifecycle.observers import SilentObserver
from registry_core.records import UnfinishedRun, Version
from registry_core.refs import shown
from registry_core.store import Store
from registry_core.types import Observer

SECONDS_BETWEEN_WRITES = 1.0

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)

# A list shows this many points of a curve, and the curves of this many versions.
_POINTS = 60
_MOST_CURVES = 200
# More than the lines that are kept; a damaged line cannot ask for more memory.
_MOST_EPOCHS = 100_000


@dataclass(frozen=True)
class RunCurves:
    """How far a run is, and its metrics after each epoch.

    Args:
        id: the run's id.
        state: `running`, `interrupted`, `failed`, `damaged` or `finished`.
        started: UTC, ISO 8601.
        updated: when the run was last heard of, UTC; None if it wrote nothing yet.
        model: the registered name; empty if the run's record is damaged.
        preset: the preset's name; empty as above.
        version: the reference of the version that it made; None if it made none.
        failed: why it failed; None if it did not.
        stage: what it is doing or was doing last: `data`, `model`, `fit`, `evaluate`, `save`,
            `plot`, `register`; empty if it is not known.
        epoch: how many epochs are complete.
        epochs: how many there are to be; None if that is not known.
        step: how many batches of the next epoch are done.
        steps: how many batches an epoch has; None if that is not known.
        metrics: name -> one value for each complete epoch; None where it is not known.
        seconds: the duration of each complete epoch; None where it is not known.
        running_metrics: name -> value so far in the epoch that is going on.
        sweep: the id of the sweep that it is a trial of; empty for a run of its own.
    """

    id: str
    state: str
    started: str
    updated: str | None = None
    model: str = ""
    preset: str = ""
    version: str | None = None
    failed: str | None = None
    stage: str = ""
    epoch: int = 0
    epochs: int | None = None
    step: int = 0
    steps: int | None = None
    metrics: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    seconds: Sequence[float | None] = ()
    running_metrics: Mapping[str, float] = field(default_factory=dict)
    sweep: str = ""

    def to_json(self) -> dict[str, Any]:
        metrics = {name: list(values) for name, values in self.metrics.items()}
        return {
            **vars(self),
            "metrics": metrics,
            "seconds": list(self.seconds),
            "running_metrics": dict(self.running_metrics),
        }


# --- writing -------------------------------------------------------------------------------------


class ProgressFolder(Protocol):
    """Where a run's progress is written; the store has one for each run."""

    def log_epoch(self, line: str) -> None: ...

    def set_progress(self, content: str) -> None: ...


class ProgressWriter(SilentObserver):
    """An observer that writes how far the run is. If it cannot, it warns once, and stops.

    Args:
        folder: where it writes.
        observer: receives the warning.
    """

    def __init__(self, folder: ProgressFolder, observer: Observer) -> None:
        self._folder = folder
        self._observer = observer
        self._writable = True
        self._next_write = 0.0
        self._now: dict[str, Any] = {"stage": "", "epoch": 0, "step": 0}

    def warn(self, text: str) -> None:
        pass

    def stage_began(self, name: str) -> None:
        self._now = {**self._now, "stage": name, "metrics": {}}
        self._write_progress()

    def resumed(self, epoch: int, step: int) -> None:
        self._now |= {"epoch": epoch, "step": step}

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        self._now |= {"epochs": epochs, "steps": steps_per_epoch}
        began = {"after": self._now["epoch"], "epochs": epochs, "steps": steps_per_epoch}
        # on a line of its own, also where a process was killed in the middle of the last one
        self._write(lambda line: self._folder.log_epoch(f"\n{line}"), began)
        self._write_progress()

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        if time.monotonic() >= self._next_write:
            self._now |= {"step": step, "metrics": _finite(metrics)}
            self._write_progress()

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        self._now |= {"epoch": epoch + 1, "step": 0, "metrics": {}}
        done = {"epoch": epoch + 1, "metrics": _finite(metrics), "seconds": round(seconds, 3)}
        self._write(self._folder.log_epoch, done)
        if time.monotonic() >= self._next_write:
            self._write_progress()

    def _write_progress(self) -> None:
        self._next_write = time.monotonic() + SECONDS_BETWEEN_WRITES
        self._write(self._folder.set_progress, self._now)

    def _write(self, write: Callable[[str], object], content: Mapping[str, Any]) -> None:
        if not self._writable:
            return
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            write(json.dumps({**content, "at": at}, allow_nan=False))
        except (OSError, MlregError) as error:
            self._writable = False
            why = error.what if isinstance(error, MlregError) else one_line(error)
            self._observer.warn(f"The run's curves end here: {why}")


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


# --- reading -------------------------------------------------------------------------------------


def read_curves(store: Store, run_id: str) -> RunCurves:
    """How far a run is, or was when it stopped or made its version.

    Args:
        store: the registry.
        run_id: the run's whole id.

    Raises:
        UsageError: there is no such run.
    """
    if (run := store.unfinished_run(run_id)) is not None:
        with suppress(UsageError):  # it made its version meanwhile
            return _unfinished(run, *store.run_progress(run_id))
    if _ID.fullmatch(run_id):
        for version in store.versions_of_run(run_id, 1):
            return _finished(store, version)
    raise UsageError(f"There is no run {shown(run_id)}.", "Choose one of the list.", "mlreg runs")


def started(run_id: str) -> str:
    """The time when a run began, from its id: 20261125T190000Z-0123abcd."""
    day, clock = run_id[:8], run_id[9:15]
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}Z"


def _unfinished(run: UnfinishedRun, epochs: bytes, progress: bytes) -> RunCurves:
    lines = [line for each in epochs.splitlines() if (line := _read_line(each))]
    now = _read_line(progress)
    config = run.record.get("config", {})
    of_epoch: dict[int, dict[str, Any]] = {}
    total = {"epochs": config.get("epochs"), "steps": None}
    for line in lines:
        if isinstance(after := line.get("after"), int):
            of_epoch = {epoch: kept for epoch, kept in of_epoch.items() if epoch <= after}
            total = {key: _count(line.get(key)) for key in total}
        elif isinstance(epoch := line.get("epoch"), int) and 0 < epoch <= _MOST_EPOCHS:
            of_epoch[epoch] = line
    done = max(of_epoch, default=0)
    names = {name: None for line in of_epoch.values() for name in _numbers(line.get("metrics"))}
    each = [of_epoch.get(epoch, {}) for epoch in range(1, done + 1)]
    goes_on = _count(now.get("epoch")) == done
    return RunCurves(
        id=run.id,
        state=run.state,
        started=started(run.id),
        updated=max((at for at in (_time(now), *map(_time, lines[-1:])) if at), default=None),
        model=run.record.get("model", ""),
        preset=run.record.get("preset", ""),
        failed=run.record.get("failed"),
        sweep=str((run.record.get("sweep") or {}).get("id", "")),
        stage=now["stage"] if isinstance(now.get("stage"), str) else "",
        epoch=done,
        epochs=_count(total["epochs"]),
        step=(_count(now.get("step")) or 0) if goes_on else 0,
        steps=total["steps"],
        metrics={name: [_numbers(e.get("metrics")).get(name) for e in each] for name in names},
        seconds=[_numbers(line).get("seconds") for line in each],
        running_metrics=_numbers(now.get("metrics")) if goes_on else {},
    )


def _finished(store: Store, version: Version) -> RunCurves:
    manifest = store.manifest(version)
    history = manifest.get("history", {})
    count = max(map(len, history.values()), default=0)
    return RunCurves(
        id=version.run,
        state="finished",
        started=started(version.run),
        updated=version.created,
        model=version.model,
        preset=version.preset,
        version=version.ref,
        stage="register",
        epoch=count,
        epochs=manifest.get("training", {}).get("of", count),
        metrics=history,
        seconds=manifest.get("epoch_seconds", ()),
    )


def version_curves(store: Store, versions: Sequence[Version]) -> dict[str, list[float]]:
    """A small curve of each version: what its objective measures, after each epoch.

    That is the validation metric, or else the training metric. Versions that were
    imported, or whose record is damaged, have no curve.

    Args:
        store: the registry.
        versions: the versions; only the first 200 are read.

    Returns:
        Reference -> at most 60 values.
    """
    found = {}
    for version in versions[:_MOST_CURVES]:
        try:
            manifest = store.manifest(version)
        except IntegrityError:
            continue
        history = manifest.get("history", {})
        name = manifest["objective"]["metric"].removeprefix("test_")
        known = [key for key in (f"val_{name}", name, "val_loss", "loss") if history.get(key)]
        if known:
            found[version.ref] = _thinned(history[known[0]])
    return found


def _thinned(values: list[float]) -> list[float]:
    """At most as many as a small curve shows, evenly taken, the last one among them."""
    step = max(1, -(-len(values) // _POINTS))
    return values[(len(values) - 1) % step :: step]


def _read_line(content: bytes) -> dict[str, Any]:
    """A line that was written completely; empty for any other."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _time(line: Mapping[str, Any]) -> str | None:
    at = line.get("at")
    return at if isinstance(at, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _numbers(metrics: Any) -> dict[str, float]:
    if not isinstance(metrics, dict):
        return {}
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}
