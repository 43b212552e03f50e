"""Runs, and versions that were trained or measured again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry_core.records import UnfinishedRun, Version
from registry_core.ui.output import stdout
from registry_core.ui.tables.cells import exact, new_table, short_metrics, some
from registry_core.ui.text import metrics_line, shown

if TYPE_CHECKING:
    from registry_core.reevaluation import Reevaluation
    from registry_core.reproduction import Reproduction


def show_runs(unfinished: Sequence[tuple[UnfinishedRun, str]], finished: Sequence[Version]) -> None:
    """One line a run, those without a version first; and what each can still do.

    Args:
        unfinished: runs without a version, and how far each came, in words.
        finished: the versions of those that have one.
    """
    table = new_table("run", "state", "model", "preset", "seed", "how far", "what it can do")
    for column in (*table.columns[1:5], table.columns[-1]):
        column.no_wrap = True  # words and a command; where it is narrow, ids give way
    styles = {"running": "cyan", "damaged": "red", "failed": "red", "interrupted": "yellow"}
    for run, place in unfinished:
        record = run.record
        can = f"mlreg resume {run.id[-8:]}" if record else f"mlreg runs --discard {run.id[-8:]}"
        if run.process is not None:
            can = f"runs in process {run.process}"
        table.add_row(
            shown(run.id, "bold"),
            shown(run.state, styles[run.state]),
            shown(record.get("model", "")),
            shown(record.get("preset", "")),
            shown(record.get("config", {}).get("seed", "")),
            shown(place),
            shown(can),
        )
    for version in finished:
        table.add_row(
            shown(version.run, "bold"),
            shown("finished", "green"),
            shown(version.model),
            shown(version.preset),
            shown(version.seed),
            shown(metrics_line(short_metrics(version))),
            shown("" if version.preset == "imported" else f"mlreg reproduce {version.ref}"),
        )
    console = stdout()
    console.print(table)
    for run, _ in unfinished:
        if run.state == "failed":
            console.print(shown(f"{run.id[-8:]} failed: {run.record['failed']}"))


def show_reproduction(found: Reproduction) -> None:
    """The verdict, what was measured beside what was recorded, what drifted, what was compared."""
    from registry_core.gates import told

    console = stdout()
    ref = found.version.ref
    table = new_table(f"{ref} again", "now", "recorded")
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
        compared = told(found.comparison) if found.comparison else f"not compared: {found.why_not}"
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
    from registry_core.gates import told

    columns = [f"{found.version.ref} on {found.examples:,} {found.split} examples", "now"]
    table = new_table(*columns, *(["recorded"] if found.recorded else []))
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
        console.print(shown(f"  now against the record: {told(found.comparison)}"))
