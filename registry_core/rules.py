"""What an alias asks of the version that is to get it.

One rule, with one check of its values, wherever it is kept: in the registry that it protects, or in
plugins.toml. Knows neither place.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from registry_core.errors import UsageError
from registry_core.refs import check_alias_name

# How alike a name that leads nowhere is to the one that was meant; less than prod to production.
_NEAR = 0.55

VERSUS = ("not-worse", "better", "off")

# How long a version that lost an alias stays, where nothing says so.
ROLLBACK_DAYS = 30.0


@dataclass(frozen=True)
class PromotionRule:
    """What an alias asks of the version that is to get it.

    Args:
        floor: metric -> its least value.
        versus_incumbent: `not-worse`: the interval of the difference to the version that holds the
            alias lies above -margin. `better`: the candidate is ahead, and the paired test says
            so at the level. `off`: it is not compared.
        alpha: the level of the test; the interval's confidence is 1 - alpha.
        margin: how much worse still counts as not worse, in the measure compared: 0.01 is one
            point of accuracy.
        requires: aliases that the version holds or has held.
        rollback_days: how long a version that lost the alias cannot be removed; None is
            ROLLBACK_DAYS.
    """

    floor: Mapping[str, float] = field(default_factory=dict)
    versus_incumbent: str = "not-worse"
    alpha: float = 0.05
    margin: float = 0.01
    requires: Sequence[str] = ()
    rollback_days: float | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it, in one form: equal rules give equal values."""
        return {
            "floor": {metric: float(self.floor[metric]) for metric in sorted(self.floor)},
            "versus_incumbent": self.versus_incumbent,
            "alpha": float(self.alpha),
            "margin": float(self.margin),
            "requires": sorted(set(self.requires)),
            "rollback_days": None if self.rollback_days is None else float(self.rollback_days),
        }

    @classmethod
    def from_json(cls, value: object, alias: str) -> Self:
        """A rule as `to_json` gave it.

        Args:
            value: what is to be one.
            alias: the alias that it is about.

        Raises:
            ValueError: it is none; the message says why.
        """
        if not isinstance(value, Mapping):
            raise ValueError("it is no rule")
        for key, content in value.items():
            if key not in KEYS:
                raise ValueError(f"'{key}' is not known")
            if wrong := wrong_value(key, content, alias):
                raise ValueError(f"'{key}' {wrong}")
        return cls(**value)

    def requirements(self) -> list[str]:
        """Each thing that it asks for, in words; empty where it asks for nothing."""
        asked = [f"{metric} at least {least:g}" for metric, least in sorted(self.floor.items())]
        asked += [f"holds or has held {alias}" for alias in sorted(set(self.requires))]
        if self.versus_incumbent == "not-worse":
            asked.append(
                f"not worse than the version that holds it by more than {self.margin:g} "
                f"({100 * (1 - self.alpha):g} % interval)"
            )
        elif self.versus_incumbent == "better":
            asked.append(f"better than the version that holds it (p < {self.alpha:g})")
        if self.rollback_days is not None:
            days = f"cannot be removed for {told_days(self.rollback_days)}"
            asked.append(
                f"a version that held it {days if self.rollback_days else 'can be removed at once'}"
            )
        return asked


KEYS = tuple(PromotionRule.__dataclass_fields__)


@dataclass(frozen=True)
class SetRule:
    """A rule, and where it was set.

    Args:
        alias: the alias that it is about.
        rule: what the alias asks for.
        source: which place it is from.
        file: the plugins.toml that has it; of a rule of the registry the one it was taken from.
        row: the row of the ledger that set it; None for a rule of plugins.toml.
        since: when that was: UTC, ISO 8601; empty for a rule of plugins.toml.
        who: the account that set it; empty for a rule of plugins.toml.
        reason: what the person said.
    """

    alias: str
    rule: PromotionRule
    source: Literal["registry", "plugins.toml"]
    file: str = ""
    row: int | None = None
    since: str = ""
    who: str = ""
    reason: str = ""

    @property
    def place(self) -> str:
        """Where it is from, as a heading: `rule of the registry, set 2026-05-03 14:30 UTC by ana`.

        The alias is not in it.
        """
        if self.source == "registry":
            moment = f"{self.since[:10]} {self.since[11:16]} UTC"
            return f"rule of the registry, set {moment} by {self.who}"
        return f"rule in {self.file}"

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"alias": self.alias, "source": self.source}
        if self.file:
            found["file"] = self.file
        if self.row is not None:
            found |= {"row": self.row, "since": self.since, "who": self.who, "reason": self.reason}
        return {**found, "rule": self.rule.to_json()}


@dataclass(frozen=True)
class RuleChange:
    """What became of the registry's rule for an alias; None is no rule."""

    alias: str
    before: PromotionRule | None
    after: PromotionRule | None

    @property
    def changed(self) -> bool:
        before, after = (rule and rule.to_json() for rule in (self.before, self.after))
        return before != after

    def to_json(self) -> dict[str, Any]:
        return {
            "alias": self.alias,
            "before": self.before.to_json() if self.before else None,
            "after": self.after.to_json() if self.after else None,
            "changed": self.changed,
        }


def applying(
    alias: str, registry: Mapping[str, SetRule], file: Mapping[str, SetRule]
) -> list[SetRule]:
    """The rules that a promotion to an alias has to satisfy: the registry's, and another's too.

    Args:
        alias: the alias.
        registry: the registry's rules, by alias.
        file: those of plugins.toml.
    """
    found = [rules[alias] for rules in (registry, file) if alias in rules]
    if len(found) == 2 and found[0].rule.to_json() == found[1].rule.to_json():
        return found[:1]
    return found


@dataclass(frozen=True)
class RollbackDays:
    """How long a version that lost an alias cannot be removed.

    Args:
        days: counted from when it lost the alias.
        remedy: when it can be removed, and which place says so, as a sentence.
        command: takes a number into the registry that plugins.toml alone has; else empty.
    """

    days: float
    remedy: str
    command: str = ""


def rollback_days(
    alias: str, kept: SetRule | None, file: str, in_file: SetRule | None, general: float | None
) -> RollbackDays:
    """The largest number of days that a place asks for; the default where none does.

    The registry's rule may ask for less than the default. A rule of plugins.toml only adds. The
    number under [registry] replaces the default, but never lowers what the registry's rule asks.

    Args:
        alias: the alias that was lost.
        kept: the registry's rule for it.
        file: the plugins.toml.
        in_file: the rule for it in that file.
        general: the number under [registry] in that file.
    """
    own = kept.rule.rollback_days if kept else None
    theirs = in_file.rule.rollback_days if in_file else None
    elsewhere = ROLLBACK_DAYS if own is None else own
    least = general if own is None and general is not None else elsewhere
    days = max(least, general or 0, theirs or 0)
    remedy = f"It can be removed {told_days(days)} after that"
    if days > elsewhere:
        said = f"Only {file} says so: from another folder it is {told_days(elsewhere)}"
        command = "mlreg rules sync"
        if theirs != days:
            only = "" if kept else " --versus off"  # a new rule would compare versions, too
            command = f"mlreg rules set {alias} --rollback-days {days:.15g}{only}"
        return RollbackDays(
            days, f"{remedy}. {said}, until the registry's rule for {alias} says so too.", command
        )
    if kept and own == days:
        return RollbackDays(days, f"{remedy}, by the {kept.place}.")
    if days in (general, theirs):
        return RollbackDays(days, f"{remedy}, by {file}.")
    changes = f"mlreg rules set {alias} --rollback-days changes it"
    return RollbackDays(days, f"{remedy}, the default; {changes}.")


def told_days(days: float) -> str:
    """`1 day`, `7.5 days`, `1,000 days`."""
    return f"{days:,.15g} day{'' if days == 1 else 's'}"


def rule_warnings(
    alias: str,
    registry: Mapping[str, SetRule],
    file: Mapping[str, SetRule],
    holders: Callable[[str], Sequence[str]],
) -> list[str]:
    """What is odd about the rules for an alias; empty where all is well.

    Args:
        alias: the alias.
        registry: the registry's rules, by alias.
        file: those of plugins.toml.
        holders: the versions that hold an alias.
    """
    applied = applying(alias, registry, file)
    if len(applied) == 2:
        return [
            f"{applied[1].file} and the registry have different rules for '{alias}', and both "
            "apply. To take the file's into the registry: mlreg rules sync"
        ]
    if applied and applied[0].source == "plugins.toml":
        return [
            f"The rule for '{alias}' is in {applied[0].file} alone: a promotion from another "
            "folder does not know it. To take it into the registry: mlreg rules sync"
        ]
    if applied:
        return []
    near = difflib.get_close_matches(alias, {**registry, **file}, n=3, cutoff=_NEAR)
    return [
        f"No version holds '{each.alias}', which has a {each.place}: was '{alias}' meant?"
        for name in near
        for each in applying(name, registry, file)[:1]
        if not holders(name)
    ]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The nearest name to one that leads nowhere; `production` to `prod`."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=_NEAR)
    return near[0] if near else None


def near_alias(alias: str, known: Iterable[str]) -> str | None:
    """The alias that a new one may be a misspelling of; None where it is no such thing.

    A name that differs from one by a number, or has a part more, as `canary-2` and `production-eu`
    do, is meant so.
    """
    others = [name for name in known if name != alias]
    if any(_is_variant(name, alias) for name in others):
        return None
    near = difflib.get_close_matches(alias, others, n=1, cutoff=0.8)
    return near[0] if near else None


def _is_variant(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if long.startswith((f"{short}-", f"{short}_")):
        return True
    one, other = (re.sub(r"[-_]?[0-9]+", "", name) for name in (one, other))
    return one == other


def wrong_value(key: str, value: Any, alias: str) -> str | None:
    """What the value of a rule's key must be, if this one is not that.

    Args:
        key: one of KEYS.
        value: its value, as TOML or JSON have it.
        alias: the alias that the rule is about.
    """
    if key == "floor":
        good = isinstance(value, Mapping) and all(_is_number(least) for least in value.values())
        return None if good else "must be a table of metrics and numbers: {test_accuracy = 0.7}"
    if key == "versus_incumbent":
        return None if value in VERSUS else f"must be one of {', '.join(VERSUS)}"
    if key == "alpha":
        return None if _is_number(value) and 0 < value < 1 else "must be a number between 0 and 1"
    if key == "margin":
        return None if _is_number(value) and value >= 0 else "must be a number, not below 0"
    if key == "rollback_days":
        good = value is None or (_is_number(value) and value >= 0)
        return None if good else "must be a number of days, 0 or more"
    good = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    if not good:
        return 'must be a list of aliases: ["staging"]'
    if alias in value:
        return f"must not name {alias} itself: no version could be the first to get it"
    if bad := [name for name in value if not is_alias_name(name)]:
        return f"has {bad[0]!a}, which cannot name an alias"
    return None


def is_alias_name(text: str) -> bool:
    """Whether an alias can have this name."""
    try:
        check_alias_name(text)
    except UsageError:
        return False
    return True


def _is_number(value: Any) -> bool:
    """Whether a value is a number that a float can hold, and no NaN, infinity or truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
