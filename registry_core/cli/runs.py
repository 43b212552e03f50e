"""`mlreg run`: train a model and register it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_core.cli.app import OUTPUT, app, session
from registry_core.cli.options import (
    CpusOption,
    DataDirOption,
    DatasetArgument,
    DryRunOption,
    FromOption,
    GpusOption,
    JsonOption,
    NameOption,
    OnOption,
    OpenOption,
    ParallelOption,
    ParameterOption,
    PresetOption,
    QuietOption,
    StallOption,
    TensorboardOption,
)
from registry_core.cli.registered import show_registered, show_registered_group, watched
from registry_core.errors import UsageError
from registry_core.formatting import counted

if TYPE_CHECKING:
    from registry_core.lifecycle.seeds import Place
    from registry_core.records import Version
    from registry_core.registry import Registry
    from registry_core.results import RunPlan
    from registry_core.running import ObserveEach
    from registry_core.terminal.runs_view import RunsObserver
    from registry_core.types import Observer


@app.command(
    examples=(
        "mlreg run cifar10",
        "mlreg run cifar10 --preset quick -p batch_size=64 --seed 7",
        "mlreg run cifar10 --preset quick --seeds 5",
        "mlreg run cifar10 --from cifar10@3 --epochs 5",
        "mlreg run cifar10 --preset quick --seeds 8 --parallel 2",
        "mlreg run cifar10 --preset quick --print-config",
    )
)
def run(
    dataset: DatasetArgument,
    preset: PresetOption = None,
    parameter: ParameterOption = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Train for N epochs; short for -p epochs=N.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Use this seed; short for -p seed=N.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", help="Train N times, one version for each seed."),
    ] = None,
    start_from: FromOption = None,
    name: NameOption = None,
    data_dir: DataDirOption = None,
    tensorboard: TensorboardOption = None,
    on: OnOption = "local",
    parallel: ParallelOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    stall_minutes: StallOption = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings, and do not train.")
    ] = False,
    dry_run: DryRunOption = False,
    show: Annotated[
        bool,
        typer.Option("--show", help="Open the figures after the run.", rich_help_panel=OUTPUT),
    ] = False,
    open_it: OpenOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a model and register it as a new version.

    A run trains, evaluates, saves and plots. Settings come from a preset, changed by -p. A stopped
    run can be resumed.
    """
    from registry_core.config import parse_overrides
    from registry_core.executors.interface import Placement
    from registry_core.process.interrupts import stop_on_signals

    if (show or open_it) and seeds is not None:
        raise UsageError(
            f"--{'show' if show else 'open'} is about one version, and --seeds makes several.",
            "Use one of the two.",
        )
    if (parallel or 1) > 1 and seeds is None:
        raise UsageError(
            f"--parallel {parallel} is about several runs, and this is one.",
            "Use it with --seeds.",
            f"mlreg run {dataset} --seeds {parallel} --parallel {parallel}",
        )
    placement = Placement(on, parallel, cpus, gpus, stall_minutes)
    overrides: dict[str, Any] = dict(parse_overrides(parameter or []))
    overrides.update(_given("epochs", epochs, overrides) | _given("seed", seed, overrides))
    registry = session.open(create=True)
    what: dict[str, Any] = {
        "overrides": overrides,
        "name": name,
        "data_dir": data_dir,
        "start_from": start_from,
    }
    if print_config or dry_run:
        from registry_core.terminal.progress import report_progress

        with report_progress(quiet=True) as observer:  # shows warnings
            plan = registry.plan_run(
                dataset, preset, seeds=seeds, placement=placement, observer=observer, **what
            )
        (_print_config if print_config else _show_plan)(plan, as_json)
    elif seeds is not None:
        together = None if placement.is_here else _together(quiet)
        with stop_on_signals() as interrupts, together or nullcontext() as view:
            group = registry.run_group(
                dataset,
                preset,
                seeds=seeds,
                tensorboard=tensorboard,
                placement=placement,
                observer=view,
                observe_each=view.observe if view else _observer_of_each(quiet),
                interrupts=interrupts,
                **what,
            )
        show_registered_group(group, as_json, quiet)
    else:
        with watched(quiet) as (observer, interrupts):
            version = registry.run(
                dataset,
                preset,
                tensorboard=tensorboard,
                placement=placement,
                observer=observer,
                interrupts=interrupts,
                **what,
            )
        show_registered(version, registry, as_json, quiet)
        if show:
            _open_figures(registry, version)
        if open_it:
            from registry_core.cli.opening import open_report

            open_report(registry, version)


def _together(quiet: bool) -> AbstractContextManager[RunsObserver]:
    """The observer of runs of which several go on at a time."""
    from registry_core.terminal.runs_view import runs_progress

    return runs_progress(quiet)


def _observer_of_each(quiet: bool) -> ObserveEach:
    """Gives each run of a group an observer that knows how long the earlier ones took."""
    from registry_core.terminal.live import GroupProgress
    from registry_core.terminal.progress import report_progress

    group: GroupProgress | None = None

    @contextmanager
    def observe(place: Place) -> Iterator[Observer]:
        nonlocal group
        group = group or GroupProgress(place.runs)
        began = time.monotonic()
        with report_progress(quiet, str(place), group) as observer:
            yield observer
        group.seconds.append(time.monotonic() - began)

    return observe


def _given(key: str, value: int | None, overrides: dict[str, Any]) -> dict[str, Any]:
    if value is None:
        return {}
    if key in overrides:
        raise UsageError(f"'{key}' is set twice: by --{key} and by -p.", "Set it once.")
    return {key: value}


def _print_config(plan: RunPlan, as_json: bool) -> None:
    from registry_core.terminal import output

    spec, seeds = plan[0], plan.seeds
    if as_json:
        output.print_json(plan.config_json())
        return
    output.print_text(f"# mlreg run {spec.dataset} --preset {spec.preset}")
    if spec.config.about:
        output.print_text(f"# {spec.config.about}")
    if spec.start_from:
        output.print_text(f"# starts from {spec.start_from.ref}")
    if spec.group:
        output.print_text(
            f"# {len(plan)} runs: this one, and the same with seeds {seeds[1]} to {seeds[-1]}"
        )
    for key, value in spec.config.values().items():
        output.print_text(f"{key}={json.dumps(value) if not isinstance(value, str) else value}")


def _show_plan(plan: RunPlan, as_json: bool) -> None:
    from registry_core.terminal import output

    if as_json:
        output.print_json(plan.to_json())
        return
    spec, config = plan[0], plan[0].config
    times, which, versions = "", f"seed {config.seed}", "it as the next version"
    if spec.group:
        times = f" {len(plan)} times"
        which = f"seeds {config.seed} to {plan.seeds[-1]}"
        versions = f"them as the next {len(plan)} versions"
    output.print_text(
        f"Would train {spec.dataset} with preset {spec.preset}{times}: "
        f"{counted(config.epochs, 'epoch')}, batches of {config.batch_size}, {which};\n"
        f"and register {versions} of '{spec.model}' in {plan.registry}."
        + (f"\nIt would start from {spec.start_from.ref}." if spec.start_from else "")
    )


def _open_figures(registry: Registry, version: Version) -> None:
    from registry_core.cli.opening import has_display
    from registry_core.terminal import output

    # a folder inside one that is the user's alone: figures are not for everyone on the machine
    around = Path(tempfile.mkdtemp(prefix=f"{version.model}-{version.version}-"))
    folder = registry.export(version.ref, "figures", around / "figures").path
    if not has_display():
        output.print_warning(f"No display to show figures on; they are in {folder}")
        return
    for figure in sorted(file for file in folder.rglob("*") if file.is_file()):
        typer.launch(str(figure))
