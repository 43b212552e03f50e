"""The promotion rules that a registry keeps for itself.

A rule is a row of the ledger, which has all of it; the newest row about an alias decides. So a
registry that is copied, moved or rebuilt brings its rules along, and its history shows who changed
them. A table has the numbers of these rows: a rule that is missing in one of the two places is
damage, and nothing is promoted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from registry_core.errors import DamagedIndexError
from registry_core.records import LedgerRow
from registry_core.rules import PromotionRule, RuleChange, SetRule
from registry_core.store.ledger import Event, is_whole
from registry_core.store.sqlite.derived import RULE_REMOVED, RULE_SET
from registry_core.store.sqlite.index import ReadTransaction
from registry_core.store.storage_errors import REBUILD, contradicted
from registry_core.store.transactions import Transactions

# From the rules that there are to those that are to be changed; None removes one.
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
        """The versions of all models that hold an alias."""
        with self._access.reading(f"looking for what holds {alias}") as view:
            return view.holders(alias)

    def may_be_lost(self, alias: str) -> bool:
        """Whether a row about the rule of an alias may be among those that a rebuild missed."""
        with self._access.reading(f"looking for the rule for {alias}") as view:
            newest = view.rule_rows().get(alias)
            return view.last_lost_row() > (newest.number if newest else 0)

    def change(
        self, change: Change, reason: str = "", file: str = "", dry_run: bool = False
    ) -> list[RuleChange]:
        """Set and remove rules, in one transaction, with a row of the ledger for each.

        Args:
            change: told the rules that there are; says which are to be set or removed. A rule that
                is already so gets no row.
            reason: why, for the ledger.
            file: the plugins.toml that they are taken from; empty where they are from none.
            dry_run: say what would be done, and do nothing.
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
        DamagedIndexError: the index and the ledger differ on a rule, or a row has no rule in it.
    """
    by_index, rows = view.rules(), view.rule_rows()
    found = {}
    for alias in sorted({*by_index, *rows}):
        row = rows.get(alias)
        by_ledger = row.number if row and row.action == RULE_SET else None
        if by_index.get(alias) != by_ledger or (row and not is_whole(row)):
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
    told = change.to_json()
    evidence = {"rule": told["after"], "before": told["before"], "file": file}
    action = RULE_SET if change.after else RULE_REMOVED
    kept = {key: value for key, value in evidence.items() if value}
    return Event(action, "", alias=change.alias, reason=reason, evidence=kept)
