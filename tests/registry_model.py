"""A registry beside plain dicts: what was done to it, what a ledger's rows say, what is lost.

The dicts know the words of the ledger and nothing of the store's code, so that both are not wrong
in the same way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store_helpers import blob, publish, scored

from registry_core.errors import RefusedError, UsageError
from registry_core.refs import Ref, parse_ref
from registry_core.registry import Registry
from registry_core.settings import Settings

MODELS = ("red", "blue")
ALIASES = ("production", "staging", "canary")
Key = tuple[str, int]


@dataclass(frozen=True)
class Made:
    """A version as it was registered."""

    digest: str
    files: Mapping[str, str]


@dataclass
class Story:
    """A registry, and everything that ever was in it.

    Args:
        folder: the registry.
        versions: every version that was registered.
        indexes: the index's bytes and how many rows its ledger had, after each thing that was done.
    """

    folder: Path
    versions: dict[Key, Made] = field(default_factory=dict)
    indexes: list[tuple[bytes, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = Registry(self.folder, Settings(rollback_days=0))
        self.store = self.registry.store

    def do(self, steps: Iterable[tuple[Any, ...]]) -> Story:
        """Do one thing after another; what cannot be done is left out."""
        for verb, *words in steps:
            with suppress(UsageError, RefusedError):
                getattr(self, verb)(*words)
                self.indexes.append((self.index.read_bytes(), len(self.rows)))
        return self

    @property
    def index(self) -> Path:
        return self.folder / "registry.sqlite3"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ledger.read_bytes().splitlines()]

    def register(self, model: str, content: int) -> None:
        made = publish(self.store, model, b"content %d" % content, scored(content / 10))
        files = {file.path: file.sha256 for file in made.files}
        self.versions[model, made.version] = Made(made.digest, files)

    def promote(self, model: str, which: int, alias: str) -> None:
        version = self.store.resolve(self._ref(model, which))
        self.store.move_alias(version, alias, f"promotion {which}", {"p": which / 7})

    def roll_back(self, model: str, alias: str) -> None:
        self.registry.rollback(model, alias)

    def release(self, model: str, alias: str) -> None:
        self.store.release_alias(model, alias)

    def tag(self, model: str, which: int, key: str, value: str | None) -> None:
        version = self.store.resolve(self._ref(model, which))
        self.store.tag(version, {} if value is None else {key: value}, [key] * (value is None))

    def remove(self, model: str, which: int) -> None:
        self.registry.remove(self._ref(model, which))

    def restore(self, model: str, which: int) -> None:
        self.store.removals.restore(self._ref(model, which))

    def retire(self, model: str, which: int) -> None:
        """Remove a version after what it holds was released."""
        number = int(self._ref(model, which).selector or 0)
        for alias, holder in self.store.aliases(model).items():
            if holder == number:
                self.release(model, alias)
        self.remove(model, which)

    def bring_back(self, model: str, which: int, alias: str) -> None:
        """Restore a version, and promote it."""
        self.restore(model, which)
        self.promote(model, which, alias)

    def collect(self, keep_last: int) -> None:
        self.store.removals.collect(0, keep_last)

    def refuse(self, model: str, which: int, alias: str) -> None:
        number = int(self._ref(model, which).selector or 0)
        self.store.note("refused", model, number, alias, "not yet")

    def ask(self, model: str, which: int, alias: str) -> None:
        """Ask for a promotion, on whatever grounds."""
        number = int(self._ref(model, which).selector or 0)
        self.store.note("requested", model, number, alias, "please")

    def decline(self, model: str, which: int, alias: str) -> None:
        number = int(self._ref(model, which).selector or 0)
        for request in self.store.requests():
            if (request.row.model, request.row.version, request.alias) == (model, number, alias):
                self.store.decline(request.number, "no")

    def _ref(self, model: str, which: int) -> Ref:
        """One of the versions that were ever made, whichever number is given."""
        numbers = [number for name, number in self.versions if name == model]
        return parse_ref(model, str(numbers[which % len(numbers)] if numbers else 1))


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a row's digest is that of its other fields."""
    fields = {name: value for name, value in row.items() if name != "digest"}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest() == row.get("digest")


def whole_rows(content: bytes) -> dict[int, dict[str, Any]]:
    """The rows of a ledger's file that are whole, each by itself; by number."""
    found = {}
    for line in content.split(b"\n"):
        with suppress(ValueError, AttributeError):
            row = json.loads(line)
            if is_whole(row):
                found[row["number"]] = row
    return found


@dataclass
class Said:
    """Where some rows of a ledger say that everything stands.

    Args:
        holders: who holds each alias of a model.
        states: of each version that a row tells of, `here`, `removed` or `collected`; two of them
            where a row between that one and the next was lost that may have changed it.
        tags: of each version that has any.
        told: every version that a row tells of.
        registered: those that a row registered.
        numbers: the highest number of a model that a row tells of.
    """

    holders: dict[tuple[str, str], int] = field(default_factory=dict)
    states: dict[Key, set[str]] = field(default_factory=dict)
    tags: dict[Key, dict[str, str]] = field(default_factory=dict)
    told: set[Key] = field(default_factory=set)
    registered: set[Key] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)

    def hear(self, row: Mapping[str, Any]) -> None:
        """One row more; what it takes for granted is so, too."""
        model, number, alias = row["model"], row["version"], row["alias"]
        if number is None:
            return
        key = (model, number)
        self.told.add(key)
        self.numbers[model] = max(self.numbers.get(model, 0), number, row["previous"] or 0)
        action = row["action"]
        if action == "registered":
            self.registered.add(key)
            self.states.setdefault(key, {"here"})
        elif action in ("promoted", "rolled back"):
            self.holders[model, alias] = number
            self.states[key] = {"here"}
        elif action == "released":
            self.holders.pop((model, alias), None)
            self._was_here(key)
        elif action == "tagged":
            tags = self.tags.setdefault(key, {})
            for gone in row["evidence"]["removed"]:
                tags.pop(gone, None)
            tags.update(row["evidence"]["set"])
            self._was_here(key)
        elif action == "restored":
            self.states[key] = {"here"}
        elif action in ("removed", "collected"):
            self.states[key] = {action}
            held = [place for place, holder in self.holders.items() if (place[0], holder) == key]
            for place in held:
                del self.holders[place]

    def _was_here(self, key: Key) -> None:
        self.states[key] = self.states.get(key, {"here"}) | {"here"}


def said(rows: Iterable[Mapping[str, Any]]) -> Said:
    """Where rows say that everything stands, whichever others were lost."""
    found = Said()
    for row in rows:
        found.hear(row)
    return found


@dataclass(frozen=True)
class Losses:
    """What befalls a registry. Numbers choose among what is there, whichever they are.

    Args:
        index: `whole`, `gone`, `zeroed`, `page` (one is overwritten) or `older`.
        at: which page, or which older copy.
        filler: what a page is overwritten with; None turns its bits over.
        ledger: `whole`, `gone`, or `lines` that are changed.
        lines: (which line, how): `flipped`, `deleted`, `doubled`, `blank` line before it.
        torn: whether the file's last line is cut short.
        manifests: (which version's, how): `flipped` or `removed`.
        blobs: (which file of any version, how): the same.
        head: `whole`, `gone` or `garbled`.
    """

    index: str = "gone"
    at: int = 0
    filler: int | None = None
    ledger: str = "whole"
    lines: Sequence[tuple[int, str]] = ()
    torn: bool = False
    manifests: Sequence[tuple[int, str]] = ()
    blobs: Sequence[tuple[int, str]] = ()
    head: str = "whole"

    def befall(self, story: Story) -> None:
        """Let it happen."""
        self._lose_rows_of_index(story)
        self._lose_lines(story.ledger)
        manifests = sorted(made.digest for made in story.versions.values())
        files = {digest for made in story.versions.values() for digest in made.files.values()}
        for digests, losses in ((manifests, self.manifests), (sorted(files), self.blobs)):
            for which, how in losses:
                _lose(blob(story.store, digests[which % len(digests)]), how)
        head = story.folder / "objects" / "ledger.head"
        if head.exists() and self.head != "whole":
            head.chmod(0o600)
            head.write_bytes(b"\xff" * len(head.read_bytes()))
            if self.head == "gone":
                head.unlink()

    def surviving(self, story: Story, rows: Sequence[Mapping[str, Any]]) -> set[int]:
        """The numbers of the rows that are certainly still there, of those that were."""
        numbers = set()
        if story.ledger.exists():
            numbers |= set(whole_rows(story.ledger.read_bytes()))
        if self.index == "whole":
            numbers |= {row["number"] for row in rows}
        elif self.index == "older":
            numbers |= set(range(1, self._older(story)[1] + 1))
        return numbers

    def _older(self, story: Story) -> tuple[bytes, int]:
        return story.indexes[self.at % len(story.indexes)]

    def _lose_rows_of_index(self, story: Story) -> None:
        content = bytearray(story.index.read_bytes())
        if self.index == "gone":
            story.index.unlink()
            return
        if self.index == "older":
            content = bytearray(self._older(story)[0])
        elif self.index == "zeroed":
            content[:100] = bytes(100)
        elif self.index == "page":
            start = self.at % (len(content) // 4096) * 4096
            page = content[start : start + 4096]
            filled = bytes([self.filler or 0]) * 4096
            turned = bytes(byte ^ 0xFF for byte in page)
            content[start : start + 4096] = turned if self.filler is None else filled
        story.index.write_bytes(content)

    def _lose_lines(self, file: Path) -> None:
        if self.ledger == "gone":
            file.unlink()
        if self.ledger != "lines":
            return
        lines = file.read_bytes().splitlines(keepends=True)
        for which, how in self.lines:
            if not lines:
                break
            at = which % len(lines)
            line = lines[at]
            if how == "flipped" and len(line) > 1:
                place = which * 31 % (len(line) - 1)
                lines[at] = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
            elif how == "deleted":
                del lines[at]
            elif how == "doubled":
                lines.insert(at, line)
            elif how == "blank":
                lines.insert(at, b"\n")
        if self.torn and lines:
            lines[-1] = lines[-1][: len(lines[-1]) // 2]
        file.write_bytes(b"".join(lines))


def _lose(file: Path, how: str) -> None:
    if not file.exists():
        return
    if how == "removed":
        file.unlink()
        return
    file.chmod(0o600)
    content = file.read_bytes()
    place = len(content) // 2
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
