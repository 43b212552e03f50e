"""Tables of sweeps, and everything about one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from registry_core.formatting import duration, fraction
from registry_core.reports.sweep_words import (
    by_value,
    confirmation_line,
    facts_of,
    importance_note,
    last_value,
    range_of,
    registered_as,
    value_at,
    value_of,
)
from registry_core.reports.wording import percent
from registry_core.terminal.output import print_hint, stdout
from registry_core.terminal.tables.table import (
    Cell,
    Column,
    facts_table,
    key_column,
    new_table,
    run_id_cell,
    time_cell,
)
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.sweeps.record import Sweep, Trial

# A terminal shows this many trials; the report and --json have all.
MAX_TRIALS = 50

_STYLES = {
    "running": "cyan",
    "complete": "green",
    "stopped": "yellow",
    "waiting": "yellow",
    "failed": "red",
}


def show_sweeps(sweeps: Sequence[Sweep], wide: bool = False) -> None:
    """Show a line for each sweep, in the order given."""
    table = new_table(
        key_column("sweep"),
        Column("state", hideable=False),
        Column("trials"),
        Column("best"),
        Column("version"),
        Column("dataset"),
        Column("preset"),
        Column("started"),
        wide=wide,
    )
    for sweep in sweeps:
        best = sweep.best
        value = "" if best is None else value_at(sweep, best)
        table.add_row(
            run_id_cell(sweep.id, "bold"),
            _state(sweep.state),
            safe_text(f"{len(sweep.told):,}/{sweep.count:,}"),
            Cell(safe_text(value), safe_text(f"{sweep.metric} {value}" if value else "")),
            safe_text(sweep.registered["version"] if sweep.registered else ""),
            safe_text(sweep.dataset),
            safe_text(sweep.preset),
            time_cell(sweep.created),
        )
    stdout().print(table)


def show_sweep(sweep: Sweep) -> None:
    """Show a sweep's facts, its settings with their importance, and its trials, best first."""
    console = stdout()
    console.print(
        safe_text(f"Sweep {sweep.id}", "bold").append("  ").append_text(_state(sweep.state))
    )
    console.print(facts_table(facts_of(sweep)))
    console.print()
    _show_settings(sweep)
    console.print()
    if not sweep.trials:
        console.print("No trial has begun yet.")
        return
    _show_trials(sweep, by_value(sweep)[:MAX_TRIALS])
    _show_confirmations(sweep)
    if len(sweep.trials) > MAX_TRIALS:
        print_hint(f"{MAX_TRIALS} of {len(sweep.trials):,} trials: mlreg report {sweep.id[-8:]}")


def _show_settings(sweep: Sweep) -> None:
    best, importance = sweep.best, sweep.importance
    table = new_table(
        key_column("setting"),
        Column("searched", "between words", hideable=False),
        *([key_column("best trial's")] if best else []),
        *([key_column("importance")] if importance else []),
    )
    for name in sorted(sweep.space, key=lambda each: -importance.get(each, 0.0)):
        chosen = best.params.get(name, "") if best else ""
        table.add_row(
            safe_text(name),
            safe_text(range_of(sweep.space[name])),
            *([safe_text(value_of(chosen))] if best else []),
            *([safe_text(percent(importance.get(name, 0.0)))] if importance else []),
        )
    console = stdout()
    console.print(table)
    if importance:
        console.print(safe_text(importance_note(sweep), "dim"))


def _show_trials(sweep: Sweep, trials: Sequence[Trial]) -> None:
    names = [*sweep.space]
    versions = any(registered_as(sweep, trial) for trial in trials)
    table = new_table(
        key_column("trial"),
        key_column("state"),
        key_column("value"),
        *map(key_column, names),
        key_column("time"),
        *([key_column("version")] if versions else []),
        blocks=True,
    )
    for trial in trials:
        value = last_value(sweep, trial) if trial.value is None else trial.value
        table.add_row(
            safe_text(trial.number, "bold"),
            _state(trial.state, len(trial.epochs)),
            safe_text("" if value is None else fraction(sweep.metric, value)),
            *(safe_text(value_of(trial.params.get(name, ""))) for name in names),
            safe_text(duration(trial.seconds) if trial.seconds else ""),
            *([safe_text(registered_as(sweep, trial))] if versions else []),
        )
    console = stdout()
    console.print(table)
    for trial in trials:
        if trial.error:
            console.print(safe_text(f"trial {trial.number} failed: {trial.error}"))


def _show_confirmations(sweep: Sweep) -> None:
    if not sweep.confirmations:
        return
    metric = f"test_{sweep.metric.removeprefix('val_')}"
    members = [*([sweep.registered] if sweep.registered else []), *sweep.confirmations]
    table = new_table(
        key_column("version"), key_column("seed"), key_column(sweep.metric), key_column(metric)
    )
    for each in members:
        values = ((sweep.metric, each.get("value")), (metric, each.get("test")))
        cells = ["" if value is None else fraction(name, value) for name, value in values]
        seed = each.get("seed", f"{sweep.config.get('seed', '')}, the winner")
        table.add_row(safe_text(each["version"]), safe_text(seed), *map(safe_text, cells))
    console = stdout()
    console.print()
    console.print(table)
    console.print(safe_text(confirmation_line(sweep)))


def _state(state: str, epochs: int = 0) -> Text:
    """The state of a sweep or a trial; of a pruned trial also when."""
    when = f", epoch {epochs}" if state == "pruned" and epochs else ""
    return safe_text(f"{state}{when}", _STYLES.get(state, ""))
