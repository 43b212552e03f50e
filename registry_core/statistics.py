"""What a version got right on each test example, kept so that versions can be compared later.

Written with NumPy once, after a run; read with the standard library alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from registry_core.errors import IntegrityError

if TYPE_CHECKING:
    import numpy as np

    from registry_core.types import Evaluation

OUTCOMES_FILE = "outcomes.json"


@dataclass(frozen=True)
class Outcomes:
    """The test split, example by example, in its own order.

    Args:
        examples: how many there are.
        fingerprint: the test split's; outcomes are compared only where it is equal.
        losses: examples × 4 bytes, little-endian float32.
        correct: one bit an example, most significant first, 1 where the class was right; None
            where the targets are not classes.
        predicted: examples × 4 bytes, little-endian int32, the class that was answered; or None.
    """

    examples: int
    fingerprint: str
    losses: bytes
    correct: bytes | None = None
    predicted: bytes | None = None

    def to_json(self) -> bytes:
        """The file's bytes: JSON with base64 inside, so that no reader needs more than Python."""
        packed = {
            name: base64.b64encode(value).decode() if value is not None else None
            for name, value in (
                ("losses_float32", self.losses),
                ("correct_bits", self.correct),
                ("predicted_int32", self.predicted),
            )
        }
        record = {"schema": 1, "examples": self.examples, "fingerprint": self.fingerprint, **packed}
        return json.dumps(record).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read a file that `to_json` wrote.

        Raises:
            IntegrityError: it is not one, or its parts do not have the length it states.
        """
        try:
            record: dict[str, Any] = json.loads(raw)
            losses, correct, predicted = (
                base64.b64decode(record[name], validate=True) if record[name] is not None else None
                for name in ("losses_float32", "correct_bits", "predicted_int32")
            )
            examples, fingerprint = int(record["examples"]), str(record["fingerprint"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise IntegrityError(
                f"{OUTCOMES_FILE} is not a record of outcomes: {error}."
            ) from error
        lengths = ((losses, 4 * examples), (correct, -(-examples // 8)), (predicted, 4 * examples))
        if losses is None or any(len(p) != n for p, n in lengths if p is not None):
            raise IntegrityError(
                f"{OUTCOMES_FILE} does not hold the {examples} examples it states."
            )
        return cls(examples, fingerprint, losses, correct, predicted)


def outcomes(evaluation: Evaluation, class_names: Sequence[str], fingerprint: str) -> Outcomes:
    """Pack what an evaluation found.

    Args:
        evaluation: outputs (examples, ...), losses (examples,), targets (examples, ...).
        class_names: empty where the targets are not classes.
        fingerprint: the test split's.
    """
    import numpy as np

    correct = predicted = None
    if class_names:
        answered = predicted_classes(evaluation)
        correct = np.packbits(answered == true_classes(evaluation)).tobytes()
        predicted = answered.astype("<i4").tobytes()
    losses = evaluation.losses.astype("<f4").tobytes()
    return Outcomes(len(evaluation.losses), fingerprint, losses, correct, predicted)


def predicted_classes(evaluation: Evaluation) -> np.ndarray:
    """The class answered for each example: (examples,) int64, the place of the largest output."""
    classes: np.ndarray = evaluation.outputs.argmax(axis=-1)
    return classes


def true_classes(evaluation: Evaluation) -> np.ndarray:
    """The right class of each example: (examples,) int64, from numbers or one column a class."""
    targets = evaluation.targets
    one_column_a_class = targets.ndim == 2 and targets.shape[1] > 1
    classes: np.ndarray = targets.argmax(axis=1) if one_column_a_class else targets.reshape(-1)
    return classes.astype("int64")
