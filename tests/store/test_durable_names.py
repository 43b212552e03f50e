"""After a power cut a registry has each change of a name whole: the folder is synced after it.

What SQLite syncs itself is not looked at. The order of publishing is in test_publish.py.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from store_helpers import publish

from registry_core.store import Store
from registry_core.store.local.objects import LocalObjects
from registry_core.store.rebuild import rebuild


@pytest.fixture
def registry(tmp_path):
    folder = tmp_path / "registry"
    folder.mkdir()
    return folder


def put(registry: Path, source: Path) -> Path:
    """Put a file with the objects of a new process; returns the object's path."""
    source.write_bytes(b"content")
    digest = sha256(b"content").hexdigest()
    LocalObjects(registry).put(digest, source)
    return registry / "objects" / "sha256" / digest[:2] / digest


def test_the_folders_above_a_new_object_are_synced_whoever_made_them(registry, tmp_path, calls):
    """Another process may have made them a moment ago and not have come to it."""
    LocalObjects(registry).prepare()
    calls.clear()
    path = put(registry, tmp_path / "source")
    after = calls[calls.index(("rename", path)) :]
    for folder in (path.parent, registry / "objects" / "sha256", registry / "objects", registry):
        assert ("fsync", folder) in after, folder


def test_the_files_of_a_version_are_put_in_one_pass(registry, tmp_path, calls):
    """All contents are on the disk before one has its name, and each folder is synced once."""
    objects = LocalObjects(registry)
    objects.prepare()
    sources = {}
    for number in range(40):  # in about 37 folders
        content = b"%d" % number
        sources[sha256(content).hexdigest()] = tmp_path / f"{number}"
        (tmp_path / f"{number}").write_bytes(content)
    calls.clear()
    objects.put_all(sources, {})
    paths = [registry / objects.place(digest) for digest in sources]
    renamed = calls.index(("rename", paths[0]))
    assert calls[:renamed] == [("fsync", source) for source in sources.values()]
    assert calls[renamed : renamed + 40] == [("rename", path) for path in paths]
    folders = [path for _, path in calls[renamed + 40 :]]
    above = [registry / "objects" / "sha256", registry / "objects", registry]
    assert folders == [*dict.fromkeys(path.parent for path in paths), *above]


def test_an_object_that_is_deleted_stays_deleted(registry, tmp_path, calls):
    LocalObjects(registry).prepare()
    path = put(registry, tmp_path / "source")
    calls.clear()
    LocalObjects(registry).delete(path.name)
    assert calls == [("unlink", path), ("fsync", path.parent)]


def test_a_rebuilt_index_has_its_name_before_the_ledger_is_replaced_and_that_one_too(
    registry, calls
):
    publish(Store(registry))
    (registry / "registry.sqlite3").unlink()
    calls.clear()
    rebuild(registry)
    index = calls.index(("rename", registry / "registry.sqlite3"))
    ledger = calls.index(("rename", registry / "ledger.jsonl"))
    assert index < ledger
    assert ("fsync", registry) in calls[index:ledger]
    assert ("fsync", registry) in calls[ledger:]


def test_a_copy_has_its_content_before_it_has_its_name(registry, tmp_path, calls):
    store = Store(registry)
    version = publish(store)
    calls.clear()
    store.copy_out(version, "model.keras", tmp_path / "copy.keras")
    (synced, draft), renamed = calls[-2:]
    assert (synced, draft.parent) == ("fsync", tmp_path)
    assert renamed == ("rename", tmp_path / "copy.keras")


def test_a_sweep_and_each_of_its_trials_are_there_once_they_were_told(registry, calls):
    """The folder with its settings has its name, then the folders above; a trial its content."""
    sweeps = registry / "sweeps"
    with Store(registry).sweeps.create({"count": 1}) as sweep:
        made = sweeps / sweep.id
        renamed = calls.index(("rename", made))
        draft = sweeps / f"new-{sweep.id}"
        assert calls[renamed - 3 : renamed] == [
            ("fsync", draft / "sweep.json.new"),
            ("rename", draft / "sweep.json"),
            ("fsync", draft),
        ]
        assert calls[renamed + 1 :] == [("fsync", sweeps), ("fsync", registry)]
        calls.clear()
        sweep.write_trial(0, {"value": 1})
        assert calls == [
            ("fsync", made / "trial-00000.json.new"),
            ("rename", made / "trial-00000.json"),
            ("fsync", made),
        ]
        calls.clear()
        sweep.discard()
        assert calls[:2] == [("rename", draft), ("fsync", sweeps)]
