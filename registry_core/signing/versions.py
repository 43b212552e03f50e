"""Sign a version, and find the valid signatures of one.

A signature covers every file of a version and its manifest: so it covers the metrics that a
promotion goes by, and it is of the same files in every registry that has them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.records import Signature, Version
from registry_core.signing import openssf
from registry_core.store import Store

# The manifest's name among the signed files, which `mlreg export --format files` writes it to.
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class CheckedSignature:
    """A signature, and why it is not valid; empty if it is."""

    signature: Signature
    wrong: str = ""


# From a version to all its signatures, checked.
CheckSignatures = Callable[[Version], list[CheckedSignature]]


def sign_version(
    store: Store, version: Version, private_key: Path, password: str = "", reason: str = ""
) -> tuple[Signature, bool]:
    """Sign a version all of whose files were read and are not damaged.

    Args:
        store: the registry.
        version: the version.
        private_key: a file in PEM form.
        password: of an encrypted key.
        reason: kept in the ledger.

    Returns:
        The signature, and whether it is new: a key signs a version once.

    Raises:
        UsageError: the key cannot be used, or the library is not installed.
        IntegrityError: the version is damaged; it was not signed.
    """
    store.check(version)
    content, public_key = openssf.sign(_digests(version), version.ref, private_key, password)
    key = openssf.named_key(content)
    for checked in check_signatures(store, version, [str(key)]):
        if not checked.wrong:
            return checked.signature, False
    return store.signatures.add(version, content, public_key, reason), True


def check_signatures(
    store: Store, version: Version, keys: Collection[str] | None = None
) -> list[CheckedSignature]:
    """The signatures of a version, each checked against its key and the manifest.

    The files themselves are not read: `store.check` compares them with the manifest.

    Args:
        store: the registry.
        version: the version.
        keys: only those by these keys, by fingerprint; None is all.

    Raises:
        UsageError: the library is not installed.
        IntegrityError: a signature, a key or the manifest is damaged.
    """
    found = []
    store.manifest(version)  # the version's files are those of its manifest
    for signature in store.signatures.of(version):
        if keys is None or signature.key in keys:
            content, key = store.signatures.contents(version, signature, openssf.LIMIT_BYTES)
            wrong = openssf.check(_digests(version), content, key, signature.key)
            found.append(CheckedSignature(signature, wrong or ""))
    return found


def signature_checks(store: Store) -> CheckSignatures:
    """`check_signatures` of a registry."""
    return partial(check_signatures, store)


def _digests(version: Version) -> dict[str, str]:
    """What is signed: path -> sha256."""
    if version.file(MANIFEST_FILE):
        raise UsageError(
            f"{version.ref} has a file {MANIFEST_FILE} of its own, and cannot be signed.",
            "Its plugin has to write that file under another name.",
        )
    files = {file.path: file.sha256 for file in version.files}
    return {**files, MANIFEST_FILE: version.digest}
