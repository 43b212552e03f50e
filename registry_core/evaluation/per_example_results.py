"""What a version predicted for each test example: loss, predicted class, the objective's value.

`packing` writes the results once, at the end of a run. Reading them needs the standard library
alone, so a promotion starts quickly. Comparing two versions is in `paired_tests`.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Self

from registry_core.dataclass import dataclass
from registry_core.errors import DataError, IntegrityError
from registry_core.tasks import Objective

OUTCOMES_FILE = "outcomes.json"

# The detail with the confidences. Its name has no suffix that an mlreg without it would check.
CONFIDENCES = "confidences"

# By what versions are compared whose record names no objective.
ACCURACY = Objective("accuracy", "max")
LOSS = Objective("loss", "min")


@dataclass(frozen=True)
class PerExampleResults:
    """One version's results on the test split, in the order of the split.

    Args:
        examples: size of the split.
        fingerprint: of the split; only results with the same fingerprint are compared.
        losses: examples × 4 bytes, little-endian float32.
        correct: one bit per example, most significant bit first, 1 where the predicted class is
            right; None if a target is not exactly one class.
        predicted: examples × 4 bytes, little-endian int32, the predicted classes; or None.
        expected: examples × 4 bytes, little-endian int32, the true classes; or None.
        targets: sha256 of the targets in this order, in hex; empty in older records.
        objective: by what versions are compared; None stands for the accuracy where `correct` is
            known, and for the loss elsewhere, as in older records.
        values: examples × 4 bytes, little-endian float32, the objective's values; None if
            `correct` or `losses` say them, or if it has no value for each example.
        loss_function: what computed the losses, as text; empty if it is not known.
        details: what the task needs beside that, as the file has it. Of a classification whose
            outputs are or stand for probabilities `confidences`: examples × 4 bytes, little-endian
            float32, the probability of each predicted class. Of a multi-label task `labels`, and
            `expected_bits` and `predicted_bits` of examples × labels. Of a regression `targets`,
            and `expected_float32` and `predicted_float32` of examples × targets. Of a segmentation
            `intersections` and `unions`, the places of each class in all examples.
    """

    examples: int
    fingerprint: str
    losses: bytes
    correct: bytes | None = None
    predicted: bytes | None = None
    expected: bytes | None = None
    targets: str = field(default="", compare=False)
    objective: Objective | None = None
    values: bytes | None = None
    loss_function: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The file's bytes: JSON with base64 inside, so that plain Python can read it."""
        packed = {
            name: base64.b64encode(value).decode() if value is not None else None
            for name, value in (
                ("losses_float32", self.losses),
                ("correct_bits", self.correct),
                ("predicted_int32", self.predicted),
                ("expected_int32", self.expected),
            )
        }
        record: dict[str, Any] = {
            "schema": 1,
            "examples": self.examples,
            "fingerprint": self.fingerprint,
            "targets_sha256": self.targets,
            **packed,
        }
        if self.objective is not None:
            record["objective"] = {
                "name": self.objective.name,
                "direction": self.objective.direction,
                "unit": self.objective.unit,
            }
        if self.values is not None:
            record["values_float32"] = base64.b64encode(self.values).decode()
        if self.loss_function:
            record["loss_function"] = self.loss_function
        if self.details:
            record["task"] = dict(self.details)
        return json.dumps(record).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            IntegrityError: the file has another format, or its parts do not have the stated length.
        """
        try:
            record: dict[str, Any] = json.loads(raw)
            losses, correct, predicted, expected = (
                base64.b64decode(record[name], validate=True) if record[name] is not None else None
                for name in ("losses_float32", "correct_bits", "predicted_int32", "expected_int32")
            )
            examples, fingerprint = int(record["examples"]), str(record["fingerprint"])
            targets = str(record.get("targets_sha256", ""))
            objective = Objective(**record["objective"]) if "objective" in record else None
            values = base64.b64decode(record.get("values_float32", ""), validate=True) or None
            loss_function = str(record.get("loss_function", ""))
            details = _checked_details(record.get("task", {}), examples)
        except (
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
            RecursionError,
            DataError,
        ) as error:
            raise IntegrityError(
                f"{OUTCOMES_FILE} is not a file of per-example results: {error}."
            ) from error
        parts = [part for part in (losses, predicted, expected, values) if part is not None]
        wrong = any(len(part) != 4 * examples for part in parts)
        if losses is None or wrong or (correct is not None and len(correct) != -(-examples // 8)):
            raise IntegrityError(
                f"{OUTCOMES_FILE} does not have the {examples:,} examples that it states."
            )
        return cls(
            examples,
            fingerprint,
            losses,
            correct,
            predicted,
            expected,
            targets,
            objective,
            values,
            loss_function,
            details,
        )

    @property
    def objective_or_default(self) -> Objective:
        """By what versions are compared: as recorded, or what older records stand for."""
        if self.objective is not None:
            return self.objective
        return LOSS if self.correct is None else ACCURACY

    def measured(self) -> Sequence[float] | None:
        """The objective's value of each example, in order; None if there are none."""
        if self.objective_or_default.name == "loss":
            return _floats(self.losses)
        if self.values is not None:
            return _floats(self.values)
        right = self.right() if self.objective is None else None
        return None if right is None else [float(each) for each in right]

    def mean(self) -> float | None:
        """The mean of the objective's values; None if there are none."""
        if self.objective is None and self.correct is not None:
            return int.from_bytes(self.correct).bit_count() / self.examples
        values = self.measured()
        return None if values is None else math.fsum(values) / len(values)

    def pair_with(self, earlier: Self) -> tuple[Self, Self]:
        """These results and earlier ones of the same model, each with what both have.

        An older record has no objective, and the dataset may have another one by now. Losses of one
        model are of one loss function, whether or not it is recorded.
        """
        if self.objective == earlier.objective:
            ours = replace(self, loss_function=earlier.loss_function)
            if (CONFIDENCES in self.details) == (CONFIDENCES in earlier.details):
                return ours, earlier
            return ours._without_confidences(), earlier._without_confidences()
        if None in (self.correct, earlier.correct):
            common: dict[str, Any] = {"correct": None, "predicted": None, "expected": None}
        else:
            common = {}
        common |= {"objective": None, "values": None, "loss_function": "", "details": {}}
        return replace(self, **common), replace(earlier, **common)

    def _without_confidences(self) -> Self:
        """These results as older records have them."""
        return self if CONFIDENCES not in self.details else replace(self, details={})

    def right(self) -> list[bool] | None:
        """Whether each predicted class is right, in order; None if the targets are no classes."""
        if self.correct is None:
            return None
        return [bool(self.correct[n // 8] & 0x80 >> n % 8) for n in range(self.examples)]

    def expected_classes(self) -> Sequence[int] | None:
        """The true class of each example, in order; None if the targets are no classes."""
        return struct.unpack(f"<{self.examples}i", self.expected) if self.expected else None

    def predicted_classes(self) -> Sequence[int] | None:
        """The predicted class of each example, in order; None if the targets are no classes."""
        return struct.unpack(f"<{self.examples}i", self.predicted) if self.predicted else None


def _floats(content: bytes) -> Sequence[float]:
    """Little-endian float32 as numbers."""
    numbers = array("f", content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _checked_details(details: Any, examples: int) -> dict[str, Any]:
    """The details as they are in the file.

    Raises:
        ValueError: they are not what `PerExampleResults.details` says.
    """
    if not isinstance(details, dict):
        raise ValueError("'task' is not an object")
    sizes = {
        "bits": -(-examples * int(details.get("labels", 0)) // 8),
        "float32": 4 * examples * int(details.get("targets", 0)),
    }
    for key, value in details.items():
        kind = key.rpartition("_")[2]
        if kind in sizes and len(base64.b64decode(value, validate=True)) != sizes[kind]:
            raise ValueError(f"'{key}' does not have the stated size")
    confidences = details.get(CONFIDENCES, "")
    if confidences and len(base64.b64decode(confidences, validate=True)) != 4 * examples:
        raise ValueError(f"'{CONFIDENCES}' does not have the stated size")
    counts = [details[key] for key in ("intersections", "unions") if key in details]
    if any(not all(isinstance(count, int) for count in each) for each in counts):
        raise ValueError("a count is not an integer")
    if len({len(each) for each in counts}) > 1:
        raise ValueError("there are more intersections than unions, or fewer")
    return details
