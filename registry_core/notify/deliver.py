"""Tells receivers what the outbox has, and lists what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.errors import MlregError, UsageError
from registry_core.notify.message import delivery_id, message
from registry_core.notify.send import send
from registry_core.process.guard import warn
from registry_core.receivers import event_of
from registry_core.records import Delivery, LedgerRow, Version
from registry_core.refs import Ref
from registry_core.settings import Settings
from registry_core.store import Store

# How many messages a command sends that was not asked to.
_MOST = 20


@dataclass(frozen=True)
class KnownDelivery:
    """A delivery, and the row of the ledger that it is about.

    Args:
        delivery: what became of it.
        row: the row; None if a rebuild lost it.
        is_known: whether plugins.toml here names the receiver.
    """

    delivery: Delivery
    row: LedgerRow | None
    is_known: bool

    def to_json(self) -> dict[str, Any]:
        each, row = self.delivery, self.row
        return {
            "receiver": each.receiver,
            "known": self.is_known,
            "row": each.row,
            "event": event_of(row.action) if row else None,
            "ref": f"{row.model}@{row.version}" if row else None,
            "alias": row.alias if row else None,
            "delivery": delivery_id(row, each.receiver) if row else None,
            "state": each.state,
            "attempts": each.attempts,
            "at": each.at,
            "error": each.error,
        }


@dataclass(frozen=True)
class DeliveryList(Sequence[KnownDelivery]):
    """Deliveries, of the newest rows first.

    Args:
        deliveries: the deliveries.
        tried: how many were tried for this list.
    """

    deliveries: Sequence[KnownDelivery]
    tried: int = 0

    def __getitem__(self, place: Any) -> Any:
        return self.deliveries[place]

    def __len__(self) -> int:
        return len(self.deliveries)

    def to_json(self) -> dict[str, Any]:
        return {"deliveries": [each.to_json() for each in self.deliveries], "tried": self.tried}


def deliver(store: Store, settings: Settings, again: bool = False) -> list[Delivery]:
    """Try what is due, oldest first; a receiver that fails is not tried again at once.

    Args:
        store: the registry.
        settings: has the receivers.
        again: try everything that was not delivered, however often it failed.
    """
    receivers = {receiver.name: receiver for receiver in settings.receivers}
    due = store.outbox.due(receivers, again) if receivers else []
    done: list[Delivery] = []
    failing: set[str] = set()
    for each in due if again else due[:_MOST]:
        if each.receiver in failing and not again:
            continue
        claimed = store.outbox.claim(each)
        if claimed is None:
            continue
        delivery, row = claimed
        content = message(delivery, row, _version(store, row), store.place)
        error = send(receivers[each.receiver], content, settings.folder)
        done.append(store.outbox.finish(delivery, error))
        if error:
            failing.add(each.receiver)
    return done


def deliver_afterwards(store: Store, settings: Settings) -> None:
    """Try what is due after a command did its work; what fails is a warning."""
    try:
        failed = [each for each in deliver(store, settings) if each.error]
    except MlregError as error:
        warn(f"Receivers were not told: {error.what} mlreg notify --retry tries again.")
        return
    for each in failed:
        warn(
            f"'{each.receiver}' was not told of row {each.row}: {each.error}. Later commands try "
            "again, and so does: mlreg notify --retry"
        )


def list_deliveries(store: Store, settings: Settings, limit: int | None) -> DeliveryList:
    """What receivers were told, of the newest rows first."""
    names = {receiver.name for receiver in settings.receivers}
    return DeliveryList(
        [
            KnownDelivery(delivery, row, delivery.receiver in names)
            for delivery, row in store.outbox.newest(limit)
        ]
    )


def retry(store: Store, settings: Settings) -> DeliveryList:
    """Try everything that was not delivered; returns what was tried.

    Raises:
        UsageError: plugins.toml names no receiver.
    """
    if not settings.receivers:
        raise UsageError(
            "No plugins.toml here names a receiver.",
            "Its sections [notify.NAME] do; run this in the folder that has it.",
            "mlreg notify",
        )
    done = deliver(store, settings, again=True)
    rows = {(each.receiver, each.row): row for each, row in store.outbox.newest()} if done else {}
    return DeliveryList(
        [KnownDelivery(each, rows.get((each.receiver, each.row)), True) for each in done],
        len(done),
    )


def _version(store: Store, row: LedgerRow) -> Version | None:
    try:
        return store.resolve(Ref(row.model, "number", str(row.version)), removed=True)
    except MlregError:
        return None
