"""What became different between two records of how something was trained.

A record is what a run begins with and what its version's manifest keeps: `config`, `data`,
`plugins`, `environment`. What is not written in one of them is not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# kind -> keys of the record's environment
_ENVIRONMENT = {
    "library": ("mlreg", "python", "tensorflow", "keras", "numpy"),
    "hardware": ("device", "cpus", "platform"),
    "determinism": ("deterministic",),
}


@dataclass(frozen=True)
class Drift:
    """One thing that is not what it was.

    Args:
        kind: `setting`, `data`, `plugin`, `library`, `hardware` or `determinism`.
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


def drifted(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Drift]:
    """What is not the same in two records; settings first, then data, code, libraries, hardware."""
    pairs = [
        *_both("setting", then.get("config"), now.get("config")),
        *_both("data", _splits(then), _splits(now)),
        *_both("plugin", _plugins(then), _plugins(now)),
    ]
    for kind, keys in _ENVIRONMENT.items():
        sides = (
            {key: record["environment"][key] for key in keys if key in record["environment"]}
            for record in (then, now)
        )
        pairs += _both(kind, *sides)
    return [drift for drift in pairs if drift.then != drift.now]


def _both(
    kind: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> Iterator[Drift]:
    then, now = then or {}, now or {}
    for name in dict.fromkeys([*then, *now]):
        sides = (str(side[name]) if name in side else "nothing" for side in (then, now))
        yield Drift(kind, name, *sides)


def _splits(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"{name} split": f"{split['examples']:,} examples, {_short(split['fingerprint'])}"
        for name, split in record["data"]["splits"].items()
    }


def _short(fingerprint: str) -> str:
    """Enough of a digest; all of what a stream says of itself, whose end may be what differs."""
    return fingerprint[:19] if fingerprint.startswith("sha256:") else fingerprint


def _plugins(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        each["name"]: f"{each['distribution'] or each['module']}, code {each['code_sha256'][:12]}"
        for each in record["plugins"]
    }
