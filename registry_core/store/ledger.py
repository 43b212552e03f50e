"""The list of everything that happened to the registry: each row seals the one before it.

Knows how a row is made and checked, not where rows are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from registry_core.errors import DamagedIndexError
from registry_core.records import LedgerRow
from registry_core.store.clock import utc_now
from registry_core.store.disk import sha256_hex
from registry_core.store.faults import REBUILD
from registry_core.store.manifest import as_unicode, canonical

BEFORE_THE_FIRST = "0" * 64


@dataclass(frozen=True)
class Event:
    """What happened, before it has a place in the ledger."""

    action: str
    model: str
    version: int | None = None
    alias: str | None = None
    previous: int | None = None
    reason: str = ""
    evidence: Mapping[str, Any] | None = None


def next_row(event: Event, last: tuple[int, str] | None) -> LedgerRow:
    """Give an event its place.

    Args:
        event: what happened.
        last: number and digest of the last row; None where there is none yet.
    """
    number, previous_digest = last or (0, BEFORE_THE_FIRST)
    row = LedgerRow(
        number=number + 1,
        at=utc_now(),
        who=_who(),
        action=event.action,
        model=event.model,
        version=event.version,
        alias=event.alias,
        previous=event.previous,
        reason=as_unicode(event.reason),
        evidence=event.evidence or {},
        previous_digest=previous_digest,
        digest="",
    )
    return replace(row, digest=digest(row))


def digest(row: LedgerRow) -> str:
    """sha256 of every other field of the row."""
    # not dataclasses.asdict, which copies the evidence deeply, for each of 100,000 rows
    fields = {name: getattr(row, name) for name in row.__dataclass_fields__ if name != "digest"}
    return sha256_hex(canonical(fields))


def verify(rows: Iterable[LedgerRow], last: LedgerRow | None = None) -> None:
    """Recompute the chain, oldest row first.

    Args:
        rows: the rows that follow `last`.
        last: the row before them; None where they begin the ledger.

    Raises:
        DamagedIndexError: names the first row that is missing, or is not as it was written.
    """
    previous_digest = last.digest if last else BEFORE_THE_FIRST
    for number, row in enumerate(rows, start=last.number + 1 if last else 1):
        if row.number != number:
            raise broken(number, "it is missing")
        if row.previous_digest != previous_digest:
            raise broken(number, f"it does not continue row {number - 1}")
        if (found := digest(row)) != row.digest:
            raise broken(number, f"its digest is {row.digest}, its content's is {found}")
        previous_digest = row.digest


def broken(number: int, why: str) -> DamagedIndexError:
    return DamagedIndexError(
        f"The ledger is not as it was written, from row {number} on: {why}.",
        "Someone changed it behind mlreg's back. Compare it with a copy of the registry, or with "
        "ledger.jsonl, from which it can be rebuilt.",
        REBUILD,
    )


def _who() -> str:
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has neither name nor LOGNAME
        name = str(os.getuid())
    return as_unicode(name)
