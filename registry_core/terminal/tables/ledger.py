"""Tables of the aliases and of the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from registry_core.formatting import copy_of, literal
from registry_core.records import LedgerAction, LedgerRow, Origin
from registry_core.rules import PromotionRule
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import Column, key_column, new_table, tags_line, time_cell
from registry_core.terminal.text import safe_text


def show_holders(rows: Sequence[LedgerRow], wide: bool = False) -> None:
    """Show a line for each alias: the version that holds it, since when, who moved it and why."""
    table = new_table(
        key_column("alias"),
        Column("version", hideable=False),
        Column("since"),
        Column("reason", "anywhere"),
        Column("who"),
        wide=wide,
    )
    for row in rows:
        table.add_row(
            safe_text(row.alias, "green"),
            safe_text(f"{row.model}@{row.version}", "bold"),
            time_cell(row.at),
            safe_text(row.reason),
            safe_text(row.who),
        )
    stdout().print(table)


def show_history(rows: Sequence[LedgerRow], wide: bool = False) -> None:
    """Show the ledger, newest row first."""
    table = new_table(
        Column("when"),
        Column("what", "between words", hideable=False),
        Column("reason", "anywhere"),
        Column("who"),
        wide=wide,
    )
    for row in rows:
        table.add_row(
            time_cell(row.at), safe_text(_what(row)), safe_text(_reason(row)), safe_text(row.who)
        )
    stdout().print(table)


def _what(row: LedgerRow) -> str:
    if row.action in (LedgerAction.RULE_SET, LedgerAction.RULE_REMOVED):
        return _what_of_rule(row)
    subject = row.model if row.version is None else f"{row.model}@{row.version}"
    before = f" (before: {row.previous})" if row.previous else ""
    if row.action == LedgerAction.PROMOTED:
        return f"{subject} became {row.alias}{before}{_group(row)}"
    if row.action == LedgerAction.ROLLED_BACK:
        return f"{row.alias} went back to {subject}{before}"
    if row.action == LedgerAction.REBUILT:
        return "the index was rebuilt"
    if row.action == LedgerAction.REFUSED:
        return f"{subject} was refused as {row.alias}{_group(row)}"
    if row.action in (LedgerAction.REQUESTED, LedgerAction.APPROVED, LedgerAction.DECLINED):
        number = row.evidence.get("request", row.number)
        return f"{subject} was {row.action} as {row.alias} (request {number}){_group(row)}"
    if row.action == LedgerAction.RELEASED:
        return f"{row.model}@{row.alias} was deleted; it was {subject}"
    if row.action == LedgerAction.TAGGED:
        return f"{subject} was tagged {tags_line(row.evidence)}"
    if row.action == LedgerAction.SIGNED:
        return f"{subject} was signed by key {str(row.evidence.get('key'))[:12]}…"
    if origin := Origin.from_json(row.evidence.get("origin")):
        return f"{subject} was {row.action}, a copy of {copy_of(origin)}"
    return f"{subject} was {row.action}"


def _group(row: LedgerRow) -> str:
    """`, for its group …` where a decision was about one."""
    if "group" not in row.evidence:
        return ""
    from registry_core.evaluation.wording import format_row_group

    return f", {format_row_group(row.evidence)}"


def _what_of_rule(row: LedgerRow) -> str:
    if row.action == LedgerAction.RULE_REMOVED:
        return f"the rule for {row.alias} was removed"
    asked = _requirements(row.evidence.get("rule"), str(row.alias))
    if "before" not in row.evidence:
        return f"the rule for {row.alias} was set: {'; '.join(asked)}"
    before = _requirements(row.evidence["before"], str(row.alias))
    new = [f"now {line}" for line in asked if line not in before]
    gone = [f"no longer {line}" for line in before if line not in asked]
    return f"the rule for {row.alias} was changed: {'; '.join(new + gone)}"


def _requirements(rule: object, alias: str) -> list[str]:
    """The requirements of a rule in words; a newer mlreg may have written the rule."""
    try:
        return PromotionRule.from_json(rule, alias).requirements() or ["no requirements"]
    except ValueError as error:
        return [f"not readable ({error})"]


def _reason(row: LedgerRow) -> str:
    parts = [row.reason] if row.reason else []
    is_forced = row.action == LedgerAction.PROMOTED and row.evidence.get("forced")
    overruled = " (overruled)" if is_forced else ""
    for check in row.evidence.get("checks", []):
        if not check["passed"]:
            parts.append(f"{check['name']}: {check['found']}{overruled}")
    return literal("; ".join(parts))
