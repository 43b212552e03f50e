"""Runs one specification with several seeds: a group of versions that differ in nothing else.

Each run is complete: its version stays if a later run fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from registry_core.dataclass import dataclass
from registry_core.errors import Interrupted, MlregError, UsageError
from registry_core.records import Version
from registry_core.refs import series

if TYPE_CHECKING:
    from registry_core.lifecycle.spec import RunSpec

# More runs than this are a typing error: at a minute each they take most of a day.
MOST_RUNS = 1000

_SEEDS = 2**31


@dataclass(frozen=True)
class Place:
    """Which run of a group: `Run 2 of 5, seed 1`."""

    number: int
    runs: int
    seed: int

    def __str__(self) -> str:
        return f"Run {self.number} of {self.runs}, seed {self.seed}"


def plan_group(spec: RunSpec, runs: int) -> list[RunSpec]:
    """The specification with successive seeds, its own first, as one group.

    Raises:
        UsageError: there are too few runs or too many, or a seed would be too large.
    """
    first = spec.config.seed
    if runs < 2:
        raise UsageError(
            f"--seeds {runs} is too few.",
            f"A group has 2 to {MOST_RUNS:,} runs; leave --seeds out for one run.",
            f"mlreg run {spec.dataset} --preset {spec.preset} --seeds 5",
        )
    if runs > MOST_RUNS:
        raise UsageError(f"--seeds {runs:,} is too many.", f"A group has 2 to {MOST_RUNS:,} runs.")
    if first + runs > _SEEDS:
        raise UsageError(
            f"--seeds {runs} from seed {first} goes beyond {_SEEDS - 1}, the largest seed.",
            "Start with a smaller seed.",
            f"mlreg run {spec.dataset} --preset {spec.preset} --seed 0 --seeds {runs}",
        )
    group = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(4).hex()}"
    return [
        replace(spec, config=spec.config.changed({"seed": seed}), group=group)
        for seed in range(first, first + runs)
    ]


def run_group(specs: Sequence[RunSpec], run: Callable[[RunSpec, Place], Version]) -> list[Version]:
    """Run one specification after another.

    Args:
        specs: of one group.
        run: runs one of them, given its place in the group.

    Raises:
        MlregError, Interrupted: from `run`. It says which run it was, and which versions were
            registered before; they stay.
    """
    registered: list[Version] = []
    place = Place(0, len(specs), 0)
    try:
        for number, spec in enumerate(specs, start=1):
            place = Place(number, len(specs), spec.config.seed)
            registered.append(run(spec, place))
    except MlregError as error:
        error.what = f"{place}: {error.what}"
        error.remedy = f"{error.remedy} {_earlier(registered)}".strip()
        raise
    except Interrupted as interruption:
        outcome = interruption.outcome
        outcome = f"{place}: {outcome[:1].lower()}{outcome[1:]} {_earlier(registered)}"
        interruption.outcome = outcome.strip()
        raise
    return registered


def _earlier(registered: Sequence[Version]) -> str:
    if not registered:
        return ""
    numbers = [version.version for version in registered]
    return f"Earlier runs registered {series(registered[0].model, numbers)}."
