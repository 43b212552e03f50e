"""`mlreg run`: everything that can be refused is refused before TensorFlow is imported."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_core.cli.app import OUTPUT, app, session
from registry_core.cli.options import (
    DataDirOption,
    DatasetArgument,
    DryRunOption,
    JsonOption,
    NameOption,
    ParameterOption,
    PresetOption,
    QuietOption,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from registry_core.config import RunConfig
    from registry_core.lifecycle.backend import TrainingBackend
    from registry_core.lifecycle.context import RunContext
    from registry_core.lifecycle.seeds import Place
    from registry_core.lifecycle.spec import RunSpec
    from registry_core.plugins.manager import PluginSet
    from registry_core.process.interrupts import StopRequest
    from registry_core.records import Version
    from registry_core.registry import Registry
    from registry_core.types import Observer, RunResult


@app.command(
    examples=(
        "mlreg run cifar10",
        "mlreg run cifar10 --preset quick -p batch_size=64 --seed 7",
        "mlreg run cifar10 --preset quick --seeds 5",
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
    name: NameOption = None,
    data_dir: DataDirOption = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings, and do not train.")
    ] = False,
    dry_run: DryRunOption = False,
    show: Annotated[
        bool,
        typer.Option("--show", help="Open the figures after the run.", rich_help_panel=OUTPUT),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a model and register it as a new version.

    A run trains, evaluates, saves and plots. Settings come from a preset, changed by -p. A stopped
    run can be resumed.
    """
    from registry_core.config import parse_overrides
    from registry_core.errors import UsageError
    from registry_core.lifecycle.seeds import plan_group, run_group
    from registry_core.lifecycle.spec import spec_from_preset
    from registry_core.plugins.manager import KnownPlugins

    registry = session.open(create=True)
    plugins = KnownPlugins(registry.settings).load(dataset)
    overrides: dict[str, Any] = dict(parse_overrides(parameter or []))
    overrides.update(_given("epochs", epochs, overrides) | _given("seed", seed, overrides))
    plan = spec_from_preset(plugins, preset, overrides, name, data_dir)
    plans = [plan] if seeds is None else plan_group(plan, seeds)
    if show and seeds is not None:
        raise UsageError(
            "--show opens one version's figures, and --seeds makes several.",
            "Use one of the two.",
        )
    if print_config:
        _print_config(plans, as_json)
        return
    if dry_run:
        _tell_plans(plans, registry.folder, as_json)
        return

    with running(registry, plugins, quiet) as run_one:
        versions = [run_one(plan)] if seeds is None else run_group(plans, run_one)
    if seeds is not None:
        tell_group(versions, registry, as_json, quiet)
        return
    tell_version(versions[0], registry, as_json, quiet)
    if show:
        _open_figures(versions[0])


@contextmanager
def running(
    registry: Registry, plugins: PluginSet, quiet: bool
) -> Iterator[Callable[..., Version]]:
    """A function that runs a plan to its version, watched, while signals stop it.

    It takes the plan and, where it is one of several, which of how many.
    """
    import time

    from registry_core.cli.starting import require_training
    from registry_core.lifecycle import run as lifecycle
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.terminal.live import Runs
    from registry_core.terminal.progress import report_progress

    require_training()
    with stop_on_signals() as stop:
        group: Runs | None = None

        def run_one(plan: RunSpec, place: Place | None = None) -> Version:
            nonlocal group
            if place and group is None:
                group = Runs(place.runs)
            began = time.monotonic()
            with report_progress(quiet, str(place or ""), group) as observer:
                context = run_context(registry, plugins, observer, stop)
                version = lifecycle.run(plan, registry.store, context)
                if place:
                    observer.say(f"{place}: {_registered(version)}")
            if group:
                group.seconds.append(time.monotonic() - began)
            return version

        yield run_one


def _given(key: str, value: int | None, overrides: dict[str, Any]) -> dict[str, Any]:
    from registry_core.errors import UsageError

    if value is None:
        return {}
    if key in overrides:
        raise UsageError(f"'{key}' is set twice: by --{key} and by -p.", "Set it once.")
    return {key: value}


def run_context(
    registry: Registry, plugins: PluginSet, observer: Observer, stop: StopRequest
) -> RunContext:
    """What a run of this registry needs beside its specification."""
    from registry_core.lifecycle.context import RunContext

    project = registry.settings.folder
    return RunContext(plugins, load_backend, observer, stop, project, standard_report)


def load_backend(config: RunConfig) -> TrainingBackend:
    from registry_core.training import KerasBackend  # TensorFlow loads here

    return KerasBackend(config)


def standard_report(result: RunResult, out_dir: Path) -> Sequence[Path]:
    """The host's own figures."""
    from registry_core.lifecycle.context import draw_standard_figures

    return draw_standard_figures(result, out_dir)


def _print_config(plans: Sequence[RunSpec], as_json: bool) -> None:
    import json

    from registry_core.terminal import output

    plan, seeds = plans[0], [each.config.seed for each in plans]
    values = plan.config.values()
    if as_json:
        told = {"dataset": plan.dataset, "preset": plan.preset, "config": values}
        output.print_json(told | ({"seeds": seeds} if plan.group else {}))
        return
    output.print_text(f"# mlreg run {plan.dataset} --preset {plan.preset}")
    if plan.config.about:
        output.print_text(f"# {plan.config.about}")
    if plan.group:
        output.print_text(
            f"# {len(plans)} runs: this one, and the same with seeds {seeds[1]} to {seeds[-1]}"
        )
    for key, value in values.items():
        output.print_text(f"{key}={json.dumps(value) if not isinstance(value, str) else value}")


def _tell_plans(plans: Sequence[RunSpec], folder: Path, as_json: bool) -> None:
    from registry_core.terminal import output

    plan, last = plans[0], plans[-1].config.seed
    if as_json:
        seeds = {"seeds": [each.config.seed for each in plans]} if plan.group else {}
        output.print_json({**plan.to_json(), **seeds, "dry_run": True})
        return
    config = plan.config
    times, which, versions = "", f"seed {config.seed}", "it as the next version"
    if plan.group:
        times = f" {len(plans)} times"
        which = f"seeds {config.seed} to {last}"
        versions = f"them as the next {len(plans)} versions"
    output.print_text(
        f"Would train {plan.dataset} with preset {plan.preset}{times}: {config.epochs} epochs, "
        f"batches of {config.batch_size}, {which};\n"
        f"and register {versions} of '{plan.model}' in {folder}."
    )


def tell_version(version: Version, registry: Registry, as_json: bool, quiet: bool) -> None:
    """A version that was just registered, as the options ask for it."""
    from registry_core.terminal import output

    if as_json:
        output.print_json({"version": version.to_json(), "registry": str(registry.folder)})
    elif quiet:
        output.print_references([version.ref])
    else:
        output.print_text(_registered(version))
        output.print_hint(f"Details: mlreg show {version.ref}")
        output.print_hint(f"Figures: mlreg export {version.ref} --format figures")


def tell_group(versions: Sequence[Version], registry: Registry, as_json: bool, quiet: bool) -> None:
    """The versions of a group that was just registered, as the options ask for them."""
    from dataclasses import asdict

    from registry_core.evaluation.groups import metrics_of
    from registry_core.terminal import output
    from registry_core.terminal.tables.comparisons import show_group

    if as_json:
        output.print_json(
            {
                "versions": [version.to_json() for version in versions],
                "group": versions[0].group,
                "registry": str(registry.folder),
                "summary": {name: asdict(found) for name, found in metrics_of(versions).items()},
            }
        )
    elif quiet:
        output.print_references(version.ref for version in versions)
    else:
        show_group(versions)
        output.print_hint(f"Details: mlreg show {versions[0].ref}")
        output.print_hint(f"To compare groups: mlreg compare MODEL@N {versions[0].ref}")


def _registered(version: Version) -> str:
    from registry_core.terminal import text

    seconds = text.duration(sum(version.seconds.values()))
    metrics = ", ".join(f"{n} {text.fraction(n, v)}" for n, v in version.metrics.items())
    return f"Registered {version.ref}: {metrics}, in {seconds}"


def _open_figures(version: Version) -> None:
    import os
    import sys
    import tempfile

    from registry_core.terminal.output import print_warning

    # a folder inside one that is the user's alone: figures are not for everyone on the machine
    around = Path(tempfile.mkdtemp(prefix=f"{version.model}-{version.version}-"))
    folder = session.open().export(version.ref, "figures", around / "figures").path
    headless = sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if headless:
        print_warning(f"No display to show figures on; they are in {folder}")
        return
    for figure in sorted(file for file in folder.rglob("*") if file.is_file()):
        typer.launch(str(figure))
