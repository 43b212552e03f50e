"""Whatever was done to a registry and whatever is lost of it: what is whole comes back.

The largest run is `-m endurance`; MLREG_REBUILDS says how many histories it tries (1,000 if it is
not set).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from registry_model import ALIASES, MODELS, Key, Losses, Said, Story, said
from store_helpers import blob, publish

from registry_core.errors import IntegrityError, RefusedError, UsageError
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import Rebuilt, rebuild

REBUILDS = int(os.environ.get("MLREG_REBUILDS", "1000"))

_models = st.sampled_from(MODELS)
_aliases = st.sampled_from(ALIASES)
_which = st.integers(0, 9)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("register"), _models, st.integers(0, 4)),
        st.tuples(st.just("promote"), _models, _which, _aliases),
        st.tuples(st.just("promote"), _models, _which, _aliases),
        st.tuples(st.just("roll_back"), _models, _aliases),
        st.tuples(st.just("release"), _models, _aliases),
        st.tuples(
            st.just("tag"),
            _models,
            _which,
            st.sampled_from(["owner", "note"]),
            st.sampled_from(["ann", "é", None]),
        ),
        st.tuples(st.just("remove"), _models, _which),
        st.tuples(st.just("retire"), _models, _which),
        st.tuples(st.just("restore"), _models, _which),
        st.tuples(st.just("bring_back"), _models, _which, _aliases),
        st.tuples(st.just("collect"), st.integers(0, 1)),
        st.tuples(st.just("refuse"), _models, _which, _aliases),
    ),
    min_size=6,
    max_size=20,
)
_histories = _steps.map(
    lambda steps: [("register", "red", 0), ("register", "red", 1), ("register", "blue", 0), *steps]
)
_some = st.integers(0, 40)
_of_files = st.lists(st.tuples(_some, st.sampled_from(["flipped", "removed"])), max_size=2)
_losses = st.builds(
    Losses,
    index=st.sampled_from(["gone", "gone", "whole", "zeroed", "page", "older"]),
    at=_some,
    filler=st.sampled_from([None, 0, 0xFF]),
    ledger=st.sampled_from(["lines", "lines", "lines", "lines", "whole", "gone"]),
    lines=st.lists(
        st.tuples(_some, st.sampled_from(["flipped", "deleted", "doubled", "blank"])), max_size=6
    ),
    torn=st.booleans(),
    manifests=_of_files,
    blobs=_of_files,
    head=st.sampled_from(["whole", "gone", "garbled"]),
)
# Everything is read from a disk, so an example has no time of its own.
_ALWAYS = settings(
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.gate
@settings(_ALWAYS, max_examples=15, derandomize=True)
@given(steps=_histories, losses=_losses)
def test_whatever_is_lost_everything_intact_comes_back(steps, losses):
    """Rows, versions, aliases, tags, removals as the rows say that are left; the rest is named."""
    _try(steps, losses)


@pytest.mark.endurance
def test_many_histories_and_losses(capsys):
    """The same, for minutes; says how many histories and losses it tried."""
    tried: Counter[str] = Counter()

    @settings(_ALWAYS, max_examples=REBUILDS, database=None)
    @given(steps=_histories, losses=_losses)
    def try_one(steps, losses):
        tried["rows"] += _try(steps, losses)
        tried["histories"] += 1
        tried[f"index {losses.index}"] += 1
        tried["lines"] += len(losses.lines) * (losses.ledger == "lines")
        tried["manifests"] += len(losses.manifests)
        tried["other blobs"] += len(losses.blobs)

    try_one()
    with capsys.disabled():
        print(f"\n{tried.pop('histories')} histories, rebuilt; of them: {dict(tried)}")


def _try(steps: Sequence[tuple[Any, ...]], losses: Losses) -> int:
    """Do it, lose it, rebuild it, compare; returns how many rows the ledger had."""
    with tempfile.TemporaryDirectory() as scratch:
        story = Story(Path(scratch) / "registry").do(steps)
        rows = story.rows
        losses.befall(story)
        certain = losses.surviving(story, rows)
        before = _bytes(story.folder)
        note(f"{len(rows)} rows, of which {sorted(certain)} are left")
        done = rebuild(story.folder)
        note(f"{done}")
        _compare(story, losses, rows, certain, before, done)
        return len(rows)


def _compare(
    story: Story,
    losses: Losses,
    rows: Sequence[dict[str, Any]],
    certain: set[int],
    before: dict[str, bytes],
    done: Rebuilt,
) -> None:
    store = Store(story.folder)
    _check_what_is_kept(story, losses, rows, before)
    left = _check_ledger(store, losses, rows, certain, done)
    now = said(rows[number - 1] for number in left)
    whole = {
        key for key, made in story.versions.items() if _is_whole(before, made.digest)
    }  # by the blobs alone, whatever the rows say
    if losses.index == "whole" and store.ledger(limit=1)[0].action != "rebuilt":
        whole = set(story.versions)  # a sound index needs no new one
    else:
        _check_what_is_named(now, whole, done)
    _check_versions(story, store, now, whole)
    _check_audit(story, store, whole)
    _check_collection(story, store, now, whole, said(rows), before)
    for model in MODELS:
        known = [now.numbers.get(model, 0), *(number for name, number in whole if name == model)]
        assert publish(store, model, b"the next one").version > max(known)
    assert not audit(store).index_damaged


def _check_what_is_kept(
    story: Story, losses: Losses, rows: Sequence[dict[str, Any]], before: dict[str, bytes]
) -> None:
    """No blob is changed; a damaged index and a damaged ledger are there under other names."""
    after = _bytes(story.folder)
    for path, content in before.items():
        if path.startswith("objects/sha256/"):
            assert after.get(path) == content, f"{path} was changed"
    kept = {
        name: [after[path] for path in after if path.startswith(f"{name}.before-")]
        for name in ("registry.sqlite3", "ledger.jsonl")
    }
    if losses.index in ("zeroed", "page", "older"):
        assert before["registry.sqlite3"] in kept["registry.sqlite3"]
    lines = before.get("ledger.jsonl", b"").split(b"\n")
    known = {json.dumps(row, sort_keys=True) for row in rows}
    if any(line and not _is_row(line, known) for line in lines):
        old = before["ledger.jsonl"]
        assert after["ledger.jsonl"].startswith(old) or old in kept["ledger.jsonl"]


def _is_row(line: bytes, known: set[str]) -> bool:
    with suppress(ValueError):
        return json.dumps(json.loads(line), sort_keys=True) in known
    return False


def _check_ledger(
    store: Store,
    losses: Losses,
    rows: Sequence[dict[str, Any]],
    certain: set[int],
    done: Rebuilt,
) -> list[int]:
    """Every row that is whole is where it was; returns the numbers of those that came back."""
    ledger = [row.to_json() for row in reversed(store.ledger())]
    assert [row["number"] for row in ledger] == list(range(1, len(ledger) + 1))
    beside = (store.folder / "ledger.jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in beside] == ledger
    left = [row["number"] for row in rows if row in ledger[row["number"] - 1 : row["number"]]]
    assert certain <= set(left), f"rows {sorted(certain - set(left))} were whole"
    assert len(left) <= done.rows <= len(ledger) or losses.index == "whole"
    last = max(left, default=0)
    lost = [number for number in range(1, last) if number not in left]
    for number in lost:
        assert ledger[number - 1]["action"] == "lost", f"row {number} is {ledger[number - 1]}"
    added = {row["action"] for row in ledger[last:]}
    assert added <= {"lost", "registered", "released", "rebuilt"}
    rebuilt = [row for row in ledger[last:] if row["action"] == "rebuilt"]
    if losses.index != "whole":
        assert rebuilt, "the rebuild is no row of the ledger"
    if rebuilt and lost:
        told = {int(number) for number in re.findall(r"\d+", json.dumps(rebuilt[-1]["evidence"]))}
        firsts = {number for number in lost if number - 1 not in lost}
        assert firsts <= told, f"rows {lost} are lost, and the row tells of {rebuilt[-1]}"
    return left


def _check_what_is_named(now: Said, whole: set[Key], done: Rebuilt) -> None:
    """What could not come back is called lost, and nothing else."""
    assert done.versions == len(whole)
    assert sorted(done.found) == sorted(f"{m}@{n}" for m, n in whole - now.registered)
    for model, number in now.told - whole:
        assert any(re.match(rf"{model}@{number}\b", key) for key in done.lost), (
            f"{model}@{number} is lost, and {done.lost} does not tell"
        )
    assert not {f"{model}@{number}" for model, number in whole} & set(done.lost)
    for (model, alias), number in now.holders.items():
        if (model, number) not in whole:
            named = [f"{key}: {reason}" for key, reason in done.lost.items()]
            assert any(alias in each and model in each for each in named), (
                f"{model}@{alias} lost its holder {number}, and {named} does not tell"
            )


def _check_versions(story: Story, store: Store, now: Said, whole: set[Key]) -> None:
    """Versions, their states and tags, and who holds the aliases."""
    for model in MODELS:
        numbers = {number for name, number in whole if name == model}
        try:
            here = {version.version: version for version in store.versions(model)}
            removals = {each.version.version: each for each in store.removals.of(model)}
            held = store.aliases(model)
        except UsageError:
            assert not numbers
            continue
        assert here.keys() | removals.keys() == numbers
        expected = {
            alias: number
            for (name, alias), number in now.holders.items()
            if name == model and number in numbers
        }
        assert held == expected, f"the aliases of {model}"
        for number in numbers:
            key = (model, number)
            removal = removals.get(number)
            version = removal.version if removal else here[number]
            state = ("collected" if removal.collected else "removed") if removal else "here"
            assert state in now.states.get(key, {"here"}), f"{key} is {state}"
            assert dict(version.tags) == now.tags.get(key, {}), f"the tags of {key}"
            made = story.versions[key]
            assert version.digest == made.digest
            assert {file.path: file.sha256 for file in version.files} == made.files


def _check_audit(story: Story, store: Store, whole: set[Key]) -> None:
    """Nothing is wrong but files that were lost, of versions that are here."""
    there = _bytes(store.folder)
    collected = {
        (model, removal.version.version)
        for model in store.model_names()
        for removal in store.removals.of(model)
        if removal.collected
    }
    broken: dict[str, set[str]] = {}
    for model, number in whole:
        needed = {story.versions[model, number].digest}
        if (model, number) not in collected:
            needed |= set(story.versions[model, number].files.values())
        if bad := {digest for digest in needed if not _is_whole(there, digest)}:
            broken[f"{model}@{number}"] = bad
    told: set[str] = set()
    for problem in audit(store).problems:
        named = {ref for ref in broken if re.search(rf"\b{ref}\b", problem.what)}
        assert named, f"{problem.what} (damaged are {sorted(broken)})"
        told |= named
    of_those_told = {digest for ref in told for digest in broken[ref]}
    for ref, bad in broken.items():
        assert ref in told or bad <= of_those_told, f"{ref} is damaged, and nothing says so"


def _check_collection(
    story: Story,
    store: Store,
    now: Said,
    whole: set[Key],
    then: Said,
    before: dict[str, bytes],
) -> None:
    """A collection takes no file of a version that is here, nor of one whose manifest is lost."""
    protected = set()
    for key, made in story.versions.items():
        is_known = _path(made.digest) in before or key in now.registered
        if key not in whole and is_known and then.states[key] != {"collected"}:
            protected |= set(made.files.values())
    here = [version for model in store.model_names() for version in store.versions(model)]
    protected |= {file.sha256 for version in here for file in version.files}
    there = {digest for digest in protected if blob(store, digest).exists()}
    with suppress(RefusedError, IntegrityError):
        store.removals.collect(0, keep_last=0)
    gone = {digest for digest in there if not blob(store, digest).exists()}
    assert not gone, f"{gone} were files of versions"


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _path(digest: str) -> str:
    return f"objects/sha256/{digest[:2]}/{digest}"


def _is_whole(files: dict[str, bytes], digest: str) -> bool:
    import hashlib

    content = files.get(_path(digest))
    return content is not None and hashlib.sha256(content).hexdigest() == digest
