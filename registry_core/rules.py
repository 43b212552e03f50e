"""Promotion rules: what a version must satisfy to get an alias.

A rule is stored in the registry or in plugins.toml; its values are checked the same way in both.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal, Self

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.refs import check_alias_name

if TYPE_CHECKING:
    from registry_core.tasks import Direction

# How similar a misspelt alias is to the right one; "prod" and "production" are still similar.
_NEAR = 0.55

# More people than this approve nothing; a larger number is a mistake.
_MOST = 20
# As many runs as `mlreg run --seeds` makes at most.
_MOST_SEEDS = 1000
# Of a public key, as `sha256sum` prints it for the PEM file.
FINGERPRINT = re.compile("[0-9a-f]{64}")

VERSUS = ("not-worse", "better", "off")

# The default number of days for which a version that lost an alias cannot be removed.
ROLLBACK_DAYS = 30.0


@dataclass(frozen=True)
class PromotionRule:
    """What a version must satisfy to get an alias.

    Args:
        floor: metric -> its smallest allowed value.
        ceiling: metric -> its largest allowed value, for metrics that are better when lower.
        versus_incumbent: how the candidate is compared with the version that holds the alias.
            `not-worse`: the confidence interval of the difference lies above -margin. `better`:
            the candidate is better, and the paired test is significant. `off`: no comparison.
        alpha: the significance level; the interval's confidence is 1 - alpha.
        margin: how much worse still counts as not worse, in the unit of the objective that is
            compared: 0.01 is one point of accuracy; 2 is two years of an error in years.
        requires: aliases that the version must hold or have held.
        rollback_days: for how many days a version that lost the alias cannot be removed; None is
            ROLLBACK_DAYS.
        approvals: how many people besides the one who asks have to approve a promotion.
        signed_by: public keys, one of which must have signed the version. A rule of the registry
            has fingerprints; one in plugins.toml may name files, relative to its folder.
        seeds: how many versions a group must have that is promoted; 0 also allows a version alone.
    """

    floor: Mapping[str, float] = field(default_factory=dict)
    versus_incumbent: str = "not-worse"
    alpha: float = 0.05
    margin: float = 0.01
    requires: Sequence[str] = ()
    rollback_days: float | None = None
    ceiling: Mapping[str, float] = field(default_factory=dict)
    approvals: int = 0
    signed_by: Sequence[str] = ()
    seeds: int = 0

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON, normalized: equal rules give equal values.

        `ceiling`, `approvals`, `signed_by` and `seeds` are only there if the rule has them, so that
        an older mlreg reads all others.
        """
        most = {metric: float(self.ceiling[metric]) for metric in sorted(self.ceiling)}
        return {
            "floor": {metric: float(self.floor[metric]) for metric in sorted(self.floor)},
            **({"ceiling": most} if most else {}),
            "versus_incumbent": self.versus_incumbent,
            "alpha": float(self.alpha),
            "margin": float(self.margin),
            "requires": sorted(set(self.requires)),
            "rollback_days": None if self.rollback_days is None else float(self.rollback_days),
            **({"approvals": self.approvals} if self.approvals else {}),
            **({"signed_by": sorted(set(self.signed_by))} if self.signed_by else {}),
            **({"seeds": self.seeds} if self.seeds else {}),
        }

    @classmethod
    def from_json(cls, value: object, alias: str) -> Self:
        """Read a rule from JSON.

        Args:
            value: the value of `to_json`.
            alias: the rule's alias.

        Raises:
            ValueError: it is not a rule; the message says why.
        """
        if not isinstance(value, Mapping):
            raise ValueError("it is not a rule")
        for key, content in value.items():
            if key not in KEYS:
                raise ValueError(f"'{key}' is not a known key")
            if wrong := wrong_value(key, content, alias):
                raise ValueError(f"'{key}' {wrong}")
        return cls(**value)

    def requirements(self) -> list[str]:
        """Each requirement, in words."""
        asked = [f"{metric} at least {least:g}" for metric, least in sorted(self.floor.items())]
        asked += [f"{metric} at most {most:g}" for metric, most in sorted(self.ceiling.items())]
        asked += [f"holds or has held {alias}" for alias in sorted(set(self.requires))]
        if self.signed_by:
            asked.append(f"signed by {signers(self.signed_by)}")
        if self.seeds:
            asked.append(f"a group of at least {self.seeds} seeds")
        if self.versus_incumbent == "not-worse":
            asked.append(
                f"not worse than the version that holds it by more than {self.margin:g} "
                f"({100 * (1 - self.alpha):g} % interval)"
            )
        elif self.versus_incumbent == "better":
            asked.append(f"better than the version that holds it (p < {self.alpha:g})")
        if self.approvals:
            asked.append(f"approved by {others(self.approvals)}")
        if self.rollback_days is not None:
            days = f"cannot be removed for {format_days(self.rollback_days)}"
            asked.append(
                f"a version that held it {days if self.rollback_days else 'can be removed at once'}"
            )
        return asked


def signers(keys: Sequence[str]) -> str:
    """`key 3f9a2c…`, or `one of 2 keys (3f9a2c…, key.pub)`: fingerprints are shortened."""
    short = [f"{key[:12]}…" if FINGERPRINT.fullmatch(key) else key for key in sorted(set(keys))]
    if len(short) == 1:
        return f"key {short[0]}"
    return f"one of {len(short)} keys ({', '.join(short)})"


KEYS = tuple(PromotionRule.__dataclass_fields__)

# Words in the names of Keras's and scikit-learn's metrics.
_LOWER_IS_BETTER = {
    *("loss", "mae", "mse", "rmse", "mape", "msle", "error", "errors", "crossentropy", "hinge"),
    *("entropy", "divergence", "perplexity", "nll", "brier", "ece"),
}
_HIGHER_IS_BETTER = {
    *("accuracy", "acc", "precision", "recall", "sensitivity", "specificity", "auc", "f1", "iou"),
    *("io", "dice", "similarity", "r2"),  # Keras's MeanIoU is called mean_io_u
}


def direction_of(metric: str) -> Direction | None:
    """Whether more (`max`) or less (`min`) of a metric is better, by its name; None if unknown."""
    words = set(metric.lower().split("_"))
    lower, higher = words & _LOWER_IS_BETTER, words & _HIGHER_IS_BETTER
    if bool(lower) == bool(higher):
        return None
    return "min" if lower else "max"


def wrong_way(
    rule: PromotionRule, known: Mapping[str, Direction] | None = None
) -> list[tuple[str, str, str]]:
    """The limits of a rule that a better metric would break.

    Args:
        rule: the rule.
        known: metric -> its direction, where something better than its name says it.

    Returns:
        Of each: what is wrong, as a sentence; and the options of `mlreg rules set` that take it
        away and set the right one.
    """
    found = []
    for key, limits, wrong in (("floor", rule.floor, "min"), ("ceiling", rule.ceiling, "max")):
        right, side, asked = (
            ("ceiling", "lower", "at least") if key == "floor" else ("floor", "higher", "at most")
        )
        for metric, limit in limits.items():
            if ((known or {}).get(metric) or direction_of(metric)) == wrong:
                what = f"{metric} is better when {side}, and a {key} requires {asked} {limit:g}"
                found.append((what, f"--{key} {metric}=off", f"--{right} {metric}={limit:g}"))
    return found


@dataclass(frozen=True)
class SetRule:
    """A rule, and where it was set.

    Args:
        alias: its alias.
        rule: the rule.
        source: where it is stored.
        file: the plugins.toml that has it; for a registry's rule, the file that it was synced from.
        row: the row of the ledger that set it; None for a rule in plugins.toml.
        since: when it was set: UTC, ISO 8601; empty for a rule in plugins.toml.
        who: the account that set it; empty for a rule in plugins.toml.
        reason: the reason that the user gave.
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
        """Where it is stored, as a heading without the alias.

        `rule of the registry, set 2026-05-03 14:30 UTC by USER`, or `rule in FILE`; a program can
        give rules without a file.
        """
        if self.source == "registry":
            moment = f"{self.since[:10]} {self.since[11:16]} UTC"
            return f"rule of the registry, set {moment} by {self.who}"
        return f"rule in {self.file}" if self.file else "rule of this program"

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"alias": self.alias, "source": self.source}
        if self.file:
            found["file"] = self.file
        if self.row is not None:
            found |= {"row": self.row, "since": self.since, "who": self.who, "reason": self.reason}
        return {**found, "rule": self.rule.to_json()}


@dataclass(frozen=True)
class RuleChange:
    """The registry's rule for an alias before and after a change; None is no rule."""

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
    """The rules that a promotion to an alias must satisfy: the registry's and plugins.toml's.

    Args:
        alias: the alias.
        registry: the registry's rules, by alias.
        file: the rules of plugins.toml, by alias.

    Returns:
        No, one or two rules; two equal ones are returned as one.
    """
    found = [rules[alias] for rules in (registry, file) if alias in rules]
    if len(found) == 2 and found[0].rule.to_json() == found[1].rule.to_json():
        return found[:1]
    return found


@dataclass(frozen=True)
class RollbackDays:
    """For how long a version that lost an alias cannot be removed.

    Args:
        days: from the moment when it lost the alias.
        remedy: when it can be removed, and which rule says so, as a sentence.
        command: copies the number from plugins.toml into the registry; empty if that is not needed.
    """

    days: float
    remedy: str
    command: str = ""


def rollback_days(
    alias: str, kept: SetRule | None, file: str, in_file: SetRule | None, general: float | None
) -> RollbackDays:
    """The largest number of days of any rule; the default if none has a number.

    The registry's rule may set less than the default. A rule in plugins.toml can only add days. The
    number under [registry] replaces the default, but never lowers the registry's rule.

    Args:
        alias: the alias that the version lost.
        kept: the registry's rule for it, or None.
        file: the path of plugins.toml.
        in_file: the rule for the alias in that file, or None.
        general: `rollback_days` under [registry] in that file, or None.
    """
    own = kept.rule.rollback_days if kept else None
    theirs = in_file.rule.rollback_days if in_file else None
    elsewhere = ROLLBACK_DAYS if own is None else own
    least = general if own is None and general is not None else elsewhere
    days = max(least, general or 0, theirs or 0)
    remedy = f"It can be removed {format_days(days)} after that"
    if days > elsewhere:
        said = f"Only {file} says so: from another folder it is {format_days(elsewhere)}"
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


def others(number: int) -> str:
    """`another person`, `2 other people`: who has to approve."""
    return "another person" if number == 1 else f"{number} other people"


def approvals_needed(rules: Iterable[SetRule]) -> int:
    """How many others have to approve a promotion by some rules; 0 if no rule asks for any."""
    return max((each.rule.approvals for each in rules), default=0)


def format_days(days: float) -> str:
    """`1 day`, `7.5 days`, `1,000 days`."""
    return f"{days:,.15g} day{'' if days == 1 else 's'}"


def rule_warnings(
    alias: str,
    registry: Mapping[str, SetRule],
    file: Mapping[str, SetRule],
    holders: Callable[[str], Sequence[str]],
) -> list[str]:
    """Warnings about the rules for an alias.

    Args:
        alias: the alias.
        registry: the registry's rules, by alias.
        file: the rules of plugins.toml, by alias.
        holders: returns the versions that hold an alias.
    """
    applied = applying(alias, registry, file)
    warnings = [
        f"In the {each.place}: {what}. Write it as a "
        f"{right[2:].partition(' ')[0]}"
        + (
            f": mlreg rules set {alias} {off} {right}"
            if each.source == "registry"
            else " in that file"
        )
        for each in applied
        for what, off, right in wrong_way(each.rule)
    ]
    if len(applied) == 2:
        return [
            *warnings,
            f"{applied[1].file} and the registry have different rules for '{alias}', and both "
            "apply. To copy the file's rule into the registry: mlreg rules sync",
        ]
    if applied and applied[0].source == "plugins.toml":
        return [
            *warnings,
            f"The rule for '{alias}' is only in {applied[0].file}: a promotion from another folder "
            "ignores it. To copy it into the registry: mlreg rules sync",
        ]
    if applied:
        return warnings
    near = difflib.get_close_matches(alias, {**registry, **file}, n=3, cutoff=_NEAR)
    return [
        f"No version holds '{each.alias}', which has a {each.place}. Is it meant for '{alias}'?"
        for name in near
        for each in applying(name, registry, file)[:1]
        if not holders(name)
    ]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a misspelt one: `production` for `prod`."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=_NEAR)
    return near[0] if near else None


def near_alias(alias: str, known: Iterable[str]) -> str | None:
    """The known alias that a new one may be a misspelling of, or None.

    A name with another number or one part more, such as `canary-2` or `production-eu`, is not a
    misspelling.
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
    """What is wrong with the value of a rule's key, as the end of a sentence; None if nothing is.

    Args:
        key: one of KEYS.
        value: its value in TOML or JSON.
        alias: the rule's alias.
    """
    if key in ("floor", "ceiling"):
        good = isinstance(value, Mapping) and all(_is_number(limit) for limit in value.values())
        example = "test_accuracy = 0.7" if key == "floor" else "test_mae = 2.5"
        return None if good else f"must be a table of metrics and numbers: {{{example}}}"
    if key == "versus_incumbent":
        return None if value in VERSUS else f"must be one of {', '.join(VERSUS)}"
    if key == "alpha":
        return None if _is_number(value) and 0 < value < 1 else "must be a number between 0 and 1"
    if key == "margin":
        return None if _is_number(value) and value >= 0 else "must be a number, 0 or more"
    if key == "approvals":
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST
        return None if good else f"must be a whole number of people, 0 to {_MOST}"
    if key == "seeds":
        whole = isinstance(value, int) and not isinstance(value, bool)
        good = whole and (value == 0 or 2 <= value <= _MOST_SEEDS)
        return None if good else f"must be a whole number of seeds, 2 to {_MOST_SEEDS}; 0 is none"
    if key == "rollback_days":
        good = value is None or (_is_number(value) and value >= 0)
        return None if good else "must be a number of days, 0 or more"
    good = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    if key == "signed_by":
        good = good and all(name.strip() for name in value)
        return None if good else 'must be a list of public keys: ["key.pub"]'
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
    """Whether a value is a finite number that fits a float, and not a boolean."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
