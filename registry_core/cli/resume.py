"""`mlreg runs`, `resume`, `reproduce`: the runs, and running them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_core.cli.app import app, completed_by, session
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
from registry_core.cli.place import note_empty
from registry_core.errors import IntegrityError
from registry_core.refs import parse_words
from registry_core.terminal import output
from registry_core.terminal.tables.runs import show_reproduction, show_runs

if TYPE_CHECKING:
    from registry_core.records import UnfinishedRun

# A table shows this many finished runs unless --limit says otherwise.
ROWS = 10

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="A run's id, or its last characters.",
        autocompletion=completed_by("resumable runs"),
    ),
]


@app.command(examples=("mlreg runs", "mlreg runs --discard 1f3a"))
def runs(
    discard: Annotated[
        list[str] | None,
        typer.Option(
            "--discard",
            metavar="RUN",
            help="Delete the files of a stopped run.",
            autocompletion=completed_by("stopped runs"),
        ),
    ] = None,
    limit: LimitOption = None,
    wide: WideOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show running, stopped and finished runs, newest first."""
    registry = session.open(needs_versions=False)
    if discard:
        ids = list(dict.fromkeys(registry.stopped_run(name).id for name in discard))
        again = " ".join(f"--discard {name}" for name in discard)
        confirm(f"Delete the files of run {', '.join(ids)}?", yes, f"mlreg runs {again}")
        discarded = registry.discard_runs(ids)
        if as_json:
            output.print_json(discarded.to_json())
        elif quiet:
            output.print_references(discarded.ids)
        else:
            for run_id in discarded.ids:
                output.print_text(f"Deleted the files of run {run_id}")
        return
    found = registry.runs(limit or ROWS)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references(each.run.id for each in found.unfinished)
    elif found.unfinished or found.finished:
        show_runs([(each.run, str(each)) for each in found.unfinished], found.finished, wide)
    else:
        note_empty(registry, "runs")


@app.command(examples=("mlreg resume", "mlreg resume 1f3a"))
def resume(
    run: RunArgument = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Resume a stopped run.

    Its version is equal, bit for bit, to that of a run that was never stopped. RUN can be left out
    if one run alone can be resumed.
    """
    from registry_core.cli.runs import running, tell_version
    from registry_core.lifecycle.spec import spec_from_run
    from registry_core.plugins import custom_code
    from registry_core.plugins.manager import KnownPlugins

    registry = session.open(needs_versions=False)
    stopped = registry.stopped_run(run)
    if not stopped.record:
        raise IntegrityError(
            f"Run {stopped.id} cannot be resumed: its run.json is damaged.",
            "Its files can only be deleted.",
            f"mlreg runs --discard {stopped.id[-8:]}",
        )
    custom_code.check_here(f"Run {stopped.id}", stopped.record, registry.settings)
    plugins = KnownPlugins(registry.settings).load(stopped.record["dataset"])
    plan = spec_from_run(plugins, stopped, data_dir)
    if not quiet:
        output.print_hint(_goes_on(stopped))
    with running(registry, plugins, quiet) as run_one:
        version = run_one(plan)
    tell_version(version, registry, as_json, quiet)


@app.command(examples=("mlreg reproduce cifar10@1", "mlreg reproduce cifar10@1 -p epochs=2"))
def reproduce(
    reference: ReferenceArgument,
    parameter: ParameterOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a version again and compare the results."""
    import tempfile
    from pathlib import Path

    from registry_core.cli.runs import run_context
    from registry_core.cli.starting import require_training
    from registry_core.config import parse_overrides
    from registry_core.lifecycle import reproduce as reproduction
    from registry_core.lifecycle.record import RecordedVersion
    from registry_core.lifecycle.spec import spec_from_record
    from registry_core.plugins import custom_code
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.terminal.progress import report_progress

    registry = session.open()
    version = registry.version(parse_words(reference))
    manifest = registry.store.manifest(version)
    reproduction.check_reproducible(version, manifest)
    custom_code.check_here(version.ref, manifest, registry.settings)
    plugins = KnownPlugins(registry.settings).load(version.dataset)
    overrides: dict[str, Any] = dict(parse_overrides(parameter or []))
    plan = spec_from_record(plugins, manifest, data_dir, overrides)
    require_training()
    with (
        stop_on_signals() as stop,
        report_progress(quiet) as observer,
        tempfile.TemporaryDirectory() as folder,
    ):
        found = reproduction.reproduce(
            plan,
            RecordedVersion(version, manifest, registry.per_example_results(version)),
            reproduction.EphemeralWorkspace(Path(folder)),
            run_context(registry, plugins, observer, stop),
        )
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_text(found.verdict)
    else:
        show_reproduction(found)


def _goes_on(run: UnfinishedRun) -> str:
    """What is resumed, in a line."""
    from registry_core.lifecycle.run_list import progress

    record = run.record
    return (
        f"Resuming run {run.id}: {record['dataset']}, preset {record['preset']}, seed "
        f"{record['config']['seed']}, {progress(run)}"
    )
