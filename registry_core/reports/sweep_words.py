"""What is said of a sweep, in a page and on a terminal: its trials, settings, winner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from registry_core.formatting import (
    as_typed,
    better_when,
    counted,
    duration,
    fraction,
    spread,
    when,
)

if TYPE_CHECKING:
    from registry_core.sweeps.record import Sweep, Trial

# With fewer complete trials, the best tenth that the importance rests on is fewer than five.
ENOUGH_TRIALS = 50

_ORDER = ("complete", "pruned", "failed", "running", "waiting")


def value_of(value: Any) -> str:
    """A setting's value; a drawn number with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else as_typed(value)


def range_of(space: Mapping[str, Any]) -> str:
    """What is searched: `0.0001 to 0.01, logarithmic`, `1 to 8`, `32, 64, 128`."""
    if "choices" in space:
        return ", ".join(as_typed(each) for each in space["choices"])
    ends = f"{value_of(space['low'])} to {value_of(space['high'])}"
    return f"{ends}, logarithmic" if space.get("log") else ends


def trials_of(sweep: Sweep) -> str:
    """`9 of 12: 7 complete, 1 pruned, 1 failed`."""
    counts = [(state, sweep.counted(state)) for state in _ORDER]
    parts = ", ".join(f"{count:,} {state}" for state, count in counts if count)
    return f"{len(sweep.told):,} of {sweep.count:,}{f': {parts}' if parts else ''}"


def value_at(sweep: Sweep, trial: Trial) -> str:
    """`0.4812`; of a pruned trial `0.2040 after epoch 2`; empty where nothing was measured."""
    if trial.value is not None:
        return fraction(sweep.metric, trial.value)
    last = last_value(sweep, trial)
    return (
        f"{fraction(sweep.metric, last)} after epoch {len(trial.epochs)}"
        if last is not None
        else ""
    )


def last_value(sweep: Sweep, trial: Trial) -> float | None:
    """The sweep's metric after the last epoch that measured it."""
    values = [epoch[sweep.metric] for epoch in trial.epochs if sweep.metric in epoch]
    return values[-1] if values else None


def by_value(sweep: Sweep) -> list[Trial]:
    """All trials: complete ones by value, then pruned, failed and running ones by number."""
    rest = [trial for trial in sweep.trials if trial.state != "complete"]
    return [*sweep.ranked, *sorted(rest, key=lambda trial: (_place(trial.state), trial.number))]


def _place(state: str) -> int:
    return _ORDER.index(state) if state in _ORDER else len(_ORDER)


def facts_of(sweep: Sweep) -> list[tuple[str, str]]:
    """The facts about a sweep, the most important first."""
    direction = "max" if sweep.direction == "maximize" else "min"
    named = f"{sweep.name}, " if sweep.name else ""
    facts = [
        ("trials", trials_of(sweep)),
        ("compared by", better_when(sweep.metric, direction)),
    ]
    if (best := sweep.best) is not None:
        facts.append(("best", f"trial {best.number}: {value_at(sweep, best)}"))
    if sweep.median is not None and len(sweep.ranked) > 1:
        facts.append(("median trial", fraction(sweep.metric, sweep.median)))
    facts += _registered(sweep)
    facts.append(("search", f"{named}{sweep.sampler}, seed {sweep.seed}{_pruning(sweep)}"))
    facts.append(("preset", f"{sweep.dataset} {sweep.preset}"))
    if sweep.start_from:
        facts.append(("starts from", sweep.start_from["ref"]))
    if data := _data(sweep):
        facts.append(("data", data))
    if seconds := sum(trial.seconds for trial in sweep.trials):
        at_once = f", {sweep.parallel} at a time" if sweep.parallel > 1 else ""
        facts.append(("time in trials", f"{duration(seconds)}{at_once}"))
    if sweep.seconds:
        facts.append(("whole sweep", duration(sweep.seconds)))
    facts.append(("started", when(sweep.created)))
    if why := _STOPPED.get(sweep.stopped):
        facts.append(("ended early", why))
    told = sweep.told
    if sweep.state == "stopped" and told and all(each.state == "failed" for each in told):
        why = f"every trial failed; the last one: {told[-1].error}"
        facts.append(("stopped because", why))
    return facts


_STOPPED = {"minutes": "its time was over", "exhausted": "every combination was tried"}


def _pruning(sweep: Sweep) -> str:
    return f", pruned by {sweep.pruner}" if sweep.pruner else ""


def _data(sweep: Sweep) -> str:
    """`5,000 validation examples; no trial reads the test split`."""
    described = sweep.data.get("splits", sweep.data).get("validation")
    examples = described.get("examples") if isinstance(described, Mapping) else None
    if not isinstance(examples, int):
        return ""
    return f"{counted(examples, 'validation example')}; no trial reads the test split"


def _registered(sweep: Sweep) -> list[tuple[str, str]]:
    found = sweep.registered
    if found is None:
        if sweep.state != "complete":
            return []
        how = f": mlreg sweep {sweep.id[-8:]} --register best" if sweep.ranked else ""
        return [("registered", f"nothing{how}")]
    rank = sweep.rank(found["trial"])
    facts = [("registered", f"{found['version']}, of trial {found['trial']}{_ranked(rank, sweep)}")]
    others = [each for each in sweep.trials if each.version and each.number != found["trial"]]
    if others:
        also = (f"{each.version}, of trial {each.number}" for each in others)
        facts.append(("also registered", "; ".join(also)))
    if isinstance(test := found.get("test"), int | float):
        metric = f"test_{sweep.metric.removeprefix('val_')}"
        facts.append(("on the test split", f"{metric} {fraction(metric, test)}"))
        if isinstance(value := found.get("value"), int | float):
            facts.append(("optimism", optimism(sweep.metric, sweep.direction, value, test)))
    return facts


def registered_as(sweep: Sweep, trial: Trial) -> str:
    """The version that a trial became; empty if it became none."""
    found = sweep.registered
    if found is not None and found["trial"] == trial.number:
        return str(found["version"])
    return trial.version


def _ranked(rank: int | None, sweep: Sweep) -> str:
    return f", rank {rank} of {len(sweep.ranked)}" if rank else ""


def optimism(metric: str, direction: str, value: float, test: float) -> str:
    """How much better the winner looked on the validation split than on the test split."""
    gain = value - test if direction == "maximize" else test - value
    if gain == 0:
        return "none: the same on both splits"
    side = "better" if gain > 0 else "worse"
    return f"validation looks {fraction(metric, abs(gain))} {side} than the test split"


def confirmation_line(sweep: Sweep) -> str:
    """What the winner's settings reach with other seeds, on the test split.

    The winner itself is left out of the mean: it was chosen, and the others were not.
    """
    from registry_core.evaluation.summary_stats import summarize

    metric = f"test_{sweep.metric.removeprefix('val_')}"
    values = [each["test"] for each in sweep.confirmations if each.get("test") is not None]
    said = f"The winner's settings with {counted(len(sweep.confirmations), 'other seed')}"
    return f"{said}: {metric} {spread(metric, summarize(values))}." if values else f"{said}."


def importance_note(sweep: Sweep) -> str:
    """What the importance of settings means, and how much it means here."""
    count = len(sweep.ranked)
    said = (
        "Importance (PED-ANOVA) says how much a setting alone tells the best tenth of the trials "
        "from the others."
    )
    if count < ENOUGH_TRIALS:
        said += f" With n = {count} complete trials it is a hint at most."
    return said


def next_steps(sweep: Sweep) -> list[tuple[str, str]]:
    """What a command does, and the command to type next; the most likely first."""
    name = sweep.id[-8:]
    if sweep.state == "stopped":
        return [("To resume it", f"mlreg resume {name}")]
    if sweep.state != "complete" or not sweep.ranked:
        return []
    if sweep.registered is None:
        return [("To register the best", f"mlreg sweep {name} --register best")]
    others = [trial for trial in sweep.ranked if not registered_as(sweep, trial)]
    steps = [("Its version", f"mlreg show {sweep.registered['version']}")]
    if sweep.confirmations:
        group = f"mlreg promote {sweep.confirmations[0]['version']} production --group"
        steps.append(("To promote what confirms it", group))
    if others:
        another = f"mlreg sweep {name} --register {others[0].number}"
        steps.append(("To register another trial", another))
    return steps


def sweep_facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a version's manifest says of a sweep: that it was picked by it, or confirms a trial."""
    facts = [("picked by", evidence_line(found))] if (found := manifest.get("sweep")) else []
    if confirmed := manifest.get("confirms"):
        values = [f"{name} {fraction(name, each)}" for name, each in confirmed["metrics"].items()]
        what = f"trial {confirmed['trial']} of sweep {str(confirmed['sweep'])[-8:]}"
        facts.append(("confirms", ": ".join(filter(None, (what, ", ".join(values))))))
    return facts


def evidence_line(found: Mapping[str, Any]) -> str:
    """What a version's manifest says of the sweep that it was picked from, in one line.

    `sweep ab12cd34: best of 12 trials by val_accuracy (0.4812; 0.0111 better than on test)`
    """
    metric, rank, trials = str(found["metric"]), found.get("rank"), found["trials"]
    place = "best" if rank == 1 else f"trial {found['trial']}, rank {rank}"
    value, test, said = found.get("value"), found.get("test_value"), ""
    if isinstance(value, int | float):
        said = f" ({fraction(metric, value)}"
        if isinstance(test, int | float):
            gain = value - test if found["direction"] == "maximize" else test - value
            side = "better" if gain > 0 else "worse"
            said += (
                f"; {fraction(metric, abs(gain))} {side} than on test"
                if gain
                else "; the same on test"
            )
        said += ")"
    sweep = str(found["id"])[-8:]
    return f"sweep {sweep}: {place} of {counted(trials, 'trial')} by {metric}{said}"
