"""Public keys, as files and as fingerprints.

A fingerprint is the sha256 of the key's PEM text, as `sha256sum key.pub` prints it. Signatures in
the OpenSSF format name their key by the same digest. Only text is looked at here: what a key can
verify is the library's affair.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from registry_core.errors import UsageError
from registry_core.rules import FINGERPRINT
from registry_core.settings import expand_home

# More than any key has; a file of this size is something else.
LIMIT_BYTES = 65_536

_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----\s(.*?)-----END PUBLIC KEY-----", re.DOTALL)


def read_public_key(path: Path) -> bytes:
    """A public key from a PEM file, in the one form that its fingerprint is taken of.

    Raises:
        UsageError: the file cannot be read, or has no public key.
    """
    content = read_key_file(path)
    found = _PUBLIC.search(content)
    try:
        if found:
            return pem(base64.b64decode(b"".join(found[1].split()), validate=True))
    except binascii.Error:
        pass
    if b"PRIVATE KEY-----" in content:
        raise UsageError(
            f"{path} has a private key; a public key is needed here.",
            "Write the public key to a file of its own.",
            f"openssl pkey -in {shlex.quote(str(path))} -pubout -out key.pub",
        )
    raise UsageError(
        f"{path} has no public key in PEM form.",
        "Such a file begins with -----BEGIN PUBLIC KEY-----.",
        "openssl pkey -in KEY -pubout -out key.pub",
    )


def read_key_file(path: Path) -> bytes:
    """The content of a key's file.

    Raises:
        UsageError: it cannot be read, or is far larger than a key.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"The key {path} cannot be read: {reason}.",
            "Name a file in PEM form.",
            f"ls -l {shlex.quote(str(path.parent))}",
        ) from error
    if len(content) > LIMIT_BYTES:
        raise UsageError(f"{path} is too large for a key.", "Name a file in PEM form.")
    return content


def pem(der: bytes) -> bytes:
    """The PEM text of a public key, as OpenSSL writes it."""
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----", b""])


def fingerprint(key: bytes) -> str:
    """The fingerprint of a public key in the form that `read_public_key` returns."""
    return hashlib.sha256(key).hexdigest()


def fingerprints(named: Sequence[str], folder: Path, place: str) -> list[str]:
    """The fingerprints that a rule's `signed_by` means.

    Args:
        named: fingerprints, and paths of public keys.
        folder: what relative paths are relative to.
        place: where they are written, for errors: `signed_by in FILE`.

    Raises:
        UsageError: a file cannot be read, or has no public key.
    """
    found = []
    for each in named:
        if FINGERPRINT.fullmatch(each):
            found.append(each)
        else:
            path = folder / expand_home(each, place)
            found.append(fingerprint(read_public_key(path)))
    return sorted(set(found))
