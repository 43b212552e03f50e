"""`mlreg plugins check`: check a plugin by every rule of the contract."""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.app import completed_by
from registry_core.cli.options import (
    DataDirOption,
    JsonOption,
    ParameterOption,
    PresetOption,
    QuietOption,
)
from registry_core.errors import PluginError, UsageError
from registry_core.terminal import output


def check_plugin(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="PLUGIN",
            help="A plugin; see `mlreg plugins list`.",
            autocompletion=completed_by("plugins"),
        ),
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what needs TensorFlow.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on recommended rules too.")
    ] = False,
    preset: PresetOption = None,
    parameter: ParameterOption = None,
    data_dir: DataDirOption = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE=REASON",
            help="Expect this rule to fail; can be repeated.",
            autocompletion=completed_by("plugin rules"),
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a plugin: data, model, repeatability, side effects."""
    from registry_core.config import parse_overrides
    from registry_core.conformance.runner import PluginCheck
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.settings import find_settings
    from registry_core.terminal.tables.plugin_check import show_outcome, show_summary

    settings = find_settings()
    check = PluginCheck(
        KnownPlugins(settings).source(dataset),
        settings,
        preset,
        parse_overrides(parameter or ()),
        data_dir,
        quick,
        _expected(expect or ()),
        lambda text: None if as_json or quiet else output.print_note(text),
    )
    outcomes = []
    with stop_on_signals():
        for outcome in check.outcomes():
            outcomes.append(outcome)
            if not (as_json or quiet):
                show_outcome(outcome)
    report = check.report(outcomes)
    failed = [each.rule.id for each in report.failed(strict)]
    if as_json:
        output.print_json(report.to_json())
    elif quiet:
        output.print_references(failed)
    else:
        show_summary(report)
        if quick:
            output.print_hint(f"The rest needs TensorFlow: mlreg plugins check {dataset}")
    if failed:
        raise PluginError(
            f"Plugin '{dataset}' breaks {', '.join(failed)}.",
            "What to do is said with each rule; docs/plugin_rules.md explains them.",
        )


def _expected(pairs: list[str] | tuple[str, ...]) -> dict[str, str]:
    expected = {}
    for pair in pairs:
        rule, equals, reason = pair.partition("=")
        if not equals or not reason.strip():
            raise UsageError(
                f"'{pair}' is not RULE=REASON.",
                "An expected failure has a reason: --expect prints-nothing='a C library prints'.",
            )
        expected[rule.strip()] = reason.strip()
    return expected
