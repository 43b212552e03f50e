"""The signatures of versions.

A version never changes, so a signature is an object beside it, which a row of the ledger names. The
public key is an object too: its digest is the fingerprint by which rules and signatures name it.
Nothing here knows what a signature looks like, or whether it is valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from registry_core.records import LedgerAction, LedgerRow, Signature, Version
from registry_core.store import lookup
from registry_core.store.ledger import Event, blobs_of, is_intact
from registry_core.store.local.disk import sha256_hex
from registry_core.store.manifest import LIMIT_BYTES
from registry_core.store.publishing import Publishing
from registry_core.store.storage_errors import contradicted

if TYPE_CHECKING:
    from registry_core.store.transactions import Transactions

# A copy of a copy carries the rows of all the registries before it; this many are read.
_LIMIT_COPIES = 16

_UNSIGNED = "No signature was recorded."


class Signatures:
    """The signatures of a registry's versions.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access

    def of(self, version: Version) -> list[Signature]:
        """The signatures that the ledger has of a version, newest first; none is checked here.

        A copy has those of the version that it was copied from, too: they are of the same files.
        """
        doing = f"looking for signatures of {version.ref}"
        with self._access.reading(doing) as view:
            rows = view.signed(version.model, version.version)
            registered = view.registration(version) if version.origin else None
        found = [signature for row in rows if (signature := read_signature(row))]
        if registered:
            with self._access.translate_storage_errors(doing):
                found += self._carried([registered[0]])
        return list({each.digest: each for each in reversed(found)}.values())[::-1]

    def _carried(self, rows: Sequence[LedgerRow]) -> list[Signature]:
        """The signatures in the rows of other ledgers that came with a copy, or a copy of a copy.

        What is damaged is passed over: an audit reports it.
        """
        from registry_core.store.arrivals import carried_rows

        found: list[Signature] = []
        pending = _carriers(rows)
        for digest in pending:  # grows below
            content = self._access.blobs.read_small(digest, LIMIT_BYTES)
            with suppress(ValueError, KeyError, TypeError):
                registry, theirs = carried_rows(content or b"")
                read = [signature for row in theirs if (signature := read_signature(row))]
                found += [replace(signature, registry=registry) for signature in read]
                pending += [each for each in _carriers(theirs) if each not in pending]
                del pending[_LIMIT_COPIES:]
        return found

    def contents(self, version: Version, signature: Signature, limit_bytes: int) -> Sequence[bytes]:
        """A signature and its public key, each checked against its digest.

        Raises:
            IntegrityError: one is missing, damaged, or larger than it can be.
        """
        what = f"signature of {version.ref}"
        with self._access.translate_storage_errors(f"reading a {what}"):
            return (
                self._access.blobs.read(signature.digest, f"The {what}", limit_bytes),
                self._access.blobs.read(signature.key, f"The key of a {what}", limit_bytes),
            )

    def add(
        self, version: Version, signature: bytes, public_key: bytes, reason: str = ""
    ) -> Signature:
        """Record a signature of a version.

        Args:
            version: the version.
            signature: what was signed, and the signature of it.
            public_key: its digest is the key's fingerprint.
            reason: why, for the ledger.

        Raises:
            UsageError: the version was removed.
            BusyError, StorageError, IntegrityError: nothing was recorded.
        """
        doing = f"signing {version.ref}"
        contents = {sha256_hex(content): content for content in (signature, public_key)}
        publishing = Publishing(self._access)
        with publishing.start_run(version.model, LedgerAction.SIGNED, doing) as run:
            with self._access.translate_storage_errors(doing, outcome=_UNSIGNED):
                run.write_intent([*contents])
                files = {digest: run.files / digest for digest in contents}
                for digest, file in files.items():
                    file.write_bytes(contents[digest])
                self._access.blobs.put_all(files, {})
            with self._access.writing(doing, outcome=_UNSIGNED) as index:
                present = lookup.by_number(index, version.model, version.version)
                if present.digest != version.digest:
                    raise contradicted(present.ref, "its manifest")
                publishing.check_present({digest: len(each) for digest, each in contents.items()})
                evidence = {"key": sha256_hex(public_key), "blobs": [*contents]}
                row = index.append(
                    Event(
                        LedgerAction.SIGNED,
                        version.model,
                        version.version,
                        reason=reason,
                        evidence=evidence,
                    )
                )
            with suppress(OSError):  # the row refers to all that was intended
                run.committed()
        return Signature(
            sha256_hex(public_key), sha256_hex(signature), row.number, row.at, row.who, row.reason
        )


def _carriers(rows: Sequence[LedgerRow]) -> list[str]:
    """The objects that have the rows of another ledger, by the rows that registered copies."""
    return [
        blobs[0]
        for row in rows
        if row.action == LedgerAction.REGISTERED and (blobs := blobs_of([row]))
    ]


def read_signature(row: LedgerRow) -> Signature | None:
    """The signature that a row records; None if it records none."""
    if row.action != LedgerAction.SIGNED or not is_intact(row):
        return None
    key, blobs = row.evidence.get("key"), blobs_of([row])
    others = [blob for blob in blobs if blob != key]
    if not isinstance(key, str) or key not in blobs or len(others) != 1:
        return None
    return Signature(key, others[0], row.number, row.at, row.who, row.reason)
