"""Objects, the cache and the ledger's copy on S3, beyond what the contract has.

The server is a real one. What it cannot be made to do, a proxy in front of it does.
"""

from __future__ import annotations

import errno
import os
import warnings
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from broken_s3 import FAULTS, BrokenS3
from s3_server import READER, environment, s3
from store_backends import damage_object
from store_helpers import publish, referenced

from registry_core.errors import (
    DamagedIndexError,
    IntegrityError,
    MlregError,
    StorageError,
    UsageError,
)
from registry_core.process import guard
from registry_core.records import LedgerAction
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.parts import folder_parts
from registry_core.store.s3 import client
from registry_core.store.s3 import objects as s3_objects
from registry_core.store.s3.cache import CachedObjects
from registry_core.store.s3.ledger_objects import LedgerObjects
from registry_core.store.s3.objects import S3Objects
from registry_core.store.s3.probe import probe

pytestmark = pytest.mark.gate


@pytest.fixture
def url() -> str:
    return s3().fresh_url()


@pytest.fixture
def proxy(url, monkeypatch):
    """A proxy that is used instead of the server, by clients without patience."""
    made = BrokenS3(s3().endpoint)
    monkeypatch.setattr(client, "BACKOFF_MILLISECONDS", 1)
    for name, value in environment(made.endpoint).items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


def content_of(tmp_path: Path, content: bytes) -> tuple[str, Path]:
    digest = sha256(content).hexdigest()
    path = tmp_path / f"source-{digest[:8]}"
    path.write_bytes(content)
    return digest, path


def team_store(folder: Path, url: str, index: Path | None = None) -> Store:
    """A registry with its objects on S3 and its index in a folder."""
    folder.mkdir(exist_ok=True)
    (index or folder).mkdir(exist_ok=True)
    return Store(
        replace(
            folder_parts(folder, busy_seconds=30),
            index=folder_parts(index or folder, busy_seconds=30).index,
            blobs=CachedObjects(S3Objects(url)),
            ledger_copy=LedgerObjects(S3Objects(url)),
            place=url,
            objects_place=url,
            in_folder=False,
        )
    )


# --- objects -------------------------------------------------------------------------------------


def test_a_large_object_is_sent_in_pieces_and_reads_back(url, tmp_path, monkeypatch):
    """In memory there are a few pieces at a time; it is compared after the upload."""
    monkeypatch.setattr(s3_objects, "ONE_REQUEST_BYTES", 1 << 20)
    content = os.urandom(20 << 20)
    digest, path = content_of(tmp_path, content)
    objects = S3Objects(url)
    objects.put(digest, path)
    assert objects.stat(digest).size == len(content)
    assert objects.bucket.head(objects.key(digest)).tag.endswith("-3")
    with objects.open(digest) as stream:
        assert stream.read() == content


def test_an_object_that_is_there_is_not_sent_again(url, tmp_path, proxy):
    digest, path = content_of(tmp_path, b"content")
    S3Objects(url).put(digest, path)
    proxy.start_counting()
    S3Objects(url).put(digest, path)
    assert [call.partition(" ")[0] for call in proxy.calls] == ["HEAD"]


def test_an_upload_that_arrives_as_something_else_is_refused(url, tmp_path, monkeypatch):
    """By the tag, or where the server's tags mean nothing, by reading it back."""
    digest, path = content_of(tmp_path, b"content")
    objects = S3Objects(url)
    honest = objects.bucket.create

    def changing(key, content):
        honest(key, content + b"!")
        return "a tag that is no MD5"

    monkeypatch.setattr(objects.bucket, "create", changing)
    with pytest.raises(IntegrityError, match=digest):
        objects.put(digest, path)
    assert objects.stat(digest) is None
    monkeypatch.setattr(objects.bucket, "create", lambda *a: honest(*a) and "no MD5 either")
    objects.put(digest, path)
    assert objects.read(digest, "it", 100) == b"content"


def test_a_source_that_is_a_link_is_not_followed(url, tmp_path):
    digest, path = content_of(tmp_path, b"content")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError):
        S3Objects(url).put(digest, tmp_path / "link")


def test_other_files_below_the_prefix_are_not_objects(url, tmp_path):
    digest, path = content_of(tmp_path, b"content")
    objects = S3Objects(url)
    objects.put(digest, path)
    for key in ("objects/sha256/ab/README", f"objects/sha256/00/{digest}", "objects/sha256/x"):
        objects.bucket.replace(key, b"")
    assert [info.digest for info in objects.list()] == [digest]


@pytest.mark.parametrize(
    ("changes", "number", "why"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, errno.EACCES, "not known|does not allow"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, errno.EACCES, "secret key|does not allow"),
        ({"AWS_ACCESS_KEY_ID": READER}, errno.EACCES, "does not allow"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, errno.EHOSTUNREACH, "cannot be reached"),
    ],
)
def test_what_the_server_refuses_is_said(url, tmp_path, monkeypatch, changes, number, why):
    """With the object's place, and without the library's own words."""
    monkeypatch.setattr(client, "BACKOFF_MILLISECONDS", 1)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    digest, path = content_of(tmp_path, b"content")
    with pytest.raises(OSError, match=why) as refused:
        S3Objects(url).bucket.create("key", b"content")
    assert refused.value.errno == number
    assert refused.value.filename == f"{url}/key"
    assert "obstore" not in str(refused.value)


def test_a_bucket_that_is_missing_is_not_an_empty_one(tmp_path):
    objects = S3Objects("s3://no-such-bucket/prefix")
    with pytest.raises(OSError, match="no such bucket"):
        objects.prepare()
    with pytest.raises(OSError, match="no such bucket"):
        objects.read_small("ab" * 32, 10)


# --- the probe -----------------------------------------------------------------------------------


def test_a_store_that_keeps_its_promises_passes_the_probe(url):
    probe(url)
    assert list(S3Objects(url).bucket.list("probe")) == []


def test_a_store_that_creates_twice_is_refused_by_name(url, proxy):
    proxy.second_create = True
    with pytest.raises(StorageError, match=f"{url} says yes when an object that is there"):
        probe(url)
    assert list(S3Objects(url).bucket.list("probe")) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_the_probe_is_not_misled_by_a_call_that_breaks(url, proxy, fault):
    probe(url)
    for number in range(1, len(proxy.calls) + 1):
        with proxy.broken(fault, number, number):
            probe(url)


# --- the cache -----------------------------------------------------------------------------------


def test_what_was_read_once_is_read_without_the_server(url, tmp_path, monkeypatch):
    """And said once, on stderr; what was not read before cannot be read now."""
    monkeypatch.setattr(client, "BACKOFF_MILLISECONDS", 1)
    (kept, source), (other, other_source) = (
        content_of(tmp_path, content) for content in (b"kept" * 1000, b"other")
    )
    objects = S3Objects(url)
    objects.put(kept, source)
    objects.put(other, other_source)
    assert CachedObjects(objects).read(kept, "it", 4000) == b"kept" * 1000
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    warned: list[str] = []
    with guard.warnings_to(warned.append):
        offline = CachedObjects(S3Objects(url))
        for _ in range(2):
            assert offline.read(kept, "it", 4000) == b"kept" * 1000
        assert offline.size(kept) == 4000
        assert offline.stamp(kept) is None
        with pytest.raises(OSError, match="cannot be reached"):
            offline.read(other, "it", 100)
        with pytest.raises(OSError, match="cannot be reached"):
            offline.stat(kept)
    (text,) = warned
    assert url in text and "cache" in text


def test_a_damaged_copy_is_read_from_the_server_again(url, tmp_path, _cache):
    digest, source = content_of(tmp_path, b"content")
    objects = CachedObjects(S3Objects(url))
    objects.put(digest, source)
    assert objects.read(digest, "it", 100) == b"content"
    (copy,) = _cache.glob("objects/??/*")
    copy.write_bytes(b"c0ntent")
    assert objects.read(digest, "it", 100) == b"content"
    assert copy.read_bytes() == b"content"


def test_a_damaged_object_is_found_though_a_copy_is_whole(url, tmp_path):
    """By what asks for the stored one: an audit, a promotion, a collection."""
    digest, source = content_of(tmp_path, b"content")
    objects = CachedObjects(S3Objects(url))
    objects.put(digest, source)
    objects.read(digest, "it", 100)
    damage_object(url, digest)
    assert objects.read(digest, "it", 100) == b"content"
    with pytest.raises(IntegrityError):
        objects.stored().read(digest, "it", 100)


def test_a_damaged_object_is_not_kept(url, tmp_path, _cache):
    digest, source = content_of(tmp_path, b"content")
    objects = CachedObjects(S3Objects(url))
    objects.put(digest, source)
    damage_object(url, digest)
    with pytest.raises(IntegrityError):
        objects.read(digest, "it", 100)
    assert [path for path in _cache.rglob("*") if path.is_file()] == []


def test_the_least_recently_used_copies_are_deleted(url, tmp_path, _cache):
    objects = CachedObjects(S3Objects(url), cache_gb=10e-6)
    digests = []
    for number in range(6):
        digest, source = content_of(tmp_path, bytes([number]) * 3000)
        objects.put(digest, source)
        digests.append(digest)
        objects.read(digest, "it", 3000)
        objects.read(digests[0], "it", 3000)
    kept = {path.name for path in _cache.glob("objects/??/*")}
    assert digests[0] in kept and digests[5] in kept and digests[1] not in kept
    assert sum(path.stat().st_size for path in _cache.glob("objects/??/*")) <= 10_000


def test_a_cache_that_cannot_be_written_is_done_without(url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path / "file"))
    digest, source = content_of(tmp_path, b"content")
    objects = CachedObjects(S3Objects(url))
    objects.put(digest, source)
    for _ in range(2):
        assert objects.read(digest, "it", 100) == b"content"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MLREG_CACHE", str(folder))
    return folder


# --- the ledger's copy, and an index that is older -----------------------------------------------


def test_each_row_is_beside_the_objects(url, tmp_path):
    store = team_store(tmp_path / "registry", url)
    version = publish(store)
    store.move_alias(version, "production")
    copy = LedgerObjects(S3Objects(url))
    rows = list(copy.rows_from(1))
    assert [row.action for row in rows] == [LedgerAction.REGISTERED, LedgerAction.PROMOTED]
    assert rows == list(reversed(store.ledger()))
    assert audit(store).problems == []


def test_an_index_that_is_older_than_the_objects_is_not_written_to(url, tmp_path):
    """It says how to go on; then it has what it lacked: versions, aliases, tags, removals."""
    folder = tmp_path / "registry"
    store = team_store(folder, url)
    publish(store)
    older = (folder / "registry.sqlite3").read_bytes()
    promoted, removed = publish(store, content=b"2"), publish(store, content=b"3")
    store.move_alias(promoted, "production")
    store.tag(promoted, {"reviewed": "yes"})
    store.removals.remove(removed)
    expected = state_of(store)
    (folder / "registry.sqlite3").write_bytes(older)
    with pytest.raises(DamagedIndexError, match="older") as refused:
        publish(team_store(folder, url))
    assert refused.value.command == "mlreg verify --rebuild"
    rebuild(team_store(folder, url), dry_run=True)
    with pytest.raises(DamagedIndexError):
        publish(team_store(folder, url))
    rebuilt = rebuild(team_store(folder, url))
    assert rebuilt.versions == 3 and rebuilt.lost == {} and rebuilt.found == []
    assert state_of(team_store(folder, url)) == expected
    assert audit(team_store(folder, url)).problems == []
    assert publish(team_store(folder, url), content=b"4").version == 4
    assert rebuild(team_store(folder, url)) is None


def test_an_empty_index_is_made_from_the_objects(url, tmp_path):
    store = team_store(tmp_path / "registry", url)
    versions = [publish(store, content=b"%d" % number) for number in range(3)]
    store.move_alias(versions[1], "production")
    expected = state_of(store)
    new = team_store(tmp_path / "other", url)
    with pytest.raises(DamagedIndexError):
        publish(new)
    rebuild(new)
    assert state_of(new) == expected
    assert audit(new).problems == []
    # the first index is older now, and says so
    with pytest.raises(DamagedIndexError, match="older"):
        publish(store)


def test_objects_that_are_older_than_the_index_are_found(url, tmp_path):
    """Nothing is written until the rows are; what else is missing, an audit lists."""
    store = team_store(tmp_path / "registry", url)
    publish(store)
    older = copy_of(url)
    lost = publish(store, content=b"lost")
    restore(url, older)
    with pytest.raises(DamagedIndexError, match="older than the index"):
        publish(team_store(tmp_path / "registry", url))
    rebuild(team_store(tmp_path / "registry", url))
    problems = [str(problem) for problem in audit(team_store(tmp_path / "registry", url)).problems]
    assert problems and all(lost.ref in problem or lost.digest in problem for problem in problems)
    publish(team_store(tmp_path / "registry", url), content=b"lost")


def test_rows_that_a_killed_writer_did_not_write_are_added(url, tmp_path, monkeypatch):
    store = team_store(tmp_path / "registry", url)
    publish(store)
    with monkeypatch.context() as patch:
        patch.setattr(LedgerObjects, "extend", lambda *a: None)
        publish(store, content=b"2")
    assert len(list(LedgerObjects(S3Objects(url)).rows_from(1))) == 1
    assert audit(store).problems == []
    publish(store, content=b"3")
    assert len(list(LedgerObjects(S3Objects(url)).rows_from(1))) == 3


def test_two_registries_cannot_share_a_prefix(url, tmp_path):
    publish(team_store(tmp_path / "one", url))
    with pytest.raises(DamagedIndexError):
        publish(team_store(tmp_path / "other", url))


@pytest.mark.parametrize("change", ["altered", "deleted", "head deleted", "head damaged"])
def test_a_copy_that_was_changed_is_found_and_mended(url, tmp_path, change):
    store = team_store(tmp_path / "registry", url)
    for content in (b"1", b"2", b"3"):
        publish(store, content=content)
    bucket = S3Objects(url).bucket
    row = "ledger/000000000002.json"
    if change == "altered":
        bucket.replace(row, bucket.read(row, 10_000).replace(b"dummy", b"gummy"))
    elif change == "deleted":
        bucket.delete([row])
    elif change == "head deleted":
        bucket.delete(["ledger.head"])
    else:
        bucket.replace("ledger.head", b"{")
    if change != "head deleted":  # from all rows, what it said is known
        assert audit(store).problems
    rebuild(store)
    assert audit(store).problems == []
    publish(store, content=b"4")


def test_a_row_that_is_lost_in_both_is_recorded_as_lost(url, tmp_path):
    store = team_store(tmp_path / "registry", url)
    for content in (b"1", b"2", b"3"):
        publish(store, content=content)
    S3Objects(url).bucket.delete(["ledger/000000000002.json"])
    new = team_store(tmp_path / "other", url)
    rebuilt = rebuild(new)
    assert "row 2 of the ledger" in rebuilt.lost
    assert rebuilt.found == ["dummy@2"]  # its manifest is there
    assert audit(new).problems == []
    assert publish(new, content=b"4").version >= 4


def rebuild(store: Store, dry_run: bool = False):
    from registry_core.store.rebuild import rebuild_if_damaged

    return rebuild_if_damaged(store, dry_run)


def state_of(store: Store) -> dict[str, object]:
    return {
        "versions": [
            (v.ref, v.digest, v.aliases, v.tags, v.files) for v in store.versions("dummy")
        ],
        "removed": [(r.version.ref, r.at) for r in store.removals.of("dummy")],
        "rows": [row for row in store.ledger() if row.action != LedgerAction.REBUILT],
    }


def copy_of(url: str) -> dict[str, bytes]:
    bucket = client.Bucket(url)
    found = {}
    for folder in ("objects", "ledger"):
        for each in bucket.list(folder):
            found[each.key] = bucket.read(each.key, 1 << 24)
    found["ledger.head"] = bucket.read("ledger.head", 1 << 24)
    return found


def restore(url: str, copy: dict[str, bytes]) -> None:
    bucket = client.Bucket(url)
    present = [each.key for folder in ("objects", "ledger") for each in bucket.list(folder)]
    bucket.delete([key for key in present if key not in copy])
    for key, content in copy.items():
        bucket.replace(key, content)


# --- faults at every call ------------------------------------------------------------------------


def deeds(store: Store) -> None:
    """Register, promote, remove and collect."""
    first, second = publish(store, content=b"first"), publish(store, content=b"second")
    store.move_alias(first, "production")
    store.removals.remove(second)
    store.removals.collect(0, 0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_breaks_once_is_made_again(proxy, tmp_path, fault):
    """Whichever it is, nobody notices."""
    url = s3().fresh_url()
    deeds(team_store(tmp_path / "counted", url))
    calls = len(proxy.calls)
    for number in range(1, calls + 1):
        store = team_store(tmp_path / f"registry-{number}", s3().fresh_url())
        with proxy.broken(fault, number, number):
            deeds(store)
        assert_nothing_lost(store)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_breaks_down_loses_nothing_acknowledged(proxy, tmp_path, fault):
    """At whichever call: a version is whole or not there, and the next writer tidies up."""
    url = s3().fresh_url()
    deeds(team_store(tmp_path / "counted", url))
    calls = len(proxy.calls)
    for number in range(1, calls + 1):
        store = team_store(tmp_path / f"registry-{number}", s3().fresh_url())
        acknowledged: list[str] = []
        with proxy.broken(fault, number):
            try:
                acknowledged.append(publish(store, content=b"first").ref)
                acknowledged.append(publish(store, content=b"second").ref)
                store.move_alias(store.versions("dummy")[-1], "production")
                store.removals.remove(store.versions("dummy")[0])
                store.removals.collect(0, 0)
            except MlregError as error:
                assert isinstance(error, StorageError), error
        next_one = publish(store, content=b"next")
        here = {version.ref for version in store.versions("dummy")}
        here |= {removal.version.ref for removal in store.removals.of("dummy")}
        assert {*acknowledged, next_one.ref} <= here
        assert_nothing_lost(store)


def assert_nothing_lost(store: Store) -> None:
    """Every version is whole, and after a collection nothing else lies about."""
    publish(store, model="another")
    found = audit(store)
    assert found.problems == []
    for model in store.model_names():
        for version in store.versions(model):
            store.check(version)
    stored = {info.digest for info in store.parts.blobs.list()}
    assert referenced(store) <= stored
    assert found.orphans == len(stored - referenced(store))
