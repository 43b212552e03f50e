"""Every write, fsync, rename and commit of what changes a registry, failed and killed in turn.

A kill comes before its call is carried out; so the next point's kill is the one after it.

`--exhaustive` takes every call; the default run draws one in thirty-two of some scenarios, and
the gate one in sixteen of more. What they drew with is in MLREG_POINTS_SEED, which draws the same
ones again.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from store_helpers import blobs, leftovers, publish, referenced
from store_scenarios import SCENARIOS
from strace_helpers import GROWING, KILL, MissedError, Point, TracedScenarios, why_not

from registry_core.errors import DamagedIndexError, StorageError
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild

pytestmark = [
    pytest.mark.processes,
    pytest.mark.core,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be traced"),
]

KINDS = ("killed", "failed")
SEED = os.environ["MLREG_POINTS_SEED"]


def drawn(found: list[Point], one_in: int, *of: str) -> list[Point]:
    """One in so many, other ones for each scenario and kind, in their order."""
    chosen = random.Random(f"{SEED} {of}").sample(range(len(found)), -(-len(found) // one_in))
    return [found[place] for place in sorted(chosen)]


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


@pytest.fixture(scope="module")
def traced():
    """One process with the scenarios for each core."""
    with ExitStack() as stack:
        yield [stack.enter_context(TracedScenarios()) for _ in range(os.cpu_count() or 1)]


@pytest.mark.exhaustive(keep=17)
@pytest.mark.gate(keep=9)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_at_every_system_call_nothing_is_lost_and_nothing_is_half_done(
    name, kind, traced, tmp_path, capsys, pytestconfig
):
    """What was acknowledged is there, whole; what was refused is not; the rest is as before."""
    template = tmp_path / "template"
    store = Store(template)
    SCENARIOS[name].prepare(store)
    before = look(store)
    clean = _copy(template, tmp_path / "clean")
    found = traced[0].points(name, clean)
    after = state(Store(clean))
    assert len(found) > 20
    option = pytestconfig.option
    taken = drawn(found, 1 if option.exhaustive else 16 if option.gate else 32, name, kind)

    def try_one(scenarios: TracedScenarios, point: Point) -> str:
        again, tries = point, 8
        while True:
            try:
                return try_at(scenarios, again)
            except MissedError:
                tries -= 1
                if not tries:
                    raise
            time.sleep(1)  # a manifest has the time in seconds, and so another digest then
            if tries < 6:  # perhaps the calls were listed of a run that made a folder less
                clean = _copy(template, tmp_path / uuid4().hex)
                again = point.among(scenarios.points(name, clean), found)

    def try_at(scenarios: TracedScenarios, point: Point) -> str:
        folder = _copy(template, tmp_path / uuid4().hex)
        fault = KILL
        if kind == "failed":
            fault = "error=ENOSPC" if point.call in GROWING else "error=EIO"
        try:
            ended = scenarios.run_with_fault(name, folder, point, fault)
            return _judge(name, Store(folder), ended, before, after)
        except MissedError:
            raise
        except BaseException as error:
            error.add_note(f"{name}: {fault} at {point}, MLREG_POINTS_SEED={SEED}")
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def try_part(number: int) -> list[str]:
        return [try_one(traced[number], point) for point in taken[number :: len(traced)]]

    with ThreadPoolExecutor(len(traced)) as pool:
        ends = [end for part in pool.map(try_part, range(len(traced))) for end in part]
    assert len(ends) == len(taken)
    counts = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
    with capsys.disabled():
        of_all = f"{len(taken)} of {len(found)} system calls {kind}, MLREG_POINTS_SEED={SEED}"
        print(f"\n{name}: {of_all}; {counts}; 0 lost, 0 half")


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


def test_a_call_that_is_not_reached_fails_the_test(traced, tmp_path):
    """A point that was not hit proves nothing, and is not passed over."""
    with pytest.raises(MissedError):
        traced[0].run_with_fault(
            "first publish", tmp_path / "r", Point("fsync", 10_000, ""), "error=EIO"
        )


def test_a_killed_call_is_not_carried_out(traced, tmp_path):
    """So that the kill at each call is the one after the call before it."""
    folder = tmp_path / "r"
    found = traced[0].points("first publish", folder)
    made = next(point for point in found if point.call == "mkdir")
    shutil.rmtree(folder)
    assert traced[0].run_with_fault("first publish", folder, made, KILL).status == -9
    assert not folder.exists()


def test_a_version_is_on_the_disk_before_the_index_has_it(traced, tmp_path):
    """Each file is fsynced, moved into objects/, its folder fsynced; then the index commits."""
    folder = tmp_path / "r"
    SCENARIOS["publish"].prepare(Store(folder))
    calls = [line.replace(str(folder), "") for line in traced[0].calls("publish", folder)]

    def synced(path: str, after: int, before: int) -> bool:
        wanted = re.compile(rf"f(data)?sync\(\d+<{re.escape(path)}>\) += 0")
        return any(map(wanted.match, calls[after:before]))

    moves = [
        (number, *found.groups())
        for number, line in enumerate(calls)
        if (found := re.match(r'renameat\(\d+<(.*)>, "(.*)", \d+<(/objects/.*)>, ', line))
    ]
    assert len(moves) == 3  # two files and the manifest
    last = moves[-1][0]
    commit = calls.index('unlink("/registry.sqlite3-journal") = 0', last)
    for number, source, name, target in moves:
        assert synced(f"{source}/{name}", 0, number), name
        assert synced(target, number, commit), target
    for number, line in enumerate(calls[:commit]):
        if found := re.match(r"mkdirat\(\d+<(/objects.*)>, ", line):
            assert synced(found[1], number, commit), line
    for file in ("/registry.sqlite3-journal", "/registry.sqlite3"):
        assert synced(file, last, commit), file
