"""The verbs that search over settings: start a sweep, resume it, register one of its trials.

What can be refused is refused before TensorFlow is imported, and what the data say before anything
is trained. How a sweep goes is in `registry_core.sweeps`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.errors import Interrupted, StorageError, UsageError
from registry_core.executors.cluster_address import (
    UnreachableClusterError,
    check_place,
    reach_place,
)
from registry_core.executors.interface import Placement
from registry_core.lifecycle import run as lifecycle
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.observers import SilentObserver
from registry_core.lifecycle.parents import start_from_version
from registry_core.lifecycle.spec import RunSpec, spec_from_preset, spec_from_record
from registry_core.lifecycle.trial import TrialRunner
from registry_core.lifecycle.trial_data import TrialMetrics, describe_for_sweep
from registry_core.plugins.manager import KnownPlugins, PluginSet
from registry_core.process.requirements import require_keras
from registry_core.records import PARENT, Version
from registry_core.rules import direction_of
from registry_core.running import Runner
from registry_core.store.clock import utc_now
from registry_core.sweeps.ask import check_sampler
from registry_core.sweeps.choices import (
    DEFAULT_TRIALS,
    MOST_TRIALS,
    SweepChoices,
    TypedSweep,
    check_numbers,
    metric_and_direction,
)
from registry_core.sweeps.interface import SilentSweepObserver, SweepObserver
from registry_core.sweeps.loop import SweepLoop
from registry_core.sweeps.one_after_another import OneAfterAnother
from registry_core.sweeps.record import MAXIMIZE, MINIMIZE, Sweep
from registry_core.sweeps.space import combinations, ends, parse_space
from registry_core.sweeps.state import SweepState, create_sweep, reopen_sweep
from registry_core.sweeps.winner import ObserveRun, Winner, check_complete
from registry_core.types import Observer

# Gives what runs the trials of a sweep.
MakeRunner = Callable[
    [Sweep, RunContext, Callable[[int], Observer]], AbstractContextManager[TrialRunner]
]


@dataclass(frozen=True)
class PlannedSweep:
    """What would be searched, before the data are looked at.

    Args:
        spec: of a run with the settings that no trial changes.
        plugins: run it.
        sweep: without its data, and without its metric unless that was chosen.
        typed: what asked for it.
    """

    spec: RunSpec
    plugins: PluginSet
    sweep: Sweep
    typed: TypedSweep

    def command(self, without: Sequence[str] = ()) -> str:
        """The command line that asks for it, without some of its options."""
        return self.typed.command(without)


@dataclass(frozen=True)
class Watchers:
    """Who hears of a sweep, and of the runs that register its winner."""

    sweep: SweepObserver = field(default_factory=SilentSweepObserver)
    run: ObserveRun | None = None


def plan_sweep(
    ready: Runner,
    dataset: str,
    preset: str | None,
    choices: SweepChoices,
    name: str | None,
    data_dir: Path | None,
    parent: Version | None = None,
) -> PlannedSweep:
    """What would be searched, as far as settings and options say it.

    `parent` is the version that every trial starts from.

    Raises:
        UsageError: a value, an option or a combination of them is not possible.
    """
    choices = replace(
        choices, register=str(choices.register), start_from=parent.ref if parent else ""
    )
    typed = TypedSweep(dataset, preset, name, data_dir, choices)
    try:
        return _planned(ready, typed, parent)
    except UsageError as error:
        preset_named = re.fullmatch(r"mlreg run \S+ (--preset \S+)", error.command)
        fragment = preset_named[1] if preset_named else error.command
        if fragment.startswith("-"):
            error.command = typed.corrected(fragment)
        raise


def _planned(ready: Runner, typed: TypedSweep, parent: Version | None) -> PlannedSweep:
    dataset, preset, choices = typed.dataset, typed.preset, typed.choices
    name, data_dir = typed.name, typed.data_dir
    plugins = KnownPlugins(ready.settings).load(dataset)
    preset_spec = spec_from_preset(plugins, preset, None, name, data_dir)
    space, fixed = parse_space(preset_spec.config, choices.overrides)
    if not space:
        raise UsageError(
            "Nothing is searched: no setting has a range or a list of choices.",
            "A range is written 1e-4..1e-2:log, choices 32,64,128.",
            "-p batch_size=16,32,64",
        )
    spec = spec_from_preset(plugins, preset, fixed, name, data_dir)
    start = None if parent is None else start_from_version(parent)
    spec = replace(spec, start_from=start)
    sampler, pruner = choices.sampler, choices.prune
    check_sampler(space, sampler, pruner)
    every = combinations(space)
    count = choices.trials
    if count is None:
        count = every if sampler == "grid" and every else min(DEFAULT_TRIALS, every or MOST_TRIALS)
    check_numbers(choices, count)
    metric, direction = metric_and_direction(choices.metric)
    cpus, gpus = _resources(choices.placement, count)
    sweep = Sweep(
        id="",
        model=spec.model,
        dataset=dataset,
        preset=spec.preset,
        created=utc_now(),
        state="planned",
        config=spec.config.values(),
        space=space,
        metric=metric,
        direction=direction,
        sampler=sampler,
        pruner=pruner,
        seed=spec.config.seed,
        count=count if every is None else min(count, every),
        parallel=choices.placement.parallel or 1,
        minutes=choices.minutes,
        executor=choices.placement.on,
        cpus=cpus,
        gpus=gpus,
        stall_minutes=choices.placement.stall_minutes,
        register=choices.register,
        confirm=choices.confirm,
        code=spec.code,
        data_dir=None if spec.data_dir is None else str(spec.data_dir),
        name=choices.named,
        start_from=None if start is None else start.to_json(),
    )
    return PlannedSweep(spec, plugins, sweep, typed)


def start_sweep(
    ready: Runner,
    planned: PlannedSweep,
    watchers: Watchers,
    make_runner: MakeRunner | None = None,
) -> Sweep:
    """Search, and register the winner.

    Raises:
        UsageError: there is no validation split, or the metric is not measured.
        MlregError: of the kind that is at fault; what was told before is kept.
        Interrupted: a signal asked to stop; the sweep can be resumed.
    """
    context = ready.context_of(planned.plugins)
    reach_place(planned.sweep.executor)
    sweep = replace(look(ready, planned, context, watchers.sweep, warns=False), state="running")
    with create_sweep(ready.store, sweep) as state:
        return _go_on(ready, state, planned.spec, context, watchers, make_runner)


def look(
    ready: Runner,
    planned: PlannedSweep,
    context: RunContext,
    observer: SweepObserver,
    warns: bool = True,
) -> Sweep:
    """What would be searched, with its data and metric; trains nothing, and keeps nothing.

    Args:
        ready: runs plugins.
        planned: the sweep.
        context: what its runs need.
        observer: hears of it.
        warns: also of what the machine has too little of, as what runs the trials does.

    Raises:
        UsageError: there is no validation split, the metric is not measured, or trials cannot run
            where they should.
        MlregError: of the kind that is at fault.
    """
    placement = placement_of(planned.sweep)
    if not placement.is_here:
        from registry_core.executors.choose import check_placement

        check_placement(placement, planned.sweep.count, observer.warn if warns else None)
    require_keras()
    ready.interrupts.outcome = "Nothing was tried."
    observer.say("Looking at the data, and at what the model measures")
    tried = {key: ends(each) for key, each in planned.sweep.space.items()}
    splits, metrics = describe_for_sweep(
        planned.spec, context, planned.command(), tried, observer.say
    )
    return _with_metric(planned, metrics, splits)


def resume_sweep(
    ready: Runner,
    sweep_id: str,
    watchers: Watchers,
    make_runner: MakeRunner | None = None,
    register: str | None = None,
    confirm: int | None = None,
    on: str | None = None,
) -> Sweep:
    """Go on with a sweep where it was stopped.

    Args:
        ready: runs plugins.
        sweep_id: its whole id.
        watchers: hear of it.
        make_runner: as for `start_sweep`.
        register: registers this in place of what was asked for; None leaves it.
        confirm: the same for the number of other seeds.
        on: the same for where trials run; the values that they try stay the same.

    Raises:
        UsageError: there is no such sweep, or nothing is left to do.
        BusyError: another process runs it.
        MlregError: as `start_sweep`.
    """
    with reopen_sweep(ready.store, sweep_id) as state:
        sweep = state.sweep
        plugins = KnownPlugins(ready.settings).load(sweep.dataset)
        spec = spec_from_record(plugins, _record_of(sweep))
        spec = replace(spec, code=dict(sweep.code))
        if register is not None and register.isdigit():
            check_complete(sweep, int(register))
        check_sampler(sweep.space, sweep.sampler, sweep.pruner)
        require_keras()
        check_place(on or sweep.executor)
        with _resumable(sweep):
            reach_place(on or sweep.executor)
        changes = {"register": register, "confirm": confirm, "executor": on}
        state.change(state="running", **{k: v for k, v in changes.items() if v is not None})
        return _go_on(ready, state, spec, ready.context_of(plugins), watchers, make_runner)


def _go_on(
    ready: Runner,
    state: SweepState,
    spec: RunSpec,
    context: RunContext,
    watchers: Watchers,
    make_runner: MakeRunner | None,
) -> Sweep:
    ready.interrupts.outcome = _outcome(state.sweep)
    watchers.sweep.sweep_started(state.sweep)

    def observe(number: int) -> Observer:
        return watchers.sweep.trial_started(state.trial(number))

    try:
        make = make_runner or _placed(ready, watchers.sweep)
        with _resumable(state.sweep), make(state.sweep, context, observe) as runner:
            SweepLoop(state, ready.store, spec, runner, watchers.sweep).run()
            _weigh(state)
            winner = Winner(
                state,
                ready.store,
                spec,
                context,
                runner,
                watchers.sweep,
                watchers.run or (lambda what: nullcontext(ready.observer)),
                partial(_run_one, ready, context),
            )
            number = _to_register(state.sweep)
            if number is not None:
                winner.register(number)
                if state.sweep.confirm:
                    winner.confirm(number, state.sweep.confirm)
    except Interrupted as interruption:
        # a run inside has said how to resume itself alone
        interruption.outcome = _outcome(state.sweep)
        raise
    state.change(state="complete")
    return state.sweep


def _outcome(sweep: Sweep) -> str:
    """What is left of a sweep that is stopped here, and how it goes on."""
    short = sweep.id[-8:]
    if len(sweep.told) < len(sweep.trials) or (len(sweep.told) < sweep.count and not sweep.stopped):
        return (
            f"What it tried is kept, and nothing was registered; `mlreg resume {short}` resumes it."
        )
    if sweep.registered is None:
        return f"The trials are done; `mlreg resume {short}` registers the winner."
    version = sweep.registered["version"]
    return f"{version} is registered; `mlreg resume {short}` does what is left."


def _to_register(sweep: Sweep) -> int | None:
    """The trial to register; None for none.

    Raises:
        UsageError: a trial is named that is not complete.
    """
    if sweep.register == "none":
        return None
    if sweep.register.isdigit():
        return check_complete(sweep, int(sweep.register)).number
    return None if sweep.best is None else sweep.best.number


def _weigh(state: SweepState) -> None:
    """Keep which settings mattered, if that can be said."""
    from registry_core.sweeps.importance import importance

    state.change(importance=importance(state.sweep))


def placement_of(sweep: Sweep) -> Placement:
    """Where the trials of a sweep run."""
    parallel = sweep.parallel if sweep.parallel > 1 or sweep.executor != "local" else None
    return Placement(sweep.executor, parallel, sweep.cpus, sweep.gpus, sweep.stall_minutes)


def _resources(placement: Placement, count: int) -> tuple[int | None, int | None]:
    """What each run gets, also when the sweep is resumed where there are more cores."""
    if placement.is_here:
        return None, None
    from registry_core.executors.choose import resources_for

    found = resources_for(placement, count)
    return found.cpus, found.gpus


@contextmanager
def _resumable(sweep: Sweep) -> Iterator[None]:
    """Say of a cluster that is lost, or cannot be started, how the sweep goes on."""
    short = sweep.id[-8:]
    try:
        yield
    except UnreachableClusterError as error:
        error.remedy = (
            f"Sweep {short} keeps what it tried. Start the cluster again and resume it; elsewhere "
            "with --on ray://HOST:10001 or --on local."
        )
        error.command = f"mlreg resume {short}"
        raise
    except StorageError as error:
        error.command = error.command or f"mlreg resume {short}"
        raise


class _OfTheSweep(SilentObserver):
    """Says what is about all trials."""

    def __init__(self, observer: SweepObserver) -> None:
        self._observer = observer

    def say(self, text: str) -> None:
        self._observer.say(text)

    def warn(self, text: str) -> None:
        self._observer.warn(text)


def _placed(ready: Runner, observer: SweepObserver) -> MakeRunner:
    """What runs trials where the sweep says."""

    @contextmanager
    def make(
        sweep: Sweep, context: RunContext, observe: Callable[[int], Observer]
    ) -> Iterator[TrialRunner]:
        placement = placement_of(sweep)
        if placement.is_here:
            with closing(OneAfterAnother(ready.store, context, observe)) as here:
                yield here
            return
        from registry_core.executors.trials import worker_trials

        of_all = replace(context, observer=_OfTheSweep(observer))
        with worker_trials(
            ready.store, ready.settings, of_all, placement, sweep.count, observe
        ) as workers:
            yield workers

    return make


def _run_one(
    ready: Runner, context: RunContext, spec: RunSpec, placement: Placement, observer: Observer
) -> Version:
    """Register one version where its trial was trained, with the same cores."""
    inside = replace(context, observer=observer)
    if placement.is_here:
        return lifecycle.run(spec, ready.store, inside)
    from registry_core.executors.runs import run_all

    return run_all([spec], ready.store, ready.settings, inside, placement, None)[0]


# --- what is checked ----------------------------------------------------------------------------


def _with_metric(planned: PlannedSweep, known: TrialMetrics, splits: Mapping[str, Any]) -> Sweep:
    """The sweep with its data, metric and direction, checked by what a trial will measure.

    Raises:
        UsageError: it is not measured, or its direction is not known.
    """
    sweep, objective = planned.sweep, known.objective
    metric = sweep.metric or f"val_{objective.name}"
    if metric not in known.names:
        raise UsageError(
            f"The model does not measure {metric}.",
            f"It measures {', '.join(known.names)}.",
            f"{planned.command(without=('metric',))} --metric {known.names[0]}",
        )
    if sweep.pruner is not None and metric.removeprefix("val_") not in known.in_epochs:
        raise UsageError(
            f"{metric} is not measured after each epoch, so no trial can be pruned by it.",
            f"After each epoch: {', '.join(f'val_{name}' for name in known.in_epochs)}.",
            planned.command(without=("prune",)),
        )
    direction = sweep.direction
    if not direction:
        found = (
            objective.direction
            if metric == f"val_{objective.name}"
            else direction_of(metric.removeprefix("val_"))
        )
        if found is None:
            raise UsageError(
                f"Whether more or less of {metric} is better is not known.",
                "Say it: max if more is better, min if less is.",
                f"{planned.command(without=('metric',))} --metric {metric}:max",
            )
        direction = MAXIMIZE if found == "max" else MINIMIZE
    return replace(sweep, data=splits, metric=metric, direction=direction)


def _record_of(sweep: Sweep) -> dict[str, Any]:
    """The sweep as the record of a run, for `spec_from_record`."""
    return {
        "model": sweep.model,
        "dataset": sweep.dataset,
        "preset": sweep.preset,
        "config": sweep.config,
        "data_dir": sweep.data_dir,
        **({PARENT: sweep.start_from} if sweep.start_from else {}),
    }
