"""Publishing a version and finding it again."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_helpers import assert_whole, blob, blobs, publish, record, scored

from registry_core.errors import Interrupted, PluginError, UsageError
from registry_core.refs import parse_ref
from registry_core.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "registry")


def test_a_published_version_reads_back(store):
    with store.start_run("dummy") as run:
        (run.files / "model.keras").write_bytes(b"weights")
        files = {"model.keras": run.files / "model.keras"}
        version = store.publish(run, record(config={"epochs": 3}), files, lambda paths: None)

    assert version.ref == "dummy@1"
    assert store.resolve(parse_ref("dummy@1")) == version
    assert store.versions("dummy") == [version]
    assert store.read(version, "model.keras") == b"weights"
    manifest = store.manifest(version)
    assert manifest["config"] == {"epochs": 3}
    assert manifest["version"] == 1
    assert manifest["files"] == [
        {"path": "model.keras", "size": 7, "sha256": version.files[0].sha256}
    ]
    assert version.run == run.id
    assert not run.path.exists()
    assert_whole(store)


def test_versions_made_together_are_found_by_any_of_them(store):
    alone = publish(store)
    first, second = (publish(store, what=record(group="five seeds")) for _ in range(2))
    publish(store, what=record(group="others"))
    assert store.group(second) == [first, second]
    assert store.manifest(second)["group"] == "five seeds"
    assert store.group(alone) == [alone]


def test_nothing_is_made_by_reading(store):
    assert store.models() == []
    assert store.ledger() == []
    store.verify_ledger()
    with pytest.raises(UsageError):
        store.versions("dummy")
    with pytest.raises(UsageError):
        store.resolve(parse_ref("dummy"))
    assert not store.folder.exists()


def test_numbers_go_up_by_one_and_lists_are_newest_first(store):
    for number in range(1, 6):
        assert publish(store, content=b"%d" % number).version == number
    assert [v.version for v in store.versions("dummy", limit=2)] == [5, 4]
    assert publish(store, model="other").version == 1
    summary = {model.name: (model.versions, model.latest.version) for model in store.models()}
    assert summary == {"dummy": (5, 5), "other": (1, 1)}


def test_equal_files_are_kept_once(store):
    first = publish(store)
    before = blobs(store)
    second = publish(store)
    assert blobs(store) - before == {second.digest}
    assert first.files == second.files
    assert_whole(store)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o444), (0o077, 0o400), (0o002, 0o444)])
def test_objects_can_be_read_as_the_umask_says_and_written_by_nobody(store, umask, mode):
    old = os.umask(umask)
    try:
        version = publish(store)
    finally:
        os.umask(old)
    for digest in (version.digest, version.files[0].sha256):
        assert stat.S_IMODE(blob(store, digest).stat().st_mode) == mode


def test_the_manifest_says_all_that_the_index_says(store):
    """An index can be rebuilt from objects/ alone."""
    version = publish(store)
    manifest = json.loads(blob(store, version.digest).read_bytes())
    shown = version.to_json()
    for key in set(shown) - {"ref", "aliases", "digest"}:
        assert manifest[key] == shown[key]
    assert manifest["schema"] == 1


def test_a_moved_registry_works_and_keeps_no_absolute_path(store, tmp_path):
    publish(store)
    assert str(tmp_path).encode() not in (store.folder / "registry.sqlite3").read_bytes()
    moved = Store(tmp_path / "elsewhere")
    shutil.move(store.folder, moved.folder)
    publish(moved)
    assert [v.version for v in moved.versions("dummy")] == [2, 1]
    assert_whole(moved)


@pytest.mark.parametrize("name", ["two words", "é", "🦆", "a?b", "a#b", "50%25", "a&mode=rwc", "'"])
def test_a_folder_may_have_any_name(tmp_path, name):
    store = Store(tmp_path / name)
    version = publish(store)
    store.move_alias(version, "production")
    assert Store(tmp_path / name).resolve(parse_ref("dummy@production")).version == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_folder_is_found_from_where_it_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    publish(Store(Path("here")))
    assert Store(tmp_path / "here").models()[0].name == "dummy"


def test_the_load_check_sees_the_files_and_can_refuse_them(store):
    def refuse(paths):
        assert paths["model.keras"].read_bytes() == b"weights"
        assert paths["model.keras"].suffix == ".keras"
        raise PluginError("It cannot be loaded again.")

    with pytest.raises(PluginError), store.start_run("dummy") as run:
        (run.files / "model.keras").write_bytes(b"weights")
        store.publish(run, record(), {"model.keras": run.files / "model.keras"}, refuse)
    assert store.models() == []
    assert_whole(store)


def test_a_file_from_elsewhere_is_copied_and_left_where_it_was(store, tmp_path):
    report = tmp_path / "report.png"
    report.write_bytes(b"plot")
    with store.start_run("dummy") as run:
        version = store.publish(run, record(), {"plots/report.png": report}, lambda paths: None)
    assert report.read_bytes() == store.read(version, "plots/report.png") == b"plot"
    assert_whole(store)


def test_a_link_or_a_missing_file_is_not_registered(store, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with store.start_run("dummy") as run:
        (run.files / "link").symlink_to(secret)
        for source in (run.files / "link", run.files / "missing", run.files):
            with pytest.raises(PluginError):
                store.publish(run, record(), {"x": source}, lambda paths: None)
    assert store.models() == []


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "", "a//b", "./a", "a\0"])
def test_a_path_inside_a_version_stays_inside(store, tmp_path, path):
    with store.start_run("dummy") as run:
        (run.files / "x").write_bytes(b"x")
        with pytest.raises(PluginError):
            store.publish(run, record(), {path: run.files / "x"}, lambda paths: None)


def _nested(levels):
    value = inner = {}
    for _ in range(levels):
        inner["x"] = inner = {}
    return value


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"config": {"layers": [1, 2, 3, {"x": float("nan")}]}}, "record.config.layers[3].x"),
        ({"config": {"rate": float("inf")}}, "record.config.rate"),
        ({"metrics": {"test_accuracy": float("-inf")}}, "record.metrics.test_accuracy"),
        ({"config": {"x": object()}}, "record.config.x"),
        ({"config": {"x": b"bytes"}}, "record.config.x"),
        ({"config": {1: 2}}, "record.config"),
        ({"config": {"x": "\ud800"}}, "record.config.x"),
        ({"config": {"x": 1 << 70}}, "record.config.x"),
        ({"config": _nested(10_000)}, "64 levels"),
        ({"config": {"x": "a" * (5 << 20)}}, "record.config.x"),
        ({"config": {"x": [0.5] * 3_000_000}}, "4194304 bytes"),
        ({"config": {"x": ["\x01"] * 1_000_000}}, "4194304 bytes"),
        ({"metrics": {}}, "record.objective.metric"),
        ({"metrics": {"test_accuracy": "good"}}, "record.metrics.test_accuracy"),
        ({"seed": "7"}, "record.seed"),
        ({"seed": True}, "record.seed"),
        ({"objective": {"metric": "test_accuracy", "direction": "up"}}, "record.objective"),
        ({"version": 9}, "record.version"),
    ],
)
def test_a_record_that_cannot_be_kept_is_refused_by_name(store, changes, place):
    with pytest.raises(PluginError) as caught, store.start_run("dummy") as run:
        store.publish(run, record(**changes), {}, lambda paths: None)
    assert place in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert store.models() == []
    assert_whole(store)


def test_a_record_that_refers_to_itself_is_refused(store):
    loop = {}
    loop["again"] = loop
    with pytest.raises(PluginError, match="64 levels"), store.start_run("dummy") as run:
        store.publish(run, record(config=loop), {}, lambda paths: None)


@pytest.mark.parametrize("stop", [Interrupted(2), KeyboardInterrupt(), ValueError()])
def test_leaving_a_run_early_leaves_no_draft(store, stop):
    with pytest.raises(type(stop)), store.start_run("dummy") as run:
        (run.files / "half").write_bytes(b"half")
        raise stop
    assert store.models() == []
    assert_whole(store)


@pytest.mark.parametrize("name", ["../x", "/etc", "CON", "", "a" * 300, "a\0b", "\ud800", "-x"])
def test_a_bad_name_writes_nothing(store, name):
    with pytest.raises(UsageError):
        store.start_run(name)
    with pytest.raises(UsageError):
        store.versions(name)
    assert not store.folder.exists()


def test_order_is_by_number_when_the_clock_jumps(store, monkeypatch):
    """A year back, then ten years ahead."""
    now = time.time()
    for seconds in (0, -365 * 86400, 3650 * 86400, -86400):
        monkeypatch.setattr(time, "gmtime", lambda at=now + seconds: _gmtime(at))
        publish(store)
    assert [v.version for v in store.versions("dummy")] == [4, 3, 2, 1]
    assert store.resolve(parse_ref("dummy@latest")).version == 4
    created = [v.created for v in store.versions("dummy")]
    assert created != sorted(created, reverse=True)
    assert_whole(store)


_gmtime = time.gmtime


def test_best_follows_the_objective_of_the_newest_version(store):
    for accuracy in (0.5, 0.9, 0.9, 0.7):
        publish(store, what=scored(accuracy))
    assert store.resolve(parse_ref("dummy@best")).version == 2
    loss = {"metric": "test_loss", "direction": "min"}
    for value in (3.0, 2.0, 2.5):
        publish(store, what=record(metrics={"test_loss": value}, objective=loss))
    assert store.resolve(parse_ref("dummy@best")).version == 6


def test_a_digest_finds_its_version(store):
    versions = [publish(store) for _ in range(3)]
    for version in versions:
        assert store.resolve(parse_ref(f"dummy@sha256:{version.digest[:16]}")) == version
        assert store.resolve(parse_ref(f"dummy@sha256:{version.digest}")) == version
    with pytest.raises(UsageError, match="begins with"):
        store.resolve(parse_ref("dummy@sha256:" + "0" * 64))


@pytest.mark.gate
def test_a_digest_that_fits_several_is_refused(store):
    seen = {}
    for _ in range(40):
        version = publish(store)
        seen.setdefault(version.digest[:1], []).append(version)
    prefix, fitting = max(seen.items(), key=lambda item: len(item[1]))
    from registry_core.refs import Ref

    with pytest.raises(UsageError, match="More than one") as caught:
        store.resolve(Ref("dummy", "digest", f"sha256:{prefix}"))
    assert sum(version.ref in caught.value.remedy for version in fitting) > 1


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("dumy@1", "dummy"),
        ("dummy@7", "dummy@2"),
        ("dummy@prodution", "production"),
        ("dummy@lates", "latest"),
    ],
)
def test_what_is_not_there_brings_what_is_near(store, text, near):
    publish(store)
    store.move_alias(publish(store), "production")
    with pytest.raises(UsageError) as caught:
        store.resolve(parse_ref(text))
    assert near in caught.value.remedy
    assert caught.value.command


@pytest.mark.parametrize("table", ["versions", "files", "ledger"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET {}={}", "DELETE FROM {}", "INSERT OR REPLACE"])
def test_a_version_and_the_ledger_cannot_be_changed_even_by_hand(store, table, verb):
    publish(store)
    column = {"versions": "summary", "files": "size", "ledger": "reason"}[table]
    if verb.startswith("INSERT"):
        statement = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"
    else:
        statement = verb.format(table, column, column)
    connection = sqlite3.connect(store.folder / "registry.sqlite3")
    connection.execute("PRAGMA recursive_triggers = OFF")
    with pytest.raises(sqlite3.IntegrityError, match=r"never changes|only grows"):
        connection.execute(statement)
    connection.close()
    assert_whole(store)


def test_a_number_cannot_be_taken_back_even_by_hand(store):
    publish(store)
    connection = sqlite3.connect(store.folder / "registry.sqlite3")
    for statement in ("UPDATE models SET last_version = 0", "DELETE FROM models"):
        with pytest.raises(sqlite3.IntegrityError, match="never used again"):
            connection.execute(statement)
    connection.close()


def test_a_copy_appears_whole(store, tmp_path):
    version = publish(store)
    target = tmp_path / "out.keras"
    assert store.copy_out(version, "model.keras", target) == target
    assert target.read_bytes() == b"weights"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.keras", "registry"]
    with pytest.raises(UsageError, match="no file"):
        store.copy_out(version, "model.kers", target)


def test_reading_loads_nothing_that_takes_long():
    """The imports of `mlreg list`: no NumPy, no pydantic, no OpenSSL."""
    script = (
        "import sys; from pathlib import Path; from registry_core.store import Store; "
        "Store(Path('nowhere')).models(); print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    slow = {"numpy", "tensorflow", "keras", "matplotlib", "pluggy", "rich", "typer", "pydantic"}
    assert not (slow | {"hashlib", "secrets", "subprocess", "getpass"}) & set(loaded)


@pytest.mark.gate
def test_a_hundred_thousand_versions_are_listed_at_once(store):
    """Every query of `list` and of a reference uses an index."""
    publish(store)
    connection = sqlite3.connect(store.folder / "registry.sqlite3")
    connection.execute("PRAGMA synchronous = OFF")
    with connection:
        connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
            "INSERT INTO versions (model, number, created, run, digest, objective, score, summary) "
            "SELECT model, i, created, run, hex(randomblob(32)), objective, score, summary "
            "FROM versions, n"
        )
    connection.close()
    started = time.process_time()
    assert store.models()[0].versions == 100_000
    assert len(store.versions("dummy", limit=20)) == 20
    for selector in ("latest", "best", "5", "sha256:abcdef0123"):
        try:
            store.resolve(parse_ref(f"dummy@{selector}"))
        except UsageError:
            assert selector.startswith("sha256")
    assert time.process_time() - started < 0.5


def test_a_file_is_fsynced_before_it_is_moved_into_objects_and_its_folder_after(store, monkeypatch):
    """And the folders above it; so what the index refers to survives a loss of power."""
    calls: list[tuple[str, ...]] = []
    fsync, rename = os.fsync, os.rename

    def place(descriptor: int, name: str = "") -> str:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink() / name)

    def noted_fsync(descriptor):
        fsync(descriptor)
        calls.append(("fsync", place(descriptor)))

    def noted_rename(source, target, *, src_dir_fd=None, dst_dir_fd=None):
        if dst_dir_fd is not None:
            calls.append(("move", place(src_dir_fd, source), place(dst_dir_fd)))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    publish(store)
    objects = store.folder / "objects"
    moves = [
        (number, *call[1:])
        for number, call in enumerate(calls)
        if call[0] == "move" and str(objects) in call[2]
    ]
    assert len(moves) == 3  # two files and the manifest
    for number, source, folder in moves:
        assert ("fsync", source) in calls[:number]
        for above in (folder, objects / "sha256", objects, store.folder):
            assert ("fsync", str(above)) in calls[number:], above
