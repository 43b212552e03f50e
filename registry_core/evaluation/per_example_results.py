"""What a version predicted for each test example: loss, predicted class, true class.

NumPy writes the results once, at the end of a run. Reading them needs the standard library alone,
so a promotion starts quickly. Comparing two versions is in `paired_tests`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from registry_core.data.nesting import is_nested, parts_of
from registry_core.errors import IntegrityError

if TYPE_CHECKING:
    import numpy as np

    from registry_core.types import Evaluation

OUTCOMES_FILE = "outcomes.json"


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
    """

    examples: int
    fingerprint: str
    losses: bytes
    correct: bytes | None = None
    predicted: bytes | None = None
    expected: bytes | None = None
    targets: str = field(default="", compare=False)

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
        record = {
            "schema": 1,
            "examples": self.examples,
            "fingerprint": self.fingerprint,
            "targets_sha256": self.targets,
            **packed,
        }
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
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise IntegrityError(
                f"{OUTCOMES_FILE} is not a file of per-example results: {error}."
            ) from error
        parts = [part for part in (losses, predicted, expected) if part is not None]
        wrong = any(len(part) != 4 * examples for part in parts)
        if losses is None or wrong or (correct is not None and len(correct) != -(-examples // 8)):
            raise IntegrityError(
                f"{OUTCOMES_FILE} does not have the {examples:,} examples that it states."
            )
        return cls(examples, fingerprint, losses, correct, predicted, expected, targets)

    def right(self) -> list[bool] | None:
        """Whether each predicted class is right, in order; None if the targets are no classes."""
        if self.correct is None:
            return None
        return [bool(self.correct[n // 8] & 0x80 >> n % 8) for n in range(self.examples)]

    def expected_classes(self) -> Sequence[int] | None:
        """The true class of each example, in order; None if the targets are no classes."""
        return struct.unpack(f"<{self.examples}i", self.expected) if self.expected else None


def pack_results(
    evaluation: Evaluation, class_names: Sequence[str], fingerprint: str
) -> PerExampleResults:
    """Pack the results of an evaluation.

    Args:
        evaluation: outputs (examples, ...), losses (examples,), targets (examples, ...). Of
            several outputs or targets, the losses alone are kept.
        class_names: empty if the targets are not classes.
        fingerprint: of the test split.
    """
    import numpy as np

    correct = predicted = expected = None
    nested = is_nested(evaluation.outputs) or is_nested(evaluation.targets)
    if class_names and not nested and are_classes(evaluation.targets):
        classes, true = predicted_classes(evaluation), true_classes(evaluation)
        correct = np.packbits(classes == true).tobytes()
        predicted, expected = (each.astype("<i4").tobytes() for each in (classes, true))
    losses = evaluation.losses.astype("<f4").tobytes()
    targets = hashlib.sha256()
    for part in parts_of(evaluation.targets):
        targets.update(np.ascontiguousarray(part).tobytes())
    return PerExampleResults(
        len(evaluation.losses),
        fingerprint,
        losses,
        correct,
        predicted,
        expected,
        targets.hexdigest(),
    )


def are_classes(targets: np.ndarray) -> bool:
    """Whether each target is exactly one class: a class number, or a one-hot row.

    Args:
        targets: (examples, ...) as the split has them. False for multi-label targets and for
            class probabilities.
    """
    if targets.ndim != 2 or targets.shape[1] == 1:
        return True
    return bool(((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all())


def predicted_classes(evaluation: Evaluation) -> np.ndarray:
    """The predicted class of each example: (examples,) int64, the index of the largest output."""
    classes: np.ndarray = evaluation.outputs.argmax(axis=-1)
    return classes


def true_classes(evaluation: Evaluation) -> np.ndarray:
    """The true class of each example: (examples,) int64, from class numbers or one-hot rows."""
    targets = evaluation.targets
    one_hot = targets.ndim == 2 and targets.shape[1] > 1
    classes: np.ndarray = targets.argmax(axis=1) if one_hot else targets.reshape(-1)
    return classes.astype("int64")
