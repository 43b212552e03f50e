"""The runs of a registry: those that finished, and those that are running or were stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from registry_core.errors import BusyError, IntegrityError, UsageError
from registry_core.records import UnfinishedRun, Version
from registry_core.refs import shown
from registry_core.store import Store
from registry_core.store.checkpoint import read_state


@dataclass(frozen=True)
class RunProgress:
    """A run without a version, and how far its checkpoint is.

    Args:
        run: the run.
        epoch: how many epochs are complete; None without a checkpoint that can be read.
        step: how many batches of the next epoch are; None without such a checkpoint.
    """

    run: UnfinishedRun
    epoch: int | None = None
    step: int | None = None

    def __str__(self) -> str:
        """`3 of 50 epochs, 120 batches`; empty where the run's record is damaged."""
        if not self.run.record:
            return ""
        if self.epoch is None:
            return "no checkpoint"
        batches = f", {self.step:,} batches" if self.step else ""
        return f"{self.epoch} of {self.run.record['config']['epochs']} epochs{batches}"

    def to_json(self) -> dict[str, Any]:
        place = {} if self.epoch is None else {"epoch": self.epoch, "step": self.step}
        return {**self.run.to_json(), **place}


@dataclass(frozen=True)
class RunList:
    """Runs, newest first.

    Args:
        unfinished: the runs without a version: running, failed, stopped.
        finished: the versions that the newest finished runs made.
    """

    unfinished: Sequence[RunProgress]
    finished: Sequence[Version]

    def to_json(self) -> dict[str, Any]:
        runs = [each.to_json() for each in self.unfinished]
        runs += [
            {"id": version.run, "state": "finished", "version": version.ref}
            for version in self.finished
        ]
        return {"runs": runs}


def list_runs(store: Store, limit: int) -> RunList:
    """Every run without a version, and the newest finished ones, at most `limit`."""
    unfinished = [progress(run) for run in reversed(store.unfinished_runs())]
    return RunList(unfinished, store.newest_versions(limit))


def progress(run: UnfinishedRun) -> RunProgress:
    """A run with the place of its checkpoint."""
    if run.checkpoint is None or not run.record:
        return RunProgress(run)
    try:
        state = read_state(run.checkpoint)
    except IntegrityError:
        return RunProgress(run)
    return RunProgress(run, state["epoch"], state["step"])


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
        stopped_runs = [run for run in runs if run.process is None and run.record]
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
