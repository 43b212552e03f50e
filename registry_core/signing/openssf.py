"""The OpenSSF model-signing format, by its library: signing and verifying, by key and offline.

A signature is a Sigstore bundle, whose payload lists the files of a version with their digests.
The library would hash a folder of files; here it gets the digests of the manifest, which were
checked against the files. What it writes is the same, so that its own command line can verify it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry_core.errors import UsageError
from registry_core.process.requirements import require_extra
from registry_core.signing.keys import read_key_file

# A signature has about 150 bytes for each file of a version.
LIMIT_BYTES = 64 * 2**20

# What the format allows; their other names are P-256, P-384, P-521.
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def sign(
    digests: Mapping[str, str], name: str, private_key: Path, password: str = ""
) -> tuple[bytes, bytes]:
    """Sign files by their digests.

    Args:
        digests: path -> sha256 in hex.
        name: of what is signed, for people who read the signature.
        private_key: a file in PEM form, on one of the curves P-256, P-384, P-521.
        password: of an encrypted key.

    Returns:
        The signature, and the public key in PEM form.

    Raises:
        UsageError: the library is not installed, or the key cannot be used.
    """
    require_extra("sign", "Signing a version")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from model_signing import signing

    secret = password.encode() or None
    content = read_key_file(private_key)
    try:
        key = serialization.load_pem_private_key(content, secret)
    except Exception as error:  # many kinds, as any file may be named
        raise _bad_key(private_key, content, error) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise _not_usable(private_key, "it is of another kind")
    config = signing.Config().set_hashing_config(_known(digests))
    # the library passes the password on to cryptography, which takes bytes
    config.use_elliptic_key_signer(private_key=private_key, password=secret)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "signature"
        config.sign(Path(name), file)
        return file.read_bytes(), public


def check(
    digests: Mapping[str, str], signature: bytes, public_key: bytes, fingerprint: str
) -> str | None:
    """Why a signature is not one of these files by this key; None if it is.

    Args:
        digests: path -> sha256 in hex, of all files.
        signature: what `sign` returned, or what the library's command line wrote.
        public_key: in PEM form.
        fingerprint: of the key.

    Raises:
        UsageError: the library is not installed.
    """
    require_extra("sign", "Verifying a signature")
    from model_signing import verifying

    if named_key(signature) != fingerprint:
        return "it is of another key"
    with tempfile.TemporaryDirectory() as folder:
        file, key = Path(folder) / "signature", Path(folder) / "key.pub"
        file.write_bytes(signature)
        key.write_bytes(public_key)
        config = verifying.Config().set_hashing_config(_known(digests))
        try:
            config.use_elliptic_key_verifier(public_key=key)
            config.verify(Path(folder), file)
        except Exception as error:  # whatever a signature that somebody else wrote leads to
            return _reason(error)
    return None


def named_key(signature: bytes) -> str | None:
    """The fingerprint of the key that a signature names; None if it names none."""
    try:
        found = json.loads(signature)["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def _known(digests: Mapping[str, str]) -> Any:
    """The library's hashing, of files whose digests are known."""
    from model_signing import hashing, manifest

    form = manifest.SerializationType.from_args(
        {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    )

    class KnownDigests(hashing.Config):
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
            items = [
                form.new_item(path, hashing.hashing.Digest("sha256", bytes.fromhex(digest)))
                for path, digest in digests.items()
            ]
            return manifest.Manifest(str(model_path), items, form)

    return KnownDigests()


def _bad_key(path: Path, content: bytes, error: Exception) -> UsageError:
    # one wrong password in 256 gives bytes that look decrypted, and make no key
    if "assword" in str(error) or b"ENCRYPTED" in content:
        given = "was not given" if isinstance(error, TypeError) else "is wrong"
        return UsageError(
            f"The key {path} is encrypted, and its password {given}.",
            "Set the password in the environment; it is not read from a command line.",
            "read -rs MLREG_KEY_PASSWORD && export MLREG_KEY_PASSWORD",
        )
    if b"PUBLIC KEY-----" in content:
        return UsageError(
            f"{path} has a public key, and signing needs the private one.",
            "Name the file with the private key.",
        )
    return _not_usable(path, "it has none in PEM form")


def _not_usable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} is not a private key that can sign: {why}.",
        "Use a key on the curve P-256, P-384 or P-521, in PEM form. A new one:",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
    )


def _reason(error: Exception) -> str:
    """The first line of what a library said; cryptography says nothing of a wrong signature."""
    first = str(error).strip().partition("\n")[0].rstrip(".?")
    return first[:200] or "it was not made by this key, or was changed"
