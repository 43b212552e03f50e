"""Lists of sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.results.listing import Listing

if TYPE_CHECKING:
    from registry_core.sweeps.record import Sweep


@dataclass(frozen=True)
class SweepList(Listing["Sweep"]):
    """Sweeps, newest first.

    Args:
        sweeps: the sweeps, with their trials.
        damaged: id -> why, of sweeps on this page that cannot be read.
        next: the last id where the limit cut the list, for `after`; None at its end.
    """

    sweeps: Sequence[Sweep]
    damaged: Mapping[str, str] = field(default_factory=dict)
    next: str | None = None

    @property
    def _items(self) -> Sequence[Sweep]:
        return self.sweeps

    def to_json(self) -> dict[str, Any]:
        return {
            "sweeps": [_summary(each) for each in self.sweeps],
            "damaged": dict(self.damaged),
            "next": self.next,
        }


def _summary(sweep: Sweep) -> dict[str, Any]:
    """A sweep without its trials and settings."""
    best = sweep.best
    return {
        "id": sweep.id,
        "state": sweep.state,
        "model": sweep.model,
        "dataset": sweep.dataset,
        "preset": sweep.preset,
        "created": sweep.created,
        "metric": sweep.metric,
        "direction": sweep.direction,
        "count": sweep.count,
        "told": len(sweep.told),
        **{state: sweep.counted(state) for state in ("complete", "pruned", "failed")},
        "best": None if best is None else {"trial": best.number, "value": best.value},
        "version": None if sweep.registered is None else sweep.registered["version"],
        "seconds": sum(trial.seconds for trial in sweep.trials),
    }
