"""The append-only list of everything that happened to the registry.

Each row has the digest of the row before it. Here a row is made and checked; where rows are stored
is the index's affair.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.errors import DamagedIndexError
from registry_core.records import LedgerAction, LedgerRow
from registry_core.store.clock import utc_now
from registry_core.store.local.disk import sha256_hex
from registry_core.store.manifest import LIMIT_BYTES, as_unicode, canonical, read_json
from registry_core.store.storage_errors import REBUILD

BEFORE_THE_FIRST = "0" * 64
DIGEST = re.compile(r"[0-9a-f]{64}")
# how many objects the rows about one version may refer to
LIMIT_BLOBS = 10_000
# A row's evidence is bounded like a manifest; every character of it may be escaped.
LIMIT_LINE_BYTES = 8 * LIMIT_BYTES

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
    """What happened, before it is a row of the ledger."""

    action: LedgerAction
    model: str
    version: int | None = None
    alias: str | None = None
    previous: int | None = None
    reason: str = ""
    evidence: Mapping[str, Any] | None = None


def next_row(event: Event, last: tuple[int, str] | None, who: str) -> LedgerRow:
    """The row of the ledger for an event.

    Args:
        event: what happened.
        last: number and digest of the last row; None for an empty ledger.
        who: the account that writes.
    """
    number, previous_digest = last or (0, BEFORE_THE_FIRST)
    row = LedgerRow(
        number=number + 1,
        at=utc_now(),
        who=who,
        action=LedgerAction(event.action).value,
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
    """A row from what `LedgerRow.to_json` returned. Its digest is not checked.

    Raises:
        ValueError: it is not a row.
    """
    if not isinstance(value, dict) or set(value) != set(_TYPES):
        raise ValueError("it is not a row of the ledger")
    for name, kinds in _TYPES.items():
        if not isinstance(value[name], kinds) or isinstance(value[name], bool):
            raise ValueError(f"its {name} is a {type(value[name]).__name__}")
    return LedgerRow(**value)


def line(row: LedgerRow) -> bytes:
    """A row as a line of JSON."""
    return canonical(row.to_json()) + b"\n"


def parsed(content: bytes) -> LedgerRow | None:
    """The row in a line; None if it is not one. Its digest is not checked."""
    try:
        return from_json(read_json(content))
    except ValueError:
        return None


def is_intact(row: LedgerRow) -> bool:
    """Whether the row's digest matches its content."""
    return digest(row) == row.digest


def digest(row: LedgerRow) -> str:
    """sha256 of every other field of the row."""
    # not dataclasses.asdict, which copies the evidence deeply, for each of 100,000 rows
    fields = {name: getattr(row, name) for name in row.__dataclass_fields__ if name != "digest"}
    return sha256_hex(canonical(fields))


def lost_row(number: int, previous_digest: str, known_digest: str | None) -> LedgerRow:
    """A row in place of one that is lost, so that the rows after it stay valid.

    Args:
        number: its number.
        previous_digest: the digest of the row before it.
        known_digest: the lost row's digest, by the row after it; None if that is lost too.
    """
    action = LedgerAction.LOST.value
    row = LedgerRow(
        number, utc_now(), "", action, "", None, None, None, "", {}, previous_digest, ""
    )  # fmt: skip
    return replace(row, digest=known_digest or digest(row))


class Chain:
    """Checks that each row of the ledger continues the one before it, oldest first."""

    def __init__(self) -> None:
        self.number = 0
        self._digest = BEFORE_THE_FIRST
        self._lost: list[int] = []

    def add(self, row: LedgerRow) -> None:
        """Check the next row.

        Raises:
            DamagedIndexError: a row is missing, or this one was changed.
        """
        number = self.number + 1
        if row.number != number:
            raise broken(number, "it is missing")
        if row.previous_digest != self._digest:
            raise broken(number, f"it does not continue row {number - 1}")
        if row.action == LedgerAction.LOST:
            self._lost.append(number)  # the next row has its digest
        elif (found := digest(row)) != row.digest:
            raise broken(number, f"its digest is {row.digest}, its content's is {found}")
        if row.action == LedgerAction.REBUILT:
            ranges = lost_rows(row)
            self._lost = [
                n for n in self._lost if not any(first <= n <= last for first, last in ranges)
            ]
        self.number, self._digest = number, row.digest

    def end(self) -> None:
        """Raise DamagedIndexError if a row claims to be lost and no rebuild has recorded that."""
        if self._lost:
            raise broken(
                self._lost[0], "it claims to be lost, and no rebuild of the index has recorded that"
            )


def lost_rows(row: LedgerRow) -> list[tuple[int, int]]:
    """The ranges of rows that a rebuild did not find, first and last, by the row it wrote."""
    ranges = row.evidence.get("lost_rows", [])
    try:
        return [(int(first), int(last)) for first, last in ranges if last <= row.number]
    except (TypeError, ValueError):
        return []


def verify(rows: Iterable[LedgerRow]) -> None:
    """Recompute the whole chain, oldest row first.

    Raises:
        DamagedIndexError: names the first row that is missing or was changed.
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


def account_name() -> str:
    """The name of the user who runs this process."""
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has neither name nor LOGNAME
        name = str(os.getuid())
    return as_unicode(name)


def blobs_of(rows: Iterable[LedgerRow]) -> list[str]:
    """The objects that rows refer to, by their evidence."""
    digests: dict[Any, None] = {}
    for row in rows:
        named = row.evidence.get("blobs")
        digests |= dict.fromkeys(each for each in named or () if isinstance(each, str))
    return [digest for digest in digests if DIGEST.fullmatch(digest)][:LIMIT_BLOBS]
