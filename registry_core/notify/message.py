"""What a receiver gets: one JSON object, and what proves who sent it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from registry_core.receivers import event_of
from registry_core.records import Delivery, LedgerRow, Version

SCHEMA = 1


def delivery_id(row: LedgerRow, receiver: str) -> str:
    """The same for every attempt to tell a receiver of a row, and for nothing else."""
    return hashlib.sha256(f"{row.digest} {receiver}".encode()).hexdigest()[:32]


def message(
    delivery: Delivery, row: LedgerRow, version: Version | None, registry: str
) -> dict[str, Any]:
    """What happened, as JSON; docs/notify.md describes the keys.

    Args:
        delivery: to whom, and the how manieth attempt.
        row: of the ledger.
        version: that the row is about; None if it is not there any more.
        registry: where the registry is, without a password.
    """
    return {
        "schema": SCHEMA,
        "event": event_of(row.action),
        "delivery": delivery_id(row, delivery.receiver),
        "attempt": delivery.attempts,
        "sent": delivery.at,
        "registry": registry,
        "alias": row.alias,
        "ref": f"{row.model}@{row.version}",
        "previous": f"{row.model}@{row.previous}" if row.previous else None,
        "who": row.who,
        "at": row.at,
        "reason": row.reason,
        "version": version.to_json() if version else None,
        "row": row.to_json(),
    }


def encode(content: Mapping[str, Any]) -> bytes:
    """The bytes that are sent, and signed."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def headers(content: Mapping[str, Any]) -> dict[str, str]:
    """What a message says of itself in the headers of a POST."""
    return {
        "X-Mlreg-Event": str(content["event"]),
        "X-Mlreg-Delivery": str(content["delivery"]),
        "X-Mlreg-Attempt": str(content["attempt"]),
    }


def signature(body: bytes, secret: str) -> str:
    """HMAC-SHA256 of a body, as the header `X-Mlreg-Signature` has it."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
