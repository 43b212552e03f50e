"""One plan run with several seeds: a group of versions that differ in nothing else.

Each run is a whole one, and its version stands whatever becomes of those after it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry_core.errors import Interrupted, MlregError, UsageError
from registry_core.records import Version
from registry_core.refs import series

if TYPE_CHECKING:
    from registry_core.lifecycle.spec import RunSpec

# More runs than this are a slip of the finger: at a minute each they take most of a day.
MOST_RUNS = 1000

_SEEDS = 2**31


@dataclass(frozen=True)
class Place:
    """Which of several runs one is."""

    number: int
    runs: int
    seed: int

    def __str__(self) -> str:
        return f"Run {self.number} of {self.runs}, seed {self.seed}"


def plan_group(plan: RunSpec, runs: int) -> list[RunSpec]:
    """The same plan with successive seeds, its own first, as one group.

    Raises:
        UsageError: there are too few runs or too many, or a seed goes beyond what a seed can be.
    """
    first = plan.config.seed
    if runs < 2:
        raise UsageError(
            f"--seeds {runs} makes no group.",
            f"A group has 2 to {MOST_RUNS:,} runs; a run without --seeds is one.",
            f"mlreg run {plan.dataset} --preset {plan.preset} --seeds 5",
        )
    if runs > MOST_RUNS:
        raise UsageError(
            f"--seeds {runs:,} are more runs than a group has.", f"It has 2 to {MOST_RUNS:,}."
        )
    if first + runs > _SEEDS:
        raise UsageError(
            f"--seeds {runs} from seed {first} go beyond {_SEEDS - 1}, the largest seed.",
            "Begin with a smaller one.",
            f"mlreg run {plan.dataset} --preset {plan.preset} --seed 0 --seeds {runs}",
        )
    group = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(4).hex()}"
    return [
        replace(plan, config=plan.config.changed({"seed": seed}), group=group)
        for seed in range(first, first + runs)
    ]


def run_group(plans: Sequence[RunSpec], run: Callable[[RunSpec, Place], Version]) -> list[Version]:
    """Run one plan after another.

    Args:
        plans: those of one group.
        run: runs one plan, given which of how many it is.

    Raises:
        MlregError, Interrupted: what `run` raised, saying in which run, and which were registered
            before it; they stay.
    """
    registered: list[Version] = []
    place = Place(0, len(plans), 0)
    try:
        for number, plan in enumerate(plans, start=1):
            place = Place(number, len(plans), plan.config.seed)
            registered.append(run(plan, place))
    except MlregError as error:
        error.what = f"{place}: {error.what}"
        error.remedy = f"{error.remedy} {_told(registered)}".strip()
        raise
    except Interrupted as interruption:
        outcome = interruption.outcome
        told = f"{place}: {outcome[:1].lower()}{outcome[1:]} {_told(registered)}"
        interruption.outcome = told.strip()
        raise
    return registered


def _told(registered: Sequence[Version]) -> str:
    if not registered:
        return ""
    numbers = [version.version for version in registered]
    return f"Earlier runs registered {series(registered[0].model, numbers)}."
