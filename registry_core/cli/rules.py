"""`mlreg rules`: what an alias asks of the version that is to get it, kept in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from registry_core.cli.app import Commands, DefaultGroup, app, completed_by, session
from registry_core.cli.options import (
    DryRunOption,
    JsonOption,
    QuietOption,
    ReasonOption,
    YesOption,
    confirm,
    finite,
)
from registry_core.errors import UsageError
from registry_core.refs import check_alias_name
from registry_core.registry import Registry
from registry_core.rules import PromotionRule, RuleChange, nearest, wrong_value
from registry_core.terminal import output
from registry_core.terminal.tables.promotion import show_rule_changes, show_rules

group = Commands(
    cls=DefaultGroup,
    help="Show or change what an alias requires of a version.",
    rich_markup_mode=None,
    no_args_is_help=False,
)
app.add_typer(group, name="rules")

RuledAlias = Annotated[
    str,
    typer.Argument(
        metavar="ALIAS",
        help="An alias, as in production.",
        autocompletion=completed_by("ruled aliases"),
    ),
]


@group.command("list", examples=("mlreg rules list",))
def list_rules(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List every rule, and which version the alias is on."""
    registry = session.open()
    rules = registry.rules()
    aliases = dict.fromkeys(rule.alias for rule in rules)
    holders = {alias: registry.store.rules.holders(alias) for alias in aliases}
    meant = _meant(registry, [alias for alias in aliases if not holders[alias]])
    if as_json:
        told = [{**rule.to_json(), "holders": holders[rule.alias]} for rule in rules]
        output.print_json({"rules": told, "meant": meant})
        return
    if quiet:
        output.print_references(aliases)
    elif rules:
        show_rules(rules, holders, meant)
    else:
        output.print_text(f"No alias has a rule in {registry.folder}.")
        output.print_hint("To set one: mlreg rules set production --floor test_accuracy=0.75")
    for alias in aliases:
        if len({str(rule.rule.to_json()) for rule in rules if rule.alias == alias}) > 1:
            output.print_warning(
                f"{registry.settings.file} and the registry have different rules for '{alias}', "
                "and both apply. To take the file's into the registry: mlreg rules sync"
            )


@group.command(
    "set",
    examples=(
        "mlreg rules set production --floor test_accuracy=0.75",
        "mlreg rules set production --versus not-worse --margin 0.01 --requires staging",
    ),
)
def set_rule(
    alias: RuledAlias,
    floor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Require at least VALUE; METRIC=off requires none.",
            autocompletion=completed_by("floors"),
        ),
    ] = None,
    versus: Annotated[
        str | None,
        typer.Option(
            metavar="not-worse|better|off",
            help="Compare with the version that has the alias.",
            autocompletion=completed_by("versus"),
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(metavar="M", min=0, help="Accept being worse by up to M.", callback=finite),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(metavar="A", help="Test at this level, between 0 and 1.", callback=finite),
    ] = None,
    requires: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ALIAS",
            help="Require that it has or had this alias first.",
            autocompletion=completed_by("ruled aliases"),
        ),
    ] = None,
    rollback_days: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            min=0,
            help="Keep a version from removal after it lost the alias.",
            callback=finite,
        ),
    ] = None,
    requires_none: Annotated[
        bool, typer.Option("--requires-none", help="Require no other alias.")
    ] = False,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Set the rule of an alias, or change parts of it."""
    check_alias_name(alias)
    if requires and requires_none:
        raise UsageError("--requires and --requires-none contradict each other.", "Use one.")
    changes: dict[str, Any] = {
        "versus_incumbent": versus,
        "margin": margin,
        "alpha": alpha,
        "requires": [] if requires_none else requires,
        "rollback_days": rollback_days,
    }
    floors = dict(_floor(text) for text in floor or [])
    given = {key: value for key, value in changes.items() if value is not None}
    known = {metric: least for metric, least in floors.items() if least is not None}
    for key, value in (*given.items(), ("floor", known)):
        if wrong := wrong_value(key, value, alias):
            option = {"versus_incumbent": "versus"}.get(key, key).replace("_", "-")
            raise UsageError(f"--{option} {wrong}.", "", "mlreg rules set --help")

    def change(before: Mapping[str, PromotionRule]) -> Mapping[str, PromotionRule]:
        rule = before.get(alias, PromotionRule())
        kept = {metric: least for metric, least in rule.floor.items() if metric not in floors}
        return {alias: replace(rule, floor={**kept, **known}, **given)}

    registry = session.open()
    changed = registry.store.rules.change(change, reason, dry_run=dry_run)
    _show(registry, changed, dry_run, as_json, quiet)
    _warn_of_names(registry, known, requires or [])


@group.command("remove", examples=("mlreg rules remove staging --yes",))
def remove_rule(
    alias: RuledAlias,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove the rule of an alias."""
    registry = session.open()
    rules = registry.store.rules.current()
    if check_alias_name(alias) not in rules:
        others = ", ".join(rules) or "none"
        near = nearest(alias, rules)
        raise UsageError(
            f"The registry has no rule for '{alias}'.",
            f"It has rules for: {others}." + (f" Did you mean {near}?" if near else ""),
            f"mlreg rules remove {near}" if near else "mlreg rules",
        )
    if not dry_run:
        asked = "; ".join(rules[alias].rule.requirements()) or "no requirements"
        question = f"Remove the rule for '{alias}' ({asked})?"
        confirm(question, yes, f"mlreg rules remove {alias}")
    changed = registry.store.rules.change(lambda before: {alias: None}, reason, dry_run=dry_run)
    _show(registry, changed, dry_run, as_json, quiet)


@group.command("sync", examples=("mlreg rules sync --dry-run",))
def sync_rules(
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy the rules of plugins.toml into the registry."""
    registry = session.open()
    planned = registry.sync_rules(reason, dry_run=True)
    going = [change for change in planned if change.changed]
    if dry_run or not going:
        changed = planned
    else:
        if not (as_json or quiet or yes):
            show_rule_changes(planned, dry_run=True)
        names = ", ".join(change.alias for change in going)
        confirm(f"Set the registry's rules for {names}?", yes, "mlreg rules sync")
        changed = registry.sync_rules(reason)
    _show(registry, changed, dry_run, as_json, quiet)
    synced = {change.alias for change in changed}
    for rule in registry.store.rules.current().values():
        if rule.alias not in synced and not (as_json or quiet):
            output.print_text(f"{rule.alias}: only the registry has a rule; it stays")


def _show(
    registry: Registry, changes: list[RuleChange], dry_run: bool, as_json: bool, quiet: bool
) -> None:
    if as_json:
        told = [change.to_json() for change in changes]
        output.print_json({"changes": told, "dry_run": dry_run})
    elif quiet:
        output.print_references(change.alias for change in changes)
    else:
        show_rule_changes(changes, dry_run)
        if not dry_run and any(change.changed for change in changes):
            output.print_hint(f"Kept in {registry.folder}: it applies from every folder.")
    unheld = [c.alias for c in changes if c.after and not registry.store.rules.holders(c.alias)]
    for alias, near in _meant(registry, unheld).items():
        output.print_warning(f"No version holds '{alias}'; was '{near}' meant?")


def _meant(registry: Registry, unheld: list[str]) -> dict[str, str]:
    """For aliases that have a rule and no version: the alias that was probably meant."""
    held = {alias for model in registry.store.models() for alias in model.aliases}
    found = {alias: nearest(alias, held) for alias in unheld}
    return {alias: near for alias, near in found.items() if near}


def _warn_of_names(registry: Registry, floors: Mapping[str, float], requires: list[str]) -> None:
    """Say so where no version can satisfy what was just asked for, as far as that is known."""
    newest = registry.store.newest_versions(1)
    for metric in floors:
        if newest and metric not in newest[0].metrics:
            near = nearest(metric, newest[0].metrics)
            meant = f" Did you mean {near}?" if near else ""
            output.print_warning(f"{newest[0].ref} has no metric '{metric}'.{meant}")
    for alias in requires:
        if newest and not registry.store.rules.holders(alias):
            output.print_warning(f"No version holds the alias '{alias}'.")


def _floor(text: str) -> tuple[str, float | None]:
    metric, _, value = text.partition("=")
    try:
        if metric and value:
            return metric, None if value == "off" else float(value)
    except ValueError:
        pass
    raise UsageError(
        f"Cannot read --floor {text!a} as a metric and its least value.",
        "Write it as in test_accuracy=0.75; test_accuracy=off takes a floor away.",
        "mlreg rules set --help",
    )
