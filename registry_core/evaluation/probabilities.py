"""The probabilities that a model's outputs are or stand for. NumPy loads when they are computed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from registry_core.data.model_fit import single_output
from registry_core.dataclass import dataclass
from registry_core.evaluation.predictions import true_and_output
from registry_core.tasks import Classification, MultiLabel, Task

if TYPE_CHECKING:
    import numpy as np

    from registry_core.types import Evaluation

# How far a row of probabilities may be from a sum of 1: bfloat16 has three digits.
_TOLERANCE = 0.01

_EXAMPLES_AT_ONCE = 4096


@dataclass(frozen=True)
class Probabilities:
    """Probabilities of classes or labels, computed for the examples that are asked for.

    Args:
        outputs: (examples, classes or 1) as the model gives them.
        are_logits: whether they are logits.
        exclusive: whether each example has exactly one of the classes.
    """

    outputs: np.ndarray
    are_logits: bool
    exclusive: bool

    def of(self, examples: Any) -> np.ndarray:
        """The probabilities of some examples: (n, classes) float32.

        Args:
            examples: a slice, or (n,) indices.
        """
        import numpy as np

        values = self.outputs[examples].astype("float64")
        single = self.exclusive and values.shape[1] == 1
        if self.are_logits and self.exclusive and not single:
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        elif self.are_logits:
            values = 0.5 * (1 + np.tanh(0.5 * values))  # the logistic function, without overflow
        if single:
            values = np.concatenate([1 - values, values], axis=1)
        found: np.ndarray = values.astype("float32")
        return found

    def of_classes(self, numbers: np.ndarray) -> np.ndarray:
        """The probability of one class of each example: (examples,) float32.

        Args:
            numbers: (examples,) class numbers.
        """
        import numpy as np

        found = np.empty(len(numbers), "float32")
        for first in range(0, len(numbers), _EXAMPLES_AT_ONCE):
            part = slice(first, first + _EXAMPLES_AT_ONCE)
            rows = self.of(part)
            found[part] = rows[np.arange(len(rows)), numbers[part]]
        return found


def probabilities_of(evaluation: Evaluation, task: Task) -> Probabilities | None:
    """The probabilities of each class or label; None if the outputs stand for none.

    They do where a row adds up to 1, where the loss reads a single output or labels as
    probabilities, and where it is a crossentropy of logits. The outputs of a hinge loss stand for
    none, and nor do those that are not finite.
    """
    if not isinstance(task, Classification | MultiLabel):
        return None
    _, outputs = true_and_output(evaluation, task)
    single = single_output(task, outputs.shape)
    if outputs.shape[1:] not in ((len(task.class_names),), *(((1,), ()) if single else ())):
        return None
    values = outputs.reshape(len(outputs), -1)
    exclusive = isinstance(task, Classification)
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low) or not math.isfinite(high):
        return None
    shares = low >= 0 and high <= 1 + _TOLERANCE
    if exclusive and not single:
        shares = shares and bool((abs(values.sum(axis=1, dtype="float32") - 1) < _TOLERANCE).all())
    else:
        shares = shares and evaluation.threshold != 0
    if shares:
        return Probabilities(values, are_logits=False, exclusive=exclusive)
    loss = evaluation.loss_function.lower().replace("_", "")
    if evaluation.threshold == 0 and "crossentropy" in loss and "hinge" not in loss:
        return Probabilities(values, are_logits=True, exclusive=exclusive)
    return None
