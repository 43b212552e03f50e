"""Tables of runs, and of versions that were reproduced or evaluated again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry_core.formatting import metrics_line
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import (
    Cell,
    Column,
    first_few,
    format_precise,
    key_column,
    metric_head,
    metric_names,
    new_table,
    run_id_cell,
    time_cell,
)
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.lifecycle.reevaluate import Reevaluation
    from registry_core.lifecycle.reproduce import Reproduction
    from registry_core.lifecycle.run_list import RunProgress
    from registry_core.records import Version


def show_runs(
    unfinished: Sequence[RunProgress], finished: Sequence[Version], wide: bool = False
) -> None:
    """Show a line for each run, unfinished ones first, with the command to type next.

    Args:
        unfinished: runs without a version, with the progress of each.
        finished: the versions of finished runs.
        wide: show every column, however narrow the terminal is.
    """
    table = new_table(
        key_column("run"),
        Column("state", hideable=False),
        Column("version"),
        Column("progress"),
        Column("next"),
        Column("preset"),
        Column("seed"),
        Column("started"),
        wide=wide,
    )
    styles = {
        "running": "cyan",
        "damaged": "red",
        "failed": "red",
        "interrupted": "yellow",
        "waiting": "yellow",
    }
    for each in unfinished:
        run, progress, record = each.run, str(each), each.run.record
        command = f"mlreg resume {run.id[-8:]}" if record else f"mlreg runs --discard {run.id[-8:]}"
        if sweep := record.get("sweep"):
            verb = "show" if each.state == "kept" else "resume"
            command = f"mlreg {verb} {sweep['id'][-8:]}"
        if run.process is not None:
            command = f"process {run.process}"
        table.add_row(
            run_id_cell(run.id, "bold"),
            safe_text(each.state, styles.get(each.state, "")),
            safe_text(record.get("model", "")),
            Cell(safe_text(progress.partition(",")[0]), safe_text(progress)),
            safe_text(command),
            safe_text(record.get("preset", "")),
            safe_text(record.get("config", {}).get("seed", "")),
            time_cell(_started(run.id)),
        )
    for version in finished:
        metrics = {metric_head(name): version.metrics[name] for name in metric_names([version])}
        main = dict([*metrics.items()][:1])
        table.add_row(
            run_id_cell(version.run, "bold"),
            safe_text("finished", "green"),
            safe_text(version.ref),
            Cell(safe_text(metrics_line(main)), safe_text(metrics_line(metrics))),
            safe_text("" if version.preset == "imported" else f"mlreg reproduce {version.ref}"),
            safe_text(version.preset),
            safe_text(version.seed),
            time_cell(_started(version.run)),
        )
    console = stdout()
    console.print(table)
    for run in (each.run for each in unfinished):
        if run.state == "failed":
            console.print(safe_text(f"{run.id[-8:]} failed: {run.record['failed']}"))


def _started(run: str) -> str:
    """The time when a run began, from its id: 20261125T190000Z-0123abcd."""
    day, clock = run[:8], run[9:15]
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}Z"


def show_reproduction(found: Reproduction) -> None:
    """Show the verdict, measured and recorded metrics, what changed, and what was compared."""
    from registry_core.evaluation.wording import format_comparison

    console = stdout()
    ref = found.version.ref
    table = new_table(
        Column(f"{ref} again", "between words", hideable=False),
        key_column("now"),
        key_column("recorded"),
    )
    for name, value in found.metrics.items():
        recorded = format_precise(found.version.metrics.get(name))
        table.add_row(safe_text(name), safe_text(format_precise(value)), safe_text(recorded))
    table.add_row("weights", safe_text(found.weights[:19]), safe_text(found.recorded_weights[:19]))
    console.print(table)
    if found.verdict == "identical":
        console.print(safe_text("identical: weights, history and metrics, bit for bit", "green"))
    else:
        console.print(safe_text(found.verdict, "yellow bold"))
        if found.first_epoch is not None:
            console.print(safe_text(f"  the history differs from epoch {found.first_epoch} on"))
        compared = (
            format_comparison(found.comparison, "this run", ref)
            if found.comparison
            else f"not compared: {found.why_not}"
        )
        console.print(safe_text(f"  now against the record: {compared}"))
    for drift in found.drift:
        console.print(safe_text(f"  changed: {drift}"))
    for cause in found.causes:
        console.print(safe_text(f"  may not repeat: {cause}"))
    if found.verdict != "identical" and not found.cause_known:
        console.print(safe_text("  cause not known: everything that was compared is as recorded"))
        console.print(safe_text(f"  not checked: {', '.join(found.not_looked_at)}"))
    console.print(safe_text(f"  compared: {', '.join(found.compared)}"))
    if found.not_recorded:
        console.print(
            safe_text(f"  not recorded when it was made: {', '.join(found.not_recorded)}")
        )


def show_reevaluation(found: Reevaluation) -> None:
    """Show measured and recorded metrics, and the verdict."""
    from registry_core.evaluation.wording import format_comparison

    what = f"{found.version.ref} on {found.examples:,} {found.split} examples"
    recorded = [key_column("recorded")] if found.recorded else []
    table = new_table(Column(what, "between words", hideable=False), key_column("now"), *recorded)
    for name, value in found.metrics.items():
        then = [safe_text(format_precise(found.recorded.get(name)))] if found.recorded else []
        table.add_row(safe_text(name), safe_text(format_precise(value)), *then)
    console = stdout()
    console.print(table)
    if found.verdict == "not recorded":
        console.print(
            "The data differs from the recorded data, so the metrics cannot be compared."
            if found.split == "test"
            else "Nothing was recorded on this split."
        )
        return
    console.print(safe_text(f"{found.verdict}: {len(found.changed):,} answers differ"))
    if found.changed and found.comparison:
        console.print(safe_text(f"  test examples: {first_few(found.changed)}"))
        compared = format_comparison(found.comparison, "this measurement", "the record")
        console.print(safe_text(f"  now against the record: {compared}"))
