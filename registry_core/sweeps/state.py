"""Sweeps as the store keeps them: the settings of each, and a record of each trial.

The told trials are the state of a sweep: each is written durably before anything follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from registry_core.errors import BusyError, IntegrityError, UsageError
from registry_core.refs import shown
from registry_core.store import Store
from registry_core.store.sweeps import OpenSweep
from registry_core.sweeps.record import Sweep, Trial


class SweepState:
    """A sweep that this process runs: what is changed here is kept at once.

    Args:
        kept: where it is kept.
        sweep: as it is kept now.
    """

    def __init__(self, kept: OpenSweep, sweep: Sweep) -> None:
        self._kept = kept
        self.sweep = sweep

    def change(self, **changes: Any) -> None:
        """Change what is known of the sweep itself."""
        self.sweep = replace(self.sweep, **changes)
        self._kept.write(self.sweep.settings_json())

    def put(self, trial: Trial) -> None:
        """Add a trial, or change one."""
        self._kept.write_trial(trial.number, trial.to_json())
        self.sweep = self.sweep.with_trial(trial)

    def trial(self, number: int) -> Trial:
        return next(each for each in self.sweep.trials if each.number == number)

    def __enter__(self) -> SweepState:
        return self

    def __exit__(self, *error: object) -> None:
        self._kept.__exit__(*error)


def create_sweep(store: Store, sweep: Sweep) -> SweepState:
    """Keep a new sweep, which gets an id."""
    kept = store.sweeps.create(sweep.settings_json())
    return SweepState(kept, replace(sweep, id=kept.id))


def reopen_sweep(store: Store, sweep_id: str) -> SweepState:
    """Go on with a sweep.

    Raises:
        UsageError: there is no such sweep.
        BusyError: another process runs it.
        IntegrityError: a record of it is damaged.
    """
    kept = store.sweeps.reopen(sweep_id)
    try:
        return SweepState(kept, read_sweep(store, sweep_id))
    except BaseException:
        kept.__exit__()
        raise


def sweep_ids(store: Store) -> list[str]:
    """The ids of all sweeps, newest first."""
    return list(reversed(store.sweeps.ids()))


def read_sweep(store: Store, sweep_id: str) -> Sweep:
    """A sweep, by its whole id.

    Raises:
        UsageError: there is no such sweep.
        IntegrityError: a record of it is damaged.
    """
    kept = store.sweeps.read(sweep_id)
    try:
        trials = [Trial.from_json(record) for record in kept.trials]
        sweep = Sweep.from_json({**kept.settings, "id": sweep_id}, trials)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"The records of the sweep {sweep_id} are not those of a sweep: {error}.",
            "A newer mlreg wrote them, or they are damaged.",
            "mlreg sweeps",
        ) from error
    if kept.process is None and sweep.state == "running":
        # who ran it was stopped
        waiting = [
            replace(trial, state="waiting") if trial.state == "running" else trial
            for trial in sweep.trials
        ]
        sweep = replace(sweep, state="stopped", trials=tuple(waiting))
    return sweep


def find_sweep(store: Store, name: str) -> Sweep:
    """A sweep by its id, or the beginning or end of it.

    Raises:
        UsageError: no sweep has that name, or more than one.
        IntegrityError: a record of it is damaged.
    """
    if (found := find_sweep_id(store, name)) is None:
        known = sweep_ids(store)
        raise UsageError(
            f"No sweep {shown(name)}.",
            f"Sweeps: {', '.join(known[:5]) or 'none'}.",
            "mlreg sweeps",
        )
    return read_sweep(store, found)


def find_sweep_id(store: Store, name: str) -> str | None:
    """The id of the sweep of that name; None if there is none.

    Raises:
        UsageError: more than one has it.
    """
    if not name:
        return None
    found = [each for each in sweep_ids(store) if each.startswith(name) or each.endswith(name)]
    if len(found) > 1 and name not in found:
        raise UsageError(
            f"{len(found)} sweeps are called {shown(name)}.",
            f"These: {', '.join(found)}. The last characters are enough.",
            "mlreg sweeps",
        )
    if name in found:
        return name
    return found[0] if found else None


def check_stopped(store: Store, sweep: Sweep) -> None:
    """Refuse a sweep that another process runs; BusyError names the process."""
    if sweep.state == "running" and (process := store.sweeps.read(sweep.id).process) is not None:
        raise BusyError(
            f"The sweep {sweep.id} is running, in process {process}.",
            "It can be resumed once it has stopped.",
            "mlreg sweeps",
        )


def trial_of(record: Mapping[str, Any]) -> tuple[str, int] | None:
    """The sweep and the number of the trial that a run is of, by its record; None for others."""
    found = record.get("sweep")
    if isinstance(found, Mapping) and isinstance(found.get("id"), str):
        number = found.get("trial")
        if isinstance(number, int):
            return found["id"], number
    return None
