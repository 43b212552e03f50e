"""The records: benchmarks/results has a folder for each machine, and a file for each benchmark.

A benchmark's newest record of a machine replaces the one before it, and never another machine's.
A run that shared its machine goes to the folder `shared` of its machine, and is not published.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import shared_because

RESULTS = Path(__file__).parent / "results"
SHARED = "shared"

# What these measure besides times does not depend on the load; their times do.
_UNTIMED = ("ablation-", "accuracy-", "examples-", "exports", "resume")


@dataclass(frozen=True)
class Record:
    """One benchmark on one machine."""

    name: str
    content: Mapping[str, Any]

    @property
    def machine(self) -> Mapping[str, Any]:
        """What is known of the machine, and its load."""
        facts: Mapping[str, Any] = self.content["machine"]
        return facts

    @property
    def date(self) -> str:
        """The day it was recorded, as 2026-11-26."""
        return str(self.content["date"])

    @property
    def timed(self) -> bool:
        """Whether its times may be published."""
        return is_quiet(self.machine)

    @property
    def published(self) -> bool:
        """Whether anything of it may be published."""
        return self.timed or self.name.startswith(_UNTIMED)


def is_quiet(facts: Mapping[str, Any]) -> bool:
    """Whether a time that was measured on this machine may be published."""
    return not why_not_published(facts)


def why_not_published(facts: Mapping[str, Any]) -> str:
    """Why a time of this machine is not published; empty if it is."""
    if not facts.get("vectors"):
        return "the processor's vector instructions are not known"
    return shared_because(facts)


def machine_name(facts: Mapping[str, Any]) -> str:
    """The folder of a kind of machine: `amd-epyc-family-25-model-17-avx-512-2-cores`."""
    known = [f"{name} {facts[name]}" for name in ("family", "model") if facts.get(name)]
    cores = f"{facts['cores']} cores"
    vectors = facts.get("vectors") or "unknown model"
    cards = [card["name"] for card in facts.get("gpus", ())]
    words = " ".join([facts["processor"], *known, vectors, cores, *cards])
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-")


def write(content: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Write a record, and return its file.

    Args:
        content: with `benchmark` and `machine`; one with `shared` is kept apart.
        folder: of all records; None is `RESULTS`.
    """
    place = (folder or RESULTS) / machine_name(content["machine"])
    if content.get("shared"):
        place /= SHARED
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{content['benchmark']}.json"
    file.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return file


def read(folder: Path | None = None) -> dict[str, list[Record]]:
    """Benchmark -> its newest record of each machine; shared runs are left out."""
    newest: dict[tuple[str, str], Record] = {}
    for record in _all(folder or RESULTS):
        key = (record.name, machine_name(record.machine))
        if key not in newest or record.date > newest[key].date:
            newest[key] = record
    found: dict[str, list[Record]] = {}
    for (name, _), record in sorted(newest.items()):
        found.setdefault(name, []).append(record)
    return found


def _all(folder: Path) -> Iterator[Record]:
    for file in sorted(folder.rglob("*.json")):
        if file.parent.name != SHARED:
            yield Record(file.stem, json.loads(file.read_text("utf-8")))
