"""Registries whose versions have everything that a report shows, made without training."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from promotion_helpers import promote
from store_helpers import record

from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.evaluation.shown_examples import ShownExample, examples_json, sections_json
from registry_core.records import EXAMPLES_FILE, MODEL_FILE, SECTIONS_FILE, Version
from registry_core.registry import Registry
from registry_core.reports.report import Report
from registry_core.sections import Code, Facts, Section, Table, Text
from registry_core.store import Store
from registry_core.tasks import Classification, MultiLabel, Regression, Segmentation, Task

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)

CLASSES = ("ant", "bee", "cow")

HOSTILE = "</style></script><script>alert(1)</script><img src=x onerror='alert(1)'>\"&'"


def packed_bits(values: Sequence[int]) -> bytes:
    """One bit for each value, the most significant first."""
    padded = [*values, *[0] * (-len(values) % 8)]
    octets = (padded[place : place + 8] for place in range(0, len(padded), 8))
    return bytes(int("".join(map(str, octet)), 2) for octet in octets)


def floats(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def classified(
    expected: Sequence[int],
    predicted: Sequence[int],
    confidences: Sequence[float] | None = None,
    fingerprint: str = "sha256:test",
) -> PerExampleResults:
    """The results of a classification; a wrong example has a loss of 2, a right one of 0.5."""
    right = [int(a == b) for a, b in zip(expected, predicted, strict=True)]
    details = {}
    if confidences is not None:
        details = {"confidences": base64.b64encode(floats(confidences)).decode()}
    return PerExampleResults(
        len(expected),
        fingerprint,
        floats([0.5 if each else 2.0 for each in right]),
        packed_bits(right),
        struct.pack(f"<{len(predicted)}i", *predicted),
        struct.pack(f"<{len(expected)}i", *expected),
        details=details,
    )


def quantified(
    task: Regression, true: Sequence[float], predicted: Sequence[float]
) -> PerExampleResults:
    """The results of a regression with one target."""
    errors = [abs(b - a) for a, b in zip(true, predicted, strict=True)]
    return PerExampleResults(
        len(true),
        "sha256:test",
        floats([error**2 for error in errors]),
        objective=task.resolved_objective,
        values=floats(errors),
        details={
            "targets": 1,
            "expected_float32": base64.b64encode(floats(true)).decode(),
            "predicted_float32": base64.b64encode(floats(predicted)).decode(),
        },
    )


def labelled(
    task: MultiLabel, true: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]]
) -> PerExampleResults:
    """The results of a multi-label task, with a loss of 1 for each example."""
    flat = [[bit for row in rows for bit in row] for rows in (true, predicted)]
    return PerExampleResults(
        len(true),
        "sha256:test",
        floats([1.0] * len(true)),
        objective=task.resolved_objective,
        values=floats([1.0] * len(true)),
        details={
            "labels": len(task.label_names),
            "expected_bits": base64.b64encode(packed_bits(flat[0])).decode(),
            "predicted_bits": base64.b64encode(packed_bits(flat[1])).decode(),
        },
    )


def segmented(task: Segmentation, shared: list[int], either: list[int]) -> PerExampleResults:
    """The results of a segmentation of two examples."""
    return PerExampleResults(
        2,
        "sha256:test",
        floats([1.0, 1.0]),
        objective=task.resolved_objective,
        values=floats([0.5, 0.5]),
        details={"intersections": shared, "unions": either},
    )


def described(task: Task | None, **splits: int) -> dict[str, Any]:
    """What a record says of the data: each split's size, and its task."""
    signature = {
        "inputs": {"dtype": "uint8", "shape": [8, 8, 1]},
        "targets": {"dtype": "int64", "shape": []},
    }
    sizes = splits or {"train": 30, "test": 12}
    return {
        "source": "drawn",
        "class_names": list(getattr(task, "class_names", ())),
        "task": task.to_json() if task else None,
        "splits": {
            name: {"examples": size, "fingerprint": f"sha256:{name}", **signature}
            for name, size in sizes.items()
        },
    }


def publish(
    store: Store,
    results: PerExampleResults | None = None,
    *,
    examples: Sequence[ShownExample] = (),
    sections: Sequence[Section] = (),
    files: Mapping[str, bytes] | None = None,
    model: str = "zoo",
    **changes: Any,
) -> Version:
    """A version with what a report is made from; `changes` are of its record."""
    contents = {MODEL_FILE: b"weights", **(files or {})}
    if results is not None:
        contents[OUTCOMES_FILE] = results.to_json()
    if examples:
        contents[EXAMPLES_FILE] = examples_json(examples)
    if sections:
        contents[SECTIONS_FILE] = sections_json(sections)
    with store.start_run(model) as run:
        written: dict[str, Path] = {}
        for number, (path, content) in enumerate(contents.items()):
            written[path] = run.files / str(number)
            written[path].write_bytes(content)
        return store.publish(run, record(**changes), written, lambda paths: None)


def example(index: int, **changes: Any) -> ShownExample:
    """A wrong test example: a cow that is believed to be a bee."""
    values: dict[str, Any] = {
        "index": index,
        "loss": 2.0,
        "truth": "cow",
        "beliefs": (("bee", 0.75), ("cow", 0.25)),
        "picture": PNG,
        **changes,
    }
    return ShownExample(**values)


# 12 examples: 2 and 5 are cows that get `bee`, 7 is a bee that gets `ant`
EXPECTED = [0, 1, 2] * 4
PREDICTED = [0, 1, 1, 0, 1, 1, 0, 0, 2, 0, 1, 2]


def publish_zoo(store: Store, predicted: Sequence[int] = PREDICTED, **changes: Any) -> Version:
    """A version of a classification that has everything that a report shows."""
    right = sum(a == b for a, b in zip(EXPECTED, predicted, strict=True))
    values: dict[str, Any] = {
        "metrics": {
            "test_accuracy": right / 12,
            "test_loss": (0.5 * right + 2 * (12 - right)) / 12,
        },
        "config": {"epochs": 3, "seed": 7, "learning_rate": 0.1},
        "data": described(Classification(CLASSES), train=30, validation=6, test=12),
        "history": {
            "loss": [3.0, 2.0, 1.0],
            "val_loss": [3.5, 2.5, 1.5],
            "learning_rate": [0.1, 0.05, 0.0],
        },
        "training": {
            "epochs": 3,
            "of": 3,
            "phases": [],
            "stopped_by": None,
            "weights_changed_by": None,
        },
        "environment": {"python": "3.11.7", "keras": "3.15.1", "git": None, "variables": {}},
        "examples": [example(2), example(5)],
        "sections": [Section("Soundness", [Text("Told by a plugin.")])],
        "files": {"figures/own.png": PNG, "figures/loss.png": PNG},
        **changes,
    }
    return publish(store, classified(EXPECTED, predicted, [0.9] * 12), **values)


def publish_hostile(registry: Registry) -> None:
    """Two versions in which every text that someone may choose is HTML."""
    names = [f"{HOSTILE}{number}" for number in range(3)]
    for seed in (1, 2):
        version = publish_zoo(
            registry.store,
            [seed % 3] * 12,
            data={**described(Classification(names)), "source": HOSTILE},
            config={HOSTILE: HOSTILE, "seed": seed},
            history={HOSTILE: [1.0, 2.0]},
            environment={"python": HOSTILE, "variables": {HOSTILE: HOSTILE}},
            plugins=[{"name": HOSTILE, "module": HOSTILE, "distribution": HOSTILE}],
            metrics={"test_accuracy": 0.5, HOSTILE: 1.0},
            figures_missing=HOSTILE,
            preset=HOSTILE,
            examples=[
                example(
                    0, truth=HOSTILE, beliefs=((HOSTILE, 0.5),), text=HOSTILE,
                    row=((HOSTILE, HOSTILE),),
                )
            ],
            sections=[
                Section(
                    HOSTILE,
                    [
                        Text(HOSTILE, is_alert=True),
                        Code(HOSTILE, HOSTILE),
                        Table((HOSTILE, "b"), [(HOSTILE, 1)], HOSTILE),
                        Facts([(HOSTILE, HOSTILE)]),
                    ],
                )
            ],
            files={"figures/<b>'\"&.png": b"\x89PNG\r\n\x1a\n", "kept/<i>&.txt": b"x"},
        )  # fmt: skip
        registry.tag(version, {"note": HOSTILE})
        promote(registry, registry.version(version.ref), reason=HOSTILE, force=True)


class Page(HTMLParser):
    """A page as a list of its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def named(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def section(report: Report, title: str) -> Section:
    """The section of this title."""
    (found,) = [each for each in report.sections if each.title == title]
    return found


def titles(report: Report) -> list[str]:
    return [each.title for each in report.sections]


def blocks(found: Section, kind: type[Any]) -> list[Any]:
    """The blocks of one kind, from top to bottom."""
    return [block for block in found.blocks if isinstance(block, kind)]


def facts(found: Section) -> dict[str, str]:
    return dict(row for block in blocks(found, Facts) for row in block.rows)


def said(found: Section) -> str:
    """The paragraphs of a section."""
    return "\n".join(block.text for block in blocks(found, Text))
