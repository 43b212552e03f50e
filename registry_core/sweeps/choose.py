"""Which sweep `mlreg resume` is about, if it is about one."""

from __future__ import annotations

from contextlib import suppress

from registry_core.errors import IntegrityError, UsageError
from registry_core.lifecycle.run_list import part_of_sweep, refuse_trial
from registry_core.records import UnfinishedRun
from registry_core.refs import shown
from registry_core.store import Store
from registry_core.sweeps.record import Sweep
from registry_core.sweeps.state import find_sweep_id, read_sweep, sweep_ids


def find_stopped_sweep(store: Store, name: str | None) -> Sweep | None:
    """The sweep to resume; None if a run is meant.

    Args:
        store: has sweeps and runs.
        name: an id, or the beginning or end of it; None is the only sweep that was stopped, if no
            run was.

    Raises:
        UsageError: the name is that of a trial's run, or of a sweep and a run.
        IntegrityError: a record of the sweep is damaged.
    """
    runs = store.unfinished_runs()
    if name is None:
        if any(run.process is None and run.record and not run.record.get("sweep") for run in runs):
            return None
        stopped = _stopped(store)
        if len(stopped) > 1:
            ids = ", ".join(sweep.id for sweep in stopped)
            raise UsageError(
                f"{len(stopped)} sweeps were stopped; which one?",
                f"Stopped sweeps: {ids}. The last characters are enough.",
                f"mlreg resume {stopped[0].id[-8:]}",
            )
        return stopped[0] if stopped else None
    called = [run for run in runs if name and run.is_called(name)]
    found = find_sweep_id(store, name)
    if found is not None and called:
        raise UsageError(
            f"A sweep and a run are called {shown(name)}.",
            f"These: {found}, {called[0].id}. Type more characters.",
            "mlreg runs",
        )
    if found is not None:
        return read_sweep(store, found)
    if len(called) == 1:
        _refuse_lost(store, called[0])
        refuse_trial(called[0])
    return None


def _refuse_lost(store: Store, run: UnfinishedRun) -> None:
    """Refuse a trial whose sweep is gone, so that nothing can resume it."""
    of = run.record.get("sweep")
    if of and of["id"] not in sweep_ids(store):
        raise UsageError(
            f"Run {run.id} {part_of_sweep(of)} {of['id']}, which is not there any more.",
            "Its files can only be deleted.",
            f"mlreg runs --discard {run.id[-8:]}",
        )


def _stopped(store: Store) -> list[Sweep]:
    """The sweeps that are not complete, and that no process runs, newest first."""
    found = []
    for sweep_id in sweep_ids(store):
        with suppress(IntegrityError):
            if (sweep := read_sweep(store, sweep_id)).state == "stopped":
                found.append(sweep)
    return found
