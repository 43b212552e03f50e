"""Deletes sweeps: what they tried, and the runs that only they can resume.

Versions stay: what their manifests say of the sweep needs no sweep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from registry_core.errors import BusyError, IntegrityError, UsageError
from registry_core.refs import shown
from registry_core.store import Store
from registry_core.sweeps.state import check_stopped, find_sweep_id, read_sweep, sweep_ids


def find_stopped(store: Store, names: Iterable[str]) -> list[str]:
    """The ids of sweeps that can be deleted, by their ids, or beginnings or ends of them.

    Raises:
        UsageError: no sweep has a name, or more than one.
        BusyError: a process runs one of them.
    """
    found = []
    for name in names:
        if (sweep_id := find_sweep_id(store, name)) is None:
            ids = ", ".join(each[-8:] for each in sweep_ids(store)[:5])
            raise UsageError(
                f"No sweep {shown(name)}.", f"Sweeps: {ids or 'none'}.", "mlreg sweeps"
            )
        with suppress(IntegrityError), _saying_how():  # a damaged one can be deleted, too
            check_stopped(store, read_sweep(store, sweep_id))
        found.append(sweep_id)
    return list(dict.fromkeys(found))


def runs_of(store: Store, sweep_id: str) -> list[str]:
    """The ids of the runs without a version that trained trials, or confirm the winner."""
    return [
        run.id
        for run in store.unfinished_runs()
        if sweep_id in ((run.record.get("sweep") or {}).get("id"), run.record.get("group"))
    ]


def versions_of(store: Store, sweep_id: str) -> Sequence[str]:
    """What the sweep registered; empty if its records are damaged."""
    with suppress(IntegrityError):
        sweep = read_sweep(store, sweep_id)
        refs = [trial.version for trial in sweep.trials if trial.version]
        refs += [str(sweep.registered["version"])] if sweep.registered else []
        return list(dict.fromkeys([*refs, *(each["version"] for each in sweep.confirmations)]))
    return []


def discard_sweep(store: Store, sweep_id: str) -> list[str]:
    """Delete a sweep and its runs; returns the ids of those.

    The sweep goes last, so that what a killed command left can be deleted by the same one.

    Raises:
        BusyError: a process runs the sweep, or one of its runs.
    """
    with _saying_how(), store.sweeps.reopen(sweep_id) as kept:
        runs = runs_of(store, sweep_id)
        for run in runs:
            store.discard_run(run)
        kept.discard()
    return runs


@contextmanager
def _saying_how() -> Iterator[None]:
    """Say of a sweep that runs how it can be deleted."""
    try:
        yield
    except BusyError as error:
        error.remedy = "Stop it first, with Ctrl-C where it runs; then it can be deleted."
        raise
