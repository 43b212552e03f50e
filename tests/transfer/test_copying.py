"""`Registry.push` and `pull`: versions are copied from one registry to another."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime, timedelta

import pytest
from hostile_files import archive, dense, keras_object, members, model, sound
from store_helpers import blob
from transfer_helpers import DATA, SPLIT, publish, record

from registry_core.errors import IntegrityError, RefusedError, StorageError, UsageError
from registry_core.records import Origin
from registry_core.registry import Registry
from registry_core.settings import Remote, Settings
from registry_core.store.audit import audit
from registry_core.store.local.objects import LocalObjects

pytestmark = pytest.mark.drawn


def accepts(file, custom) -> None:
    assert file.is_file()


def states(found):
    return [(each.source, each.state, each.version and each.version.ref) for each in found.versions]


@pytest.fixture
def mine(tmp_path):
    """A registry with three versions of one model and one of another."""
    settings = Settings(remotes={"team": Remote(tmp_path / "team", "", "")})
    registry = Registry(tmp_path / "mine", settings)
    for number in range(3):
        publish(registry.store, content=b"mine %d" % number)
    publish(registry.store, "other", content=b"other")
    return registry


@pytest.fixture
def theirs(tmp_path):
    return Registry(tmp_path / "team", Settings())


def test_a_version_is_pushed_to_a_remote_and_found_there(mine, theirs):
    """The first time it is copied; the second time nothing changes, and that is said."""
    assert states(mine.push(["dummy@2"], "team", examine=accepts)) == [
        ("dummy@2", "copied", "dummy@1")
    ]
    assert theirs.version("dummy@1").origin == Origin(mine.store.registry_id(), "dummy", 2)
    head = theirs.store.ledger_head()
    again = mine.push(["dummy@2"], "team", examine=accepts)
    assert states(again) == [("dummy@2", "there", "dummy@1")]
    assert theirs.store.ledger_head() == head


def test_all_versions_are_copied_in_the_order_of_registration(mine, theirs):
    """Of all models, or of those that are named; those that are there are passed over."""
    mine.push(["dummy@3"], "team", examine=accepts)
    found = mine.push(["dummy"], theirs, everything=True, examine=accepts)
    assert states(found) == [
        ("dummy@1", "copied", "dummy@2"),
        ("dummy@2", "copied", "dummy@3"),
        ("dummy@3", "there", "dummy@1"),
    ]
    found = mine.push([], theirs, everything=True, examine=accepts)
    assert states(found)[-1] == ("other@1", "copied", "other@1")
    assert audit(theirs.store).problems == []


@pytest.mark.gate
def test_only_what_was_registered_since_a_time_is_copied(mine, theirs):
    """By the ledger: a copy was made before it was registered."""
    now = datetime.now(UTC)
    found = mine.push(
        [], theirs, everything=True, since=now + timedelta(minutes=5), examine=accepts
    )
    assert found.versions == []
    hour = now - timedelta(hours=1)
    mine.store.removals.remove(mine.version("dummy@1"))
    found = mine.push([], theirs, everything=True, since=hour, examine=accepts)
    assert [each.source for each in found.versions] == ["dummy@2", "dummy@3", "other@1"]


def test_a_version_is_pulled_by_what_it_is_called_there(mine, theirs):
    mine.store.move_alias(mine.version("dummy@1"), "production")
    found = theirs.pull(["dummy@production"], mine, reason="for the clinic", examine=accepts)
    assert states(found) == [("dummy@1", "copied", "dummy@1")]
    row = theirs.store.ledger("dummy", 1)[0]
    assert (row.action, row.reason) == ("registered", "for the clinic")
    assert theirs.aliases("dummy") == {}
    with pytest.raises(UsageError, match="no alias"):
        theirs.pull(["dummy@staging"], mine, examine=accepts)


@pytest.mark.gate
def test_a_copy_can_have_another_name(mine, theirs):
    found = mine.push(["dummy@2", "dummy@3"], theirs, name="berlin", examine=accepts)
    assert [each.version.ref for each in found.versions] == ["berlin@1", "berlin@2"]
    assert theirs.version("berlin@2").origin.ref == "dummy@3"
    assert audit(theirs.store).problems == []
    with pytest.raises(UsageError):
        mine.push(["dummy@2"], theirs, name="../berlin", examine=accepts)


def test_a_dry_run_changes_nothing(mine, theirs):
    found = mine.push(["dummy@2"], theirs, dry_run=True)
    assert (states(found), found.dry_run) == ([("dummy@2", "copied", None)], True)
    assert found.versions[0].size == 6 + 15
    assert not theirs.folder.exists()


@pytest.mark.gate
def test_a_removed_version_is_not_copied_again(mine, theirs):
    """It can be restored; once its files are gone, it is copied."""
    mine.push(["dummy@2"], theirs, examine=accepts)
    theirs.remove("dummy@1")
    assert states(mine.push(["dummy@2"], theirs, examine=accepts)) == [
        ("dummy@2", "removed", "dummy@1")
    ]
    theirs.collect(0)
    assert states(mine.push(["dummy@2"], theirs, examine=accepts)) == [
        ("dummy@2", "copied", "dummy@2")
    ]


def test_missing_and_damaged_files_are_put_again(mine, theirs):
    """Of a version that is named, every byte is read; of all versions, sizes are compared."""
    mine.push([], theirs, everything=True, examine=accepts)
    weights = blob(theirs.store, theirs.version("dummy@2").files[0].sha256)
    weights.chmod(0o600)
    weights.write_bytes(b"MINE 1")
    found = mine.push([], theirs, everything=True, examine=accepts)
    assert {each.state for each in found.versions} == {"there"}
    found = mine.push(["dummy@2"], theirs, examine=accepts)
    assert (found.versions[0].state, found.versions[0].mended) == ("mended", ("model.keras",))
    weights.unlink()
    found = mine.push([], theirs, everything=True, examine=accepts)
    assert [each.state for each in found.versions] == ["there", "mended", "there", "there"]
    assert audit(theirs.store).problems == []


def test_a_damaged_version_does_not_stop_the_others(mine, theirs):
    """It is named, with its reason; the error of all of them has the status of damage."""
    blob(mine.store, mine.version("dummy@2").files[0].sha256).unlink()
    found = mine.push([], theirs, everything=True, examine=accepts)
    assert [each.state for each in found.versions] == ["copied", "refused", "copied", "copied"]
    assert isinstance(found.error, IntegrityError)
    assert "dummy@2" in found.error.what
    assert found.to_json()["versions"][1]["error"]["exit_status"] == 6
    assert audit(theirs.store).problems == []


def test_an_error_of_the_source_names_the_source(mine, theirs, monkeypatch):
    """Otherwise the other registry would seem to have no space left."""

    class Failing(io.RawIOBase):
        def read(self, size=-1):
            raise OSError(5, os.strerror(5))

    whole = LocalObjects.open
    monkeypatch.setattr(
        LocalObjects,
        "open",
        lambda self, digest, what="", limit_bytes=None: (
            Failing() if what.startswith("model.keras of") else whole(self, digest, what)
        ),
    )
    with pytest.raises(StorageError, match=f"{mine.folder} cannot be read"):
        mine.push(["dummy@2"], theirs, examine=accepts)


def test_a_name_alone_says_nothing_of_a_version(mine, theirs):
    with pytest.raises(UsageError, match="Which version"):
        mine.push(["dummy"], theirs)
    with pytest.raises(UsageError, match="one version"):
        mine.push(["dummy@2"], theirs, everything=True)
    with pytest.raises(UsageError, match="no model"):
        mine.push(["dammy"], theirs, everything=True)
    with pytest.raises(UsageError, match="--since"):
        mine.push(["dummy@2"], theirs, since=datetime.now(UTC))


def test_what_is_no_registry_is_refused(mine, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    (tmp_path / "file").touch()
    for other in ("photos", "file"):
        with pytest.raises(UsageError, match=other):
            mine.push(["dummy@1"], tmp_path / other)
    for other in ("photos", "nowhere"):
        with pytest.raises(UsageError, match="no registry"):
            mine.pull(["dummy@1"], tmp_path / other)
    with pytest.raises(UsageError, match="no remote 'paris'"):
        mine.push(["dummy@1"], "paris")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.gate
def test_signatures_travel(mine, theirs, tmp_path):
    """With the version, or later; each once. Whether they are valid is asked where a rule asks."""
    sign = mine.store.signatures.add
    first = sign(mine.version("dummy@2"), b"a signature", b"a key")
    mine.push(["dummy@2"], theirs, examine=accepts)
    copy = theirs.version("dummy@1")
    (arrived,) = theirs.store.signatures.of(copy)
    assert (arrived.key, arrived.digest) == (first.key, first.digest)
    assert len(theirs.store.ledger("dummy", 1)) == 1, "it is in the rows that came with it"
    assert theirs.store.signatures.contents(copy, arrived, 100) == (b"a signature", b"a key")
    sign(mine.version("dummy@2"), b"another", b"another key")
    found = mine.push(["dummy@2"], theirs, examine=accepts).versions[0]
    assert (found.state, len(found.mended)) == ("mended", 1)
    assert mine.push(["dummy@2"], theirs, examine=accepts).versions[0].state == "there"
    theirs.pack(["dummy@1"], tmp_path / "signed.mlreg")
    far = Registry(tmp_path / "far", Settings())
    far.unpack(tmp_path / "signed.mlreg", examine=accepts)
    assert len(far.store.signatures.of(far.version("dummy@1"))) == 2
    assert audit(far.store).problems == audit(theirs.store).problems == []


# --- the record ----------------------------------------------------------------------------------


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize(
    "change",
    [
        {"config": None},
        {"config": "epochs=1"},
        {"epoch_seconds": ["1"]},
        {"data": {**DATA, "splits": []}},
        {"data": {**DATA, "splits": {"train": SPLIT}}},
        {"data": {**DATA, "splits": {"test": {**SPLIT, "examples": "30"}}}},
        {"environment": [1]},
        {"imported": {"file": "m.keras"}},
        {"custom_objects": {}},
    ],
    ids=str,
)
def test_a_record_that_no_run_wrote_is_refused(mine, theirs, change):
    """Commands that show a version rely on what a run records."""
    publish(mine.store, "odd", what=record(**change))
    found = mine.push(["odd"], theirs, everything=True, examine=accepts)
    assert [each.state for each in found.versions] == ["refused"]
    assert isinstance(found.error, IntegrityError)
    assert "odd@1 was not copied: its record" in found.error.what


# --- the file of the model ----------------------------------------------------------------------


def with_model(registry, config=None, what=None):
    """A version whose model is a real file."""
    with registry.store.start_run("real") as run:
        file = run.files / "model.keras"
        archive(file, members(config)) if config else sound(file)
        return registry.store.publish(run, what or record(), {"model.keras": file}, lambda _: None)


@pytest.mark.gate
@pytest.mark.processes
def test_the_model_is_examined_as_an_import_is(mine, theirs):
    """What holds code is refused, and nothing of it stays; what is sound is copied."""
    lambda_layer = keras_object("Lambda", {"name": "f", "function": "x"})
    with_model(mine)
    with_model(mine, model(dense(), lambda_layer))
    found = mine.push(["real"], theirs, everything=True)
    assert [each.state for each in found.versions] == ["copied", "refused"]
    assert isinstance(found.error, RefusedError)
    assert "real@2 was not copied" in found.error.what
    assert audit(theirs.store).orphans == 0


@pytest.mark.gate
@pytest.mark.processes
def test_classes_that_the_manifest_names_are_allowed(mine, theirs):
    """They come from a plugin when the model is loaded; others are refused as in an import."""
    noise = keras_object("Noise", {"name": "noise"}, None, registered_name="acme>Noise")
    named = [{"name": "acme>Noise", "module": "acme", "distribution": None}]
    with_model(mine, model(dense(), noise), record(custom_objects=named))
    with_model(mine, model(dense(), noise), record(seed=8))
    found = mine.push(["real"], theirs, everything=True)
    assert [each.state for each in found.versions] == ["copied", "copied"], "one file of both"
    second = Registry(theirs.folder.with_name("second"), Settings())
    assert [each.state for each in mine.push(["real@2"], second).versions] == ["refused"]


@pytest.mark.gate
def test_a_file_is_examined_once(mine, theirs):
    """Two versions with one model, and one whose model is there already."""
    seen = []
    for seed in (1, 2, 3):
        publish(mine.store, "twins", what=record(seed=seed))
    mine.push(["twins@1", "twins@2"], theirs, examine=lambda file, _: seen.append(file))
    mine.push(["twins@3"], theirs, examine=lambda file, _: seen.append(file))
    assert len(seen) == 1
