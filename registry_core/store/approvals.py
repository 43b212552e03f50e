"""Which requests for promotions are open, folded from the rows of the ledger.

At most one is open for a version and an alias: a new one takes the place of an older one. It ends
when it is declined, or when the version gets the alias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from registry_core.records import LedgerAction

if TYPE_CHECKING:
    from registry_core.store.interfaces import RequestKey

# The actions that open or close a request; an approval alone does neither.
CHANGES = (LedgerAction.REQUESTED, LedgerAction.DECLINED, LedgerAction.PROMOTED)


class RequestRow(Protocol):
    """What is needed of a `LedgerRow`."""

    @property
    def action(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def alias(self) -> str | None: ...
    @property
    def version(self) -> int | None: ...


def opens_request(row: RequestRow) -> bool:
    """Whether a row asks for a promotion; any other row of `CHANGES` ends a request."""
    return row.action == LedgerAction.REQUESTED


def request_key(row: RequestRow) -> RequestKey | None:
    """The model, alias and version of a row; None if it has not all of them."""
    if row.alias is None or row.version is None:
        return None
    return row.model, row.alias, row.version
