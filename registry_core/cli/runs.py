"""`mlreg run`: everything that can be refused is refused before TensorFlow is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import (
    DataDirOption,
    DatasetArgument,
    DryRunOption,
    JsonOption,
    PresetOption,
    QuietOption,
)

if TYPE_CHECKING:
    from registry_core.config import RunConfig
    from registry_core.lifecycle import RunPlan, Trainer
    from registry_core.records import Version
    from registry_core.types import RunResult


@app.command()
def run(
    dataset: DatasetArgument,
    preset: PresetOption = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="Change a setting."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="The same as -p epochs=N.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="The same as -p seed=N.")] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Register under this name; else the plugin's."),
    ] = None,
    data_dir: DataDirOption = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show the configuration, and do nothing.")
    ] = False,
    dry_run: DryRunOption = False,
    show: Annotated[
        bool, typer.Option("--show", help="Open the figures when the run is done.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train, evaluate, save, plot and register a version."""
    from registry_core.config import parse_overrides
    from registry_core.lifecycle import plan_run
    from registry_core.plugins import KnownPlugins

    registry = session.open()
    plugins = KnownPlugins(registry.settings).load(dataset)
    overrides: dict[str, Any] = dict(parse_overrides(parameter or []))
    overrides.update(_given("epochs", epochs, overrides) | _given("seed", seed, overrides))
    plan = plan_run(plugins, preset, overrides, name, data_dir)
    if print_config:
        _print_config(plan, as_json)
        return
    if dry_run:
        _tell_plan(plan, registry.folder)
        return

    from registry_core import lifecycle
    from registry_core.signals import stop_on_signals
    from registry_core.ui.watchers import watch

    with stop_on_signals() as stop, watch(quiet) as observer:
        version = lifecycle.run(
            plan,
            plugins=plugins,
            store=registry.store,
            load_trainer=_load_trainer,
            standard_report=standard_report,
            observer=observer,
            stop=stop,
            project=registry.settings.folder,
        )
    tell_version(version, as_json, quiet)
    if show:
        _open_figures(version)


def _given(key: str, value: int | None, overrides: dict[str, Any]) -> dict[str, Any]:
    from registry_core.errors import UsageError

    if value is None:
        return {}
    if key in overrides:
        raise UsageError(f"'{key}' is set twice: by --{key} and by -p.", "Give it once.")
    return {key: value}


def _load_trainer(config: RunConfig) -> Trainer:
    from registry_core.training import KerasTrainer  # TensorFlow loads here

    return KerasTrainer(config)


def standard_report(result: RunResult, out_dir: Path) -> list[Path]:
    """The host's own figures."""
    from registry_core.plotting import standard_figures  # Matplotlib loads here

    return list(standard_figures(result, out_dir))


def _print_config(plan: RunPlan, as_json: bool) -> None:
    import json

    values = plan.config.values()
    if as_json:
        from registry_core.ui.output import print_json

        print_json({"dataset": plan.dataset, "preset": plan.preset, "config": values})
        return
    print(f"# mlreg run {plan.dataset} --preset {plan.preset}")
    if plan.config.about:
        print(f"# {plan.config.about}")
    for key, value in values.items():
        print(f"{key}={json.dumps(value) if not isinstance(value, str) else value}")


def _tell_plan(plan: RunPlan, folder: Path) -> None:
    config = plan.config
    print(
        f"Would train {plan.dataset} with preset {plan.preset}: {config.epochs} epochs, "
        f"batches of {config.batch_size}, seed {config.seed};\n"
        f"and register it as the next version of '{plan.model}' in {folder}."
    )


def tell_version(version: Version, as_json: bool, quiet: bool) -> None:
    """A version that was just registered, as the options ask for it."""
    from registry_core.ui import output, text

    if as_json:
        output.print_json({"version": version.to_json()})
    elif quiet:
        output.print_references([version.ref])
    else:
        seconds = text.duration(sum(version.seconds.values()))
        metrics = ", ".join(f"{n} {text.fraction(n, v)}" for n, v in version.metrics.items())
        print(f"Registered {version.ref}: {metrics}, in {seconds}")
        output.print_hint(f"Look at it: mlreg show {version.ref}")
        output.print_hint(f"Its figures: mlreg export {version.ref} --format figures")


def _open_figures(version: Version) -> None:
    import os
    import sys
    import tempfile

    from registry_core.ui.output import print_warning

    folder = Path(tempfile.mkdtemp(prefix=f"{version.model}-{version.version}-"))
    session.open().export(version.ref, "figures", folder)
    headless = sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if headless:
        print_warning(f"There is no display to show figures on; they are in {folder}")
        return
    for figure in sorted(folder.iterdir()):
        typer.launch(str(figure))
