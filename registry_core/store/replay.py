"""The state of a registry, folded from its ledger: aliases, removals, tags, rules, requests.

The index keeps the same in tables. A rebuild has nothing but the rows, and an audit compares the
tables with them. Where rows are lost, those that are left still imply something: a version that was
promoted was not removed, and one that was removed has no alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from registry_core.dataclass import dataclass
from registry_core.records import LedgerAction, LedgerRow
from registry_core.store.aliases import holder_after, moves_alias
from registry_core.store.approvals import CHANGES, opens_request, request_key

if TYPE_CHECKING:
    from registry_core.store.interfaces import AliasKey, RequestKey, VersionKey


@dataclass
class Removed:
    """When a version was removed, and when its files were collected; empty where they were not."""

    at: str
    collected: str = ""


class Replay:
    """The state after the rows so far.

    Attributes:
        aliases: the version that each alias is on.
        moved_last: the version of the last row that moved each alias, None where it was released;
            `aliases` lacks it if it was removed since.
        removed: the versions that are removed.
        tags: the tags of each version that has some.
        rules: for each alias that has a rule, the row that set it.
        requests: for each request that waits for approval, the row that asked.
    """

    def __init__(self) -> None:
        self.aliases: dict[AliasKey, int] = {}
        self.moved_last: dict[AliasKey, int | None] = {}
        self.removed: dict[VersionKey, Removed] = {}
        self.tags: dict[VersionKey, dict[str, str]] = {}
        self.rules: dict[str, int] = {}
        self.requests: dict[RequestKey, int] = {}
        self._holding: dict[VersionKey, set[AliasKey]] = {}

    def follow(self, row: LedgerRow) -> None:
        """Add the next row; only those about what this class has count."""
        self._follow_request(row)
        if row.version is None:
            self._follow_rule(row)
            return
        key = row.model, row.version
        match row.action:
            case _ if moves_alias(row):
                self._move(row)
            case LedgerAction.REMOVED:
                self._remove(key, row.at)
            case LedgerAction.RESTORED:
                self._restore(key)
            case LedgerAction.COLLECTED:
                self._remove(key, row.at)
                self.removed[key].collected = row.at
            case LedgerAction.TAGGED:
                self._tag(key, row.evidence)

    def _move(self, row: LedgerRow) -> None:
        holder = self.moved_last[row.model, str(row.alias)] = holder_after(row)
        self._release((row.model, str(row.alias)))
        if holder is not None:
            self._restore((row.model, holder))
            self._hold((row.model, str(row.alias)), holder)

    def _restore(self, key: VersionKey) -> None:
        if key in self.removed and not self.removed[key].collected:
            del self.removed[key]

    def _follow_rule(self, row: LedgerRow) -> None:
        if row.model or row.alias is None:
            return
        if row.action == LedgerAction.RULE_SET:
            self.rules[row.alias] = row.number
        elif row.action == LedgerAction.RULE_REMOVED:
            self.rules.pop(row.alias, None)

    def _follow_request(self, row: LedgerRow) -> None:
        if row.action not in CHANGES or (key := request_key(row)) is None:
            return
        self.requests.pop(key, None)
        if opens_request(row):
            self.requests[key] = row.number

    def _hold(self, alias: AliasKey, number: int) -> None:
        if (alias[0], number) not in self.removed:
            self.aliases[alias] = number
            self._holding.setdefault((alias[0], number), set()).add(alias)

    def _release(self, alias: AliasKey) -> None:
        number = self.aliases.pop(alias, None)
        if number is not None:
            self._holding[alias[0], number].discard(alias)

    def _remove(self, key: VersionKey, at: str) -> None:
        for alias in list(self._holding.get(key, ())):
            self._release(alias)
        self.removed.setdefault(key, Removed(at))

    def _tag(self, key: VersionKey, evidence: Mapping[str, object]) -> None:
        changes, gone = evidence.get("set"), evidence.get("removed")
        tags = self.tags.setdefault(key, {})
        if isinstance(changes, Mapping):
            tags.update({str(name): str(value) for name, value in changes.items()})
        for name in gone if isinstance(gone, list) else ():
            tags.pop(name, None)
        if not tags:
            del self.tags[key]
