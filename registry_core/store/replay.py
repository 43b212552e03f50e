"""What the ledger's rows say together: who holds which alias, what was removed, tagged, ruled.

The index keeps all that in tables. Here it follows from the rows alone, for a rebuild that has
nothing else, and for an audit that holds the tables against it. Where rows are lost, what is left
still implies something: what was promoted was there, and what was removed held no alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry_core.records import LedgerRow
from registry_core.store.sqlite.derived import RULE_REMOVED, RULE_SET

# a model and a number, or a model and an alias
Key = tuple[str, int]
AliasKey = tuple[str, str]


@dataclass
class Removed:
    """When a version was removed, and when its files were collected; empty where they were not."""

    at: str
    collected: str = ""


class Replay:
    """What the rows that were followed so far say."""

    def __init__(self) -> None:
        self.aliases: dict[AliasKey, int] = {}
        self.moved_last: dict[AliasKey, int | None] = {}
        self.removed: dict[Key, Removed] = {}
        self.tags: dict[Key, dict[str, str]] = {}
        self.rules: dict[str, int] = {}
        self._holding: dict[Key, set[AliasKey]] = {}

    def follow(self, row: LedgerRow) -> None:
        """Take in the next row; only aliases, removals, tags and rules are followed."""
        if row.version is None:
            self._follow_rule(row)
            return
        key = row.model, row.version
        if row.action in ("promoted", "rolled back") and row.alias:
            if key in self.removed and not self.removed[key].collected:
                del self.removed[key]
            self._hold((row.model, row.alias), row.version)
            self.moved_last[row.model, row.alias] = row.version
        elif row.action == "released" and row.alias:
            self._release((row.model, row.alias))
            self.moved_last[row.model, row.alias] = None
        elif row.action == "removed":
            self._remove(key, row.at)
        elif row.action == "restored":
            if key in self.removed and not self.removed[key].collected:
                del self.removed[key]
        elif row.action == "collected":
            self._remove(key, row.at)
            self.removed[key].collected = row.at
        elif row.action == "tagged":
            self._tag(key, row.evidence)

    def _follow_rule(self, row: LedgerRow) -> None:
        if row.model or row.alias is None:
            return
        if row.action == RULE_SET:
            self.rules[row.alias] = row.number
        elif row.action == RULE_REMOVED:
            self.rules.pop(row.alias, None)

    def _hold(self, alias: AliasKey, number: int) -> None:
        self._release(alias)
        if (alias[0], number) not in self.removed:
            self.aliases[alias] = number
            self._holding.setdefault((alias[0], number), set()).add(alias)

    def _release(self, alias: AliasKey) -> None:
        number = self.aliases.pop(alias, None)
        if number is not None:
            self._holding[alias[0], number].discard(alias)

    def _remove(self, key: Key, at: str) -> None:
        for alias in list(self._holding.get(key, ())):
            self._release(alias)
        self.removed.setdefault(key, Removed(at))

    def _tag(self, key: Key, evidence: Mapping[str, object]) -> None:
        changes, gone = evidence.get("set"), evidence.get("removed")
        tags = self.tags.setdefault(key, {})
        if isinstance(changes, Mapping):
            tags.update({str(name): str(value) for name, value in changes.items()})
        for name in gone if isinstance(gone, list) else ():
            tags.pop(name, None)
        if not tags:
            del self.tags[key]
