"""Who holds an alias, what a promotion asked, and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry_core.records import LedgerRow, Promotion
from registry_core.ui.output import stderr, stdout
from registry_core.ui.tables.cells import Column, key, moment, new_table, tags_line
from registry_core.ui.text import literal, shown

if TYPE_CHECKING:
    from registry_core.gates import Check, Decision


def show_holders(rows: Sequence[LedgerRow], wide: bool = False) -> None:
    """One line an alias: who holds it since when, and who moved it there why."""
    table = new_table(
        key("alias"),
        Column("version", leaves=False),
        Column("since"),
        Column("reason", "anywhere"),
        Column("who"),
        wide=wide,
    )
    for row in rows:
        table.add_row(
            shown(row.alias, "green"),
            shown(f"{row.model}@{row.version}", "bold"),
            moment(row.at),
            shown(row.reason),
            shown(row.who),
        )
    stdout().print(table)


def show_decision(decision: Decision) -> None:
    """What was asked of the candidate, and what was found; nothing where nothing was asked."""
    if not decision.checks:
        return
    table = new_table("asked", "", "found")
    for check in decision.checks:
        mark = shown("holds", "green") if check.passed else shown("fails", "red bold")
        table.add_row(shown(check.name), mark, shown(check.found))
    stdout().print(table)


def show_promotion(promotion: Promotion, overruled: Sequence[Check], dry_run: bool) -> None:
    """Which alias moved, from where; and what was overruled to move it."""
    version, previous = promotion.version, promotion.previous
    verb = "would be" if dry_run else "is"
    before = f", before it {previous.ref}" if previous else ", which nothing held before"
    stdout().print(shown(f"{version.model}@{promotion.alias} {verb} {version.ref}{before}"))
    for check in overruled:
        stderr().print(shown(f"Overruled: {check.name}: {check.found}", "yellow"))


def show_history(rows: Sequence[LedgerRow], wide: bool = False) -> None:
    """The ledger, newest first."""
    table = new_table(
        Column("when"),
        Column("what", "between words", leaves=False),
        Column("reason", "anywhere"),
        Column("who"),
        wide=wide,
    )
    for row in rows:
        table.add_row(moment(row.at), shown(_what(row)), shown(_reason(row)), shown(row.who))
    stdout().print(table)


def _what(row: LedgerRow) -> str:
    subject = row.model if row.version is None else f"{row.model}@{row.version}"
    before = f" (before: {row.previous})" if row.previous else ""
    if row.action == "promoted":
        return f"{subject} became {row.alias}{before}"
    if row.action == "rolled back":
        return f"{row.alias} went back to {subject}{before}"
    if row.action == "rebuilt":
        return "the index was rebuilt"
    if row.action == "refused":
        return f"{subject} was refused as {row.alias}"
    if row.action == "released":
        return f"{row.alias} was taken from {subject}"
    if row.action == "tagged":
        return f"{subject} was tagged {tags_line(row.evidence)}"
    return f"{subject} was {row.action}"


def _reason(row: LedgerRow) -> str:
    said = [row.reason] if row.reason else []
    overruled = " (overruled)" if row.evidence.get("forced") else ""
    for check in row.evidence.get("checks", []):
        if not check["passed"]:
            said.append(f"{check['name']}: {check['found']}{overruled}")
    return literal("; ".join(said))
