"""A registry that is damaged, foreign, newer, or cannot be written."""

import os
import sqlite3

import pytest
from store_helpers import assert_whole, blob, in_child, publish

from registry_core.errors import IntegrityError, StorageError, UsageError
from registry_core.refs import parse_ref
from registry_core.store import Store
from registry_core.store.rebuild import rebuild
from registry_core.store.sqlite.schema import SCHEMA


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "registry")
    for number in range(3):
        publish(store, content=b"weights %d" % number)
    return store


def _file(store):
    return store.folder / "registry.sqlite3"


def _overwrite(path, offset, content):
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def _every_command(store):
    version = None
    yield store.models
    yield lambda: store.versions("dummy")
    yield lambda: store.resolve(parse_ref("dummy@1"))
    yield store.ledger
    yield store.verify_ledger
    yield lambda: store.start_run("dummy")
    yield lambda: store.note("refused", "dummy", version)


def _zeroed(file):
    _overwrite(file, 0, bytes(100))


def _emptied(file):
    file.write_bytes(b"")


def _missing(file):
    file.unlink()


def _cut(file):
    os.truncate(file, file.stat().st_size // 2)


def _text(file):
    file.write_bytes(b"not a database" * 1000)


@pytest.mark.parametrize("damage", [_zeroed, _emptied, _missing, _cut, _text])
def test_a_damaged_index_is_left_as_it_is(store, damage):
    damage(_file(store))
    before = _file(store).read_bytes() if _file(store).exists() else None
    for command in _every_command(store):
        with pytest.raises(IntegrityError) as caught:
            command()
        assert "objects" in caught.value.remedy
    assert before == (_file(store).read_bytes() if _file(store).exists() else None)


def test_any_flipped_page_is_noticed_by_every_command(store):
    file = _file(store)
    whole = file.read_bytes()
    pages = len(whole) // 4096
    assert pages > 10
    for page in range(pages):
        start = page * 4096
        flipped = bytes(byte ^ 0xFF for byte in whole[start : start + 4096])
        file.write_bytes(whole[:start] + flipped + whole[start + 4096 :])
        broken = file.read_bytes()
        for command in _every_command(store):
            with pytest.raises(IntegrityError):
                command()
        assert file.read_bytes() == broken
    file.write_bytes(whole)
    assert_whole(store)


def test_an_index_that_contradicts_a_manifest_is_detected(store):
    """SQLite does not notice one flipped bit in a number; the manifest shows it."""
    connection = sqlite3.connect(_file(store))
    connection.execute("DROP TRIGGER versions_no_UPDATE")
    with connection:
        connection.execute("UPDATE versions SET summary = replace(summary, '0.5', '0.9')")
    connection.close()
    version = store.resolve(parse_ref("dummy@1"))
    for command in (store.manifest, store.check, lambda v: store.move_alias(v, "production")):
        with pytest.raises(IntegrityError, match="index"):
            command(version)
    assert store.resolve(parse_ref("dummy")).aliases == ()


def test_another_programs_database_is_not_touched(tmp_path):
    store = Store(tmp_path)
    connection = sqlite3.connect(_file(store))
    connection.execute("CREATE TABLE notes (text)")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    before = _file(store).read_bytes()
    for command in _every_command(store):
        with pytest.raises(IntegrityError, match="not an mlreg registry"):
            command()
    assert _file(store).read_bytes() == before


def test_a_newer_registry_is_not_written(store):
    connection = sqlite3.connect(_file(store))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = _file(store).read_bytes()
    for command in _every_command(store):
        with pytest.raises(IntegrityError) as caught:
            command()
        assert "schema 99" in caught.value.what
        assert f"knows schema {SCHEMA}." in caught.value.what
    with pytest.raises(IntegrityError, match="schema 99"):
        rebuild(store.folder)
    assert _file(store).read_bytes() == before


def test_a_half_made_index_is_made_again(tmp_path):
    _file(Store(tmp_path)).touch()
    store = Store(tmp_path)
    assert store.models() == []
    publish(store)
    assert_whole(store)


def _truncate(path):
    path.chmod(0o600)
    os.truncate(path, 3)


def _flip(path):
    _overwrite(path, 0, b"\xff")


def _empty(path):
    path.chmod(0o600)
    path.write_bytes(b"")


def _remove(path):
    path.unlink()


def _link(path):
    outside = path.parents[4] / "outside"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


def _link_folder(path):
    outside = path.parents[4] / "outside"
    path.parent.rename(outside)
    path.parent.symlink_to(outside)


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [_truncate, _flip, _empty, _remove, _link, _link_folder, _pipe])
@pytest.mark.parametrize("which", ["file", "manifest"])
def test_a_damaged_blob_is_never_used(store, tmp_path, damage, which):
    version = store.resolve(parse_ref("dummy@2"))
    file = version.file("model.keras").sha256
    if damage is _link_folder and file[:2] == version.digest[:2]:
        which = "manifest"  # one time in 256 both are in that folder, and it is read first
    digest = version.digest if which == "manifest" else file
    other = store.resolve(parse_ref("dummy@1"))
    store.move_alias(other, "production")
    damage(blob(store, digest))

    with pytest.raises(IntegrityError) as caught:
        store.check(version)
    assert digest in caught.value.what
    assert ("manifest" if which == "manifest" else "model.keras") in caught.value.what
    with pytest.raises(IntegrityError):
        store.move_alias(version, "production")
    assert store.resolve(parse_ref("dummy@production")) == store.resolve(parse_ref("dummy@1"))
    target = tmp_path / "out"
    if which == "file":
        for read in (store.read, lambda v, path: store.copy_out(v, path, target)):
            with pytest.raises(IntegrityError):
                read(version, "model.keras")
    else:
        with pytest.raises(IntegrityError):
            store.manifest(version)
    assert not target.exists()
    assert not list(tmp_path.glob(".mlreg-*"))
    assert [v.version for v in store.versions("dummy")] == [3, 2, 1], "the list still works"
    if which == "manifest" or damage not in (_flip, _link_folder):
        assert store.damaged(version), "and marks the version"
    if damage is not _link_folder:
        store.check(other)


def test_both_digests_of_a_damaged_blob_are_named(store):
    version = store.resolve(parse_ref("dummy@2"))
    record = version.file("model.keras")
    path = blob(store, record.sha256)
    path.chmod(0o600)
    path.write_bytes(b"")
    with pytest.raises(IntegrityError) as caught:
        store.read(version, "model.keras")
    assert record.sha256 in caught.value.what
    assert "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" in caught.value.what


def _as_nobody(action):
    """Root ignores modes, so become someone who does not."""

    def child():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        action()

    return in_child(child)


@pytest.fixture
def read_only(store, tmp_path):
    """The registry, where someone who may only read can reach it."""
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
        for path in store.folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o444)
    else:
        for path in (store.folder, *store.folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
    yield store
    for path in (store.folder, *store.folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o444)


def test_a_read_only_registry_can_be_read(read_only):
    def read():
        assert read_only.models()[0].versions == 3
        version = read_only.resolve(parse_ref("dummy@2"))
        read_only.check(version)
        read_only.verify_ledger()

    assert _as_nobody(read) == 0


@pytest.mark.parametrize(
    "command",
    [
        lambda store: store.start_run("dummy"),
        lambda store: store.note("refused", "dummy"),
        lambda store: store.move_alias(store.resolve(parse_ref("dummy@1")), "production"),
        lambda store: Store(store.folder / "deeper").start_run("dummy"),
    ],
)
def test_a_read_only_registry_refuses_before_anything_is_trained(read_only, command):
    assert _as_nobody(lambda: command(read_only)) == StorageError.exit_status
    assert len(read_only.ledger()) == 3


def test_a_registry_whose_objects_cannot_be_written_refuses_too(read_only):
    """The index alone is not enough to take a result."""
    for path in (read_only.folder, *read_only.folder.glob("r*")):
        path.chmod(0o777)
    assert _as_nobody(lambda: read_only.start_run("dummy")) == StorageError.exit_status
    assert not list((read_only.folder / "runs").iterdir())


def test_a_registry_in_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = Store(tmp_path / "file" / "registry")
    assert store.models() == []
    with pytest.raises(StorageError):
        store.start_run("dummy")


def test_a_copy_to_where_nothing_can_be_written_is_refused(store, tmp_path):
    version = store.resolve(parse_ref("dummy"))
    with pytest.raises(StorageError):
        store.copy_out(version, "model.keras", tmp_path / "missing" / "out")
    with pytest.raises(UsageError):
        store.read(version, "../../registry.sqlite3")
