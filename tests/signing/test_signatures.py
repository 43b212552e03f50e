"""Signatures of versions: made, verified, and asked for by promotion rules."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from promotion_helpers import damage, held_by, promote, publish, registry
from signing_helpers import of_file, write_keys
from store_backends import BACKENDS, EACH_BACKEND
from store_helpers import age, assert_whole, blob, blobs, in_child

from registry_core.errors import IntegrityError, RefusedError, UsageError
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.records import LedgerAction
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings, read_settings
from registry_core.signing import openssf
from registry_core.signing.keys import fingerprint, read_public_key
from registry_core.store import Store
from registry_core.store.arrivals import check_parcel
from registry_core.store.publishing import Publishing

pytestmark = pytest.mark.drawn


@pytest.fixture
def keys(tmp_path) -> tuple[Path, Path]:
    return write_keys(tmp_path, "release")


@pytest.fixture
def others(tmp_path) -> tuple[Path, Path]:
    return write_keys(tmp_path, "other")


# --- signing and verifying --------------------------------------------------------------------


def test_a_signed_version_verifies_with_its_public_key_alone(tmp_path, keys, others):
    """The fingerprint is what `sha256sum` prints of the key's file."""
    registered = registry(tmp_path)
    version = publish(registered, 900)
    signed = registered.sign("dummy@1", keys[0], reason="released")
    assert signed.changed
    assert signed.signature.key == of_file(keys[1])
    found = registered.verify_signature("dummy@1", keys[1])
    assert found.signatures == [signed.signature] == registered.show("dummy@1").signatures
    with pytest.raises(RefusedError, match="no signature by key") as caught:
        registered.verify_signature(version, others[1])
    assert caught.value.exit_status == 9
    assert signed.signature.key[:12] in caught.value.remedy
    row = registered.history("dummy@1")[0]
    assert (row.action, row.reason) == ("signed", "released")
    assert row.evidence == {"key": signed.signature.key, "blobs": row.evidence["blobs"]}
    assert set(row.evidence["blobs"]) == {signed.signature.digest, signed.signature.key}


def test_a_key_signs_a_version_once(tmp_path, keys, others):
    """The second time says so and writes nothing; another key adds its own signature."""
    registered = registry(tmp_path)
    publish(registered, 900)
    first = registered.sign("dummy@1", keys[0])
    stored = blobs(registered.store)
    again = registered.sign("dummy@1", keys[0])
    assert (again.changed, again.signature) == (False, first.signature)
    assert blobs(registered.store) == stored
    registered.sign("dummy@1", others[0])
    newest, oldest = registered.show("dummy@1").signatures
    assert (oldest, newest.key) == (first.signature, of_file(others[1]))
    assert registered.verify_signature("dummy@1", others[1]).signatures == [newest]


def test_nothing_connects_to_a_network(tmp_path, keys, monkeypatch):
    """Signing and verifying are offline: no time stamp, no log, no identity is asked for."""

    def refuse(*_):
        raise AssertionError("connected")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    registered = registry(tmp_path)
    publish(registered, 900)
    registered.sign("dummy@1", keys[0])
    assert registered.verify_signature("dummy@1", keys[1]).signatures


def test_signatures_stay_through_gc_audit_and_a_rebuilt_index(tmp_path, keys):
    """The ledger refers to them; without one of the objects, the audit says so."""
    registered = registry(tmp_path)
    publish(registered, 900)
    signature = registered.sign("dummy@1", keys[0]).signature
    for digest in blobs(registered.store):
        age(registered.store, digest)
    assert registered.collect().collection.blobs == 0
    assert not registered.verify().audit.problems
    (registered.folder / "registry.sqlite3").unlink()
    assert registered.verify(rebuild=True).rebuilt
    again = Registry(registered.folder, Settings())
    assert again.show("dummy@1").signatures == [signature]
    assert again.verify_signature("dummy@1", keys[1]).signatures == [signature]
    blob(again.store, signature.digest).unlink()
    assert len(again.verify().audit.problems) == 1
    with pytest.raises(IntegrityError, match="signature of dummy@1"):
        again.verify_signature("dummy@1", keys[1])


def test_a_signer_that_is_interrupted_or_killed_leaves_nothing(tmp_path, keys, monkeypatch):
    """Before the ledger has the row; what a killed one stored is swept by the next writer."""
    registered = registry(tmp_path)
    version = publish(registered, 900)
    before = blobs(registered.store)
    stored = []

    def die(self, digests):
        stored.append(blobs(registered.store) - before)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Publishing, "check_present", die)
        with pytest.raises(KeyboardInterrupt):
            registered.sign(version, keys[0])
    assert len(stored[0]) == 2
    assert blobs(registered.store) == before

    def be_killed(self, digests):
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(Publishing, "check_present", be_killed)
        assert in_child(lambda: registered.sign(version, keys[0])) == -signal.SIGKILL
    assert len(blobs(registered.store) - before) == 2
    registered.tag(version, {"swept": "by this"})
    assert_whole(registered.store)
    assert registered.store.signatures.of(version) == []


def test_a_copy_in_another_registry_takes_its_signatures_with_it(tmp_path, keys):
    """Also a copy of a copy; a rule there is satisfied, and gc and the audit keep them."""
    stores = [Store(tmp_path / name) for name in ("first", "second", "third")]
    first = registry(tmp_path / "first")
    version = publish(first, 900)
    signature = first.sign(version, keys[0]).signature
    stores[0] = first.store
    for source, target in pairwise(stores):
        version = target.receive(check_parcel(source.parcel(version)), "copy", lambda *_: None)[0]
        assert target.signatures.of(version) == [replace(signature, registry=source_id(first))]
    rules = {"production": PromotionRule(signed_by=[signature.key])}
    third = Registry(stores[2].folder, Settings(promotion=rules))
    (check,) = [
        each for each in promote(third, version).checks if each.passed and "sign" in each.name
    ]
    assert check.found.endswith("row 2 of another registry's ledger")
    assert third.verify_signature(version, keys[1]).signatures
    assert not third.verify().audit.problems
    for digest in blobs(third.store):
        age(third.store, digest)
    assert third.collect().collection.blobs == 0


def source_id(registered) -> str:
    return str(registered.store.registry_id())


@pytest.mark.parametrize("name", EACH_BACKEND)
def test_any_kind_of_registry_keeps_signatures(tmp_path, keys, others, name, monkeypatch):
    """Through the verbs: signing, a rule that refuses, a promotion, damage, a lost index."""
    backend = BACKENDS[name](tmp_path)
    rule = PromotionRule(signed_by=[of_file(keys[1])])
    backend.store().rules.change(lambda _: {"production": rule})
    registered = Registry(backend.place, Settings())
    version = publish(registered, 900)
    registered.sign(version, others[0])
    with pytest.raises(PromotionRefusedError, match="not listed"):
        promote(registered, version)
    signature = registered.sign(version, keys[0]).signature
    promote(registered, version)
    assert not registered.verify().audit.problems
    backend.lose_index()
    registered.verify(rebuild=True)
    again = Registry(backend.place, Settings())
    assert again.show(version.ref).signatures[0] == signature
    assert again.verify_signature(version.ref, keys[1]).signatures == [signature]
    backend.damage(signature.digest)
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path / "empty"))  # the right content is in the other
    with pytest.raises(IntegrityError):
        Registry(backend.place, Settings()).verify_signature(version.ref, keys[1])


# --- the format -------------------------------------------------------------------------------


@pytest.mark.gate
def test_the_library_s_own_command_line_verifies_what_is_exported(tmp_path, keys, others):
    """`mlreg export --format files` writes what it takes; it refuses a changed file."""
    registered = registry(tmp_path)
    publish(registered, 900)
    registered.sign("dummy@1", keys[0])
    registered.sign("dummy@1", others[0])
    out = registered.export("dummy@1", "files", tmp_path / "out").path
    (signature,) = out.glob(f"signatures/{of_file(keys[1])[:16]}.sig")
    verify = [sys.executable, "-m", "model_signing", "verify", "key", str(out / "version")]
    verify += ["--signature", str(signature), "--public_key", str(keys[1])]
    good = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    model = out / "version" / "model.keras"
    model.write_bytes(model.read_bytes() + b"!")
    bad = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert bad.returncode != 0
    assert "model.keras" in bad.stdout + bad.stderr


def test_what_the_library_signs_is_accepted(tmp_path, keys):
    """A signature that it makes by hashing the exported files is one of the same version."""
    from model_signing import signing

    registered = registry(tmp_path)
    version = publish(registered, 900)
    out = registered.export("dummy@1", "files", tmp_path / "out").path
    config = signing.Config().use_elliptic_key_signer(private_key=keys[0])
    config.sign(out / "version", tmp_path / "made.sig")
    content = (tmp_path / "made.sig").read_bytes()
    registered.store.signatures.add(version, content, keys[1].read_bytes())
    assert registered.verify_signature("dummy@1", keys[1]).signatures


def test_a_signature_covers_every_file_and_the_manifest(tmp_path, keys):
    """So also the metrics, which only the manifest has."""
    registered = registry(tmp_path)
    version = publish(registered, 900)
    signature = registered.sign("dummy@1", keys[0]).signature
    content, _ = registered.store.signatures.contents(version, signature, 1 << 20)
    envelope = json.loads(content)["dsseEnvelope"]
    payload = json.loads(base64.b64decode(envelope["payload"]))
    named = {each["name"]: each["digest"] for each in payload["predicate"]["resources"]}
    files = {file.path: file.sha256 for file in version.files}
    assert named == {**files, "manifest.json": version.digest}


# --- what is refused --------------------------------------------------------------------------


def test_a_changed_file_is_damage_and_not_signed(tmp_path, keys):
    """Exit status 6, before and after it was signed."""
    registered = registry(tmp_path)
    first, second = publish(registered, 900), publish(registered, 800)
    registered.sign(first, keys[0])
    for version in (first, second):
        damage(registered, version)
    with pytest.raises(IntegrityError) as caught:
        registered.verify_signature(first, keys[1])
    assert caught.value.exit_status == 6
    with pytest.raises(IntegrityError):
        registered.sign(second, keys[0])
    assert registered.store.signatures.of(second) == []


def forged(registered, version, keys, others) -> list[tuple[bytes, bytes]]:
    """Signatures of a version that are none: what is stored, and the key that it is said to be."""
    public, other = keys[1].read_bytes(), others[1].read_bytes()
    digests = {file.path: file.sha256 for file in version.files}
    whole = {**digests, "manifest.json": version.digest}
    by_other, _ = openssf.sign(whole, "x", others[0])
    renamed = by_other.replace(fingerprint(other).encode(), fingerprint(public).encode())
    good, _ = openssf.sign(whole, "x", keys[0])
    changed = json.loads(good)
    del changed["dsseEnvelope"]["signatures"]
    return [
        (openssf.sign({**whole, "model.keras": "0" * 64}, "x", keys[0])[0], public),
        (openssf.sign(digests, "x", keys[0])[0], public),  # without the manifest
        (openssf.sign({**whole, "more": "0" * 64}, "x", keys[0])[0], public),
        (by_other, public),
        (renamed, public),
        (json.dumps(changed).encode(), public),
        (b"{}", public),
        (b"[" * 100_000, public),
        (b"\xff", public),
    ]


def test_forged_signatures_are_refused(tmp_path, keys, others):
    """Of other files, by another key that takes the right one's name, or no signature at all."""
    rule = PromotionRule(signed_by=[of_file(keys[1])])
    registered = registry(tmp_path, production=rule)
    for content, key in forged(registered, publish(registered, 900), keys, others):
        version = publish(registered, 900)
        registered.store.signatures.add(version, content, key)
        with pytest.raises(RefusedError, match="is not valid"):
            registered.verify_signature(version, keys[1])
        with pytest.raises(PromotionRefusedError, match="no valid signature"):
            promote(registered, version)
    version = publish(registered, 900)
    assert registered.sign(version, keys[0]).changed


def test_the_signature_of_another_version_is_refused(tmp_path, keys):
    """It is a valid signature by the right key, of other files."""
    registered = registry(tmp_path, production=PromotionRule(signed_by=[of_file(keys[1])]))
    first, second = publish(registered, 900), publish(registered, 100)
    signature = registered.sign(first, keys[0]).signature
    content, key = registered.store.signatures.contents(first, signature, 1 << 20)
    registered.store.signatures.add(second, content, key)
    with pytest.raises(PromotionRefusedError, match=r"no valid signature.*Hash mismatch"):
        promote(registered, second)
    assert held_by_nobody(registered)


def held_by_nobody(registered) -> bool:
    return not registered.aliases("dummy")


def test_keys_that_cannot_sign_say_what_would(tmp_path, keys):
    """A public key, another kind of key, no key, no file; a password that is missing or wrong."""
    registered = registry(tmp_path)
    publish(registered, 900)
    (tmp_path / "text").write_text("hello")
    rsa_key, _ = write_keys(tmp_path, "rsa", rsa.generate_private_key(65537, 1024))
    curve, _ = write_keys(tmp_path, "curve", ec.generate_private_key(ec.SECP256K1()))
    locked, _ = write_keys(tmp_path, "locked", password=b"secret")
    cases = [
        (keys[1], "", "has a public key"),
        (rsa_key, "", "another kind"),
        (curve, "", "another kind"),
        (tmp_path / "text", "", "none in PEM form"),
        (tmp_path / "missing", "", "cannot be read"),
        (tmp_path, "", "cannot be read"),
        (Path("/dev/zero"), "", "too large"),
        (locked, "", "was not given"),
        (locked, "wrong", "is wrong"),
    ]
    for key, password, said in cases:
        with pytest.raises(UsageError, match=said):
            registered.sign("dummy@1", key, password=password)
    assert registered.show("dummy@1").signatures == []
    assert registered.sign("dummy@1", locked, password="secret").changed


def test_a_wrong_password_that_decrypts_to_something_is_still_wrong(tmp_path):
    """One in 256 does: the padding looks right, and what was decrypted is no key."""
    path = tmp_path / "locked.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for number in range(1500):
        with pytest.raises(UsageError, match="its password is wrong"):
            openssf.sign({}, "dummy@1", path, f"wrong {number}")


def test_public_keys_are_read_in_any_layout(tmp_path, keys, others):
    """Text around it and other line lengths do not change the fingerprint; other files say why."""
    expected = keys[1].read_bytes()
    lines = expected.split(b"\n")
    odd = b"comment\r\n" + lines[0] + b"\r\n" + b"".join(lines[1:-2]) + b"\r\n" + lines[-2]
    (tmp_path / "odd.pub").write_bytes(odd)
    assert read_public_key(tmp_path / "odd.pub") == expected
    for content, said in [
        (keys[0].read_bytes(), "has a private key"),
        (b"ssh-ed25519 AAAA", "no public key in PEM form"),
        (b"-----BEGIN PUBLIC KEY-----\n***\n-----END PUBLIC KEY-----\n", "no public key"),
    ]:
        (tmp_path / "bad.pub").write_bytes(content)
        with pytest.raises(UsageError, match=said):
            read_public_key(tmp_path / "bad.pub")


# --- rules ------------------------------------------------------------------------------------


def test_a_rule_refuses_what_no_listed_key_has_signed(tmp_path, keys, others):
    """Unsigned, or signed by another key; each says so, and the ledger keeps it."""
    registered = registry(tmp_path)
    registered.set_rule("production", versus_incumbent="off", signed_by=[str(keys[1])])
    version = publish(registered, 900)
    with pytest.raises(PromotionRefusedError, match="not signed") as caught:
        promote(registered, version)
    assert caught.value.exit_status == 9
    registered.sign(version, others[0])
    with pytest.raises(PromotionRefusedError, match=r"signed by key .*, not listed"):
        promote(registered, version)
    signature = registered.sign(version, keys[0]).signature
    (check,) = promote(registered, version).checks
    assert check.passed
    row = registered.history("dummy@production")[0]
    assert row.evidence["signatures"] == [signature.to_json()]
    assert {signature.digest, signature.key} <= set(row.evidence["blobs"])
    assert held_by(registered) == version.version


def test_one_of_several_listed_keys_is_enough(tmp_path, keys, others):
    """And a failed check can be overruled with a reason, as any other."""
    rule = PromotionRule(signed_by=[of_file(keys[1]), of_file(others[1])], versus_incumbent="off")
    registered = registry(tmp_path, production=rule)
    signed, unsigned = publish(registered, 900), publish(registered, 800)
    registered.sign(signed, others[0])
    assert promote(registered, signed).failed == []
    promote(registered, unsigned, force=True, reason="the signer is away")
    assert registered.history("dummy@production")[0].evidence["forced"] is True


def test_plugins_toml_names_keys_by_file(tmp_path, keys):
    """Relative to it; the registry's rule then has the fingerprint, and needs no file."""
    file = tmp_path / "plugins.toml"
    file.write_text('[promotion.production]\nversus_incumbent = "off"\nsigned_by = ["release.pub"]')
    registered = Registry(tmp_path / "registry", read_settings(file))
    version = publish(registered, 900)
    with pytest.raises(PromotionRefusedError, match="not signed"):
        promote(registered, version)
    registered.sync_rules()
    (rule,) = registered.rules()
    assert rule.rule.signed_by == [of_file(keys[1])]
    registered.sign(version, keys[0])
    promote(registered, version)
    keys[1].unlink()
    with pytest.raises(UsageError, match=r"release\.pub cannot be read"):
        promote(registered, publish(registered, 950))
    second = Registry(tmp_path / "registry", Settings())
    with pytest.raises(PromotionRefusedError, match="not signed"):
        promote(second, second.version("dummy@2"))


def test_a_missing_key_file_stops_no_rollback_and_no_removal(tmp_path, keys):
    """They check no signature, and may be urgent."""
    registered = registry(tmp_path)
    first, second = publish(registered, 800), publish(registered, 900)
    promote(registered, first)
    promote(registered, second)
    rule = PromotionRule(signed_by=[str(tmp_path / "missing.pub")], rollback_days=0)
    ruled = Registry(registered.folder, Settings(promotion={"production": rule}))
    ruled.rollback("dummy", "production")
    assert held_by(ruled) == first.version
    unused = publish(registered, 700)
    assert ruled.remove(unused.ref).version.ref == unused.ref


def test_rules_without_keys_are_stored_as_before(tmp_path):
    """So an older mlreg reads them; one that it does not know, it refuses."""
    assert "signed_by" not in PromotionRule().to_json()
    key = "ab" * 32
    assert PromotionRule(signed_by=[key, key]).to_json()["signed_by"] == [key]
    for wrong in ("release.pub", [3], [" "]):
        with pytest.raises(ValueError, match="list of public keys"):
            PromotionRule.from_json({"signed_by": wrong}, "production")


def test_a_damaged_signature_is_told_from_a_missing_one(tmp_path, keys):
    """Where a rule asks for it, exit status 6."""
    registered = registry(tmp_path, production=PromotionRule(signed_by=[of_file(keys[1])]))
    version = publish(registered, 900)
    signature = registered.sign(version, keys[0]).signature
    file = blob(registered.store, signature.digest)
    file.chmod(0o600)
    file.write_bytes(b"X")
    with pytest.raises(IntegrityError) as caught:
        promote(registered, version)
    assert caught.value.exit_status == 6


def test_only_the_signed_rows_of_this_mlreg_s_form_count(tmp_path, keys):
    """A newer mlreg may write more; what cannot be read is no signature."""
    registered = registry(tmp_path)
    version = publish(registered, 900)
    store: Store = registered.store
    for evidence in ({}, {"key": 3, "blobs": []}, {"key": "ab" * 32, "blobs": ["cd" * 32]}):
        store.note(LedgerAction.SIGNED, version.model, version.version, evidence=evidence)
    assert store.signatures.of(version) == []
