"""What a promotion decided and why, and the promotion rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from registry_core.formatting import counted, fraction, literal, signed, spread, when
from registry_core.rules import others
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import Column, Table, key_column, new_table, time_cell
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.promotion.gates import Decision
    from registry_core.promotion.group_gates import GroupEvidence
    from registry_core.promotion.pairs import Check
    from registry_core.records import Promotion, PromotionRequest, Version
    from registry_core.rules import PromotionRule, RuleChange, SetRule


def show_decision(decision: Decision) -> None:
    """Show both versions' metrics, their difference, and the checks of each rule."""
    console = stdout()
    show_metrics(decision.candidate, decision.incumbent, decision.alias)
    if decision.group:
        _show_group(decision.group)
    if decision.difference and not decision.fingerprint:
        console.print(safe_text(f"difference: {decision.difference}"))
    elif decision.not_compared and not _is_shown_by_a_check(decision):
        console.print(safe_text(f"not compared: {decision.not_compared}"))
    if not decision.rules:
        console.print(safe_text(f"No rule for '{decision.alias}'.", "yellow"))
    for rule in decision.rules:
        _show_checks(_heading(rule), [c for c in decision.checks if c.source == rule.place])
    places = {rule.place for rule in decision.rules}
    for source in dict.fromkeys(c.source for c in decision.checks if c.source not in places):
        _show_checks(f"{source}:", [c for c in decision.checks if c.source == source])
    if decision.approvals:
        line = f"'{decision.alias}' is protected: {others(decision.approvals)} must approve."
        console.print(safe_text(line))


def _show_group(evidence: GroupEvidence) -> None:
    """Show the values of a group's versions, which of them is chosen, and both groups' means."""
    candidate, recorded = evidence.candidate, evidence.candidate.recorded
    metric, values = recorded.objective.metric, candidate.values or {}
    by = [Column(candidate.metric)] if candidate.metric else []
    table = new_table(key_column("version"), Column("seed"), *by, Column(metric), Column(""))
    for each in recorded.versions:
        value = values.get(each.version)
        table.add_row(
            safe_text(each.ref, "bold"),
            safe_text(str(each.seed)),
            *([safe_text(_value(candidate.metric, value))] if by else []),
            safe_text(_value(metric, each.metrics.get(metric))),
            safe_text(candidate.note(each), "green"),
        )
    stdout().print(table)
    for side in (recorded, evidence.incumbent):
        if side and metric in side.group.metrics:
            mean = spread(metric, side.group.metrics[metric])
            stdout().print(safe_text(f"{side.name}: mean {metric} {mean}"))


def show_metrics(version: Version, holder: Version | None, alias: str) -> None:
    """Show a version's metrics beside those of the version that holds an alias."""
    beside = [key_column(holder.ref), Column("difference")] if holder else []
    table = new_table(key_column("metric"), key_column(version.ref), *beside)
    names = dict.fromkeys([*version.metrics, *(holder.metrics if holder else ())])
    for name in names:
        mine, theirs = version.metrics.get(name), holder.metrics.get(name) if holder else None
        cells = [_value(name, mine)]
        if holder:
            gap = None if mine is None or theirs is None else mine - theirs
            cells += [_value(name, theirs), "" if gap is None else signed(name, gap)]
        table.add_row(safe_text(name), *map(safe_text, cells))
    stdout().print(table)
    if holder is None:
        stdout().print(safe_text(f"No version holds {version.model}@{alias} yet."))


def show_promotion(promotion: Promotion, overruled: Sequence[Check], dry_run: bool) -> None:
    """Show which version holds the alias now, which one did before, and overruled checks."""
    version, previous = promotion.version, promotion.previous
    alias = f"{version.model}@{promotion.alias}"
    if not promotion.changed:
        stdout().print(safe_text(f"{alias} is already {version.ref}; nothing changed."))
        return
    verb = "would be" if dry_run else "is now"
    before = f"before: {previous.ref}" if previous else "no version held it before"
    stdout().print(safe_text(f"{alias} {verb} {version.ref} ({before})"))
    if overruled:
        checks = counted(len(overruled), "failed check")
        would = "would be " if dry_run else ""
        stdout().print(safe_text(f"Overruled by --force: {checks} {would}".rstrip(), "yellow"))


def show_request(request: PromotionRequest, needed: int, dry_run: bool) -> None:
    """Show what a request waits for, and who can go on."""
    given, what = len(request.approvals), f"{request.ref} as {request.alias}"
    if dry_run:
        stdout().print(
            safe_text(f"Request {request.number}, {what}: {given} of {needed} approvals.")
        )
        return
    stdout().print(
        safe_text(
            f"Request {request.number}: {what} waits for {others(needed - given)} to approve it.",
            "yellow",
        )
    )
    stdout().print(safe_text(f"They type: mlreg approve {request.number}"))


def show_requests(requests: Sequence[PromotionRequest], wide: bool = False) -> None:
    """Show a line for each request, oldest first: what was asked for, by whom, and its state."""
    table = new_table(
        key_column("request"),
        Column("version", hideable=False),
        Column("alias", hideable=False),
        Column("before"),
        Column("approvals", hideable=False),
        Column("asked"),
        Column("who"),
        Column("reason", "anywhere"),
        wide=wide,
    )
    for each in requests:
        state = f"{len(each.approvals)} of {each.needed}"
        table.add_row(
            safe_text(str(each.number), "bold"),
            safe_text(f"{each.ref}{_chosen(each)}", "bold"),
            safe_text(each.alias, "green"),
            safe_text(each.incumbent or ""),
            safe_text("outdated", "yellow") if each.outdated else safe_text(state),
            time_cell(each.row.at),
            safe_text(each.row.who),
            safe_text(literal(each.row.reason)),
        )
    stdout().print(table)
    for each in requests:
        if each.outdated:
            line = f"Request {each.number} is outdated: {each.outdated}"
            stdout().print(safe_text(line, "yellow"))


def _chosen(request: PromotionRequest) -> str:
    """` for its group of 5`; empty for a version alone."""
    return f" for its group of {len(request.group)}" if request.group else ""


def show_rules(
    rules: Sequence[SetRule], holders: Mapping[str, Sequence[str]], meant: Mapping[str, str]
) -> None:
    """Show each alias that has a rule: its holder, its requirements, and who set them.

    Args:
        rules: all rules, ordered by alias.
        holders: alias -> the versions that hold it.
        meant: alias that no version holds -> the alias that was probably meant.
    """
    console = stdout()
    for index, rule in enumerate(rules):
        if index == 0 or rules[index - 1].alias != rule.alias:
            held = ", ".join(holders[rule.alias]) or "no version holds it"
            guess = f"; did you mean {meant[rule.alias]}?" if rule.alias in meant else ""
            console.print(safe_text(rule.alias, "bold").append(f": {held}{guess}", "default"))
        for line in rule.rule.requirements() or ["no requirements"]:
            console.print(safe_text(f"  {line}"))
        console.print(safe_text(f"    {_origin(rule)}", "dim"))


def show_rule_changes(changes: Sequence[RuleChange], dry_run: bool) -> None:
    """Show each changed rule: the requirements before and now."""
    console = stdout()
    for change in changes:
        console.print(safe_text(f"{change.alias}: {_verb(change, dry_run)}"))
        before, after = (_lines(rule) for rule in (change.before, change.after))
        if not change.changed:
            continue
        for line in before:
            if line not in after:
                console.print(safe_text(f"  - {line}", "red"))
        for line in after:
            mark = " " if line in before else "+"
            console.print(safe_text(f"  {mark} {line}", "" if line in before else "green"))


def _show_checks(heading: str, checks: Sequence[Check]) -> None:
    console = stdout()
    console.print(safe_text(heading))
    table = Table([key_column(""), "", ""], heads=False)
    for check in checks:
        mark = safe_text("passed", "green") if check.passed else safe_text("failed", "red bold")
        table.add_row(mark, safe_text(check.name), safe_text(check.found))
    if checks:
        console.print(table)
    else:
        console.print("no requirements")


def _heading(rule: SetRule) -> str:
    return f"{rule.place[:1].upper()}{rule.place[1:]}:"


def _is_shown_by_a_check(decision: Decision) -> bool:
    return any(check.found == decision.not_compared for check in decision.checks)


def _origin(rule: SetRule) -> str:
    if rule.source == "plugins.toml":
        return f"in {rule.file}; copy it into the registry with: mlreg rules sync"
    taken = f", from {rule.file}" if rule.file else ""
    reason = f": {rule.reason}" if rule.reason else ""
    return f"set {when(rule.since)} by {rule.who}{taken}{reason}"


def _verb(change: RuleChange, dry_run: bool) -> str:
    if not change.changed:
        return "already set; nothing changed" if change.after else "no rule; nothing changed"
    verb = "removed" if not change.after else "changed" if change.before else "set"
    return f"the rule {'would be' if dry_run else 'is'} {verb}"


def _lines(rule: PromotionRule | None) -> list[str]:
    return (rule.requirements() or ["no requirements"]) if rule else []


def _value(name: str, value: float | None) -> str:
    return "" if value is None else fraction(name, value)
