"""The signatures of versions.

A version never changes, so a signature is an object beside it, which a row of the ledger names. The
public key is an object too: its digest is the fingerprint by which rules and signatures name it.
Nothing here knows what a signature looks like, or whether it is valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from registry_core.records import LedgerAction, LedgerRow, Signature, Version
from registry_core.store import lookup
from registry_core.store.ledger import Event, is_intact
from registry_core.store.local.disk import sha256_hex
from registry_core.store.publishing import Publishing
from registry_core.store.storage_errors import contradicted

if TYPE_CHECKING:
    from registry_core.store.transactions import Transactions

_UNSIGNED = "No signature was recorded."


class Signatures:
    """The signatures of a registry's versions.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access

    def of(self, version: Version) -> list[Signature]:
        """The signatures that the ledger has of a version, newest first; none is checked here."""
        with self._access.reading(f"looking for signatures of {version.ref}") as view:
            rows = view.ledger(version.model, version.version)
        return [found for row in rows if (found := read_signature(row))]

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
        with publishing.start_run(version.model) as run:
            with self._access.translate_storage_errors(doing, outcome=_UNSIGNED):
                run.write_intent([*contents])
                for number, (digest, content) in enumerate(contents.items()):
                    file = run.files / str(number)
                    file.write_bytes(content)
                    self._access.blobs.put(digest, file)
            with self._access.writing(doing, outcome=_UNSIGNED) as index:
                present = lookup.by_number(index, version.model, version.version)
                if present.digest != version.digest:
                    raise contradicted(present.ref, "its manifest")
                publishing.check_present([*contents])
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


def read_signature(row: LedgerRow) -> Signature | None:
    """The signature that a row records; None if it records none."""
    blobs, key = row.evidence.get("blobs"), row.evidence.get("key")
    if row.action != LedgerAction.SIGNED or not is_intact(row) or not isinstance(blobs, list):
        return None
    others = [blob for blob in blobs if blob != key]
    if not isinstance(key, str) or key not in blobs or len(others) != 1:
        return None
    return Signature(key, str(others[0]), row.number, row.at, row.who, row.reason)
