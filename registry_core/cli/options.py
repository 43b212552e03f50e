"""Arguments and options of several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry_core.cli.app import OUTPUT, PLACE, completed_by
from registry_core.errors import CancelledError, UsageError


def confirm(question: str, yes: bool, command: str) -> None:
    """Ask for confirmation, unless `--yes` was given.

    Raises:
        CancelledError: the answer is no.
        UsageError: there is no terminal to ask on.
    """
    from registry_core.process import streams

    if yes:
        return
    if not streams.can_ask():
        raise UsageError(
            f"{question} This cannot be asked without a terminal.",
            "Nothing was done. Add --yes to confirm.",
            f"{command} --yes",
        )
    if not typer.confirm(question, err=True):
        raise CancelledError("Cancelled.")


def finite(value: float | None) -> float | None:
    """Refuse NaN and infinity, for the `callback` of an option; ranges of Typer do not."""
    import math

    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def at_most_all(value: int | None) -> int | None:
    """Limit a number to the largest that SQLite takes, which is more than any number of rows."""
    return None if value is None else min(value, 2**63 - 1)


ReferenceArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL[@VERSION]",
        help="As in cifar10@3, cifar10@production, cifar10@latest.",
        autocompletion=completed_by("references"),
    ),
]

# for commands that change something, where the name of a model is not enough
VersionArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL@VERSION",
        help="As in cifar10@3, cifar10@staging, cifar10@latest.",
        autocompletion=completed_by("references"),
    ),
]

TargetArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL@VERSION ALIAS",
        help="The version and its new alias: cifar10@3 production.",
        autocompletion=completed_by("targets"),
    ),
]

AliasArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL@ALIAS",
        help="An alias: cifar10@production.",
        autocompletion=completed_by("alias references"),
    ),
]

DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="PLUGIN",
        help="A dataset plugin; see `mlreg plugins list`.",
        autocompletion=completed_by("datasets"),
    ),
]

PresetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Use this preset, not the plugin's first.",
        autocompletion=completed_by("presets"),
    ),
]

ParameterOption = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--parameter",
        metavar="KEY=VALUE",
        help="Change a setting; can be repeated.",
        autocompletion=completed_by("settings"),
    ),
]

FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="MODEL@VERSION",
        help="Start with the weights of this version.",
        autocompletion=completed_by("references"),
    ),
]

NameOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Register under this name, not the plugin's.",
        autocompletion=completed_by("new models"),
    ),
]

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Read the data from here.", autocompletion=completed_by("files")
    ),
]

TensorboardOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Log each run for TensorBoard, below this folder.",
        autocompletion=completed_by("folders"),
    ),
]

OnOption = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="PLACE",
        help="Run on: local, ray, or ray://HOST:PORT.",
        rich_help_panel=PLACE,
        autocompletion=completed_by("places to run"),
    ),
]

ParallelOption = Annotated[
    int | None,
    typer.Option(
        "--parallel",
        min=1,
        metavar="N",
        help="Run N at a time, in processes of their own.",
        rich_help_panel=PLACE,
    ),
]

CpusOption = Annotated[
    int | None,
    typer.Option(
        "--cpus",
        min=1,
        metavar="C",
        help="Hold TensorFlow to C cores for each run.",
        rich_help_panel=PLACE,
    ),
]

GpusOption = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        min=0,
        metavar="G",
        help="Give each run G GPUs; it trains on all.",
        rich_help_panel=PLACE,
    ),
]

StallOption = Annotated[
    float | None,
    typer.Option(
        "--stall-minutes",
        min=0.01,
        metavar="M",
        help="Replace a worker that is silent for M minutes.",
        rich_help_panel=PLACE,
    ),
]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=OUTPUT)
]

OpenOption = Annotated[
    bool,
    typer.Option("--open", help="Open the report in a browser.", rich_help_panel=OUTPUT),
]

QuietOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print only names.", rich_help_panel=OUTPUT)
]

WideOption = Annotated[
    bool,
    typer.Option("--wide", help="Show every column, at any width.", rich_help_panel=OUTPUT),
]

DryRunOption = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Show what would be done, and change nothing.")
]

YesOption = Annotated[
    bool, typer.Option("-y", "--yes", help="Do not ask; required when not interactive.")
]

ReasonOption = Annotated[
    str, typer.Option(metavar="TEXT", help="Record this reason in the ledger.")
]

LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        metavar="N",
        help="Show at most N, newest first.",
        callback=at_most_all,
    ),
]
