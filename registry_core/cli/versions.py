"""`mlreg list`, `show`, `history`, `compare`: looking at the registry."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.cli.app import OUTPUT, app, completed_by, session
from registry_core.cli.options import (
    JsonOption,
    LimitOption,
    OpenOption,
    QuietOption,
    WideOption,
    at_most_all,
)
from registry_core.cli.place import note_empty
from registry_core.dataclass import dataclass
from registry_core.errors import MlregError, UsageError
from registry_core.records import LOG_FILE
from registry_core.refs import parse_many, parse_model, parse_words, shown
from registry_core.terminal import output

if TYPE_CHECKING:
    from datetime import datetime

    from registry_core.records import Version
    from registry_core.refs import Ref
    from registry_core.registry import Registry

# A table shows this many versions or ledger rows unless --limit says otherwise.
ROWS = 20


@app.command(
    "list",
    examples=(
        "mlreg list",
        "mlreg list cifar10 --tag reviewed",
        "mlreg list cifar10 --sort -test_accuracy --where preset=quick",
        "mlreg list cifar10 --where 'test_accuracy>0.9' --where 'created>=2026-01-01'",
    ),
)
def list_command(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A model; the default lists all models.",
            autocompletion=completed_by("models"),
        ),
    ] = None,
    limit: LimitOption = None,
    tag: Annotated[
        str | None,
        typer.Option(
            metavar="KEY[=VALUE]",
            help="List only versions with this tag.",
            autocompletion=completed_by("tag filters"),
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="List only versions that meet this; can be repeated.",
            autocompletion=completed_by("conditions"),
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="[-]KEY",
            help="Sort by a metric or field; -KEY puts the largest first.",
            autocompletion=completed_by("sort keys"),
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="N", help="Continue the list after version N."),
    ] = None,
    removed: Annotated[bool, typer.Option("--removed", help="List only removed versions.")] = False,
    wide: WideOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List models, or the versions of one.

    A CONDITION is KEY, one of = != < <= > >=, and a value; quote it where it has < or >. KEY is a
    metric, preset, dataset, group, seed, version, created, or tag:NAME. A metric or tag:NAME alone
    means that the version has it.
    """
    typed = [("--tag", tag), *(("--where", text) for text in where or ())]
    typed += [("--sort", sort), ("--after", after)]
    options = [f"{name} {quote(value)}" for name, value in typed if value is not None]
    model = None if model is None else parse_model(model)
    registry = session.open(needs_versions=model is not None)
    if model is None:
        if options or removed:
            names = registry.model_names()
            option = options[0] if options else "--removed"
            raise UsageError(
                "Which model?",
                f"{option.split()[0]} lists versions of one model.",
                f"mlreg list {names[0] if names else 'MODEL'} {option}",
            )
        _list_models(registry, wide, as_json, quiet)
    elif removed:
        if options:
            raise UsageError(
                f"--removed lists every removed version, so {options[0].split()[0]} has no effect.",
                "Leave one of the two out.",
                f"mlreg list {model} --removed",
            )
        _list_removed(registry, model, wide, as_json, quiet)
    else:
        query = _Query(model, limit, tag, where or [], sort, after)
        _list_versions(registry, query, wide, as_json, quiet)


@dataclass(frozen=True)
class _Query:
    """What was typed of a list of versions."""

    model: str
    limit: int | None
    tag: str | None
    where: Sequence[str]
    sort: str | None
    after: str | None

    def command(self, after: int) -> str:
        """The command for the next page."""
        words = [f"--tag {quote(self.tag)}"] if self.tag is not None else []
        words += [f"--where {quote(text)}" for text in self.where]
        words += [f"--sort {quote(self.sort)}"] if self.sort is not None else []
        words += [f"--limit {self.limit}"] if self.limit is not None else []
        return " ".join(["mlreg list", self.model, *words, f"--after {after}"])


def _list_models(registry: Registry, wide: bool, as_json: bool, quiet: bool) -> None:
    from registry_core.terminal.tables.versions import show_models

    models = registry.models()
    if as_json:
        output.print_json(models.to_json())
    elif quiet:
        output.print_references(summary.name for summary in models)
    elif models:
        show_models(models, wide)
    else:
        note_empty(registry, "models")


def _list_versions(
    registry: Registry, query: _Query, wide: bool, as_json: bool, quiet: bool
) -> None:
    from registry_core.terminal.tables.versions import show_versions

    key, equals, value = (query.tag or "").partition("=")
    table = not (as_json or quiet)
    found = registry.versions(
        query.model,
        query.limit or (ROWS if table else None),
        (key, value if equals else None) if query.tag is not None else None,
        where=query.where,
        sort=query.sort,
        after=query.after,
        check_files=table,
    )
    if as_json:
        output.print_json(found.to_json())
        return
    if quiet:
        output.print_references(version.ref for version in found)
        return
    if not found:
        output.print_hint(f"No version of {query.model} meets the conditions.")
        return
    show_versions(found, found.damaged, found.groups, wide, (query.sort or "").removeprefix("-"))
    for ref, problems in found.damaged.items():
        output.print_warning(f"{ref} is damaged: {', '.join(problems)}.")
    for ref, place in found.unreadable.items():
        output.print_warning(f"{ref} cannot be read: no permission for {place}.")
    if found.best and len(found) > 1:
        output.print_hint(f"Best by {found.best_by}: {found.best.ref}, as {query.model}@best")
    if found.next:
        output.print_hint(f"More: {query.command(found[-1].version)}")


def _list_removed(registry: Registry, model: str, wide: bool, as_json: bool, quiet: bool) -> None:
    from registry_core.terminal.tables.versions import show_removals

    removals = registry.removed(model)
    if as_json:
        output.print_json(removals.to_json())
    elif quiet:
        output.print_references(removal.version.ref for removal in removals)
    elif removals:
        show_removals(removals, wide)
    else:
        output.print_hint(f"No version of {model} was removed.")


@app.command(
    examples=(
        "mlreg show cifar10@3",
        "mlreg show cifar10@production --json",
        "mlreg show ab12cd34",
    )
)
def show(
    reference: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[@VERSION]",
            help="As in cifar10@3, cifar10@production; or a sweep's id.",
            autocompletion=completed_by("references or a sweep"),
        ),
    ],
    log: Annotated[
        bool,
        typer.Option("--log", help="Show the log of its run, or of RUN.", rich_help_panel=OUTPUT),
    ] = False,
    open_it: OpenOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show a version: metrics, settings, mistakes; or a sweep.

    A sweep is named by its id or the end of it, as `mlreg sweeps` shows it; its trials are sorted
    by value. With --open, the report is opened in a browser, too.
    """
    from registry_core.cli.sweep_names import may_name_sweep, show_named_sweep, sweep_named

    registry = session.open(needs_versions=log or not may_name_sweep(reference))
    if log:
        found = registry.run_log(reference)
        if as_json:
            output.print_json(found.to_json())
        elif quiet:
            output.print_references([found.ref or found.run])
        else:
            for line in found.lines:
                output.print_text(line)
        return
    if (sweep := sweep_named(registry, reference)) is not None:
        show_named_sweep(sweep, as_json, quiet)
        if open_it:
            from registry_core.cli.opening import open_sweep

            open_sweep(registry, sweep)
        return
    ref = parse_words(reference)
    if quiet:
        version = registry.version(ref)
        output.print_references([version.ref])
    else:
        version = _show(registry, ref, as_json)
    if open_it:
        from registry_core.cli.opening import open_report

        open_report(registry, version)


def _show(registry: Registry, ref: Ref, as_json: bool) -> Version:
    details = registry.show(ref)
    version = details.version
    if as_json:
        output.print_json(details.to_json())
        return version
    from registry_core.terminal.tables.versions import show_version

    try:
        results = registry.per_example_results(version)
    except MlregError as error:  # the rest of the version can be shown
        output.print_warning(error.what)
        results = None
    show_version(version, details.manifest, details.together, results, details.signatures)
    if version.file(LOG_FILE):
        output.print_hint(f"Its log: mlreg show {version.ref} --log")
    return version


@app.command(
    examples=(
        "mlreg history",
        "mlreg history cifar10@production",
        "mlreg history cifar10@production --at 2026-05-03",
    )
)
def history(
    reference: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL[@VERSION]]",
            help="A model, version or alias; the default is all.",
            autocompletion=completed_by("references"),
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Show which version the alias was on: 2026-05-03."),
    ] = None,
    limit: LimitOption = None,
    before: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Show only rows before number N.", callback=at_most_all
        ),
    ] = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the changes to the registry, newest first.

    With --at, show which version an alias was on at a time. A day means its end; a time without a
    zone is UTC.
    """
    from registry_core.terminal.tables.ledger import show_history

    registry = session.open(needs_versions=bool(reference))
    if at is not None:
        _show_holder(registry, reference or [], at, as_json)
        return
    rows = registry.history(
        parse_words(reference) if reference else None,
        limit or (None if as_json else ROWS),
        before=before,
    )
    if as_json:
        output.print_json(rows.to_json())
    elif rows:
        show_history(rows, wide)
        if rows.next:
            words = [*(reference or []), *([f"--limit {limit}"] if limit else [])]
            output.print_hint(f"Older: {' '.join(['mlreg history', *words])} --before {rows.next}")
    else:
        note_empty(registry, "events")


def _show_holder(registry: Registry, words: list[str], at: str, as_json: bool) -> None:
    ref = parse_words(words)
    if ref.kind != "alias" or ref.selector is None:
        raise UsageError(
            f"--at needs an alias, and {ref} is not one.",
            "Name a model and its alias.",
            f"mlreg history {ref.model}@production --at {at}",
        )
    found = registry.holder_at(ref.model, ref.selector, _parse_time(at))
    if as_json:
        output.print_json(found.to_json())
    else:
        held = f"was {found.version.ref}" if found.version else "was on no version"
        output.print_text(f"{ref} {held} at {found.moment:%Y-%m-%d %H:%M:%S} UTC")


def _parse_time(text: str) -> datetime:
    """Parse a time; a day means its end, and a time without a zone is UTC."""
    from datetime import UTC, datetime, time

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"Cannot read {shown(text)} as a date.",
            "Write 2026-05-03, 2026-05-03T14:30 or 2026-05-03T14:30+02:00.",
        ) from None
    if len(text) <= len("2026-05-03"):
        moment = datetime.combine(moment, time.max)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@app.command(
    examples=(
        "mlreg compare cifar10@1 cifar10@2",
        "mlreg compare cifar10@production cifar10@latest",
    )
)
def compare(
    references: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL@VERSION...",
            help="Two or more versions; the first is the baseline.",
            autocompletion=completed_by("many references"),
        ),
    ],
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare versions: metrics, settings, paired test.

    For versions of `mlreg run --seeds`, their groups follow: the mean, deviation and interval of
    each metric, and Welch's test between the groups.
    """
    from registry_core.terminal.progress import report_progress
    from registry_core.terminal.tables.comparisons import show_side_by_side

    with report_progress() as observer:
        registry = session.open()
        named = parse_many(references, set(registry.model_names()).__contains__)
        compared = registry.compare(named, observer)
    if as_json:
        output.print_json(compared.to_json())
    else:
        show_side_by_side(compared, wide)
