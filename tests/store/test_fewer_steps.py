"""How much a command asks of the index and of the disk: statements, and bytes of files.

A statement is one call of `execute` or `executemany` that reads or writes tables. Opening a
transaction (BEGIN, COMMIT, PRAGMA) is not counted.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import fill
from store_helpers import blob, publish, record, scored

from registry_core.cli import run_command
from registry_core.errors import IntegrityError
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.plugins.manager import PluginSet
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.local import objects

pytestmark = pytest.mark.drawn

OPENING = ("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA")


@pytest.fixture
def statements(monkeypatch) -> list[str]:
    """Every statement from now on, except those that open and end a transaction."""
    found: list[str] = []

    class Counted(sqlite3.Connection):
        def execute(self, query, *values):
            if not query.startswith(OPENING):
                found.append(query)
            return super().execute(query, *values)

        def executemany(self, query, values):
            if values := list(values):
                found.append(query)
            return super().executemany(query, values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **o: connect(*a, factory=Counted, **o))
    return found


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Store:
    """Three models of four versions of one group each, production promoted twice."""
    monkeypatch.setenv("MLREG_HOME", str(tmp_path / "registry"))
    monkeypatch.chdir(tmp_path)
    for model in ("flowers", "trees", "birds"):
        store = fill(tmp_path / "registry", 0.5, 0.6, 0.7, 0.8, model=model, group="together")
        for version in store.versions(model)[1:3]:
            store.move_alias(version, "production", "because")
    return store


# the largest number of statements that each command may need
LARGEST = {
    "list": 1,
    "list flowers": 3,  # the versions, those of their group, and the best
    "show flowers@production": 4,  # version, its last move, its registration, its group
    "show flowers@2": 3,
    "history": 1,
    "history flowers@production": 2,
    "history flowers@2": 2,
    "promote flowers@4 production": 27,  # approvals are counted under the lock
    "rollback flowers@production": 18,
}


@pytest.mark.parametrize("command", LARGEST)
def test_a_command_needs_few_statements(registry, statements, command, capsys):
    """The number does not grow with the models, versions and rows that there are."""
    assert run_command(command.split()) == 0, capsys.readouterr().err
    assert len(statements) <= LARGEST[command], "\n".join(statements)


@pytest.mark.parametrize("listed", ["models", "versions"])
def test_a_listing_is_one_statement_whatever_its_length(tmp_path, statements, listed):
    """Files, aliases and tags come with the versions."""
    store = Store(tmp_path / "registry")
    for number in range(30):
        version = publish(store, f"model{number % 10}")
        store.tag(version, {"number": str(number)})
    statements.clear()
    found = store.models() if listed == "models" else store.versions("model3")
    assert len(found) == {"models": 10, "versions": 3}[listed]
    assert len(statements) == 1


def _settle() -> None:
    """Wait until a change of a file must show in its time."""
    time.sleep(0.06)


@pytest.fixture
def bytes_read(monkeypatch) -> Counter:
    """Bytes that are read of each object from now on, by digest."""
    read, digests = Counter(), {}
    real_open, real_read = os.open, os.read

    def opening(path, *arguments, **options):
        descriptor = real_open(path, *arguments, **options)
        digests[descriptor] = str(path)
        return descriptor

    def reading(descriptor, count):
        content = real_read(descriptor, count)
        if len(digests.get(descriptor, "")) == 64:
            read[digests[descriptor]] += len(content)
        return content

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "read", reading)
    return read


def _with_results(store: Store, right: int):
    """A version with a record of what it got right, of 100 examples."""
    correct = np.arange(100) < right
    losses = np.where(correct, 0.1, 3.0).astype("<f4").tobytes()
    results = PerExampleResults(100, "sha256:test", losses, np.packbits(correct).tobytes())
    with store.start_run("dummy") as run:
        files = {"model.keras": run.files / "model.keras", OUTCOMES_FILE: run.files / OUTCOMES_FILE}
        files["model.keras"].write_bytes(f"weights {right}".encode() * 1000)
        files[OUTCOMES_FILE].write_bytes(results.to_json())
        return store.publish(run, scored(right / 100), files, lambda paths: None)


def test_a_promotion_reads_each_file_once(tmp_path, bytes_read):
    """Model and results of the candidate, results of the incumbent, and both manifests."""
    registry = Registry(tmp_path / "registry", Settings())
    first, second = _with_results(registry.store, 70), _with_results(registry.store, 80)
    registry.promote(first.ref, "production", plugins=PluginSet(None, []))
    _settle()
    bytes_read.clear()
    promotion = registry.promote(second.ref, "production", plugins=PluginSet(None, []))
    decision = promotion.decision
    assert promotion.version.aliases == ("production",)
    assert decision.comparison is not None
    sizes = {file.sha256: file.size for file in second.files}
    assert {digest: bytes_read[digest] for digest in sizes} == sizes
    for version in (first, second):
        assert bytes_read[version.digest] == blob(registry.store, version.digest).stat().st_size
    assert bytes_read[first.file(OUTCOMES_FILE).sha256] == first.file(OUTCOMES_FILE).size
    assert bytes_read[first.file("model.keras").sha256] == 0


def test_a_rollback_reads_each_file_once(tmp_path, bytes_read):
    """As a promotion does."""
    registry = Registry(tmp_path / "registry", Settings())
    for right in (70, 80):
        version = _with_results(registry.store, right)
        registry.store.move_alias(version, "production")
    _settle()
    bytes_read.clear()
    back = registry.rollback("dummy", "production").version
    assert {file.sha256: bytes_read[file.sha256] for file in back.files} == {
        file.sha256: file.size for file in back.files
    }


def _overwritten(file, content: bytes) -> None:
    file.chmod(0o600)
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(file, content: bytes) -> None:
    file.with_name("new").write_bytes(content)
    file.with_name("new").replace(file)


@pytest.mark.parametrize("settled", [True, False], ids=["old", "just written"])
@pytest.mark.parametrize("change", [_overwritten, _replaced], ids=lambda change: change.__name__)
@pytest.mark.parametrize("which", ["file", "manifest"])
def test_a_file_that_is_damaged_after_the_check_stops_the_move(tmp_path, settled, change, which):
    """Whatever happens between the check and the move shows, even at the same size and time."""
    store = Store(tmp_path / "registry")
    version = publish(store)
    if settled:
        _settle()
    checked = store.check(version)
    digest = version.digest if which == "manifest" else version.file("model.keras").sha256
    file = blob(store, digest)
    change(file, b"x" * file.stat().st_size)
    with pytest.raises(IntegrityError):
        store.move_alias(checked, "production")
    assert store.aliases("dummy") == {}


def test_a_file_that_is_replaced_by_the_same_content_is_read_again(tmp_path, bytes_read):
    """Another run may put the same file there meanwhile: that is no damage."""
    store = Store(tmp_path / "registry")
    version = publish(store)
    _settle()
    checked = store.check(version)
    publish(store, what=record(seed=8))  # has the same files
    _settle()
    bytes_read.clear()
    assert store.move_alias(checked, "production").version.version == 1
    assert set(bytes_read) == {file.sha256 for file in version.files}


def test_starting_a_run_does_not_wait_for_the_disk(tmp_path):
    """It checks whether the index can be written, and writes nothing: SQLite would sync five times.

    SQLite counts its commits at byte 24, and would make its journal in the registry's folder.
    """
    store = Store(tmp_path)
    publish(store)
    file = tmp_path / "registry.sqlite3"
    before, changed = file.read_bytes(), tmp_path.stat().st_mtime_ns
    with store.start_run("flowers"):
        assert file.read_bytes() == before
        assert tmp_path.stat().st_mtime_ns == changed
    publish(store)
    assert int.from_bytes(file.read_bytes()[24:28]) == int.from_bytes(before[24:28]) + 1


def _place(descriptor: int, registry: Path) -> str:
    """The path of an open file inside the registry, with `ID` as the run's id."""
    path = Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(registry.resolve())
    return re.sub(r"\d{8}T\d{6}Z-\w+", "ID", str(path))


@pytest.mark.core
def test_registering_a_version_syncs_every_name_once(tmp_path, monkeypatch):
    """A run's folder is durable before its objects are, and no part of the registry twice.

    What SQLite syncs itself is not counted.
    """
    store = Store(tmp_path)
    publish(store, content=b"first")
    synced = []
    sync = os.fsync

    def recorded(descriptor: int) -> None:
        synced.append(_place(descriptor, tmp_path))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    with store.start_run("dummy") as run:
        file = run.files / "model.keras"
        file.write_bytes(b"weights")
        run.begin({"model": "dummy"})
        assert synced == ["runs/ID/run.json.new", "runs/ID", "runs"]
        synced.clear()
        store.publish(run, record(), {"model.keras": file}, lambda paths: None)
    own = [place for place in synced if not place.startswith("objects/sha256")]
    assert own == [
        "runs/ID/intent.json",
        "runs/ID",
        "runs/ID/staged/0.keras",
        "runs/ID/publishing.json",
        "runs/ID/staged/manifest.json",
        "objects/ledger.head",
        "ledger.jsonl",
    ]


def test_permissions_are_checked_once_in_ten_seconds(tmp_path, monkeypatch):
    """Hundreds of folders: a process that registers one version after another checks them once."""
    store, checked, now = Store(tmp_path), [], [100.0]
    monkeypatch.setattr(objects, "check_writable", checked.append)
    monkeypatch.setattr(objects.time, "monotonic", lambda: now[0])
    for seconds, checks in ((0, 1), (9, 1), (2, 2)):
        now[0] += seconds
        with store.start_run("dummy"):
            assert len(checked) == checks


def test_a_registry_that_a_run_creates_is_committed(tmp_path):
    with Store(tmp_path).start_run("flowers"):
        pass
    assert Store(tmp_path).models() == []
    assert (tmp_path / "registry.sqlite3").stat().st_size > 4096
