"""Any sequence of commands does to a registry what it does to a plain dict."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from store_backends import BACKENDS, sqlite_and_folder_at
from store_helpers import assert_whole, blob, publish, scored

from registry_core.errors import IntegrityError, RefusedError, UsageError
from registry_core.places import RegistryPlace
from registry_core.refs import Ref, parse_ref
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild_if_damaged

ALIASES = ["production", "staging"]
# no argument of a command has a NUL, and PostgreSQL stores none
_TYPED = st.characters(exclude_characters="\0")


@dataclass
class Expected:
    """What a version should be."""

    content: bytes
    score: float
    state: str = "here"
    tags: dict[str, str] = field(default_factory=dict)


class Registries(RuleBasedStateMachine):
    """Register, promote, roll back, release, tag, delete, restore, collect, corrupt, reopen."""

    backend_name = "SQLite and a folder"

    def __init__(self):
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.backend = BACKENDS[self.backend_name](Path(self.scratch.name))
        self.open(self.backend.place)
        self.versions: dict[tuple[str, int], Expected] = {}
        self.held: dict[tuple[str, str], list[int | None]] = {}
        self.damaged: dict[bytes, str] = {}  # content -> its blob
        self.events = 0

    def open(self, place: RegistryPlace) -> None:
        self.registry = Registry(place, Settings(rollback_days=0))
        self.store: Store = self.registry.store

    def draw(self, data, *states: str) -> tuple[str, int]:
        wanted = [key for key, version in self.versions.items() if version.state in states]
        return data.draw(st.sampled_from(sorted(wanted)), "version")

    def any_in(*states: str):
        return precondition(
            lambda self: any(version.state in states for version in self.versions.values())
        )

    def holder(self, model: str, alias: str) -> int | None:
        return self.held.get((model, alias), [None])[-1]

    def is_whole(self, key: tuple[str, int]) -> bool:
        return self.versions[key].content not in self.damaged

    @rule(
        model=st.sampled_from(["a", "b"]),
        score=st.sampled_from([0.1, 0.5, 0.9]),
        content=st.sampled_from([b"one", b"two", b"three"]),
    )
    def register(self, model, score, content):
        """The next number, whatever was removed; the same content again mends a damaged file."""
        version = publish(self.store, model, content, scored(score))
        taken = [number for name, number in self.versions if name == model]
        assert version.version == max(taken, default=0) + 1
        self.versions[model, version.version] = Expected(content, score)
        self.damaged.pop(content, None)
        self.events += 1

    @any_in("here")
    @rule(data=st.data(), alias=st.sampled_from(ALIASES))
    def promote(self, data, alias):
        """It moves the alias, unless a file of the version is damaged."""
        key = model, number = self.draw(data, "here")
        version = self.store.resolve(parse_ref(model, str(number)))
        if not self.is_whole(key):
            with pytest.raises(IntegrityError):
                self.store.move_alias(version, alias)
            return
        previous = self.store.move_alias(version, alias).previous
        assert (previous and previous.version) == self.holder(model, alias)
        held = self.held.setdefault((model, alias), [])
        if held[-1:] == [None]:
            held.pop()
        if held[-1:] != [number]:
            held.append(number)
        self.events += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def roll_back(self, data):
        """To the holder before, if there was one that is there and whole."""
        model, alias = data.draw(st.sampled_from(sorted(self.held)))
        held = self.held[model, alias]
        if len(held) < 2 or self.versions[model, held[-2]].state != "here":
            with pytest.raises(UsageError):
                self.registry.rollback(model, alias)
        elif not self.is_whole((model, held[-2])):
            with pytest.raises(IntegrityError):
                self.registry.rollback(model, alias)
        else:
            assert self.registry.rollback(model, alias).version.version == held[-2]
            held.pop()
            self.events += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data):
        model, alias = data.draw(st.sampled_from(sorted(self.held)))
        if self.holder(model, alias) is None:
            with pytest.raises(UsageError):
                self.store.release_alias(model, alias)
            return
        assert self.store.release_alias(model, alias).version == self.holder(model, alias)
        self.held[model, alias].append(None)
        self.events += 1

    @any_in("here")
    @rule(data=st.data(), key=st.sampled_from(["owner", "note"]), value=st.text(_TYPED, max_size=5))
    def tag(self, data, key, value):
        model, number = self.draw(data, "here")
        version = self.store.resolve(parse_ref(model, str(number)))
        tags = self.versions[model, number].tags
        if key in tags and not value:
            self.store.tag(version, {}, [key])
            del tags[key]
        else:
            self.store.tag(version, {key: value})
            tags[key] = value.encode("utf-8", "backslashreplace").decode()
        self.events += 1

    @any_in("here")
    @rule(data=st.data())
    def delete(self, data):
        model, number = self.draw(data, "here")
        if number in [self.holder(model, alias) for alias in ALIASES]:
            with pytest.raises(RefusedError):
                self.registry.remove(f"{model}@{number}")
            return
        self.registry.remove(f"{model}@{number}")
        self.versions[model, number].state = "removed"
        self.events += 1

    @any_in("removed", "collected")
    @rule(data=st.data())
    def restore(self, data):
        model, number = self.draw(data, "removed", "collected")
        if self.versions[model, number].state == "collected":
            with pytest.raises(UsageError):
                self.store.removals.restore(Ref(model, "number", str(number)))
            return
        self.store.removals.restore(Ref(model, "number", str(number)))
        self.versions[model, number].state = "here"
        self.events += 1

    @rule(keep_last=st.integers(0, 2))
    def collect(self, keep_last):
        if not self.versions:
            return  # nothing has made the registry yet
        going = []
        for model in ("a", "b"):
            gone = [
                (number, version)
                for (name, number), version in sorted(self.versions.items(), reverse=True)
                if name == model and version.state != "here"
            ]
            going += [
                (model, number)
                for number, version in gone[keep_last:]
                if version.state == "removed"
            ]
        done = self.store.removals.collect(0, keep_last)
        assert sorted(done.to_json()["versions"]) == sorted(f"{m}@{n}" for m, n in going)
        for key in going:
            self.versions[key].state = "collected"
        kept = {
            version.content for version in self.versions.values() if version.state != "collected"
        }
        self.damaged = {c: where for c, where in self.damaged.items() if c in kept}
        self.events += len(going)

    @any_in("here", "removed")
    @rule(data=st.data(), cut=st.booleans())
    def corrupt(self, data, cut):
        model, number = self.draw(data, "here", "removed")
        version = self.store.resolve(parse_ref(model, str(number)), removed=True)
        digest = version.file("model.keras").sha256
        content = self.versions[model, number].content
        if content not in self.damaged:
            self.damage(digest, content[:-1] if cut else content[::-1] + b"!")
        self.damaged[content] = digest

    def damage(self, digest: str, content: bytes) -> None:
        file = blob(self.store, digest)
        file.chmod(0o600)
        file.write_bytes(content)

    @precondition(lambda self: self.damaged)
    @rule()
    def mend(self):
        """What was damaged is put back from a copy."""
        content, digest = self.damaged.popitem()
        copy = Path(self.scratch.name) / "copy"
        copy.write_bytes(content)
        self.backend.objects().put(digest, copy)

    @rule()
    def reopen(self):
        self.open(self.registry.place)

    @precondition(lambda self: self.versions and self.store.parts.in_folder)
    @rule()
    def move_the_folder(self):
        target = self.store.folder.with_name(self.store.folder.name + "x")
        self.store.folder.rename(target)
        self.backend = sqlite_and_folder_at(target)
        self.open(self.backend.place)

    @precondition(lambda self: self.versions)
    @rule()
    def lose_the_index(self):
        self.backend.lose_index()
        done = rebuild_if_damaged(self.store)
        assert (done.found, done.lost) == ([], {})
        self.events += 1

    @invariant()
    def it_is_like_the_dict(self):
        for model in {name for name, _ in self.versions}:
            self.check_model(model)
        assert len(self.store.ledger()) == self.events
        found = audit(self.store)
        assert (found.orphans, found.index_damaged) == (0, False)
        broken = [
            key
            for key, version in self.versions.items()
            if version.state != "collected" and not self.is_whole(key)
        ]
        assert len(found.problems) == len(broken)

    def check_model(self, model: str) -> None:
        ours = {number: each for (name, number), each in self.versions.items() if name == model}
        here = {number: each for number, each in ours.items() if each.state == "here"}
        listed = self.store.versions(model)
        assert [version.version for version in listed] == sorted(here, reverse=True)
        assert {version.version: version.tags for version in listed} == {
            number: each.tags for number, each in here.items()
        }
        assert {r.version.version: bool(r.collected) for r in self.store.removals.of(model)} == {
            number: each.state == "collected"
            for number, each in ours.items()
            if each.state != "here"
        }
        wanted = {alias: self.holder(model, alias) for alias in ALIASES}
        assert self.store.aliases(model) == {alias: at for alias, at in wanted.items() if at}
        if here:
            wanted["latest"] = max(here)
            wanted["best"] = max(here, key=lambda number: (here[number].score, -number))
        for selector, number in wanted.items():
            if number is None:
                with pytest.raises(UsageError):
                    self.store.resolve(parse_ref(model, selector))
            else:
                assert self.store.resolve(parse_ref(model, selector)).version == number

    def teardown(self):
        while self.damaged:
            self.mend()
        if self.versions:
            assert_whole(self.store)
        self.scratch.cleanup()


TestRegistries = Registries.TestCase
TestRegistries.settings = settings(max_examples=3, stateful_step_count=20, deadline=None)


@pytest.mark.gate
class TestMoreRegistries(Registries.TestCase):
    """The same for others."""

    settings = settings(max_examples=5, stateful_step_count=20, deadline=None)


@pytest.mark.endurance
class TestManyRegistries(Registries.TestCase):
    """The same, for minutes."""

    settings = settings(max_examples=300, stateful_step_count=50, deadline=None)


class TeamRegistries(Registries):
    """The same commands over PostgreSQL and S3."""

    backend_name = "PostgreSQL and S3"

    def damage(self, digest: str, content: bytes) -> None:
        self.backend.damage(digest)


@pytest.mark.gate
class TestTeamRegistries(TeamRegistries.TestCase):
    """A few, as each command asks two servers."""

    settings = settings(max_examples=2, stateful_step_count=15, deadline=None)


@pytest.mark.endurance
class TestManyTeamRegistries(TeamRegistries.TestCase):
    """The same, for minutes."""

    settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
