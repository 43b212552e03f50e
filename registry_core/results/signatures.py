"""Signatures that were made or verified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.records import Signature, Version


@dataclass(frozen=True)
class SignedVersion:
    """A version, and the signature that a key made of it.

    Args:
        version: the version.
        signature: the signature.
        changed: whether it is new; False where the key had signed the version before.
    """

    version: Version
    signature: Signature
    changed: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version.ref,
            "signature": self.signature.to_json(),
            "changed": self.changed,
        }


@dataclass(frozen=True)
class VerifiedVersion:
    """A version whose files were read, and its valid signatures by the keys that were asked for."""

    version: Version
    signatures: Sequence[Signature]

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version.ref,
            "signatures": [signature.to_json() for signature in self.signatures],
        }
