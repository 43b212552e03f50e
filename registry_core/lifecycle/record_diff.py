"""What became different between two records of how something was trained.

A record is what a run begins with and what its version's manifest keeps: `config`, `data`,
`plugins`, `code`, `environment`. What is not written in one of them is not compared; `covered` says
what that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# kind -> keys of the record's environment
_ENVIRONMENT = {
    "library": ("mlreg", "python", "tensorflow", "keras", "numpy"),
    "hardware": ("device", "processor", "cpus", "usable_cpus", "platform"),
    "determinism": ("deterministic",),
}
# a record of an earlier mlreg without these says nothing of them
_NEWER = {"processor", "usable_cpus"}
# kind -> a mapping in the record's environment, which records of earlier mlregs do not have
_MAPPINGS = {
    "Keras setting": "keras_settings",
    "environment variable": "variables",
    "threads": "threads",
}


@dataclass(frozen=True)
class RecordChange:
    """One thing that is not what it was.

    Args:
        kind: `setting`, `data`, `plugin`, `module`, `library`, `Keras setting`,
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
        return f"{self.kind} {self.what}: {self.now}, was {self.then}"

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "what": self.what, "then": self.then, "now": self.now}


@dataclass(frozen=True)
class Coverage:
    """Which things two records have in common, in words.

    Args:
        compared: `settings`, `plugin files (3)`, …
        not_recorded: what one of them says nothing of.
    """

    compared: tuple[str, ...]
    not_recorded: tuple[str, ...]


def changed_since(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[RecordChange]:
    """What is not the same in two records; settings first, then data, code, libraries, hardware."""
    before, after = then["environment"], now["environment"]
    pairs = [
        *_both("setting", then.get("config"), now.get("config")),
        *_both("data", _splits(then), _splits(now)),
        *_plugins(then, now),
    ]
    if "code" in then and "code" in now:
        pairs += _both("module", _modules(then), _modules(now))
    pairs += _environment("library", before, after)
    pairs += _shared("library", before.get("libraries"), after.get("libraries"))
    for kind, name in _MAPPINGS.items():
        if name in before and name in after:
            pairs += _both(kind, before[name], after[name])
    for kind in ("hardware", "determinism"):
        pairs += _environment(kind, before, after)
    return [drift for drift in pairs if drift.then != drift.now]


def covered(then: Mapping[str, Any], now: Mapping[str, Any]) -> Coverage:
    """What `changed_since` compares of two records, and what it cannot."""
    before, after = then["environment"], now["environment"]
    code = "code" in then and "code" in now
    files = sum(len(each) for each in now.get("code", {}).get("files", {}).values())
    modules = len(now.get("code", {}).get("modules", {}))
    libraries = "libraries" in before and "libraries" in after
    parts = {
        "settings": True,
        "data": True,
        f"plugin files ({files})" if code else "plugin files": True,
        f"modules ({modules})" if code else "modules beside the plugin": code,
        "libraries" if libraries else "versions of the main libraries": True,
        "versions of other libraries": libraries,
        "Keras settings": "keras_settings" in before and "keras_settings" in after,
        "environment variables": "variables" in before and "variables" in after,
        "threads": "threads" in before and "threads" in after,
        "hardware": True,
    }
    if libraries:
        del parts["versions of other libraries"]
    return Coverage(
        tuple(part for part, there in parts.items() if there),
        tuple(part for part, there in parts.items() if not there),
    )


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
    """What both have: which libraries are imported depends on what else a process did."""
    then, now = then or {}, now or {}
    told = set(_ENVIRONMENT[kind])
    return _both(
        kind,
        {name: then[name] for name in then if name in now and name not in told},
        {name: now[name] for name in now if name in then and name not in told},
    )


def _environment(
    kind: str, then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[RecordChange]:
    keys = [key for key in _ENVIRONMENT[kind] if key not in _NEWER or (key in then and key in now)]
    sides = ({key: side[key] for key in keys if key in side} for side in (then, now))
    return _both(kind, *sides)


def _splits(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"{name} split": f"{split['examples']:,} examples, {_short(split['fingerprint'])}"
        for name, split in record["data"]["splits"].items()
    }


def _short(fingerprint: str) -> str:
    """Enough of a digest; all of what a stream says of itself, whose end may be what differs."""
    return fingerprint[:19] if fingerprint.startswith("sha256:") else fingerprint


def _plugins(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[RecordChange]:
    for drift in _both("plugin", _described(then), _described(now)):
        changed = _changed_files(drift.what, then, now)
        also = f" (changed: {', '.join(changed)})" if changed else ""
        yield RecordChange("plugin", drift.what, drift.then, drift.now + also)


def _described(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        each["name"]: f"{each['distribution'] or each['module']}, code {each['code_sha256'][:12]}"
        for each in record["plugins"]
    }


def _changed_files(plugin: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which of a plugin's files are others; none where a record says nothing of them."""
    sides = [record.get("code", {}).get("files", {}).get(plugin) for record in (then, now)]
    before, after = sides
    if before is None or after is None:
        return []
    return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def _modules(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"code {digest[:12]}" for name, digest in record["code"]["modules"].items()}
