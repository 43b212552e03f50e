"""Rows of the ledger, and the versions that aliases are on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.records import (
    LedgerRow,
    Version,
)
from registry_core.results.listing import Listing

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class History(Listing[LedgerRow]):
    """Rows of the ledger, newest first.

    Args:
        rows: the rows.
        next: the number that older rows are below, for `before`; None if the limit left out none.
    """

    rows: Sequence[LedgerRow]
    next: int | None = None

    @property
    def _items(self) -> Sequence[LedgerRow]:
        return self.rows

    def to_json(self) -> dict[str, Any]:
        return {"history": [row.to_json() for row in self.rows], "next": self.next}


@dataclass(frozen=True)
class HolderAt:
    """Which version an alias was on at a moment, or None."""

    alias: str
    moment: datetime
    version: Version | None

    def to_json(self) -> dict[str, Any]:
        version = self.version.to_json() if self.version else None
        return {"alias": self.alias, "at": self.moment.isoformat(), "version": version}


@dataclass(frozen=True)
class AliasHolders(Listing[LedgerRow]):
    """The row of the ledger that put each alias of a model on its version, by alias."""

    rows: Sequence[LedgerRow]

    @property
    def _items(self) -> Sequence[LedgerRow]:
        return self.rows

    def to_json(self) -> dict[str, Any]:
        return {
            "aliases": [
                {
                    "alias": row.alias,
                    "ref": f"{row.model}@{row.version}",
                    "since": row.at,
                    "who": row.who,
                    "reason": row.reason,
                }
                for row in self.rows
            ]
        }
