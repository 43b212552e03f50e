"""Versions that are copied from one registry to another."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from store_helpers import assert_whole, blob, blobs, publish, record, scored

from registry_core.errors import IntegrityError, RefusedError
from registry_core.records import Origin
from registry_core.refs import parse_ref
from registry_core.store import Store, ledger
from registry_core.store import manifest as manifests
from registry_core.store.arrivals import carried_rows, carry_rows, check_parcel
from registry_core.store.audit import audit
from registry_core.store.local.disk import sha256_hex
from registry_core.store.rebuild import rebuild

pytestmark = pytest.mark.drawn


def accepts(path, version) -> None:
    assert path.is_file()


@pytest.fixture
def there(tmp_path):
    """Another registry, with three versions."""
    store = Store(tmp_path / "there")
    for number in range(3):
        publish(store, content=b"there %d" % number)
    return store


@pytest.fixture
def here(tmp_path):
    """A registry with one version of the same model."""
    store = Store(tmp_path / "here")
    publish(store, content=b"here")
    return store


def copied(source, target, ref="dummy@3", model="dummy"):
    version = source.resolve(parse_ref(ref))
    return target.receive(check_parcel(source.parcel(version)), model, accepts)[0]


def test_a_copy_keeps_its_digest_and_gets_the_next_number(there, here):
    """It says where it came from; its files and its manifest are those of the original."""
    original = there.resolve(parse_ref("dummy@3"))
    copy = copied(there, here)
    assert copy.ref == "dummy@2"
    assert copy.origin == Origin(there.registry_id(), "dummy", 3)
    assert (copy.digest, tuple(copy.files)) == (original.digest, tuple(original.files))
    assert here.read(copy, "model.keras") == b"there 2"
    assert copy.to_json()["origin"]["ref"] == "dummy@3"
    assert "origin" not in original.to_json()
    assert audit(here).problems == []
    assert here.resolve(parse_ref("dummy@latest")) == copy
    here.check(copy)


def test_a_version_is_copied_once(there, here):
    """The second time it is found; nothing is registered, and nothing stays behind."""
    first = copied(there, here)
    assert copied(there, here) == first
    assert len(here.versions("dummy")) == 2
    assert audit(here).orphans == 0


def test_the_other_ledger_is_carried_as_evidence(there, here):
    """The rows about the version, each with its digest, and the files that they refer to."""
    version = there.resolve(parse_ref("dummy@3"))
    seen = there.resolve(parse_ref("dummy@1")).files[0].sha256
    there.move_alias(version, "production", "best of three", {"blobs": [seen]})
    copied(there, here)
    row = here.ledger("dummy", 2)[0]
    assert row.evidence["origin"] == Origin(there.registry_id(), "dummy", 3).to_json()
    registry, rows = carried_rows(blob(here, row.evidence["blobs"][0]).read_bytes())
    assert registry == there.registry_id()
    assert rows == there.ledger("dummy", 3)[::-1]
    assert row.evidence["blobs"][1:] == [seen]
    assert here.aliases("dummy") == {}, "an alias is the registry's own decision"
    assert audit(here).problems == []
    assert blob(here, seen).read_bytes() == b"there 0"


def test_a_copy_of_a_copy_says_where_the_first_one_was_made(there, here, tmp_path):
    """The ledgers of both registries go with it."""
    far = Store(tmp_path / "far")
    copied(there, here)
    copy = copied(here, far, "dummy@2", "renamed")
    assert copy.ref == "renamed@1"
    assert copy.origin == Origin(there.registry_id(), "dummy", 3)
    digests = far.ledger("renamed", 1)[0].evidence["blobs"]
    registries = [carried_rows(blob(far, digest).read_bytes())[0] for digest in digests]
    assert registries == [here.registry_id(), there.registry_id()]
    assert copied(far, there, "renamed@1").ref == "dummy@3", "it came home"
    assert audit(far).problems == []


def test_a_rebuild_keeps_where_a_version_came_from(there, here):
    copy = copied(there, here)
    (here.folder / "registry.sqlite3").unlink()
    assert rebuild(here.folder).lost == {}
    assert here.resolve(parse_ref("dummy@2")) == copy
    assert audit(here).problems == []


@pytest.mark.gate
def test_a_rebuild_finds_a_copy_whose_row_is_lost(there, here):
    """Its manifest has a number of the other registry, so it gets a new one here."""
    copy = copied(there, here)
    (here.folder / "registry.sqlite3").unlink()
    rows = (here.folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    (here.folder / "ledger.jsonl").write_text(rows[0])
    assert rebuild(here.folder).found == ["dummy@3"]
    found = here.resolve(parse_ref("dummy@3"))
    assert replace(found, version=2) == copy
    assert audit(here).problems == []


def test_files_that_are_missing_or_damaged_are_put_again(there, here):
    copy = copied(there, here)
    parcel = check_parcel(there.parcel(there.resolve(parse_ref("dummy@3"))))
    assert here.mend(copy, parcel, thoroughly=True) == []
    blob(here, copy.digest).unlink()
    weights = blob(here, copy.files[0].sha256)
    weights.chmod(0o600)
    weights.write_bytes(b"THERE 2")
    assert here.mend(copy, parcel, thoroughly=False) == ["the manifest"]
    assert here.mend(copy, parcel, thoroughly=True) == ["model.keras"]
    here.check(copy)
    assert audit(here).problems == []


@pytest.mark.gate
def test_a_version_whose_files_were_deleted_for_good_can_be_copied_again(there, here):
    copy = copied(there, here)
    here.removals.remove(copy)
    assert copied(there, here) == copy, "it can be restored"
    here.removals.collect(0, 0)
    assert copied(there, here).ref == "dummy@3"
    assert audit(here).problems == []


def test_a_refused_model_file_leaves_nothing(there, here):
    def refuses(path, version) -> None:
        raise RefusedError("It holds code.")

    before = blobs(here)
    with pytest.raises(RefusedError):
        parcel = there.parcel(there.resolve(parse_ref("dummy@3")))
        here.receive(check_parcel(parcel), "dummy", refuses)
    assert blobs(here) == before
    assert_whole(here)


def test_a_damaged_file_of_the_other_registry_is_not_copied(there, here):
    version = there.resolve(parse_ref("dummy@3"))
    parcel = check_parcel(there.parcel(version))
    weights = blob(there, version.files[0].sha256)
    weights.chmod(0o600)
    weights.write_bytes(b"THERE 2")
    with pytest.raises(IntegrityError, match=r"model\.keras of dummy@3"):
        here.receive(parcel, "dummy", accepts)
    assert_whole(here)


def changed(parcel, change):
    """The parcel with a manifest that was changed, and rows whose digests fit it again."""
    manifest = json.loads(parcel.manifest)
    change(manifest)
    content = manifests.canonical(manifest)
    registry, (row,) = carried_rows(parcel.rows)
    row = replace(row, evidence={"digest": sha256_hex(content)})
    row = replace(row, digest=ledger.digest(row))
    return replace(parcel, manifest=content, rows=carry_rows(registry, [row]))


HOSTILE = {
    "a path that leads out": lambda m: m["files"][0].update(path="../../etc/passwd"),
    "an absolute path": lambda m: m["files"][0].update(path="/etc/passwd"),
    "a path twice": lambda m: m["files"].append(dict(m["files"][0])),
    "a negative size": lambda m: m["files"][0].update(size=-1),
    "a size that is a text": lambda m: m["files"][0].update(size="7"),
    "a digest that is a path": lambda m: m["files"][0].update(sha256="../" * 21 + "a"),
    "a model that is no name": lambda m: m.update(model="../dummy"),
    "a run that is a path": lambda m: m.update(run="../../runs"),
    "a number that is none": lambda m: m.update(version=True),
    "no metrics": lambda m: m.pop("metrics"),
    "a time that is none": lambda m: m.update(created="yesterday"),
    "another version": lambda m: m.update(version=2),
}


@pytest.mark.gate(keep=3)
@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_manifest_that_mlreg_would_not_have_written_is_refused(there, change):
    """Though a row of the other ledger has its digest."""
    parcel = there.parcel(there.resolve(parse_ref("dummy@3")))
    assert check_parcel(changed(parcel, lambda manifest: manifest.update(seed=8)))
    with pytest.raises(IntegrityError, match="dummy@3"):
        check_parcel(changed(parcel, change))


def test_rows_that_do_not_fit_are_refused(there):
    """Rows that were changed, of another version, or of another registry."""
    first, last = (there.resolve(parse_ref(f"dummy@{number}")) for number in (1, 3))
    parcel = there.parcel(last)
    text = parcel.rows.decode()
    for rows in (
        text.replace('"dummy"', '"dammy"'),
        there.parcel(first).rows.decode(),
        text.replace(there.registry_id(), "0" * 64, 1),
        '{"carried":[],"rows":[],"schema":1}',
        "{",
        "[" * 100_000,
        text.replace('"schema":1', '"schema":2'),
    ):
        with pytest.raises(IntegrityError):
            check_parcel(replace(parcel, rows=rows.encode()))
    with pytest.raises(IntegrityError):
        check_parcel(replace(parcel, blobs={sha256_hex(b"x"): 1}))


@pytest.mark.gate
def test_many_rows_are_carried_in_bounds(there, here, monkeypatch):
    """The registration always is; of the others, the newest."""
    version = there.resolve(parse_ref("dummy@3"))
    for number in range(20):
        there.tag(version, {"note": f"{number} " + "x" * 500})
    monkeypatch.setattr(manifests, "LIMIT_BYTES", 12_000)
    parcel = there.parcel(version)
    _, rows = carried_rows(parcel.rows)
    assert len(parcel.rows) < 6_500
    assert rows[0].action == "registered"
    assert rows[-1] == there.ledger("dummy", 3, limit=1)[0]
    assert json.loads(parcel.rows)["carried"]["left_out"] == 21 - len(rows)
    assert check_parcel(parcel).origin.version == 3


@pytest.mark.gate
def test_a_copied_folder_knows_what_the_original_has(there, tmp_path):
    """Both have one first row; a version that only one of them has is copied."""
    shutil.copytree(there.folder, tmp_path / "twin")
    twin = Store(tmp_path / "twin")
    assert copied(there, twin).ref == "dummy@3"
    publish(there, what=scored(0.9))
    assert copied(there, twin, "dummy@4").origin == Origin(twin.registry_id(), "dummy", 4)
    assert record()["dataset"] == twin.resolve(parse_ref("dummy@4")).dataset
