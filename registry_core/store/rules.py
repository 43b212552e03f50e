"""The promotion rules that are kept in the registry.

A rule is a row of the ledger; the newest row about an alias decides. So a registry that is copied,
moved or rebuilt keeps its rules, and its history shows who changed them. A table has the numbers of
these rows: a rule that is missing in one of the two places is damage, and nothing is promoted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from registry_core.errors import DamagedIndexError
from registry_core.records import LedgerAction, LedgerRow
from registry_core.rules import PromotionRule, RuleChange, SetRule
from registry_core.store.ledger import Event, is_intact
from registry_core.store.storage_errors import REBUILD, contradicted

if TYPE_CHECKING:
    from registry_core.store.interfaces import ReadTransaction
    from registry_core.store.transactions import Transactions

# From the present rules to those that are to change; None removes one.
Change = Callable[[Mapping[str, PromotionRule]], Mapping[str, PromotionRule | None]]


class Rules:
    """The promotion rules of a registry.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access

    def current(self) -> dict[str, SetRule]:
        """The rule of each alias that has one.

        Raises:
            DamagedIndexError: the index and the ledger differ on a rule.
        """
        with self._access.reading("reading the promotion rules") as view:
            return current(view)

    def holders(self, alias: str) -> list[str]:
        """The references of the versions of all models that an alias is on."""
        with self._access.reading(f"looking for what holds {alias}") as view:
            return view.holders(alias)

    def may_be_lost(self, alias: str) -> bool:
        """Whether a row about the rule of an alias may be among those that a rebuild lost."""
        with self._access.reading(f"looking for the rule for {alias}") as view:
            newest = view.rule_rows().get(alias)
            return view.last_lost_row() > (newest.number if newest else 0)

    def change(
        self, change: Change, reason: str = "", file: str = "", dry_run: bool = False
    ) -> list[RuleChange]:
        """Set and remove rules, in one transaction, with a row of the ledger for each.

        Args:
            change: gets the present rules; returns those to set, and None for each to remove. A
                rule that stays as it is gets no row.
            reason: why, for the ledger.
            file: the plugins.toml that they are from; empty if they are from none.
            dry_run: only return what would change.
        """
        if dry_run:
            with self._access.reading("reading the promotion rules") as view:
                return _changes(view, change)
        with self._access.writing("changing promotion rules", create=True) as index:
            changes = _changes(index, change)
            for each in changes:
                if each.changed:
                    index.append(_event(each, reason, file))
            return changes


def current(view: ReadTransaction) -> dict[str, SetRule]:
    """The rule of each alias that has one.

    Raises:
        DamagedIndexError: the index and the ledger differ on a rule, or a row has no valid rule.
    """
    by_index, rows = view.rules(), view.rule_rows()
    found = {}
    for alias in sorted({*by_index, *rows}):
        row = rows.get(alias)
        by_ledger = row.number if row and row.action == LedgerAction.RULE_SET else None
        if by_index.get(alias) != by_ledger or (row and not is_intact(row)):
            raise contradicted(f"the promotion rule for {alias}", "the ledger")
        if row and by_ledger:
            found[alias] = _read(alias, row)
    return found


def row_of(view: ReadTransaction, alias: str) -> int | None:
    """The row of the ledger that set the rule of an alias; None where it has no rule."""
    found = current(view).get(alias)
    return found.row if found else None


def _read(alias: str, row: LedgerRow) -> SetRule:
    try:
        rule = PromotionRule.from_json(row.evidence.get("rule"), alias)
    except ValueError as error:
        raise DamagedIndexError(
            f"Row {row.number} of the ledger sets the promotion rule for {alias}: {error}.",
            "Nothing was changed. Use the mlreg that wrote it, or rebuild the index.",
            REBUILD,
        ) from error
    file = str(row.evidence.get("file", ""))
    return SetRule(alias, rule, "registry", file, row.number, row.at, row.who, row.reason)


def _changes(view: ReadTransaction, change: Change) -> list[RuleChange]:
    before = {alias: each.rule for alias, each in current(view).items()}
    after = change(before)
    return [RuleChange(alias, before.get(alias), rule) for alias, rule in sorted(after.items())]


def _event(change: RuleChange, reason: str, file: str) -> Event:
    rules = change.to_json()
    evidence = {"rule": rules["after"], "before": rules["before"], "file": file}
    action = LedgerAction.RULE_SET if change.after else LedgerAction.RULE_REMOVED
    kept = {key: value for key, value in evidence.items() if value}
    return Event(action, "", alias=change.alias, reason=reason, evidence=kept)
