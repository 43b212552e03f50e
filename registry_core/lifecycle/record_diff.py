"""Compares two records of how something was trained.

A record is what a run begins with, and what its version's manifest says: `config`, `data`,
`plugins`, `code`, `environment`. What one of the two does not say is not compared; `covered` lists
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.records import EARLIER_SETTINGS, PARENT

# kind -> keys of the record's environment
_ENVIRONMENT = {
    "library": ("mlreg", "python", "tensorflow", "keras", "numpy"),
    "hardware": (
        "device",
        "gpus",
        "processor",
        "vector_instructions",
        "cpus",
        "usable_cpus",
        "platform",
    ),
    "determinism": ("deterministic",),
}
# keys that the records of earlier mlregs do not have
_NEWER = {"processor", "vector_instructions", "usable_cpus"}
# kind -> a mapping in the record's environment that the records of earlier mlregs do not have
_MAPPINGS = {
    "Keras setting": "keras_settings",
    "environment variable": "variables",
    "threads": "threads",
}


@dataclass(frozen=True)
class RecordChange:
    """One difference between two records.

    Args:
        kind: `setting`, `parent`, `data`, `plugin`, `module`, `library`, `Keras setting`,
            `environment variable`, `threads`, `hardware` or `determinism`.
        what: its name: `learning_rate`, `train split`, `keras`, …
        then: what it was, in words.
        now: what it is.
    """

    kind: str
    what: str
    then: str
    now: str

    def __str__(self) -> str:
        if self.what == "processor":
            return f"trained on {self.then}; this machine has {self.now}"
        if self.what == "vector_instructions":
            return _vector_change(self.then, self.now)
        return f"{self.kind} {self.what}: {self.now}, was {self.then}"

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "what": self.what, "then": self.then, "now": self.now}


@dataclass(frozen=True)
class Coverage:
    """What can be compared in two records, in words.

    Args:
        compared: `settings`, `plugin files (3)`, …
        not_recorded: what one of them does not say.
    """

    compared: tuple[str, ...]
    not_recorded: tuple[str, ...]


def changed_since(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[RecordChange]:
    """The differences between two records: settings, data, code, libraries, hardware."""
    before, after = then["environment"], now["environment"]
    pairs = [
        *_both("setting", _settings(then), _settings(now)),
        *_both("parent", _parent(then), _parent(now)),
        *_both("data", _splits(then["data"]["splits"]), _splits(now["data"]["splits"])),
        *_plugins(then, now),
    ]
    if "code" in then and "code" in now:
        pairs += _modules(then["code"], now["code"])
    pairs += _environment("library", before, after)
    pairs += _shared("library", before.get("libraries"), after.get("libraries"))
    for kind, name in _MAPPINGS.items():
        if _say(before, after, name):
            pairs += _both(kind, before[name], after[name])
    for kind in ("hardware", "determinism"):
        pairs += _environment(kind, before, after)
    return [change for change in pairs if change.then != change.now]


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    config = record.get("config") or {}
    return _ordered({**EARLIER_SETTINGS, **config}) if config else {}


def _parent(record: Mapping[str, Any]) -> dict[str, str]:
    """The version whose weights the training started with."""
    parent = record.get(PARENT)
    return {"model": f"{parent['ref']}, weights {parent['sha256'][:12]}"} if parent else {}


def _ordered(value: Any) -> Any:
    """The same value with the keys of its dicts in order: a manifest sorts them."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(each) for each in value] if isinstance(value, list) else value


def covered(then: Mapping[str, Any], now: Mapping[str, Any]) -> Coverage:
    """What `changed_since` compares in two records, and what it cannot."""
    before, after = then["environment"], now["environment"]
    code = "code" in then and "code" in now
    files = sum(len(each) for each in now.get("code", {}).get("files", {}).values())
    modules = len(now.get("code", {}).get("modules", {}))
    libraries = _say(before, after, "libraries")
    parts = {
        "settings": True,
        **({"parent": True} if PARENT in then or PARENT in now else {}),
        "data": True,
        f"plugin files ({files})" if code else "plugin files": True,
        f"modules ({modules})" if code else "modules beside the plugin": code,
        "libraries" if libraries else "versions of the main libraries": True,
        "versions of other libraries": libraries,
        "Keras settings": _say(before, after, "keras_settings"),
        "environment variables": _say(before, after, "variables"),
        "threads": _say(before, after, "threads"),
        "hardware": True,
        "vector instructions": _say(before, after, "vector_instructions"),
    }
    if libraries:
        del parts["versions of other libraries"]
    return Coverage(
        tuple(part for part, there in parts.items() if there),
        tuple(part for part, there in parts.items() if not there),
    )


def _say(then: Mapping[str, Any], now: Mapping[str, Any], key: str) -> bool:
    return key in then and key in now


def _vector_change(then: str, now: str) -> str:
    """`trained with the vector instructions avx512f, which this machine does not have`."""
    before, after = then.split(), now.split()
    lost = ", ".join(each for each in before if each not in after)
    gained = ", ".join(each for each in after if each not in before)
    if not lost:
        return f"trained without the vector instructions {gained}, which this machine has"
    more = f"; it has {gained} instead" if gained else ""
    return f"trained with the vector instructions {lost}, which this machine does not have{more}"


def _both(
    kind: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> Iterator[RecordChange]:
    then, now = then or {}, now or {}
    for name in dict.fromkeys([*then, *now]):
        sides = (str(side[name]) if name in side else "nothing" for side in (then, now))
        yield RecordChange(kind, name, *sides)


def _shared(
    kind: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> Iterator[RecordChange]:
    """What both have: a process may import libraries that have nothing to do with the run."""
    then, now = then or {}, now or {}
    shared = [name for name in then if name in now and name not in _ENVIRONMENT[kind]]
    return _both(kind, *({name: side[name] for name in shared} for side in (then, now)))


def _environment(
    kind: str, then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[RecordChange]:
    keys = [key for key in _ENVIRONMENT[kind] if key not in _NEWER or _say(then, now, key)]
    sides = ({key: _text(side[key]) for key in keys if key in side} for side in (then, now))
    return _both(kind, *sides)


def _text(value: Any) -> Any:
    return " ".join(value) if isinstance(value, list) else value


def changed_data(
    then: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> list[RecordChange]:
    """What differs between two records' splits: name -> `examples` and `fingerprint`."""
    changes = _both("data", _splits(then), _splits(now))
    return [change for change in changes if change.then != change.now]


def changed_code(then: Mapping[str, str], now: Mapping[str, Any]) -> list[RecordChange]:
    """Which plugins have other code, by a specification's digests and a record."""
    digests = {each["name"]: each["code_sha256"] for each in now["plugins"]}
    sides = ({name: f"code {code[:12]}" for name, code in each.items()} for each in (then, digests))
    return [change for change in _both("plugin", *sides) if change.then != change.now]


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {
        f"{name} split": f"{split['examples']:,} examples, {_short(split['fingerprint'])}"
        for name, split in splits.items()
    }


def _short(fingerprint: str) -> str:
    """The beginning of a digest; all of a stream's own text, whose end may be what differs."""
    return fingerprint[:19] if fingerprint.startswith("sha256:") else fingerprint


def _plugins(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[RecordChange]:
    for change in _both("plugin", _described(then), _described(now)):
        changed = _changed_files(change.what, then, now)
        also = f" (changed: {', '.join(changed)})" if changed else ""
        yield RecordChange("plugin", change.what, change.then, change.now + also)


def _described(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        each["name"]: f"{each['distribution'] or each['module']}, code {each['code_sha256'][:12]}"
        for each in record["plugins"]
    }


def _changed_files(plugin: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which of a plugin's files changed; none if a record does not list them."""
    sides = [record.get("code", {}).get("files", {}).get(plugin) for record in (then, now)]
    before, after = sides
    if before is None or after is None:
        return []
    return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def _modules(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[RecordChange]:
    sides = [
        {name: f"code {digest[:12]}" for name, digest in code["modules"].items()}
        for code in (then, now)
    ]
    if then.get("searched") != now.get("searched"):  # one of them may have missed modules
        shared = sides[0].keys() & sides[1].keys()
        sides = [{name: side[name] for name in side if name in shared} for side in sides]
    return _both("module", *sides)
