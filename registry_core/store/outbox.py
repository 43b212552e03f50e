"""What receivers are to be told of the ledger, and what became of it.

A delivery is noted in the transaction that adds its row, so that no crash loses one. It is marked
as tried before it is tried: one that a crash cut off counts as an attempt, and the next attempt
says that it is another one. What is sent, and where, is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from registry_core.receivers import Receiver, event_of
from registry_core.records import Delivery, LedgerRow
from registry_core.store.clock import later, utc_now

if TYPE_CHECKING:
    from registry_core.store.interfaces import ReadTransaction, WriteTransaction
    from registry_core.store.transactions import Transactions

# An attempt that was not finished may go on in another process for this long after its timeout.
_GRACE_SECONDS = 60
# The pause before the first retry; each later one is twice as long, up to a day.
_PAUSE_SECONDS = 60
_LONGEST_PAUSE_SECONDS = 86_400
# How much of an error is kept.
_LONGEST_ERROR = 300
# How many that are not delivered are looked through at once.
_MOST_READ = 1000


def note(index: WriteTransaction, receivers: Sequence[Receiver]) -> None:
    """Note what each receiver is to be told of the rows that a transaction added."""
    for row in index.appended if receivers else ():
        for receiver in receivers:
            if event_of(row.action) in receiver.events:
                index.put_delivery(Delivery(receiver.name, row.number, at=row.at))


class Outbox:
    """The deliveries of a registry.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access

    def newest(self, limit: int | None = None) -> list[tuple[Delivery, LedgerRow | None]]:
        """The deliveries of the newest rows, and these rows.

        Args:
            limit: the most to return; None is all.
        """
        with self._access.reading("reading what receivers were told") as view:
            return [(each, _row(view, each.row)) for each in view.deliveries(limit)]

    def due(self, receivers: Mapping[str, Receiver], again: bool = False) -> list[Delivery]:
        """What is to be tried now, oldest row first.

        Args:
            receivers: by name; what is for others is left for whoever knows them.
            again: also what failed too often, or a moment ago.
        """
        now = utc_now()
        with self._access.reading("looking for what receivers are to be told") as view:
            return [
                each
                for each in view.deliveries(_MOST_READ, undone=True)
                if each.receiver in receivers
                and _is_due(each, receivers[each.receiver], now, again)
            ]

    def claim(self, delivery: Delivery) -> tuple[Delivery, LedgerRow] | None:
        """Mark a delivery as tried now; None if another process has done so since.

        Args:
            delivery: as `due` returned it.
        """
        with self._access.writing("telling receivers what happened") as index:
            row = _row(index, delivery.row)
            if row is None or delivery not in index.deliveries(_MOST_READ, undone=True):
                return None
            attempts = delivery.attempts + 1
            claimed = replace(delivery, state="trying", attempts=attempts, at=utc_now(), error="")
            index.put_delivery(claimed)
            return claimed, row

    def finish(self, delivery: Delivery, error: str) -> Delivery:
        """Note what became of an attempt: an error, or none."""
        state = "failed" if error else "delivered"
        text = error.replace("\0", " ")[:_LONGEST_ERROR]  # PostgreSQL stores no NUL
        done = replace(delivery, state=state, at=utc_now(), error=text)
        with self._access.writing("noting what a receiver was told") as index:
            index.put_delivery(done)
        return done


def _is_due(delivery: Delivery, receiver: Receiver, now: str, again: bool) -> bool:
    if delivery.state == "trying":
        return now >= later(delivery.at, receiver.timeout + _GRACE_SECONDS)
    if delivery.state == "pending" or again:
        return True
    if delivery.attempts > receiver.retries:
        return False
    pause = min(_PAUSE_SECONDS * 2 ** (delivery.attempts - 1), _LONGEST_PAUSE_SECONDS)
    return now >= later(delivery.at, pause)


def _row(view: ReadTransaction, number: int) -> LedgerRow | None:
    rows = view.ledger(before=number + 1, limit=1)
    return rows[0] if rows and rows[0].number == number else None
