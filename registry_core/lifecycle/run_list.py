"""The runs of a registry: those that finished, and those that are running or were stopped."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from registry_core.cursor import format_place, read_place
from registry_core.dataclass import dataclass
from registry_core.errors import BusyError, IntegrityError, UsageError
from registry_core.records import UnfinishedRun, Version
from registry_core.refs import shown
from registry_core.store import Store
from registry_core.store.checkpoint import read_state
from registry_core.store.interfaces import RunKey


@dataclass(frozen=True)
class RunProgress:
    """A run without a version, and how far its checkpoint is.

    Args:
        run: the run.
        epoch: how many epochs are complete; None without a checkpoint that can be read.
        step: how many batches of the next epoch are; None without such a checkpoint.
        trial: the state of the trial that it is, in its sweep; empty for another run, or if the
            sweep cannot be read.
    """

    run: UnfinishedRun
    epoch: int | None = None
    step: int | None = None
    trial: str = ""

    def __str__(self) -> str:
        """`3 of 50 epochs, 120 batches`; empty where the run's record is damaged."""
        if not self.run.record:
            return ""
        if self.epoch is None:
            return f"no checkpoint{self._of_sweep}"
        batches = f", {self.step:,} batches" if self.step else ""
        epochs = f"{self.epoch} of {self.run.record['config']['epochs']} epochs{batches}"
        return f"{epochs}{self._of_sweep}"

    @property
    def state(self) -> str:
        """The run's; of a sweep's stopped run `waiting`, or `kept` once its trial is complete.

        What is kept is not to be resumed: it waits to be registered.
        """
        if self.run.state == "interrupted" and self.trial:
            return "kept" if self.trial == "complete" else self.trial
        return self.run.state

    @property
    def _of_sweep(self) -> str:
        """`, trial 3 of sweep 1f3a9b2c`; empty for a run of its own."""
        if (sweep := self.run.record.get("sweep")) is None:
            return ""
        what = (
            f"trial {sweep['trial']}" if "trial" in sweep else f"confirms trial {sweep['confirms']}"
        )
        return f", {what} of sweep {sweep['id'][-8:]}"

    def to_json(self) -> dict[str, Any]:
        place = {} if self.epoch is None else {"epoch": self.epoch, "step": self.step}
        return {**self.run.to_json(), "state": self.state, **place}


@dataclass(frozen=True)
class RunList:
    """Runs, newest first.

    Args:
        unfinished: the runs without a version, those that are running first.
        finished: the versions that the newest finished runs made.
        next: the place in the list where the limit cut it, for `after`; None at its end.
    """

    unfinished: Sequence[RunProgress]
    finished: Sequence[Version]
    next: str | None = None

    def to_json(self) -> dict[str, Any]:
        runs = [each.to_json() for each in self.unfinished]
        runs += [
            {"id": version.run, "state": "finished", "version": version.ref}
            for version in self.finished
        ]
        return {"runs": runs, "next": self.next}


def list_runs(
    store: Store, limit: int, after: str | None = None, all_unfinished: bool = False
) -> RunList:
    """The newest runs without a version, and the newest finished ones.

    Args:
        store: the registry.
        limit: the most, of both together.
        after: `next` of the page before.
        all_unfinished: list every run without a version, and `limit` finished ones.

    Raises:
        UsageError: `after` is damaged.
    """
    run_key, version_key = _places(after)
    limit = min(limit, sys.maxsize - 1)
    most = sys.maxsize if all_unfinished else limit + 1
    runs = store.newest_unfinished_runs(most, run_key)
    shown_runs = runs if all_unfinished else runs[:limit]
    left = limit if all_unfinished else limit - len(shown_runs)
    versions = store.newest_versions(left + 1, version_key)
    found = RunList([progress(run, store) for run in shown_runs], versions[:left])
    if len(runs) == len(shown_runs) and len(versions) <= left:
        return found
    if shown_runs:
        run_key = RunKey(shown_runs[-1].process is not None, shown_runs[-1].id)
    if found.finished:
        version_key = (found.finished[-1].model, found.finished[-1].version)
    run_place = [run_key.running, run_key.id] if run_key else [False, ""]  # after every run
    return replace(found, next=format_place(["runs", run_place, version_key]))


def _places(after: str | None) -> tuple[RunKey | None, tuple[str, int] | None]:
    """The runs that the two parts of the list continue after."""
    if after is None:
        return None, None
    try:
        kind, (running, run_id), version = read_place(after)
        model, number = version or ("", 0)
        types = [type(each) for each in (running, run_id, model, number)]
        if kind != "runs" or types != [bool, str, str, int] or abs(number) > sys.maxsize:
            raise ValueError
    except (ValueError, TypeError):
        raise UsageError(
            f"{shown(after)} is not a place in the list of runs: it is damaged.",
            "Take it from the page before, or begin the list again.",
            "mlreg runs",
        ) from None
    return RunKey(running, run_id), (model, number) if version else None


def progress(run: UnfinishedRun, store: Store) -> RunProgress:
    """A run with the place of its checkpoint, and what its sweep says of it."""
    trial = _trial_state(run, store)
    if run.checkpoint is None or not run.record:
        return RunProgress(run, trial=trial)
    try:
        state = read_state(run.checkpoint)
    except IntegrityError:
        return RunProgress(run, trial=trial)
    return RunProgress(run, state["epoch"], state["step"], trial)


def _trial_state(run: UnfinishedRun, store: Store) -> str:
    """`complete` or `waiting`, of a stopped run of a sweep; empty for another."""
    sweep = run.record.get("sweep")
    if not sweep or run.process is not None:
        return ""
    try:
        trials = store.sweeps.read(sweep["id"]).trials
    except (UsageError, IntegrityError):
        return ""
    done = any(each.get("run") == run.id and each.get("state") == "complete" for each in trials)
    return "complete" if done else "waiting"


def part_of_sweep(sweep: Mapping[str, Any]) -> str:
    """`is trial 3 of the sweep`, or `confirms trial 3 of the sweep`, by a run's record."""
    if "trial" in sweep:
        return f"is trial {sweep['trial']} of the sweep"
    return f"confirms trial {sweep['confirms']} of the sweep"


def refuse_trial(run: UnfinishedRun) -> None:
    """Refuse the run of a sweep, which the sweep resumes; UsageError names the sweep."""
    if sweep := run.record.get("sweep"):
        raise UsageError(
            f"Run {run.id} {part_of_sweep(sweep)} {sweep['id']}.",
            "Resume the sweep: it continues with all that is left of it.",
            f"mlreg resume {sweep['id'][-8:]}",
        )


def find_stopped_run(store: Store, name: str | None = None) -> UnfinishedRun:
    """A run that stopped without a version, to be resumed or discarded.

    Args:
        store: the registry.
        name: its id, or the beginning or end of it; None is the only one that can be resumed:
            those that failed before their first checkpoint have nothing to resume from.

    Raises:
        UsageError: no run has that name, or more than one.
        BusyError: it is still running, in another process.
    """
    runs = store.unfinished_runs()
    if name is None:
        stopped_runs = [
            run
            for run in runs
            if run.process is None and run.record and not run.record.get("sweep")
        ]
        found = [run for run in stopped_runs if run.checkpoint or run.state != "failed"]
    else:
        found = [run for run in runs if name and run.is_called(name)]
    if len(found) == 1:
        run = found[0]
        if run.process is not None:
            raise BusyError(
                f"Run {run.id} is still running, in process {run.process}.",
                "It can be resumed once it has stopped.",
                "mlreg runs",
            )
        return run
    stopped = [run.id for run in runs if run.process is None]
    if not found and name is None:
        why = "No run was stopped."
        if stopped:
            why = "The runs that failed have no checkpoint: start them again, or name one."
        raise UsageError("Nothing to resume.", why, "mlreg runs")
    if not found:
        raise UsageError(
            f"No stopped run {shown(name or '')}.",
            f"Stopped runs: {', '.join(stopped) or 'none'}.",
            "mlreg runs",
        )
    raise UsageError(
        f"{len(found)} runs were stopped; which one?",
        f"Stopped runs: {', '.join(run.id for run in found)}. The last characters are enough.",
        f"mlreg resume {found[-1].id[-8:]}",
    )
