"""`mlreg rules`: what an alias requires of a version, kept in the registry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

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
from registry_core.terminal import output
from registry_core.terminal.tables.promotion import show_rule_changes, show_rules

if TYPE_CHECKING:
    from registry_core.promotion.registry_rules import RuleChanges
    from registry_core.registry import Registry

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
    if as_json:
        output.print_json(rules.to_json())
        return
    if quiet:
        output.print_references(rules.holders)
    elif rules:
        show_rules(rules, rules.holders, rules.meant)
    else:
        output.print_text(f"No alias has a rule in {registry.place.name}.")
        output.print_hint("To set one: mlreg rules set production --floor test_accuracy=0.75")
    for alias in rules.conflicting:
        output.print_warning(
            f"{registry.settings.file} and the registry have different rules for '{alias}', "
            "and both apply. To take the file's into the registry: mlreg rules sync"
        )


@group.command(
    "set",
    examples=(
        "mlreg rules set production --floor test_accuracy=0.75",
        "mlreg rules set production --versus not-worse --margin 0.01 --requires staging",
        "mlreg rules set production --ceiling test_mae=2.5",
        "mlreg rules set production --signed-by release.pub",
    ),
)
def set_rule(
    alias: RuledAlias,
    floor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Require at least VALUE; METRIC=off requires none.",
            autocompletion=completed_by("limits"),
        ),
    ] = None,
    ceiling: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Require at most VALUE; METRIC=off requires none.",
            autocompletion=completed_by("limits"),
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
        typer.Option(
            metavar="M",
            min=0,
            help="Accept M worse, in the objective's unit.",
            callback=finite,
        ),
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
    approvals: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Require that N other people approve; 0 is none."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Require a group of N seeds; 0 requires none."),
    ] = None,
    signed_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Require a signature by this public key; off requires none.",
            autocompletion=completed_by("files"),
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
    registry = session.open()
    changes = registry.set_rule(
        alias,
        floor=dict(_parse_limit("floor", text) for text in floor or []),
        ceiling=dict(_parse_limit("ceiling", text) for text in ceiling or []),
        versus_incumbent=versus,
        margin=margin,
        alpha=alpha,
        requires=[] if requires_none else requires,
        rollback_days=rollback_days,
        approvals=approvals,
        seeds=seeds,
        signed_by=[] if signed_by == ["off"] else signed_by,
        reason=reason,
        dry_run=dry_run,
    )
    _show(registry, changes, as_json, quiet)


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
    changes = registry.remove_rule(alias, dry_run=True)
    if not dry_run:
        before = changes[0].before
        asked = "; ".join(before.requirements() if before else []) or "no requirements"
        question = f"Remove the rule for '{alias}' ({asked})?"
        confirm(question, yes, f"mlreg rules remove {alias}")
        changes = registry.remove_rule(alias, reason=reason)
    _show(registry, changes, as_json, quiet)


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
    changes = registry.sync_rules(dry_run=True)
    going = [change.alias for change in changes if change.changed]
    if going and not dry_run:
        if not (as_json or quiet or yes):
            show_rule_changes(changes, dry_run=True)
        confirm(f"Set the registry's rules for {', '.join(going)}?", yes, "mlreg rules sync")
        changes = registry.sync_rules(reason=reason)
    changes = replace(changes, dry_run=dry_run)
    _show(registry, changes, as_json, quiet)
    if not (as_json or quiet):
        for alias in changes.kept:
            output.print_text(f"{alias}: only the registry has a rule; it stays")


def _show(registry: Registry, changes: RuleChanges, as_json: bool, quiet: bool) -> None:
    if as_json:
        output.print_json(changes.to_json())
    elif quiet:
        output.print_references(change.alias for change in changes)
    else:
        show_rule_changes(changes, changes.dry_run)
        if not changes.dry_run and any(change.changed for change in changes):
            output.print_hint(f"Kept in {registry.place.name}: it applies from every folder.")
    for warning in changes.warnings:
        output.print_warning(warning)


def _parse_limit(option: str, text: str) -> tuple[str, float | None]:
    metric, _, value = text.partition("=")
    try:
        if metric and value:
            return metric, None if value == "off" else float(value)
    except ValueError:
        pass
    raise UsageError(
        f"Cannot read --{option} {text!a} as a metric and its "
        f"{'least' if option == 'floor' else 'largest'} value.",
        "Write it as in test_accuracy=0.75; test_accuracy=off takes a floor away."
        if option == "floor"
        else "Write it as in test_mae=2.5; test_mae=off takes a ceiling away.",
        "mlreg rules set --help",
    )
