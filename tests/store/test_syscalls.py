"""Every write, fsync, rename and commit of what changes a registry, failed and killed in turn.

A kill comes before its call is carried out; so the next point's kill is the one after it.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from store_helpers import blobs, leftovers, publish, referenced
from store_scenarios import SCENARIOS
from strace_helpers import (
    GROWING,
    TESTS,
    MissedError,
    Point,
    points,
    run_with_fault,
    why_not,
)

from registry_core.errors import DamagedIndexError, StorageError
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be traced"),
]

KINDS = ("killed", "failed")


def state(store: Store) -> dict[str, object]:
    """What a person sees of a registry, without times and without what a new run is named."""
    seen: dict[str, object] = {}
    for model in store.model_names():
        for version in store.versions(model):
            files = [file.sha256 for file in version.files]
            seen[version.ref] = (files, version.aliases, dict(version.tags))
        for removal in store.removals.of(model):
            seen[removal.version.ref] = "collected" if removal.collected else "removed"
    seen["ledger"] = sorted(row.action for row in store.ledger() if row.action != "rebuilt")
    return seen


def look(store: Store) -> dict[str, object] | None:
    """The same; None where there is no index that can be read."""
    try:
        return state(store)
    except DamagedIndexError:
        return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_at_every_system_call_nothing_is_lost_and_nothing_is_half_done(
    name, kind, tmp_path, capsys
):
    """What was acknowledged is there, whole; what was refused is not; the rest is as before."""
    template = tmp_path / "template"
    store = Store(template)
    SCENARIOS[name].prepare(store)
    before = look(store)
    clean = _copy(template, tmp_path / "clean")
    words = [str(TESTS / "store_scenarios.py"), name]
    found = points([*words, str(clean)], clean)
    after = state(Store(clean))
    assert len(found) > 20

    def try_one(point: Point, tries: int = 5) -> str:
        folder = _copy(template, tmp_path / uuid4().hex)
        fault = "signal=SIGKILL"
        if kind == "failed":
            fault = "error=ENOSPC" if point.call in GROWING else "error=EIO"
        try:
            ended = run_with_fault([*words, str(folder)], folder, point, fault)
            return _judge(name, Store(folder), ended, before, after)
        except MissedError:
            if tries == 1:
                raise
            return try_one(point, tries - 1)
        except BaseException as error:
            error.add_note(f"{name}: {fault} at {point}")
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ends = list(pool.map(try_one, found))
    told = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
    with capsys.disabled():
        print(f"\n{name}: {len(found)} system calls {kind}; {told}; 0 lost, 0 half")


def _copy(template: Path, folder: Path) -> Path:
    if template.exists():
        shutil.copytree(template, folder)
    return folder


def _judge(name: str, store: Store, ended, before, after) -> str:
    """Hold what is there now against what the program said; returns which of the two it is."""
    if ended.status == -9:
        assert ended.said in ("", "done")
    elif ended.said == "done":
        assert ended.status == 0
    else:
        assert ended.said in ("StorageError", "UnconfirmedError")
        assert ended.status == StorageError.exit_status
    now = look(store)
    if before is None and now is None:  # a rebuild that did not come to its end is done again
        assert ended.said != "done"
        rebuild(store.folder)
        now = state(store)
    if ended.said == "done":
        assert now == after
    elif ended.said == "StorageError" and not SCENARIOS[name].steps:
        assert now == before
    else:
        assert now in (before, after)
    assert _aliases(store) in ({}, {"production": 1}, {"production": 2})

    if name == "going on" and now == before:
        (run,) = store.unfinished_runs()
        assert run.checkpoint is not None
        assert run.checkpoint.read_bytes() in (b"epoch 1", b"epoch 2")

    version = publish(store, content=b"the next one")
    known = [int(ref.partition("@")[2]) for ref in now if ref != "ledger"]
    assert version.version > max(known, default=0)
    if audit(store).orphans:  # a collection goes on where it was killed
        assert "collected" in now.values()
        store.removals.collect(older_than_days=10_000, keep_last=0)
    found = audit(store)
    assert (found.problems, found.orphans) == ([], 0)
    assert blobs(store) == referenced(store)
    assert leftovers(store.folder) == []
    for run in store.unfinished_runs():  # only one that made no version can still be taken up
        assert (name, now) == ("going on", before)
        with store.reopen_run(run.id):
            pass
        store.discard_run(run.id)
    assert not list((store.folder / "runs").iterdir())
    return "as before" if now == before else "done"


def _aliases(store: Store) -> dict[str, int]:
    try:
        return store.aliases("dummy")
    except Exception as error:
        assert "no model" in str(error)
        return {}


def test_a_call_that_is_not_come_to_fails_the_test(tmp_path):
    """A point that was not hit proves nothing, and is not passed over."""
    words = [str(TESTS / "store_scenarios.py"), "first publish", str(tmp_path / "r")]
    with pytest.raises(MissedError):
        run_with_fault(words, tmp_path / "r", Point("fsync", 10_000, ""), "error=EIO")


def test_a_killed_call_is_not_carried_out(tmp_path):
    """So that the kill at each call is the one after the call before it."""
    folder = tmp_path / "r"
    words = [str(TESTS / "store_scenarios.py"), "first publish", str(folder)]
    made = next(point for point in points(words, folder) if point.call == "mkdir")
    shutil.rmtree(folder)
    assert run_with_fault(words, folder, made, "signal=SIGKILL").status == -9
    assert not folder.exists()
