"""`mlreg list`, `show`, `history`, `compare`: what there is, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import (
    JsonOption,
    LimitOption,
    QuietOption,
    ReferenceArgument,
    WideOption,
)
from registry_core.cli.place import tell_nothing
from registry_core.errors import UsageError
from registry_core.records import LOG_FILE
from registry_core.refs import check_model_name, parse_words
from registry_core.ui import output
from registry_core.ui.tables.comparisons import show_side_by_side
from registry_core.ui.tables.ledger import show_history
from registry_core.ui.tables.versions import show_models, show_removals, show_version, show_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from registry_core.records import Version
    from registry_core.registry import Registry
    from registry_core.store import Store

# A table shows this many versions or ledger rows unless --limit says otherwise.
ROWS = 20


@app.command("list")
def list_command(
    model: Annotated[str | None, typer.Argument(help="A model; all models if none.")] = None,
    limit: LimitOption = None,
    tag: Annotated[
        str | None, typer.Option(metavar="KEY[=VALUE]", help="Only versions with this tag.")
    ] = None,
    removed: Annotated[
        bool, typer.Option("--removed", help="The versions that were removed instead.")
    ] = False,
    wide: WideOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the models, or one model's versions, newest first."""
    registry = session.open(needs_versions=model is not None)
    store = registry.store
    if model is None:
        if tag is not None or removed:
            raise UsageError("No model is named.", "--tag and --removed ask about one model's.")
        models = store.models()
        if as_json:
            found = [summary.to_json() for summary in models]
            output.print_json({"registry": str(registry.folder), "models": found})
        elif quiet:
            output.print_references(summary.name for summary in models)
        elif models:
            show_models(models, wide)
        else:
            tell_nothing(registry, "models")
        return
    if removed:
        _list_removed(store, model, wide, as_json, quiet)
        return
    key, equals, value = (tag or "").partition("=")
    versions = store.versions(
        model,
        limit=limit or (None if as_json or quiet else ROWS + 1),
        tag=(key, value if equals else None) if tag is not None else None,
    )
    if as_json:
        output.print_json(
            {
                "registry": str(registry.folder),
                "versions": [version.to_json() for version in versions],
                "tags": {version.ref: dict(version.tags) for version in versions if version.tags},
                "groups": {version.ref: version.group for version in versions if version.group},
            }
        )
    elif quiet:
        output.print_references(version.ref for version in versions)
    else:
        rows = versions if limit else versions[:ROWS]
        damaged = {version.ref: store.damaged(version) for version in rows}
        damaged = {ref: problems for ref, problems in damaged.items() if problems}
        show_versions(rows, damaged, _groups(store, rows), wide)
        for ref, problems in damaged.items():
            output.print_warning(f"{ref} is damaged: {', '.join(problems)}.")
        for version in rows:
            if place := store.unreadable(version):
                output.print_warning(f"{version.ref} cannot be read: no permission for {place}.")
        if len(rows) < len(versions):
            output.print_hint(f"There are older ones: mlreg list {model} --limit 1000")


def _groups(store: Store, versions: Sequence[Version]) -> dict[str, list[Version]]:
    """The versions of each group that one of these belongs to, by the group's id."""
    one_of_each = {version.group: version for version in versions if version.group}
    return {group: store.group(version) for group, version in one_of_each.items()}


def _list_removed(store: Store, model: str, wide: bool, as_json: bool, quiet: bool) -> None:
    removals = store.removals.of(check_model_name(model))
    if as_json:
        output.print_json({"removed": [removal.to_json() for removal in removals]})
    elif quiet:
        output.print_references(removal.version.ref for removal in removals)
    elif removals:
        show_removals(removals, wide)
    else:
        output.print_hint(f"No version of {model} was removed.")


@app.command()
def show(
    reference: ReferenceArgument,
    log: Annotated[
        bool, typer.Option("--log", help="Show the log of its run instead; or of a RUN.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show one version: metrics, configuration, data, environment, files."""
    registry = session.open()
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
    version = registry.version(parse_words(reference))
    if quiet:
        output.print_references([version.ref])
        return
    manifest = registry.store.manifest(version)
    together = registry.store.group(version)
    if as_json:
        output.print_json(
            {
                "version": version.to_json(),
                "tags": dict(version.tags),
                "together": [each.ref for each in together],
                "manifest": manifest,
            }
        )
    else:
        show_version(version, manifest, together)
        if version.file(LOG_FILE):
            output.print_hint(f"Its log: mlreg show {version.ref} --log")


@app.command()
def history(
    reference: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL[@VERSION|@ALIAS]]", help="Everything if nothing is named."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Who held MODEL@ALIAS then: 2026-05-03, or with a time."),
    ] = None,
    limit: LimitOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to the registry, newest first; or who held an alias at a time."""
    registry = session.open(needs_versions=bool(reference))
    if at is not None:
        _show_holder(registry, reference or [], at, as_json)
        return
    rows = registry.history(
        parse_words(reference) if reference else None, limit or (None if as_json else ROWS)
    )
    if as_json:
        output.print_json({"history": [row.to_json() for row in rows]})
    elif rows:
        show_history(rows, wide)
    else:
        tell_nothing(registry, "events")


def _show_holder(registry: Registry, words: list[str], at: str, as_json: bool) -> None:
    ref = parse_words(words)
    if ref.kind != "alias" or ref.selector is None:
        raise UsageError(
            f"--at asks who held an alias, and {ref} names none.",
            "Name a model and its alias.",
            f"mlreg history {ref.model}@production --at {at}",
        )
    moment = _moment(at)
    holder = registry.holder_at(ref.model, ref.selector, moment)
    if as_json:
        version = holder.to_json() if holder else None
        output.print_json({"alias": str(ref), "at": moment.isoformat(), "version": version})
    else:
        held = f"was {holder.ref}" if holder else "was held by no version"
        output.print_text(f"{ref} {held} at {moment:%Y-%m-%d %H:%M:%S} UTC")


def _moment(text: str) -> datetime:
    """A time as it was typed: a day means its end, and a time without a zone is UTC."""
    from datetime import UTC, datetime, time

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"Cannot read '{text}' as a date.",
            "Write 2026-05-03, or 2026-05-03T14:30, or with +02:00.",
        ) from None
    if len(text) <= len("2026-05-03"):
        moment = datetime.combine(moment, time.max)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@app.command()
def compare(
    references: Annotated[
        list[str],
        typer.Argument(metavar="MODEL@VERSION…", help="Two or more; the first is the measure."),
    ],
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put versions side by side: metrics, settings, the paired test, classes, examples.

    Where one was made by `run --seeds`, the whole groups follow: mean, deviation and interval of
    each metric over all their versions, and Welch's test between the groups.
    """
    from registry_core.ui.watchers import watch

    with watch() as observer:
        compared = session.open().compare(references, observer)
    if as_json:
        output.print_json(compared.to_json())
    else:
        show_side_by_side(compared, wide)
