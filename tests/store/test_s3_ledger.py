"""The ledger's copy on S3, and an index that is older or newer than it.

The index is a file here, which is restored from a copy by writing it.
"""

from __future__ import annotations

import pytest
from s3_helpers import store_on_s3
from store_helpers import publish
from team_servers import postgresql

from registry_core.errors import DamagedIndexError
from registry_core.records import LedgerAction
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.parts import team_parts
from registry_core.store.rebuild import rebuild_if_damaged
from registry_core.store.s3 import client
from registry_core.store.s3.ledger_objects import LedgerObjects
from registry_core.store.s3.objects import S3Objects

pytestmark = pytest.mark.gate


def test_each_row_is_beside_the_objects(url, tmp_path):
    store = store_on_s3(tmp_path / "registry", url)
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
    store = store_on_s3(folder, url)
    publish(store)
    older = (folder / "registry.sqlite3").read_bytes()
    promoted, removed = publish(store, content=b"2"), publish(store, content=b"3")
    store.move_alias(promoted, "production")
    store.tag(promoted, {"reviewed": "yes"})
    store.removals.remove(removed)
    expected = state_of(store)
    (folder / "registry.sqlite3").write_bytes(older)
    with pytest.raises(DamagedIndexError, match="older") as refused:
        publish(store_on_s3(folder, url))
    assert refused.value.command == "mlreg verify --rebuild"
    rebuild_if_damaged(store_on_s3(folder, url), dry_run=True)
    with pytest.raises(DamagedIndexError):
        publish(store_on_s3(folder, url))
    rebuilt = rebuild_if_damaged(store_on_s3(folder, url))
    assert rebuilt.versions == 3 and rebuilt.lost == {} and rebuilt.found == []
    assert state_of(store_on_s3(folder, url)) == expected
    assert audit(store_on_s3(folder, url)).problems == []
    assert publish(store_on_s3(folder, url), content=b"4").version == 4
    assert rebuild_if_damaged(store_on_s3(folder, url)) is None


def test_an_empty_index_is_made_from_the_objects(url, tmp_path):
    store = store_on_s3(tmp_path / "registry", url)
    versions = [publish(store, content=b"%d" % number) for number in range(3)]
    store.move_alias(versions[1], "production")
    expected = state_of(store)
    new = store_on_s3(tmp_path / "other", url)
    with pytest.raises(DamagedIndexError):
        publish(new)
    rebuild_if_damaged(new)
    assert state_of(new) == expected
    assert audit(new).problems == []
    # the first index is older now, and says so
    with pytest.raises(DamagedIndexError, match="older"):
        publish(store)


def test_an_empty_index_in_postgresql_is_made_from_the_objects(url, tmp_path):
    def store() -> Store:
        return Store(team_parts(tmp_path, postgresql().fresh_url(), url, 30))

    first = store()
    versions = [publish(first, content=b"%d" % number) for number in range(3)]
    first.move_alias(versions[1], "production")
    first.tag(versions[0], {"reviewed": "yes"})
    first.removals.remove(versions[2])
    new = store()
    assert rebuild_if_damaged(new, dry_run=True).versions == 3
    assert new.model_names() == []
    rebuild_if_damaged(new)
    assert state_of(new) == state_of(first)
    assert audit(new).problems == []
    assert publish(new, content=b"4").version == 4


def test_objects_that_are_older_than_the_index_are_found(url, tmp_path):
    """Nothing is written until the rows are; what else is missing, an audit lists."""
    store = store_on_s3(tmp_path / "registry", url)
    publish(store)
    older = copy_of(url)
    lost = publish(store, content=b"lost")
    restore(url, older)
    with pytest.raises(DamagedIndexError, match="older than the index"):
        publish(store_on_s3(tmp_path / "registry", url))
    rebuild_if_damaged(store_on_s3(tmp_path / "registry", url))
    problems = [str(problem) for problem in audit(store_on_s3(tmp_path / "registry", url)).problems]
    assert problems and all(lost.ref in problem or lost.digest in problem for problem in problems)
    publish(store_on_s3(tmp_path / "registry", url), content=b"lost")


def test_rows_that_a_killed_writer_did_not_write_are_added(url, tmp_path, monkeypatch):
    store = store_on_s3(tmp_path / "registry", url)
    publish(store)
    with monkeypatch.context() as patch:
        patch.setattr(LedgerObjects, "extend", lambda *a: None)
        publish(store, content=b"2")
    assert len(list(LedgerObjects(S3Objects(url)).rows_from(1))) == 1
    assert audit(store).problems == []
    publish(store, content=b"3")
    assert len(list(LedgerObjects(S3Objects(url)).rows_from(1))) == 3


def test_two_registries_cannot_share_a_prefix(url, tmp_path):
    publish(store_on_s3(tmp_path / "one", url))
    with pytest.raises(DamagedIndexError):
        publish(store_on_s3(tmp_path / "other", url))


@pytest.mark.parametrize("change", ["altered", "deleted", "head deleted", "head damaged"])
def test_a_copy_that_was_changed_is_found_and_mended(url, tmp_path, change):
    store = store_on_s3(tmp_path / "registry", url)
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
    rebuild_if_damaged(store)
    assert audit(store).problems == []
    publish(store, content=b"4")


def test_a_row_that_is_lost_in_both_is_recorded_as_lost(url, tmp_path):
    store = store_on_s3(tmp_path / "registry", url)
    for content in (b"1", b"2", b"3"):
        publish(store, content=content)
    S3Objects(url).bucket.delete(["ledger/000000000002.json"])
    new = store_on_s3(tmp_path / "other", url)
    rebuilt = rebuild_if_damaged(new)
    assert "row 2 of the ledger" in rebuilt.lost
    assert rebuilt.found == ["dummy@2"]  # its manifest is there
    assert audit(new).problems == []
    assert publish(new, content=b"4").version >= 4


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
