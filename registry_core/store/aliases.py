"""Which version an alias is on, and where a rollback leads, folded from the rows of the ledger.

The one place that knows what a row does to an alias. The index applies it to each row that is
added; a rebuild and an audit apply it to all of them; a command to the last row that moved the
alias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from registry_core.records import LedgerAction

# The actions that move an alias or delete it.
MOVES = (LedgerAction.PROMOTED, LedgerAction.ROLLED_BACK, LedgerAction.RELEASED)


class AliasRow(Protocol):
    """What is needed of a `LedgerRow`."""

    @property
    def action(self) -> str: ...
    @property
    def alias(self) -> str | None: ...
    @property
    def version(self) -> int | None: ...


def moves_alias(row: AliasRow) -> bool:
    """Whether a row moved or deleted an alias."""
    return row.alias is not None and row.version is not None and row.action in MOVES


def holder_after(row: AliasRow | None) -> int | None:
    """The number of the version that an alias is on after the last row that moved it.

    Args:
        row: that row; None if nothing ever moved the alias.

    Returns:
        None if the alias is on no version.
    """
    return None if row is None or row.action == LedgerAction.RELEASED else row.version


def places_after(places: Sequence[int | None], row: AliasRow) -> list[int | None]:
    """The places that an alias can roll back through, the present one last, after one more row.

    A promotion adds its version, a rollback takes the last place away, and a release adds a time
    without a version, which the next promotion ends.

    Args:
        places: those before the row: numbers of versions, and None for a time without one. The
            last two are enough to know how they end.
        row: a row that moved the alias.
    """
    if row.action == LedgerAction.ROLLED_BACK:
        return list(places[:-1])
    holder = holder_after(row)
    if holder is None:
        return [*places, None]
    rest = list(places[:-1] if places and places[-1] is None else places)
    return rest if rest and rest[-1] == holder else [*rest, holder]
