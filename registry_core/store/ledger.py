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
from registry_core.store.local.disk import sha256_hex
from registry_core.store.manifest import as_unicode, canonical
from registry_core.store.storage_errors import REBUILD

BEFORE_THE_FIRST = "0" * 64

# What stands in place of a row that a rebuild did not find; what its content was is not known.
LOST = "lost"

_TYPES: dict[str, tuple[type, ...]] = {
    "number": (int,),
    "at": (str,),
    "who": (str,),
    "action": (str,),
    "model": (str,),
    "version": (int, type(None)),
    "alias": (str, type(None)),
    "previous": (int, type(None)),
    "reason": (str,),
    "evidence": (dict,),
    "previous_digest": (str,),
    "digest": (str,),
}


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


def from_json(value: Any) -> LedgerRow:
    """A row as `LedgerRow.to_json` gave it. Its digest is not looked at.

    Raises:
        ValueError: it is no row.
    """
    if not isinstance(value, dict) or set(value) != set(_TYPES):
        raise ValueError("it is no row of the ledger")
    for name, kinds in _TYPES.items():
        if not isinstance(value[name], kinds) or isinstance(value[name], bool):
            raise ValueError(f"its {name} is a {type(value[name]).__name__}")
    return LedgerRow(**value)


def is_whole(row: LedgerRow) -> bool:
    """Whether the row is as it was written, by its own digest."""
    return digest(row) == row.digest


def digest(row: LedgerRow) -> str:
    """sha256 of every other field of the row."""
    # not dataclasses.asdict, which copies the evidence deeply, for each of 100,000 rows
    fields = {name: getattr(row, name) for name in row.__dataclass_fields__ if name != "digest"}
    return sha256_hex(canonical(fields))


def lost_row(number: int, previous_digest: str, known_digest: str | None) -> LedgerRow:
    """A row in place of one that is lost, so that those after it stay what they were.

    Args:
        number: its number.
        previous_digest: the digest of the row before it.
        known_digest: the lost row's own, where the row after it tells; None where it does not.
    """
    row = LedgerRow(
        number, utc_now(), "", LOST, "", None, None, None, "", {}, previous_digest, ""
    )  # fmt: skip
    return replace(row, digest=known_digest or digest(row))


class Chain:
    """The ledger's rows, held against each other one by one, oldest first."""

    def __init__(self) -> None:
        self.number = 0
        self._digest = BEFORE_THE_FIRST
        self._lost: list[int] = []

    def add(self, row: LedgerRow) -> None:
        """Hold a row against those before it.

        Raises:
            DamagedIndexError: one is missing, or the row is not as it was written.
        """
        number = self.number + 1
        if row.number != number:
            raise broken(number, "it is missing")
        if row.previous_digest != self._digest:
            raise broken(number, f"it does not continue row {number - 1}")
        if row.action == LOST:
            self._lost.append(number)  # the next row has its digest
        elif (found := digest(row)) != row.digest:
            raise broken(number, f"its digest is {row.digest}, its content's is {found}")
        if row.action == "rebuilt":
            told = lost_rows(row)
            self._lost = [
                n for n in self._lost if not any(first <= n <= last for first, last in told)
            ]
        self.number, self._digest = number, row.digest

    def end(self) -> None:
        """Raise DamagedIndexError where a row is told as lost that no rebuild has missed."""
        if self._lost:
            raise broken(self._lost[0], "it is told as lost, and no rebuild of the index lost it")


def lost_rows(row: LedgerRow) -> list[tuple[int, int]]:
    """The ranges of rows that a rebuild did not find, first and last, by its own row."""
    ranges = row.evidence.get("lost_rows", [])
    try:
        return [(int(first), int(last)) for first, last in ranges if last <= row.number]
    except (TypeError, ValueError):
        return []


def verify(rows: Iterable[LedgerRow]) -> None:
    """Recompute the whole chain, oldest row first.

    Raises:
        DamagedIndexError: names the first row that is missing, or is not as it was written.
    """
    chain = Chain()
    for row in rows:
        chain.add(row)
    chain.end()


def broken(number: int, why: str) -> DamagedIndexError:
    return DamagedIndexError(
        f"The ledger was changed, from row {number} on: {why}.",
        "Something other than mlreg changed it. Compare it with a copy of the registry, or rebuild "
        "it from ledger.jsonl.",
        REBUILD,
    )


def _who() -> str:
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has neither name nor LOGNAME
        name = str(os.getuid())
    return as_unicode(name)
