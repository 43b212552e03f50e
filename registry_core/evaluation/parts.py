"""How good a version is at each class, label or target, from what it recorded."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.evaluation.per_example_results import PerExampleResults

# By the kind of results: what is computed for each class, label or target.
ACCURACY = "accuracy"
F1 = "f1"
IOU = "iou"
MAE = "mae"


def part_names(manifest: Mapping[str, Any]) -> list[str]:
    """The names of a version's classes, labels or targets; targets with their units."""
    data = manifest.get("data", {})
    task = data.get("task") or {}
    targets = task.get("target_names") or []
    if targets:
        units = task.get("units") or [""] * len(targets)
        named = zip(targets, units, strict=True)
        return [f"{name} ({unit})" if unit else name for name, unit in named]
    return list(task.get("label_names") or task.get("class_names") or data.get("class_names", []))


def by_part(
    results: PerExampleResults, names: Sequence[str]
) -> tuple[str, list[float | None]] | None:
    """A measure of each class, label or target; None if the results have none.

    Args:
        results: a version's.
        names: of the classes, labels or targets; may be empty for targets.

    Returns:
        The measure, one of the constants of this module; and its values in the order of the names,
        None for a class that no example has.
    """
    details = results.details
    if "unions" in details:
        pairs = zip(details["intersections"], details["unions"], strict=True)
        return IOU, [shared / either if either else None for shared, either in pairs]
    if "predicted_bits" in details:
        return F1, _f1(details, results.examples)
    if "predicted_float32" in details:
        return MAE, _mean_absolute_errors(details, results.examples)
    accuracies = _accuracies(results, len(names))
    return None if accuracies is None else (ACCURACY, accuracies)


def _accuracies(results: PerExampleResults, classes: int) -> list[float | None] | None:
    right, expected = results.right(), results.expected_classes()
    if right is None or expected is None:
        return None
    examples, correct = [0] * classes, [0] * classes
    for is_right, label in zip(right, expected, strict=True):
        examples[label] += 1
        correct[label] += is_right
    return [hits / count if count else None for hits, count in zip(correct, examples, strict=True)]


def _f1(details: Mapping[str, Any], examples: int) -> list[float | None]:
    """2 × (examples that have the label and get it) / (examples that have it + that get it)."""
    import numpy as np

    labels = int(details["labels"])

    def unpacked(key: str) -> Any:
        bits = np.frombuffer(base64.b64decode(details[key]), np.uint8)
        return np.unpackbits(bits, count=examples * labels).reshape(examples, labels)

    true, predicted = unpacked("expected_bits"), unpacked("predicted_bits")
    both = (true & predicted).sum(axis=0, dtype=int).tolist()
    sizes = (true.sum(axis=0, dtype=int) + predicted.sum(axis=0, dtype=int)).tolist()
    return [2 * a / b if b else None for a, b in zip(both, sizes, strict=True)]


def _mean_absolute_errors(details: Mapping[str, Any], examples: int) -> list[float | None]:
    import numpy as np

    true, predicted = (
        np.frombuffer(base64.b64decode(details[key]), "<f4").reshape(examples, -1).astype(float)
        for key in ("expected_float32", "predicted_float32")
    )
    errors: list[float | None] = abs(predicted - true).mean(axis=0).tolist()
    return errors
