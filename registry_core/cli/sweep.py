"""`mlreg sweep`: search over settings, and register the best."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import (
    CpusOption,
    DataDirOption,
    DryRunOption,
    FromOption,
    GpusOption,
    JsonOption,
    NameOption,
    OnOption,
    ParallelOption,
    PresetOption,
    QuietOption,
    StallOption,
    finite,
)
from registry_core.cli.swept import resume_and_show, show_done
from registry_core.errors import UsageError
from registry_core.formatting import as_typed, counted

if TYPE_CHECKING:
    from registry_core.registry import Registry
    from registry_core.settings import NamedSweep
    from registry_core.sweeps.record import Sweep


# of a sweep, or its last characters
_ID = re.compile(r"(\d{8}T\d{6}Z-)?[0-9a-f]{4,8}", re.ASCII)


@app.command(
    examples=(
        "mlreg sweep flowers -p learning_rate=1e-4..1e-2:log -p units=8..64",
        "mlreg sweep flowers -p batch_size=32,64,128 -p epochs=5 --sampler grid",
        "mlreg sweep cifar10 -p validation_examples=5000 -p batch_size=32,64 --trials 2",
        "mlreg sweep flowers --from flowers@3 -p learning_rate=1e-5..1e-3:log",
        "mlreg sweep 1f3a9b2c --register 3",
    )
)
def sweep(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PLUGIN",
            help="A plugin, a sweep of plugins.toml, or a sweep's id.",
            autocompletion=completed_by("sweepable"),
        ),
    ],
    preset: PresetOption = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--parameter",
            metavar="KEY=VALUES",
            help="Search LOW..HIGH[:log] or A,B,C, or set one value.",
            autocompletion=completed_by("settings"),
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="Try N times; 20 without it.")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Choose values by tpe, random or grid.",
            autocompletion=completed_by("samplers"),
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare trials by this: val_loss."),
    ] = None,
    prune: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Stop bad trials early: median or hyperband.",
            autocompletion=completed_by("pruners"),
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="M", help="Begin no trial after M minutes.", callback=finite),
    ] = None,
    register: Annotated[
        str | None,
        typer.Option(metavar="WHICH", help="Register the best, none, or trial N."),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(metavar="K", help="Train the winner with K other seeds."),
    ] = None,
    on: OnOption = "local",
    parallel: ParallelOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    stall_minutes: StallOption = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Train for N epochs; short for -p epochs=N.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Use this seed; short for -p seed=N.")
    ] = None,
    start_from: FromOption = None,
    name: NameOption = None,
    data_dir: DataDirOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search over settings, and register the best trial.

    Trials are compared on validation examples alone; only the winner is measured on the test
    split. A stopped sweep can be resumed.
    """
    given: dict[str, Any] = {
        "trials": trials,
        "sampler": sampler,
        "metric": metric,
        "prune": prune,
        "minutes": minutes,
        "register": register,
        "confirm": confirm,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    overrides = _overrides(parameter, epochs, seed)
    registry = session.open(create=True)
    named = registry.settings.sweeps.get(what)
    if named is None and _is_sweep(registry, what):
        other = preset is not None or start_from is not None
        _register_again(registry, what, chosen, overrides, other, as_json, quiet)
        return
    dataset, model = what, name
    _check_known(registry, what)
    if named is not None:
        dataset = named.plugin
        start_from = start_from or named.options.get("from")
        preset, model, data_dir = _of_named(named, preset, model, data_dir)
        overrides = {**named.parameters, **overrides}
        options = {key: value for key, value in named.options.items() if key in _CHOICES}
        chosen = {**options, **chosen, "named": what}
        chosen["register"] = str(chosen.get("register", "best"))
        parallel = parallel or chosen.get("parallel")
        chosen.pop("parallel", None)
    from registry_core.executors.interface import Placement

    arguments: dict[str, Any] = {
        "placement": Placement(on, parallel, cpus, gpus, stall_minutes),
        "overrides": overrides,
        "name": model,
        "data_dir": data_dir,
        "start_from": start_from,
        **chosen,
    }
    with _place_of_mistakes(registry, what if named else ""):
        registry.plan_sweep(dataset, preset, **arguments)
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.sweeping import Watchers
    from registry_core.terminal.sweep_view import sweep_progress

    if dry_run:
        with sweep_progress(quiet or as_json) as progress:
            watchers = Watchers(progress)
            planned = registry.plan_sweep(
                dataset, preset, look=True, watchers=watchers, **arguments
            )
        _show_plan(planned, as_json)
        return
    with stop_on_signals() as interrupts, sweep_progress(quiet) as progress:
        done = registry.sweep(
            dataset,
            preset,
            watchers=Watchers(progress, progress.observe_run),
            interrupts=interrupts,
            **arguments,
        )
    show_done(done, registry, as_json, quiet)


# What [sweep.NAME] and the options have in common.
_CHOICES = ("trials", "sampler", "metric", "prune", "minutes", "register", "confirm", "parallel")


def _overrides(parameter: list[str] | None, epochs: int | None, seed: int | None) -> dict[str, Any]:
    from registry_core.config import parse_overrides

    overrides: dict[str, Any] = dict(parse_overrides(parameter or []))
    for key, value in (("epochs", epochs), ("seed", seed)):
        if value is not None and key in overrides:
            raise UsageError(f"'{key}' is set twice: by --{key} and by -p.", "Set it once.")
        if value is not None:
            overrides[key] = value
    return overrides


def _of_named(
    named: NamedSweep, preset: str | None, model: str | None, data_dir: Path | None
) -> tuple[str | None, str | None, Path | None]:
    """Preset, model and data of a named sweep, where the command line does not say them."""
    folder = named.options.get("data_dir")
    return (
        preset or named.options.get("preset"),
        model or named.options.get("model"),
        data_dir or (Path(folder) if folder else None),
    )


def _is_sweep(registry: Registry, name: str) -> bool:
    """Whether a word is the id of a sweep, and no plugin's name."""
    from registry_core.plugins.manager import KnownPlugins

    if not _ID.fullmatch(name):
        return False
    is_plugin = name in KnownPlugins(registry.settings).datasets
    return not is_plugin and registry.find_sweep(name) is not None


@contextmanager
def _place_of_mistakes(registry: Registry, name: str) -> Iterator[None]:
    """Say of a mistake in a named sweep where it is written; an empty name says nothing."""
    try:
        yield
    except UsageError as error:
        if name:
            error.what = f"[sweep.{name}] of {registry.settings.file}: {error.what}"
        raise


def _check_known(registry: Registry, name: str) -> None:
    """Refuse a word that names neither a plugin, nor a sweep, with those that there are."""
    from registry_core.plugins.manager import KnownPlugins

    sweeps, plugins = registry.settings.sweeps, KnownPlugins(registry.settings).datasets
    if name in sweeps and name in plugins:
        raise UsageError(
            f"'{name}' is a plugin, and a sweep of plugins.toml.",
            f"Give the sweep another name than [sweep.{name}].",
            "mlreg plugins list",
        )
    if name in sweeps or name in plugins:
        return
    if _ID.fullmatch(name):
        raise UsageError(f"No sweep '{name}'.", "`mlreg sweeps` lists them.", "mlreg sweeps")
    known = f"Plugins: {', '.join(plugins) or 'none'}."
    if sweeps:
        known += f" Sweeps of plugins.toml: {', '.join(sweeps)}."
    near = difflib.get_close_matches(name, [*sweeps, *plugins], n=1)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    raise UsageError(f"No plugin or sweep '{name}'.", f"{known}{meant}", "mlreg plugins list")


def _register_again(
    registry: Registry,
    name: str,
    chosen: dict[str, Any],
    overrides: dict[str, Any],
    other: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Register a trial of a sweep, or confirm its winner."""
    found = registry.sweep_record(name)
    short = found.id[-8:]
    others = [key for key in chosen if key not in ("register", "confirm")]
    if overrides or other or others:
        raise UsageError(
            f"{short} is a sweep: its settings and options stay as they are.",
            "Register one of its trials, or start another sweep.",
            f"mlreg sweep {short} --register best",
        )
    if not chosen:
        raise UsageError(
            f"{short} is a sweep that has been started.",
            "Resume it, or say which of its trials to register: --register best, --register N.",
            f"mlreg resume {short}",
        )
    resume_and_show(registry, found.id, as_json, quiet, **chosen)


def _show_plan(planned: Sweep, as_json: bool) -> None:
    from registry_core.sweeps.record import MINIMIZE
    from registry_core.sweeps.space import written
    from registry_core.terminal import output

    if as_json:
        output.print_json({"sweep": planned.to_json(), "dry_run": True})
        return
    output.print_text(
        f"Would try {counted(planned.count, 'set')} of values for {planned.dataset}, preset "
        f"{planned.preset}, by {planned.sampler}:"
    )
    for key, each in planned.space.items():
        output.print_text(f"  {key}={written(each)}")
    fixed = {k: v for k, v in planned.config.items() if k not in planned.space}
    output.print_text(f"All with {', '.join(f'{k}={as_typed(v)}' for k, v in fixed.items())}.")
    better = "less" if planned.direction == MINIMIZE else "more"
    if planned.start_from:
        output.print_text(f"Every trial starts from {planned.start_from['ref']}.")
    options = {
        "compared by": f"{planned.metric}, {better} is better",
        "pruned by": planned.pruner,
        "at a time": planned.parallel,
        "minutes": planned.minutes,
        "register": planned.register,
        "other seeds of the winner": planned.confirm or None,
    }
    said = "; ".join(f"{name}: {value}" for name, value in options.items() if value is not None)
    output.print_text(f"{said[:1].upper()}{said[1:]}.")
    examples = {name: each["examples"] for name, each in planned.data.items()}
    output.print_text(
        f"Trials learn from {counted(examples['train'], 'example')} and are measured on "
        f"{counted(examples['validation'], 'validation example')}; the test split stays sealed."
    )
