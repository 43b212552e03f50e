"""The promotion rules in force: those that the registry keeps, and those of plugins.toml.

Reads and changes rules in a store. What a rule requires is in `registry_core.rules`; whether a
version satisfies it is in `gates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from registry_core import rules
from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.refs import check_alias_name
from registry_core.rules import (
    PromotionRule,
    RuleChange,
    SetRule,
    nearest,
    wrong_value,
    wrong_way,
)
from registry_core.settings import Settings
from registry_core.signing.keys import fingerprints
from registry_core.store import Store


@dataclass(frozen=True)
class RuleList(Sequence[SetRule]):
    """The rules in force, by alias; of one alias the registry's first.

    Args:
        rules: the rules; one of plugins.toml that equals the registry's is not repeated.
        holders: alias -> the versions that it is on, of any model.
        meant: alias on no version -> the alias that was probably meant.
    """

    rules: Sequence[SetRule]
    holders: Mapping[str, Sequence[str]]
    meant: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, place: Any) -> Any:
        return self.rules[place]

    def __len__(self) -> int:
        return len(self.rules)

    @property
    def conflicting(self) -> list[str]:
        """The aliases for which the registry and plugins.toml have different rules."""
        aliases = [rule.alias for rule in self.rules]
        return [alias for alias in self.holders if aliases.count(alias) > 1]

    def to_json(self) -> dict[str, Any]:
        rules = [{**each.to_json(), "holders": self.holders[each.alias]} for each in self.rules]
        return {"rules": rules, "meant": dict(self.meant)}


@dataclass(frozen=True)
class RuleChanges(Sequence[RuleChange]):
    """What became of the registry's rules, by alias.

    Args:
        changes: the rules before and after.
        dry_run: nothing was changed.
        warnings: names in the new rules that no version has, as sentences.
        kept: the aliases whose rules were not part of the change.
    """

    changes: Sequence[RuleChange]
    dry_run: bool = False
    warnings: Sequence[str] = ()
    kept: Sequence[str] = ()

    def __getitem__(self, place: Any) -> Any:
        return self.changes[place]

    def __len__(self) -> int:
        return len(self.changes)

    def to_json(self) -> dict[str, Any]:
        return {
            "changes": [change.to_json() for change in self.changes],
            "dry_run": self.dry_run,
        }


def file_rules(settings: Settings, read_keys: bool = True) -> dict[str, SetRule]:
    """The rules of plugins.toml, by alias.

    Args:
        settings: has the rules.
        read_keys: replace the key files that a rule names by fingerprints.

    Raises:
        UsageError: a public key that a rule names cannot be read.
    """
    file = str(settings.file or "")
    found = settings.promotion
    if read_keys:
        found = {alias: _with_fingerprints(rule, settings, alias) for alias, rule in found.items()}
    return {alias: SetRule(alias, rule, "plugins.toml", file) for alias, rule in found.items()}


def _with_fingerprints(rule: PromotionRule, settings: Settings, alias: str) -> PromotionRule:
    """The rule, with the fingerprints of the key files that it names."""
    if not rule.signed_by:
        return rule
    folder = settings.file.parent if settings.file else Path.cwd()
    place = f"signed_by for '{alias}' in {settings.file or 'this program'}"
    return replace(rule, signed_by=fingerprints(rule.signed_by, folder, place))


def rules_in_force(store: Store, settings: Settings, read_keys: bool = True) -> list[SetRule]:
    """The rules that apply from this folder, by alias; of one alias the registry's first.

    Args:
        store: the registry.
        settings: has the rules of plugins.toml.
        read_keys: as for `file_rules`.

    Raises:
        DamagedIndexError: a rule of the registry is damaged.
        UsageError: a public key that a rule names cannot be read.
    """
    kept, file = store.rules.current(), file_rules(settings, read_keys)
    return [each for alias in sorted({*kept, *file}) for each in rules.applying(alias, kept, file)]


def list_rules(store: Store, settings: Settings) -> RuleList:
    """The rules in force, and which versions their aliases are on."""
    found = rules_in_force(store, settings)
    aliases = dict.fromkeys(rule.alias for rule in found)
    holders = {alias: store.rules.holders(alias) for alias in aliases}
    unheld = [alias for alias in aliases if not holders[alias]]
    return RuleList(found, holders, _probably_meant(store, unheld))


def set_rule(
    store: Store,
    alias: str,
    limits: Mapping[str, Mapping[str, float | None]],
    settings: Mapping[str, Any],
    reason: str,
    dry_run: bool,
) -> RuleChanges:
    """Set the registry's rule for an alias, or change parts of it.

    Args:
        store: the registry.
        alias: the alias.
        limits: `floor` and `ceiling`: metric -> its least or largest value; None requires none.
        settings: other fields of `PromotionRule` -> value; what is not there stays.
        reason: kept in the ledger.
        dry_run: return what would be done, and change nothing.

    Raises:
        UsageError: a value cannot be part of a rule, or a better metric would break its limit.
    """
    check_alias_name(alias)
    set_limits = {
        key: {metric: value for metric, value in each.items() if value is not None}
        for key, each in limits.items()
    }
    for key, value in (*settings.items(), *set_limits.items()):
        if wrong := wrong_value(key, value, alias):
            option = {"versus_incumbent": "versus"}.get(key, key).replace("_", "-")
            raise UsageError(f"--{option} {wrong}.", "", "mlreg rules set --help")
    if keys := settings.get("signed_by"):  # a file may be elsewhere tomorrow
        settings = {**settings, "signed_by": fingerprints(keys, Path.cwd(), "--signed-by")}

    _refuse_wrong_way(store, alias, set_limits)

    def change(before: Mapping[str, PromotionRule]) -> Mapping[str, PromotionRule]:
        rule = before.get(alias, PromotionRule())
        merged: dict[str, Any] = {}
        for key, new in set_limits.items():
            old = getattr(rule, key)
            kept = {metric: old[metric] for metric in old if metric not in limits[key]}
            merged[key] = {**kept, **new}
        return {alias: replace(rule, **merged, **settings)}

    changes = store.rules.change(change, reason, dry_run=dry_run)
    warnings = _alias_warnings(store, changes)
    named = [metric for each in set_limits.values() for metric in each]
    warnings += _name_warnings(store, named, settings.get("requires", ()))
    return RuleChanges(changes, dry_run, warnings)


def remove_rule(store: Store, alias: str, reason: str, dry_run: bool) -> RuleChanges:
    """Remove the registry's rule for an alias.

    Raises:
        UsageError: the registry has no rule for it.
    """
    known = store.rules.current()
    if check_alias_name(alias) not in known:
        near = nearest(alias, known)
        raise UsageError(
            f"The registry has no rule for '{alias}'.",
            f"It has rules for: {', '.join(known) or 'none'}."
            + (f" Did you mean {near}?" if near else ""),
            f"mlreg rules remove {near}" if near else "mlreg rules",
        )
    return RuleChanges(
        store.rules.change(lambda _: {alias: None}, reason, dry_run=dry_run), dry_run
    )


def sync_rules(store: Store, settings: Settings, reason: str, dry_run: bool) -> RuleChanges:
    """Copy the rules of plugins.toml into the registry; its other rules stay.

    Raises:
        UsageError: there is no plugins.toml, or it has no rules.
    """
    file = settings.file
    if file is None or not settings.promotion:
        raise UsageError(
            f"{file} has no [promotion.ALIAS]."
            if file
            else f"There is no plugins.toml in {Path.cwd()} or above it.",
            "A rule can be set in the registry itself.",
            "mlreg rules set production",
        )
    wanted = {alias: each.rule for alias, each in file_rules(settings).items()}
    changes = store.rules.change(lambda _: wanted, reason, str(file), dry_run)
    kept = [alias for alias in store.rules.current() if alias not in wanted]
    warnings = _alias_warnings(store, changes)
    warnings += [
        f"In the rule for '{alias}': {what}. In {file}, write it as a "
        f"{right[2:].partition(' ')[0]} instead."
        for alias, rule in wanted.items()
        for what, _, right in wrong_way(rule)
    ]
    return RuleChanges(changes, dry_run, warnings, kept)


def _refuse_wrong_way(store: Store, alias: str, limits: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse a floor for a metric that is better when lower, and a ceiling for the opposite.

    The newest version's objective is known; of other metrics, the name says it.

    Raises:
        UsageError: the rule has one.
    """
    rule = PromotionRule(floor=limits.get("floor", {}), ceiling=limits.get("ceiling", {}))
    if not (rule.floor or rule.ceiling):
        return
    objectives = [store.manifest(version)["objective"] for version in store.newest_versions(1)]
    known = {each["metric"]: each["direction"] for each in objectives}
    for what, _, right in wrong_way(rule, known):
        asked = "at most" if right.startswith("--ceiling") else "at least"
        raise UsageError(
            f"{what}.",
            f"{right.partition(' ')[0]} requires {asked} as much.",
            f"mlreg rules set {alias} {right}",
        )


def _alias_warnings(store: Store, changes: Sequence[RuleChange]) -> list[str]:
    unheld = [each.alias for each in changes if each.after and not store.rules.holders(each.alias)]
    return [
        f"No version holds '{alias}'. Did you mean '{near}'?"
        for alias, near in _probably_meant(store, unheld).items()
    ]


def _name_warnings(store: Store, metrics: Iterable[str], requires: Iterable[str]) -> list[str]:
    """The metrics and aliases of a new rule that no version has, as far as that is known."""
    newest = store.newest_versions(1)
    if not newest:
        return []
    found = []
    for metric in metrics:
        if metric not in newest[0].metrics:
            near = nearest(metric, newest[0].metrics)
            meant = f" Did you mean {near}?" if near else ""
            found.append(f"{newest[0].ref} has no metric '{metric}'.{meant}")
    found += [
        f"No version holds the alias '{alias}'."
        for alias in requires
        if not store.rules.holders(alias)
    ]
    return found


def _probably_meant(store: Store, unheld: Sequence[str]) -> dict[str, str]:
    """For aliases that are on no version: the alias that was probably meant."""
    if not unheld:
        return {}
    held = {alias for model in store.models() for alias in model.aliases}
    found = {alias: nearest(alias, held) for alias in unheld}
    return {alias: near for alias, near in found.items() if near}
