"""Arguments and options that more than one command has, and what the shell completes for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

# What was typed so far, by parameter; and the word that is being typed.
_Complete = Callable[[Mapping[str, Any], str], Iterable[str]]


def _quietly(complete: _Complete) -> Callable[[typer.Context, str], list[str]]:
    """A completion that fails completes nothing: the shell is no place for an error.

    Nor is it one for what a plugin prints while it is asked for its presets.
    """
    from registry_core import streams

    def completed(context: typer.Context, incomplete: str) -> list[str]:
        with streams.silenced():
            try:
                words = complete(context.params, incomplete)
                return [word for word in words if word.startswith(incomplete)]
            except Exception:
                return []

    return completed


def confirm(question: str, yes: bool, command: str) -> None:
    """Ask a person, unless `--yes` answered before; without a terminal nobody can be asked.

    Raises:
        UsageError: the answer is no, or there is nobody to ask.
    """
    from registry_core import streams
    from registry_core.errors import UsageError

    if yes:
        return
    if not streams.can_ask():
        raise UsageError(
            f"{question} There is no terminal to ask on.", "Nothing was done.", f"{command} --yes"
        )
    if not typer.confirm(question, err=True):
        raise UsageError("Nothing was done.")


def finite(value: float | None) -> float | None:
    """Refuse what no range of Typer's does: NaN and infinity; for an option's `callback`."""
    import math

    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def _at_most_all(value: int | None) -> int | None:
    """No more than the largest number that SQLite takes, which is more rows than there can be."""
    return None if value is None else min(value, 2**63 - 1)


def _references(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.cli.app import session

    store = session.open().store
    model, at, _ = incomplete.partition("@")
    if not at:
        return [summary.name for summary in store.models()]
    versions = store.versions(model, limit=50)
    selectors = [alias for version in versions for alias in version.aliases]
    numbers = [str(version.version) for version in versions]
    return [f"{model}@{selector}" for selector in (*selectors, "latest", "best", *numbers)]


def _aliases(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.cli.app import session

    known = {alias for model in session.open().store.models() for alias in model.aliases}
    return [*_references(typed, incomplete), *sorted(known | {"production", "staging"})]


def _datasets(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.plugins import KnownPlugins
    from registry_core.settings import find_settings

    return KnownPlugins(find_settings()).datasets


def _presets(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.plans import find_presets
    from registry_core.plugins import KnownPlugins
    from registry_core.settings import find_settings

    known = KnownPlugins(find_settings())
    # the parser gives up at an option without a value, and then has no dataset to tell
    datasets = [typed["dataset"]] if typed.get("dataset") else list(known.datasets)
    return [preset for name in datasets for preset in find_presets(known.load(name))]


ReferenceArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL[@VERSION]",
        help="cifar10@3, cifar10@production, cifar10@latest, cifar10@best; or cifar10 3.",
        autocompletion=_quietly(_references),
    ),
]

TargetArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL@VERSION ALIAS",
        help="Which version gets which alias: cifar10@3 production, or cifar10 3 production.",
        autocompletion=_quietly(_aliases),
    ),
]

AliasArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL@ALIAS",
        help="cifar10@production; or cifar10 production.",
        autocompletion=_quietly(_references),
    ),
]

DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="PLUGIN",
        help="A dataset plugin; `mlreg plugins list` shows them.",
        autocompletion=_quietly(_datasets),
    ),
]

PresetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A preset of the plugin; its first if none is named.",
        autocompletion=_quietly(_presets),
    ),
]

ParameterOption = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="Change a setting."),
]

DataDirOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where the data is, if not where the plugin would look."),
]

JsonOption = Annotated[
    bool, typer.Option("--json", help='One JSON object on stdout: {"schema": 1, …}.')
]

QuietOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="References alone on stdout, no progress.")
]

WideOption = Annotated[
    bool, typer.Option("--wide", help="Show every column, at any width of the terminal.")
]

DryRunOption = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Say what would be done, and do nothing.")
]

YesOption = Annotated[
    bool, typer.Option("-y", "--yes", help="Do not ask; off a terminal nobody can be asked.")
]

ReasonOption = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the ledger.")]

LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        metavar="N",
        help="At most so many, newest first.",
        callback=_at_most_all,
    ),
]
