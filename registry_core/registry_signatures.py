"""The verbs of a registry about signatures."""

from __future__ import annotations

from pathlib import Path

from registry_core import results
from registry_core.errors import RefusedError
from registry_core.registry_lists import Reference
from registry_core.registry_sweeps import RegistrySweeper


class RegistrySigner(RegistrySweeper):
    """Signs versions and verifies their signatures; needs the extra `sign`."""

    def sign(
        self,
        reference: Reference,
        key: str | Path,
        *,
        password: str = "",
        reason: str = "",
    ) -> results.SignedVersion:
        """Sign a version's files and manifest with a private key, in the OpenSSF format.

        Args:
            reference: the version.
            key: a file with a private key in PEM form, on the curve P-256, P-384 or P-521.
            password: of an encrypted key.
            reason: kept in the ledger.

        Raises:
            UsageError: the key cannot be used, or the extra is not installed.
            IntegrityError: a file of the version is damaged; it was not signed.
        """
        from registry_core.signing.versions import sign_version

        version = self.version(reference)
        signature, changed = sign_version(self.store, version, Path(key), password, reason)
        return results.SignedVersion(version, signature, changed)

    def verify_signature(self, reference: Reference, key: str | Path) -> results.VerifiedVersion:
        """Read a version's files, and check that a public key has signed them.

        Args:
            reference: the version.
            key: a file with a public key in PEM form.

        Raises:
            UsageError: the key cannot be read, or the extra is not installed.
            IntegrityError: a file of the version, or a signature, is damaged.
            RefusedError: the key has not signed the version, or its signature is not valid.
        """
        from registry_core.rules import signers
        from registry_core.signing.keys import fingerprint, read_public_key
        from registry_core.signing.versions import check_signatures

        wanted = fingerprint(read_public_key(Path(key)))
        version = self.version(reference)
        self.store.check(version)
        found = check_signatures(self.store, version, [wanted])
        if valid := [each.signature for each in found if not each.wrong]:
            return results.VerifiedVersion(version, valid)
        if found:
            raise RefusedError(
                f"The signature of {version.ref} by {signers([wanted])} is not valid: "
                f"{found[0].wrong}.",
                "The signature is not of these files. Whoever has the key can sign them.",
                f"mlreg history {version.ref}",
            )
        others = sorted({each.key for each in self.store.signatures.of(version)})
        raise RefusedError(
            f"{version.ref} has no signature by {signers([wanted])}.",
            f"It is signed by {signers(others)}." if others else "Nobody has signed it.",
            f"mlreg show {version.ref}",
        )
