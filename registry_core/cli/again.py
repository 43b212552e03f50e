"""`mlreg runs`, `resume`, `reproduce`: what became of runs, and running them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import (
    DataDirOption,
    JsonOption,
    LimitOption,
    ParameterOption,
    QuietOption,
    ReferenceArgument,
    WideOption,
    YesOption,
    confirm,
)
from registry_core.cli.place import tell_nothing
from registry_core.errors import IntegrityError
from registry_core.refs import parse_words
from registry_core.ui import output
from registry_core.ui.tables.runs import show_reproduction, show_runs

if TYPE_CHECKING:
    from registry_core.records import UnfinishedRun

# A table shows this many finished runs unless --limit says otherwise.
ROWS = 10

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="A run's id or its end; the one that stopped if there is just one."
    ),
]


@app.command()
def runs(
    discard: Annotated[
        list[str] | None,
        typer.Option("--discard", metavar="RUN", help="Give up what a stopped run kept."),
    ] = None,
    limit: LimitOption = None,
    wide: WideOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the runs: those that go on, were interrupted, failed or made a version; newest first."""
    registry = session.open(needs_versions=False)
    if discard:
        ids = list(dict.fromkeys(registry.stopped_run(name).id for name in discard))
        again = " ".join(f"--discard {name}" for name in discard)
        confirm(f"Give up run {', '.join(ids)}?", yes, f"mlreg runs {again}")
        for run_id in ids:
            registry.store.discard_run(run_id)
            if not (as_json or quiet):
                output.print_text(f"Gave up run {run_id}")
        if as_json:
            output.print_json({"discarded": ids})
        elif quiet:
            output.print_references(ids)
        return
    unfinished = [*reversed(registry.store.unfinished_runs())]
    finished = registry.store.newest_versions(limit or ROWS)
    if as_json:
        found = [run.to_json() | _progress(run) for run in unfinished]
        made = [
            {"id": version.run, "state": "finished", "version": version.ref} for version in finished
        ]
        output.print_json({"runs": [*found, *made]})
    elif quiet:
        output.print_references([run.id for run in unfinished])
    elif unfinished or finished:
        show_runs([(run, _told(run)) for run in unfinished], finished, wide)
    else:
        tell_nothing(registry, "runs")


@app.command()
def resume(
    run: RunArgument = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Go on with a run that was stopped, to the version that it would have made."""
    from registry_core.cli.recorded import load_recorded
    from registry_core.cli.runs import running, tell_version
    from registry_core.plans import plan_resumption

    registry = session.open(needs_versions=False)
    stopped = registry.stopped_run(run)
    if not stopped.record:
        raise IntegrityError(
            f"What run {stopped.id} began with cannot be read any more: its run.json is damaged.",
            "It cannot go on; what it kept can be given up.",
            f"mlreg runs --discard {stopped.id[-8:]}",
        )
    plugins = load_recorded(registry.settings, f"Run {stopped.id}", stopped.record)
    plan = plan_resumption(plugins, stopped, data_dir)
    if not quiet:
        output.print_hint(_goes_on(stopped))
    with running(registry, plugins, quiet) as run_one:
        version = run_one(plan)
    tell_version(version, registry, as_json, quiet)


@app.command()
def reproduce(
    reference: ReferenceArgument,
    parameter: ParameterOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a version again from its record, and say whether it comes out the same."""
    import tempfile
    from pathlib import Path

    from registry_core import custom_code, reproduction
    from registry_core.cli.recorded import load_recorded
    from registry_core.cli.runs import load_trainer
    from registry_core.cli.starting import require_training
    from registry_core.config import parse_overrides
    from registry_core.plans import plan_again
    from registry_core.signals import stop_on_signals
    from registry_core.ui.watchers import watch

    registry = session.open()
    version = registry.version(parse_words(reference))
    manifest = registry.store.manifest(version)
    reproduction.check_reproducible(version, manifest)
    custom_code.check_here(version, manifest, registry.settings)
    plugins = load_recorded(registry.settings, version.ref, manifest)
    overrides: dict[str, Any] = dict(parse_overrides(parameter or []))
    plan = plan_again(plugins, manifest, data_dir, overrides)
    require_training()
    with (
        stop_on_signals() as stop,
        watch(quiet) as observer,
        tempfile.TemporaryDirectory() as folder,
    ):
        found = reproduction.reproduce(
            plan,
            version,
            manifest,
            registry.outcomes(version),
            plugins=plugins,
            load_trainer=load_trainer,
            folder=Path(folder),
            observer=observer,
            stop=stop,
            project=registry.settings.folder,
        )
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_text(found.verdict)
    else:
        show_reproduction(found)


def _progress(run: UnfinishedRun) -> dict[str, int]:
    """How far a run came by what it kept; nothing where it kept nothing that can be read."""
    from registry_core.checkpoint import read_state

    if run.checkpoint is None or not run.record:
        return {}
    try:
        state = read_state(run.checkpoint)
    except IntegrityError:
        return {}
    return {"epoch": state["epoch"], "step": state["step"]}


def _told(run: UnfinishedRun) -> str:
    """`3 of 50 epochs, 120 batches`."""
    place = _progress(run)
    if not run.record:
        return ""
    if not place:
        return "no checkpoint"
    batches = f", {place['step']:,} batches" if place["step"] else ""
    return f"{place['epoch']} of {run.record['config']['epochs']} epochs{batches}"


def _goes_on(run: UnfinishedRun) -> str:
    """What is resumed, in a line."""
    record = run.record
    return (
        f"Resuming run {run.id}: {record['dataset']}, preset {record['preset']}, seed "
        f"{record['config']['seed']}, {_told(run)}"
    )
