"""Who holds an alias, and the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from registry_core.records import LedgerRow
from registry_core.rules import PromotionRule
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import Column, key, moment, new_table, tags_line
from registry_core.terminal.text import literal, shown


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
    if row.action in ("rule set", "rule removed"):
        return _what_of_rule(row)
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
        return f"{row.model}@{row.alias} was deleted; it was {subject}"
    if row.action == "tagged":
        return f"{subject} was tagged {tags_line(row.evidence)}"
    return f"{subject} was {row.action}"


def _what_of_rule(row: LedgerRow) -> str:
    if row.action == "rule removed":
        return f"the rule for {row.alias} was removed"
    asked = _requirements(row.evidence.get("rule"), str(row.alias))
    if "before" not in row.evidence:
        return f"the rule for {row.alias} was set: {'; '.join(asked)}"
    before = _requirements(row.evidence["before"], str(row.alias))
    new = [f"now {line}" for line in asked if line not in before]
    gone = [f"no longer {line}" for line in before if line not in asked]
    return f"the rule for {row.alias} was changed: {'; '.join(new + gone)}"


def _requirements(rule: object, alias: str) -> list[str]:
    """What a rule asks for, in words; also of one that a newer mlreg wrote."""
    try:
        return PromotionRule.from_json(rule, alias).requirements() or ["nothing is asked for"]
    except ValueError as error:
        return [f"not readable ({error})"]


def _reason(row: LedgerRow) -> str:
    said = [row.reason] if row.reason else []
    overruled = " (overruled)" if row.evidence.get("forced") else ""
    for check in row.evidence.get("checks", []):
        if not check["passed"]:
            said.append(f"{check['name']}: {check['found']}{overruled}")
    return literal("; ".join(said))
