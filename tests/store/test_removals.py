"""Versions that are hidden, restored, and lose their files only by a collection."""

from __future__ import annotations

import shutil
import threading
from hashlib import sha256

import pytest
from store_helpers import age, blob, blobs, publish

from registry_core.errors import IntegrityError, RefusedError, UsageError
from registry_core.records import GarbageCollection
from registry_core.refs import parse_ref
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild
from registry_core.version_query import parse_query

MONTH = 30.0


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "registry")


def remove(store, version):
    store.removals.remove(version, MONTH)


def collect(store, **changes) -> GarbageCollection:
    return store.removals.collect(**{"older_than_days": 0, "keep_last": 0, **changes})


def numbers(store, model="dummy"):
    return [version.version for version in store.versions(model)]


def test_no_reference_leads_to_a_removed_version(store):
    """It is not listed, not the latest, not the best, and its number says how to have it back."""
    first, second = publish(store, content=b"1"), publish(store, content=b"2")
    remove(store, second)
    assert numbers(store) == [1]
    for reference in ("dummy", "dummy@latest", "dummy@best"):
        assert store.resolve(parse_ref(reference)) == first
    with pytest.raises(UsageError) as told:
        store.resolve(parse_ref("dummy@2"))
    assert told.value.command == "mlreg restore dummy@2"
    with pytest.raises(UsageError):
        store.resolve(parse_ref(f"dummy@sha256:{second.digest}"))
    with pytest.raises(UsageError):
        store.move_alias(second, "production")
    assert store.models()[0].versions == 1
    assert [removal.version for removal in store.removals.of("dummy")] == [second]


def test_a_restored_version_is_as_it_was(store):
    version = publish(store)
    remove(store, version)
    assert store.removals.restore(parse_ref("dummy@1"), "too early") == version
    assert numbers(store) == [1]
    store.check(version)
    assert [row.action for row in store.ledger()] == ["restored", "removed", "registered"]
    with pytest.raises(UsageError, match="was not removed"):
        store.removals.restore(parse_ref("dummy@1"))


def test_a_model_whose_versions_are_all_removed_says_so(store):
    remove(store, publish(store))
    assert store.models() == []
    assert numbers(store) == []
    with pytest.raises(UsageError) as told:
        store.resolve(parse_ref("dummy"))
    assert told.value.command == "mlreg list dummy --removed"


def test_a_number_is_not_used_again_after_its_version_was_collected(store):
    publish(store, content=b"1")
    remove(store, publish(store, content=b"2"))
    collect(store)
    assert publish(store, content=b"3").version == 3


def test_what_holds_an_alias_is_not_removed(store):
    version = publish(store)
    store.move_alias(version, "production")
    with pytest.raises(RefusedError, match="dummy@1 is production"):
        remove(store, version)
    store.release_alias("dummy", "production")
    with pytest.raises(RefusedError, match="a rollback may want it"):
        remove(store, version)
    store.removals.remove(version, rollback_days=0)
    assert numbers(store) == []


def test_what_a_rollback_may_want_is_not_removed(tmp_path):
    """For as many days as plugins.toml says."""
    settings = Settings(rollback_days=7)
    registry = Registry(tmp_path / "registry", settings)
    first, second = publish(registry.store), publish(registry.store, content=b"2")
    for version in (first, second):
        registry.store.move_alias(version, "production")
    with pytest.raises(RefusedError, match="It can be removed 7 days after") as told:
        registry.remove("dummy@1")
    assert told.value.exit_status == 9
    with pytest.raises(RefusedError):
        registry.remove("dummy@1", dry_run=True)
    Registry(tmp_path / "registry", Settings(rollback_days=0)).remove("dummy@1")
    with pytest.raises(UsageError, match="was removed"):
        registry.rollback("dummy", "production")
    registry.store.removals.restore(parse_ref("dummy@1"))
    assert registry.rollback("dummy", "production").version.version == 1


def test_the_ledger_keeps_the_history_of_a_removed_version(tmp_path):
    """Which version was in production then does not depend on later removals."""
    from datetime import UTC, datetime

    registry = Registry(tmp_path / "registry", Settings(rollback_days=0))
    for content in (b"1", b"2"):
        registry.store.move_alias(publish(registry.store, content=content), "production")
    then = datetime.fromisoformat(registry.history("dummy@1")[0].at)
    registry.remove("dummy@1")
    assert [row.action for row in registry.history("dummy@1")] == [
        "removed", "promoted", "registered",
    ]  # fmt: skip
    assert registry.holder_at("dummy", "production", then).version is not None
    assert registry.holder_at("dummy", "production", datetime.now(UTC)).version.version == 2


def test_collecting_takes_what_nothing_else_needs(store):
    """A file that another version shares stays; so does the manifest of what was collected."""
    first, second = publish(store, content=b"1"), publish(store, content=b"2")
    before = blobs(store)
    remove(store, second)
    told = store.removals.collectable(0, 0)
    done = collect(store)
    assert (told.blobs, told.size) == (done.blobs, done.size) == (1, 1)
    assert before - blobs(store) == {second.file("model.keras").sha256}
    store.check(first)
    with pytest.raises(UsageError, match="its files were collected"):
        store.removals.restore(parse_ref("dummy@2"))
    found = audit(store)
    assert (found.problems, found.orphans, found.versions) == ([], 0, 2)
    assert collect(store).removals == []


def test_what_was_not_removed_is_never_collected(store):
    for content in (b"1", b"2"):
        publish(store, content=content)
    before = blobs(store)
    assert collect(store).blobs == 0
    assert blobs(store) == before


def test_a_version_that_was_restored_in_time_is_not_collected(store):
    version = publish(store)
    remove(store, version)
    store.removals.restore(parse_ref("dummy@1"))
    collect(store)
    store.check(version)


def test_the_young_and_the_newest_removed_versions_stay(store):
    versions = [publish(store, content=bytes([number])) for number in range(4)]
    for version in versions:
        remove(store, version)
    assert store.removals.collectable(older_than_days=1, keep_last=0).removals == []
    done = collect(store, keep_last=3)
    assert [removal.version.version for removal in done.removals] == [1]


def test_what_the_ledger_rests_on_is_never_collected(store):
    """The answers that a decision compared stay readable, long after their versions went."""
    version = publish(store, content=b"answers")
    answers = version.file("model.keras").sha256
    store.note("refused", "dummy", 1, "production", evidence={"blobs": [answers]})
    remove(store, version)
    assert collect(store).blobs == 1  # the other file
    assert answers in blobs(store)
    assert audit(store).problems == []
    blob(store, answers).chmod(0o600)
    blob(store, answers).write_bytes(b"others")
    assert "A file that a row of the ledger refers to" in audit(store).problems[0].what


def test_files_that_nothing_ever_needed_are_collected(store):
    """An orphan is counted by `verify`, is not a problem, and is deleted."""
    version = publish(store)
    orphan = sha256(b"nobody's").hexdigest()
    blob(store, version.digest).parent.parent.joinpath(orphan[:2]).mkdir(exist_ok=True)
    blob(store, orphan).write_bytes(b"nobody's")
    assert (audit(store).orphans, audit(store).problems) == (1, [])
    age(store, orphan)
    done = collect(store)
    assert (done.blobs, done.size) == (1, 8)
    assert not blob(store, orphan).exists()


def test_where_the_index_is_older_than_the_files_nothing_newer_is_collected(store, tmp_path):
    """With a registry.sqlite3 from a copy, the files of newer versions look unneeded."""
    publish(store, content=b"1")
    shutil.copy(store.folder / "registry.sqlite3", tmp_path / "old")
    second = publish(store, content=b"2")
    shutil.copy(tmp_path / "old", store.folder / "registry.sqlite3")
    assert any(second.digest in problem.what for problem in audit(store).problems)
    assert store.removals.collectable(0, 0).blobs == 0
    assert store.removals.collectable(0, 0).unregistered == [second.digest]
    assert second.file("model.keras").sha256 in blobs(store)


@pytest.mark.parametrize("jump", [-365, 3650])
def test_a_clock_that_jumps_collects_nothing_in_use(store, monkeypatch, jump):
    """A year back or ten ahead: what was not removed stays."""
    import time

    kept = publish(store, content=b"kept")
    gone = publish(store, content=b"gone")
    store.move_alias(kept, "production")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump * 86_400)
    remove(store, gone)
    store.removals.collect(older_than_days=30, keep_last=0)
    store.check(kept)
    assert audit(store).problems == []


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.processes
def test_collecting_beside_registrations_loses_nothing(store):
    """The same content is registered, removed and collected at once, again and again."""
    publish(store, content=b"shared")
    errors: list[BaseException] = []
    done = threading.Event()

    def register() -> None:
        try:
            for _ in range(60):
                version = publish(Store(store.folder), content=b"shared")
                Store(store.folder).check(version)
                remove(Store(store.folder), version)
                publish(Store(store.folder), model="other", content=b"shared")
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    worker = threading.Thread(target=register)
    worker.start()
    while not done.is_set():
        collect(Store(store.folder))
    worker.join()
    assert not errors
    found = audit(store)
    assert (found.problems, found.orphans) == ([], 0)


def test_a_released_alias_goes_back_by_a_rollback(tmp_path):
    """In between it is on no version, and the ledger says so."""
    from datetime import UTC, datetime

    registry = Registry(tmp_path / "registry", Settings())
    first, second = (publish(registry.store, content=content) for content in (b"1", b"2"))
    for version in (first, second):
        registry.store.move_alias(version, "production")
    assert registry.store.release_alias("dummy", "production", "recalled") == second.__class__(
        **{**vars(second), "aliases": ("production",)}
    )
    assert registry.store.aliases("dummy") == {}
    assert registry.holder_at("dummy", "production", datetime.now(UTC)).version is None
    assert audit(registry.store).problems == []
    assert registry.rollback("dummy", "production").version.version == 2
    assert registry.rollback("dummy", "production").version.version == 1
    with pytest.raises(UsageError):
        registry.rollback("dummy", "production")


def test_an_alias_that_is_not_there_is_not_released(store):
    publish(store)
    with pytest.raises(UsageError, match="no alias 'production'"):
        store.release_alias("dummy", "production")
    assert len(store.ledger()) == 1


def test_tags_are_set_changed_taken_away_and_found(store):
    first, second = publish(store), publish(store, content=b"2")
    assert store.tag(first, {"owner": "ann", "reviewed": ""}).tags == {
        "owner": "ann", "reviewed": "",
    }  # fmt: skip
    changed = store.tag(first, {"owner": "bob"}, ["reviewed"], "handed over")
    assert changed.tags == {"owner": "bob"}
    store.tag(second, {"owner": "ann"})
    for tag, numbers in {
        ("owner", None): [2, 1],
        ("owner", "ann"): [2],
        ("nothing", None): [],
    }.items():
        query = parse_query("dummy", tag=tag)
        assert [v.version for v in store.versions("dummy", query=query)] == numbers
    assert store.manifest(changed)  # a tag changes no version
    row = store.ledger(version=1, limit=1)[0]
    assert (row.action, row.reason) == ("tagged", "handed over")
    assert row.evidence == {"set": {"owner": "bob"}, "removed": ["reviewed"]}


@pytest.mark.parametrize(
    ("tags", "gone"),
    [
        ({"": "x"}, []),
        ({"Owner": "x"}, []),
        ({"a b": "x"}, []),
        ({"a": "x" * 1001}, []),
        ({}, ["a"]),
    ],
)
def test_a_tag_that_cannot_be_is_refused(store, tags, gone):
    version = publish(store)
    with pytest.raises(UsageError):
        store.tag(version, tags, gone)
    assert store.resolve(parse_ref("dummy")).tags == {}
    assert len(store.ledger()) == 1


@pytest.mark.parametrize("value", ["[/red]", "\x1b[31m", "two\nlines", "a\0b", "é", "\udcff"])
def test_any_value_of_a_tag_is_kept_as_it_was_said(store, value):
    tagged = store.tag(publish(store), {"note": value})
    assert tagged.tags["note"] == value or value == "\udcff"
    store.verify_ledger()


def test_the_index_itself_refuses_to_remove_a_holder(store):
    """Whatever mlreg's code does: no alias is on a removed version."""
    import sqlite3

    version = publish(store)
    store.move_alias(version, "production")
    connection = sqlite3.connect(store.folder / "registry.sqlite3")
    with pytest.raises(sqlite3.IntegrityError, match="holds an alias"):
        connection.execute("INSERT INTO removals (model, number, at) VALUES ('dummy', 1, '')")
    connection.close()


def test_a_damaged_removed_version_is_found(store):
    version = publish(store)
    remove(store, version)
    digest = version.file("model.keras").sha256
    blob(store, digest).unlink()
    (problem,) = audit(store).problems
    assert isinstance(problem, IntegrityError)
    assert digest in problem.what


def test_a_damaged_file_that_may_be_a_manifest_stops_a_collection(store):
    """Everything else about its version is lost; its other files may still be needed."""
    version = publish(store, content=b"kept")
    manifest = blob(store, version.digest)
    copy = manifest.read_bytes()
    manifest.chmod(0o600)
    manifest.write_bytes(copy[:-1])
    for name in ("registry.sqlite3", "ledger.jsonl", "objects/ledger.head"):
        (store.folder / name).unlink()
    rebuild(store.folder)
    with pytest.raises(RefusedError, match="may be a lost manifest"):
        collect(store)
    manifest.write_bytes(copy)
    (store.folder / "registry.sqlite3").unlink()
    assert rebuild(store.folder).found == [version.ref]
    store.check(version)
