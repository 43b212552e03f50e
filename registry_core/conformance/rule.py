"""A rule of the conformance kit, and how one fails or is skipped. Imports no plugin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from registry_core.conformance.subject import Subject

Tier = Literal["required", "recommended"]
Cost = Literal["import", "data", "model", "fit"]

DATASET: Sequence[str] = ("dataset",)
ANY_KIND: Sequence[str] = ("dataset", "extension")


class RuleFailure(Exception):  # noqa: N818 - an outcome of a check, not an error of the host
    """A plugin breaks the rule.

    Args:
        found: what was found, as a sentence.
        remedy: what to do, as a sentence; empty takes the rule's own.
    """

    def __init__(self, found: str, remedy: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.remedy = remedy


class NotApplicable(Exception):  # noqa: N818
    """The rule is about something that the plugin does not have.

    Args:
        why: as a sentence.
    """


@dataclass(frozen=True)
class Rule:
    """One thing that a plugin has to do.

    Args:
        id: its stable name, for `expected_failures` and `--json`.
        since: the version of mlreg that has it first.
        tier: a plugin that breaks a `required` rule fails the check; `recommended` is advice.
        cost: what it needs: the plugin's `import`, its `data`, its `model`, or a short `fit`.
        title: what holds, in a line.
        about: what is checked.
        remedy: what to do if it fails.
        kinds: the kinds of plugins that it is for.
        needs: the rules that have to hold before it can be checked.
        check: raises RuleFailure, NotApplicable or an error of the host; None is for a rule that
            watches while the other rules are checked.
    """

    id: str
    since: str
    tier: Tier
    cost: Cost
    title: str
    about: str
    remedy: str
    kinds: Sequence[str]
    needs: Sequence[str]
    check: Callable[[Subject], object] | None

    @property
    def needs_tensorflow(self) -> bool:
        """Whether it always needs TensorFlow; a rule about data needs it for some plugins."""
        return self.cost in ("model", "fit")


def rule(
    title: str,
    *,
    remedy: str,
    cost: Cost,
    tier: Tier = "required",
    kinds: Sequence[str] = ANY_KIND,
    needs: Sequence[Rule] = (),
    since: str = "0.1.0",
) -> Callable[[Callable[[Subject], Any]], Rule]:
    """Make a rule of a function: its name is the id, its docstring says what is checked."""

    def made(check: Callable[[Subject], Any]) -> Rule:
        return Rule(
            id=check.__name__.replace("_", "-"),
            since=since,
            tier=tier,
            cost=cost,
            title=title,
            about=" ".join((inspect.getdoc(check) or "").split()),
            remedy=remedy,
            kinds=kinds,
            needs=tuple(each.id for each in needs),
            check=check,
        )

    return made
