"""The report of a sweep: what was searched, what the trials reached, and which settings matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_core.formatting import as_typed, duration, fraction, when
from registry_core.reports.learning import title_of
from registry_core.reports.report import Report
from registry_core.reports.sweep_words import (
    by_value,
    confirmation_line,
    facts_of,
    importance_note,
    last_value,
    next_steps,
    range_of,
    registered_as,
    value_at,
    value_of,
)
from registry_core.reports.wording import clip, left_out, percent, setting, shown
from registry_core.sections import (
    Axis,
    Bar,
    BarChart,
    Block,
    Code,
    Facts,
    LineChart,
    ParallelCoordinates,
    Scatter,
    Section,
    Series,
    Table,
    Text,
)

if TYPE_CHECKING:
    from registry_core.sweeps.record import Sweep, Trial

# A report draws at most this many trials, curves, and slices.
MAX_TRIALS = 1_000
MAX_CURVES = 40
MAX_SLICES = 24


def build_sweep_report(sweep: Sweep) -> Report:
    """The report of a sweep, also of one that still runs."""
    sections = [
        *shown("Summary", _summary, sweep),
        *shown("Search", _search, sweep),
        *shown("Settings", _settings, sweep),
        *shown("Trials", _trials, sweep),
        *shown("Confirmation", _confirmation, sweep),
        *shown("Settings of every trial", _fixed, sweep),
    ]
    subtitle = (
        f"{sweep.dataset}, preset {sweep.preset}, {sweep.state}, started {when(sweep.created)}"
    )
    return Report(f"Sweep {sweep.id}", subtitle, sections)


def _summary(sweep: Sweep) -> Section:
    blocks: list[Block] = [Facts([(name, clip(value)) for name, value in facts_of(sweep)])]
    blocks += [
        block
        for label, command in next_steps(sweep)
        for block in (Text(f"{label}:"), Code(command, "sh"))
    ]
    return Section("Summary", blocks)


def _search(sweep: Sweep) -> Section:
    """Values by trial, curves by epoch, and the settings of all trials at once."""
    drawn = [chart for chart in (_history(sweep), _curves(sweep), _parallel(sweep)) if chart]
    return Section("Search", drawn or [Text("No trial is complete.")])


def _history(sweep: Sweep) -> LineChart | None:
    """The value of each trial, of a pruned one after its last epoch, with the best so far."""
    told = sweep.told[:MAX_TRIALS]
    complete = [trial.value if trial.state == "complete" else None for trial in told]
    if all(value is None for value in complete):
        return None
    pruned = [last_value(sweep, trial) if trial.state == "pruned" else None for trial in told]
    series = [
        Series("best so far", _best_so_far(sweep, complete)),
        Series("complete", complete, only_points=True),
    ]
    if any(value is not None for value in pruned):
        series.append(Series("pruned", pruned, only_points=True))
    title = f"{title_of(sweep.metric)} by trial"
    return LineChart(title, series, [float(trial.number) for trial in told], "trial")


def _best_so_far(sweep: Sweep, values: Sequence[float | None]) -> list[float | None]:
    better = max if sweep.direction == "maximize" else min
    found: list[float | None] = []
    best: float | None = None
    for value in values:
        if value is not None:
            best = value if best is None else better(best, value)
        found.append(best)
    return found


def _curves(sweep: Sweep) -> LineChart | None:
    """The best trial and the pruned ones, epoch by epoch; without pruned ones the best few."""
    pruned = [trial for trial in sweep.trials if trial.state == "pruned"]
    taken = [*sweep.ranked[: 1 if pruned else 6], *pruned][:MAX_CURVES]
    curves = [(trial, _curve(sweep, trial)) for trial in taken]
    curves = [(trial, values) for trial, values in curves if values]
    longest = max((len(values) for _, values in curves), default=0)
    if longest < 2:
        return None
    series = [
        Series(_named(sweep, trial), [*values, *[None] * (longest - len(values))])
        for trial, values in curves
    ]
    which = "the best trial and the pruned ones" if pruned else "the best trials"
    return LineChart(f"{title_of(sweep.metric)} of {which}", series, x_label="epoch")


def _curve(sweep: Sweep, trial: Trial) -> list[float | None]:
    values = [epoch.get(sweep.metric) for epoch in trial.epochs]
    return values if any(value is not None for value in values) else []


def _named(sweep: Sweep, trial: Trial) -> str:
    if trial.state == "pruned":
        return f"trial {trial.number}, pruned"
    best = sweep.best
    return f"trial {trial.number}{', best' if best and trial.number == best.number else ''}"


def _parallel(sweep: Sweep) -> ParallelCoordinates | None:
    """A line for each trial that was measured, the best quarter emphasized."""
    names = [*sweep.space]
    told = [trial for trial in sweep.told if trial.state in ("complete", "pruned")][:MAX_TRIALS]
    if len(sweep.ranked) < 2:
        return None
    axes = [
        Axis(name, bool(space.get("log")), _choices(space)) for name, space in sweep.space.items()
    ]
    lines = [
        Series(
            f"trial {trial.number}{', pruned' if trial.state == 'pruned' else ''}",
            [
                *(_place(sweep.space[name], trial.params.get(name)) for name in names),
                trial.value,
            ],
        )
        for trial in told
    ]
    places = {trial.number: place for place, trial in enumerate(told)}
    best = sweep.ranked[: math.ceil(len(sweep.ranked) / 4)]
    marked = [places[trial.number] for trial in best if trial.number in places]
    title = "Settings and value of each trial, the best quarter in colour"
    return ParallelCoordinates(title, [*axes, Axis(sweep.metric)], lines, marked)


def _choices(space: Mapping[str, Any]) -> list[str]:
    return [as_typed(each) for each in space["choices"]] if "choices" in space else []


def _place(space: Mapping[str, Any], value: Any) -> float | None:
    """Where a setting's value is on its axis; None if it has no place there."""
    if "choices" in space:
        names = _choices(space)
        return float(names.index(as_typed(value))) if as_typed(value) in names else None
    return float(value) if isinstance(value, int | float) else None


def _settings(sweep: Sweep) -> Section:
    """What was searched, what is best, how much it matters, and the value against each setting."""
    best = sweep.best
    rows = [
        (
            clip(name),
            clip(range_of(space)),
            value_of(best.params[name]) if best and name in best.params else None,
            *([percent(sweep.importance.get(name, 0.0))] if sweep.importance else []),
        )
        for name, space in _by_importance(sweep)
    ]
    columns = ["setting", "searched", "best trial's", *(["importance"] if sweep.importance else [])]
    blocks: list[Block] = [Table(columns, rows)]
    if sweep.importance:
        blocks.append(Text(importance_note(sweep)))
        bars = [Bar(name, round(share, 3)) for name, share in sweep.importance.items()]
        blocks.append(BarChart("Importance of the settings", bars, "share"))
    blocks += _slices(sweep)
    return Section("Settings", blocks)


def _slices(sweep: Sweep) -> list[Block]:
    """The value of the complete trials against each setting, the most important first."""
    done = sweep.ranked[:MAX_TRIALS]
    if len(done) < 2:
        return []
    settings = _by_importance(sweep)
    found: list[Block] = []
    for name, space in settings[:MAX_SLICES]:
        points = [(_place(space, trial.params.get(name)), trial.value) for trial in done]
        found.append(
            Scatter(
                f"{title_of(sweep.metric)} by {name}",
                [(x, y) for x, y in points if x is not None and y is not None],
                name,
                sweep.metric,
                x_is_log=bool(space.get("log")),
                x_names=_choices(space),
                marked=[0],
            )
        )
    return [*found, *left_out(MAX_SLICES, len(settings), "setting")]


def _by_importance(sweep: Sweep) -> list[tuple[str, Mapping[str, Any]]]:
    """The searched settings with their ranges, the most important first."""
    return sorted(sweep.space.items(), key=lambda each: -sweep.importance.get(each[0], 0.0))


def _trials(sweep: Sweep) -> Section:
    """Every trial with its settings, the best first."""
    ordered = by_value(sweep)
    if not ordered:
        return Section("Trials", [Text("No trial has begun yet.")])
    names = [*sweep.space]
    rows = [
        (
            f"trial {trial.number}",
            sweep.rank(trial.number),
            trial.state,
            value_at(sweep, trial) or None,
            *(value_of(trial.params[name]) if name in trial.params else None for name in names),
            duration(trial.seconds) if trial.seconds else None,
            clip(trial.error, 300) or None,
            registered_as(sweep, trial) or None,
            trial.run[-8:] or None,
        )
        for trial in ordered[:MAX_TRIALS]
    ]
    columns = ("trial", "rank", "state", sweep.metric, *names, "time", "error", "version", "run")
    kept = [
        place
        for place, name in enumerate(columns)
        if name not in ("error", "version") or any(row[place] for row in rows)
    ]
    table = Table([columns[p] for p in kept], [[row[p] for p in kept] for row in rows])
    return Section("Trials", [table, *left_out(MAX_TRIALS, len(ordered), "trial")])


def _confirmation(sweep: Sweep) -> list[Section]:
    """The winner's settings, trained with other seeds."""
    if not sweep.confirmations:
        return []
    metric = f"test_{sweep.metric.removeprefix('val_')}"
    members = [*([sweep.registered] if sweep.registered else []), *sweep.confirmations]
    rows = [
        (
            str(each["version"]),
            str(each.get("seed", f"{sweep.config.get('seed', '')}, the winner")),
            _metric(sweep.metric, each.get("value")),
            _metric(metric, each.get("test")),
        )
        for each in members
    ]
    blocks: list[Block] = [Text(confirmation_line(sweep))]
    table = Table(("version", "seed", sweep.metric, metric), rows)
    return [Section("Confirmation", [*blocks, table])]


def _metric(name: str, value: object) -> str | None:
    return fraction(name, value) if isinstance(value, int | float) else None


def _fixed(sweep: Sweep) -> Section:
    """The settings that every trial shares."""
    rows = [
        (clip(key), setting(value))
        for key, value in sorted(sweep.config.items())
        if key not in sweep.space
    ]
    if not rows:
        return Section("Settings of every trial", [Text("No settings are recorded.")])
    return Section("Settings of every trial", [Facts(rows[:300])])
