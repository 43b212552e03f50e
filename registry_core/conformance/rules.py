"""All rules, in the order in which they are checked and shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from registry_core.conformance import datasets, fitting, importing, models, reading, side_effects
from registry_core.conformance.rule import Rule
from registry_core.errors import UsageError

RULES: tuple[Rule, ...] = (
    *importing.RULES,
    *datasets.RULES,
    *reading.RULES,
    datasets.data_repeats_elsewhere,
    *models.RULES,
    *fitting.RULES,
    *side_effects.RULES,
)
BY_ID = {rule.id: rule for rule in RULES}


def rules_for(kind: str, quick: bool = False) -> list[Rule]:
    """The rules for a plugin of this kind; `quick` leaves out those that need TensorFlow."""
    return [rule for rule in RULES if kind in rule.kinds and not (quick and rule.needs_tensorflow)]


def check_known(ids: Iterable[str]) -> None:
    """Check that each is the id of a rule.

    Raises:
        UsageError: one is not; names the nearest.
    """
    for each in ids:
        if each not in BY_ID:
            near = difflib.get_close_matches(each, BY_ID, n=1, cutoff=0.3)
            meant = f" Did you mean '{near[0]}'?" if near else ""
            raise UsageError(f"No rule '{each}'.", f"Rules: {', '.join(BY_ID)}.{meant}")
