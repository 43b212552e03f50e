"""Runs, and versions that were trained or measured again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry_core.formatting import metrics_line
from registry_core.records import UnfinishedRun, Version
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import (
    Cell,
    Column,
    exact,
    key,
    metric_head,
    metric_names,
    moment,
    new_table,
    run_id,
    some,
)
from registry_core.terminal.text import shown

if TYPE_CHECKING:
    from registry_core.lifecycle.reevaluate import Reevaluation
    from registry_core.lifecycle.reproduce import Reproduction


def show_runs(
    unfinished: Sequence[tuple[UnfinishedRun, str]], finished: Sequence[Version], wide: bool = False
) -> None:
    """One line a run, those without a version first; and what to do next with each.

    Args:
        unfinished: runs without a version, and the progress of each, in words.
        finished: the versions of those that have one.
        wide: show every column, however wide the terminal is.
    """
    table = new_table(
        key("run"),
        Column("state", leaves=False),
        Column("version"),
        Column("progress"),
        Column("next"),
        Column("preset"),
        Column("seed"),
        Column("started"),
        wide=wide,
    )
    styles = {"running": "cyan", "damaged": "red", "failed": "red", "interrupted": "yellow"}
    for run, progress in unfinished:
        record = run.record
        can = f"mlreg resume {run.id[-8:]}" if record else f"mlreg runs --discard {run.id[-8:]}"
        if run.process is not None:
            can = f"process {run.process}"
        table.add_row(
            run_id(run.id, "bold"),
            shown(run.state, styles[run.state]),
            shown(record.get("model", "")),
            Cell(shown(progress.partition(",")[0]), shown(progress)),
            shown(can),
            shown(record.get("preset", "")),
            shown(record.get("config", {}).get("seed", "")),
            moment(_started(run.id)),
        )
    for version in finished:
        metrics = {metric_head(name): version.metrics[name] for name in metric_names([version])}
        main = dict([*metrics.items()][:1])
        table.add_row(
            run_id(version.run, "bold"),
            shown("finished", "green"),
            shown(version.ref),
            Cell(shown(metrics_line(main)), shown(metrics_line(metrics))),
            shown("" if version.preset == "imported" else f"mlreg reproduce {version.ref}"),
            shown(version.preset),
            shown(version.seed),
            moment(_started(version.run)),
        )
    console = stdout()
    console.print(table)
    for run, _ in unfinished:
        if run.state == "failed":
            console.print(shown(f"{run.id[-8:]} failed: {run.record['failed']}"))


def _started(run: str) -> str:
    """When a run began, by its id: 20261125T190000Z-0123abcd."""
    day, clock = run[:8], run[9:15]
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}Z"


def show_reproduction(found: Reproduction) -> None:
    """The verdict, what was measured beside what was recorded, what drifted, what was compared."""
    from registry_core.promotion.gates import told

    console = stdout()
    ref = found.version.ref
    table = new_table(
        Column(f"{ref} again", "between words", leaves=False), key("now"), key("recorded")
    )
    for name, value in found.metrics.items():
        recorded = exact(found.version.metrics.get(name))
        table.add_row(shown(name), shown(exact(value)), shown(recorded))
    table.add_row("weights", shown(found.weights[:19]), shown(found.recorded_weights[:19]))
    console.print(table)
    if found.verdict == "identical":
        console.print(shown("identical: weights, history and metrics, bit for bit", "green"))
    else:
        console.print(shown(found.verdict, "yellow bold"))
        if found.first_epoch is not None:
            console.print(shown(f"  the history differs from epoch {found.first_epoch} on"))
        compared = (
            told(found.comparison, "this run", ref)
            if found.comparison
            else f"not compared: {found.why_not}"
        )
        console.print(shown(f"  now against the record: {compared}"))
    for drift in found.drift:
        console.print(shown(f"  drifted: {drift}"))
    for cause in found.causes:
        console.print(shown(f"  may not repeat: {cause}"))
    if found.verdict != "identical" and not found.cause_known:
        console.print(shown("  cause not known: all that was compared is as it was recorded"))
        console.print(shown(f"  not looked at: {', '.join(found.not_looked_at)}"))
    console.print(shown(f"  compared: {', '.join(found.compared)}"))
    if found.not_recorded:
        console.print(shown(f"  not recorded when it was made: {', '.join(found.not_recorded)}"))


def show_reevaluation(found: Reevaluation) -> None:
    """What was measured beside what was recorded, and what comes of it."""
    from registry_core.promotion.gates import told

    what = f"{found.version.ref} on {found.examples:,} {found.split} examples"
    recorded = [key("recorded")] if found.recorded else []
    table = new_table(Column(what, "between words", leaves=False), key("now"), *recorded)
    for name, value in found.metrics.items():
        then = [shown(exact(found.recorded.get(name)))] if found.recorded else []
        table.add_row(shown(name), shown(exact(value)), *then)
    console = stdout()
    console.print(table)
    if found.verdict == "not recorded":
        console.print(
            "The data is not that of the record: there is nothing to compare with."
            if found.split == "test"
            else "Nothing was recorded on this split."
        )
        return
    console.print(shown(f"{found.verdict}: {len(found.changed):,} answers differ"))
    if found.changed and found.comparison:
        console.print(shown(f"  test examples: {some(found.changed)}"))
        compared = told(found.comparison, "this measurement", "the record")
        console.print(shown(f"  now against the record: {compared}"))
