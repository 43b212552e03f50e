"""`mlreg runs`, `resume`, `reproduce`: the runs, and running them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_core.cli.app import PLACE, app, completed_by, session
from registry_core.cli.options import (
    CpusOption,
    DataDirOption,
    GpusOption,
    JsonOption,
    LimitOption,
    OnOption,
    ParameterOption,
    QuietOption,
    ReferenceArgument,
    StallOption,
    TensorboardOption,
    WideOption,
    YesOption,
    confirm,
)
from registry_core.cli.place import note_empty
from registry_core.cli.registered import show_registered, watched
from registry_core.errors import UsageError
from registry_core.refs import parse_words
from registry_core.terminal import output
from registry_core.terminal.tables.runs import show_reproduction, show_runs

if TYPE_CHECKING:
    from registry_core.lifecycle.run_list import RunProgress

# Unless --limit says otherwise, a table shows this many runs.
ROWS = 20

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="The id of a run or sweep, or its last characters.",
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
        ids = list(dict.fromkeys(registry.stopped_run(name).run.id for name in discard))
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
    # a script gets every run that can be resumed, unless it asks for fewer
    found = registry.runs(limit or ROWS, all_unfinished=(as_json or quiet) and not limit)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references(each.run.id for each in found.unfinished)
    elif found.unfinished or found.finished:
        show_runs(found.unfinished, found.finished, wide)
        if found.next:
            output.print_hint(f"More: mlreg runs --limit {10 * (limit or ROWS)}")
    else:
        note_empty(registry, "runs")


@app.command(examples=("mlreg resume", "mlreg resume 1f3a"))
def resume(
    run: RunArgument = None,
    data_dir: DataDirOption = None,
    tensorboard: TensorboardOption = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="PLACE",
            help="Run a sweep's trials here: local, ray, ray://HOST:PORT.",
            rich_help_panel=PLACE,
            autocompletion=completed_by("places to run"),
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Resume a stopped run or sweep.

    Its version is equal, bit for bit, to that of a run that was never stopped. RUN can be left out
    if one run or sweep alone can be resumed.
    """
    registry = session.open(needs_versions=False)
    if (sweep := registry.stopped_sweep(run)) is not None:
        from registry_core.cli.swept import resume_and_show

        resume_and_show(registry, sweep.id, as_json, quiet, **({"on": on} if on else {}))
        return
    if on is not None:
        raise UsageError(
            "--on is about a sweep, and a run was stopped: it is resumed on this machine.",
            "Leave it out.",
            f"mlreg resume {run or ''}".strip(),
        )
    stopped = registry.stopped_run(run)
    if stopped.run.record and not quiet:
        output.print_hint(_resuming(stopped))
    with watched(quiet) as (observer, interrupts):
        version = registry.resume(
            stopped.run.id,
            data_dir=data_dir,
            tensorboard=tensorboard,
            observer=observer,
            interrupts=interrupts,
        )
    show_registered(version, registry, as_json, quiet)


@app.command(examples=("mlreg reproduce cifar10@1", "mlreg reproduce cifar10@1 -p epochs=2"))
def reproduce(
    reference: ReferenceArgument,
    parameter: ParameterOption = None,
    data_dir: DataDirOption = None,
    on: OnOption = "local",
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    stall_minutes: StallOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a version again and compare the results."""
    from registry_core.config import parse_overrides
    from registry_core.executors.interface import Placement

    overrides: dict[str, Any] = dict(parse_overrides(parameter or []))
    ref = parse_words(reference)
    registry = session.open()
    with watched(quiet) as (observer, interrupts):
        found = registry.reproduce(
            ref,
            overrides=overrides,
            data_dir=data_dir,
            placement=Placement(on, None, cpus, gpus, stall_minutes),
            observer=observer,
            interrupts=interrupts,
        )
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_text(found.verdict)
    else:
        show_reproduction(found)


def _resuming(stopped: RunProgress) -> str:
    record = stopped.run.record
    return (
        f"Resuming run {stopped.run.id}: {record['dataset']}, preset {record['preset']}, seed "
        f"{record['config']['seed']}, {stopped}"
    )
