"""What was decided about a version: its promotions and refusals, with the evidence of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry_core.evaluation.paired_tests import Comparison
from registry_core.evaluation.wording import (
    format_comparison,
    format_group_comparison,
    format_row_group,
)
from registry_core.formatting import when
from registry_core.records import LedgerAction, LedgerRow
from registry_core.reports.sources import MAX_EVENTS, ReportSource
from registry_core.reports.wording import clip, damaged
from registry_core.sections import Block, Facts, Section, Table, Text

# This many decisions are shown with their checks; a section may have 50 blocks.
MAX_DECISIONS = 12

_DECISIONS = (
    LedgerAction.PROMOTED,
    LedgerAction.REFUSED,
    LedgerAction.ROLLED_BACK,
    LedgerAction.REQUESTED,
    LedgerAction.APPROVED,
    LedgerAction.DECLINED,
)
# What was decided without moving the alias; its evidence names the version that held it.
_UNMOVED = (LedgerAction.REFUSED, LedgerAction.REQUESTED, LedgerAction.APPROVED)


def gates(source: ReportSource) -> list[Section]:
    """Each promotion and refusal of the version with its checks, newest first."""
    if source.version is None:
        return []
    if problem := source.problems.get("ledger"):
        return [Section("Promotion", [damaged("The ledger", problem)])]
    rows = [row for row in source.ledger if row.action in _DECISIONS]
    if not rows:
        return [Section("Promotion", [Text("No promotion of this version was asked for.")])]
    blocks: list[Block] = []
    for row in rows[:MAX_DECISIONS]:
        blocks += _decision(row)
    if len(rows) > MAX_DECISIONS:
        blocks.append(
            Text(
                f"The newest {MAX_DECISIONS} of {len(rows):,} decisions are shown; "
                f"`mlreg history {source.name}` has all of them."
            )
        )
    return [Section("Promotion", blocks)]


def events(source: ReportSource) -> list[Section]:
    """Everything that the ledger says of the version, newest first."""
    if source.version is None or not source.ledger:
        return []
    rows = [
        (row.number, when(row.at), clip(str(row.action)), row.alias, clip(row.reason), row.who)
        for row in source.ledger
    ]
    blocks: list[Block] = [Table(("row", "when", "what", "alias", "reason", "who"), rows)]
    if len(rows) >= MAX_EVENTS:
        blocks.append(
            Text(f"The newest {MAX_EVENTS} are shown; `mlreg history {source.name}` has all.")
        )
    return [Section("History", blocks)]


def outcome(row: LedgerRow) -> str:
    """`promoted`, `promoted: failed checks were overruled`, `refused`, `rolled back`."""
    forced = row.action == LedgerAction.PROMOTED and row.evidence.get("forced")
    return f"{row.action}: failed checks were overruled" if forced else str(row.action)


def _decision(row: LedgerRow) -> list[Block]:
    evidence: Mapping[str, Any] = row.evidence
    before = f"{row.model}@{row.previous}" if row.previous else "no version"
    if row.action in _UNMOVED:
        before = str(evidence.get("incumbent") or "no version")
    facts = [
        ("alias", str(row.alias)),
        ("decision", outcome(row)),
        ("when", when(row.at)),
        ("who", row.who),
        ("reason", row.reason or "none given"),
    ]
    if row.action != LedgerAction.DECLINED:
        facts.append(("holder" if row.action in _UNMOVED else "before", before))
    if request := evidence.get("request"):
        facts.append(("request", str(request)))
    if isinstance(approvers := evidence.get("approved_by"), list):
        facts.append(("approved by", ", ".join(map(str, approvers))))
    if group := format_row_group(evidence):
        facts.append(("promoted", group))
    blocks: list[Block] = [Facts([(name, clip(value)) for name, value in facts])]
    checks = evidence.get("checks")
    if isinstance(checks, list) and checks:
        blocks.append(_checks(row, checks))
    elif row.action == LedgerAction.DECLINED:
        return blocks
    elif row.action == LedgerAction.ROLLED_BACK:
        blocks.append(Text("A rollback checks no rule."))
    else:
        blocks.append(Text("No rule and no plugin asked for anything."))
    if line := _comparison(row, evidence):
        blocks.append(Text(line))
    return blocks


def _checks(row: LedgerRow, checks: list[Any]) -> Table:
    overruled = bool(evidence_forced(row))
    rows = []
    for check in checks[:200]:
        if not isinstance(check, Mapping):
            continue
        failed = "failed, overruled" if overruled else "failed"
        rows.append(
            (
                clip(check.get("name") or ""),
                "passed" if check.get("passed") else failed,
                clip(check.get("found") or ""),
                clip(check.get("source") or ""),
            )
        )
    title = f"Checks for {row.alias}, {when(row.at)}"
    return Table(("check", "result", "found", "asked by"), rows, title)


def evidence_forced(row: LedgerRow) -> bool:
    """Whether failed checks were overruled."""
    return bool(row.evidence.get("forced"))


def _comparison(row: LedgerRow, evidence: Mapping[str, Any]) -> str:
    """The paired test against the version that held the alias; empty without one."""
    if reason := evidence.get("not_compared"):
        return f"Not compared with the version that held it: {clip(reason)}."
    found = evidence.get("comparison")
    incumbent = evidence.get("incumbent")
    if not isinstance(found, Mapping) or not incumbent:
        return ""
    if "versions" in found:
        try:
            return f"Against the group of {incumbent}: {format_group_comparison(found)}."
        except (KeyError, TypeError, ValueError):  # a newer mlreg wrote it
            return ""
    known = {name: found[name] for name in Comparison.__dataclass_fields__ if name in found}
    try:
        comparison = Comparison(**known)
        line = format_comparison(comparison, f"{row.model}@{row.version}", str(incumbent))
    except (TypeError, ValueError):  # a newer mlreg wrote it
        return ""
    return f"Against {incumbent}: {line}."
