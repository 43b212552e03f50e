"""How well probabilities agree with what happens, and the temperature that improves them.

Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BINS = 15

# what the temperature is looked for between
TEMPERATURES = (0.05, 20.0)

# below every probability that is kept apart from 0
_LEAST = 1e-12


@dataclass(frozen=True)
class Bin:
    """The test examples whose confidence is above `low` and at most `high`.

    Args:
        low: lower bound of the confidence.
        high: upper bound.
        examples: how many there are.
        confidence: the mean probability of the predicted class; None without examples.
        accuracy: the part of them whose predicted class is right; None without examples.
    """

    low: float
    high: float
    examples: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """How well probabilities agree with what happens.

    Args:
        accuracy: the part of the examples whose predicted class is right.
        confidence: the mean probability of the predicted class.
        expected_calibration_error: the mean of |accuracy - confidence| over the bins, each weighted
            by its examples.
        maximum_calibration_error: the largest |accuracy - confidence| of a bin.
        negative_log_likelihood: the mean of -log(probability of the true class).
        brier_score: the mean over examples of the sum over classes of (probability - truth)².
        bins: of equal width.
    """

    accuracy: float
    confidence: float
    expected_calibration_error: float
    maximum_calibration_error: float
    negative_log_likelihood: float
    brier_score: float
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """The numbers, with each bin as an object."""
        return {**vars(self), "bins": [vars(each) for each in self.bins]}


def log_probabilities(outputs: np.ndarray, threshold: float) -> np.ndarray:
    """Logarithms of the probabilities of each class.

    Args:
        outputs: (examples, classes): probabilities, if each row adds up to 1, or else logits.
            (examples,) or (examples, 1): of the second of two classes.
        threshold: above which a single output means the second class: 0.5 for a probability, 0 for
            a logit.

    Returns:
        (examples, classes) float64, at most 0.
    """
    import numpy as np

    values = np.asarray(outputs, "float64").reshape(len(outputs), -1)
    if values.shape[1] == 1:
        if threshold == 0:
            return _log_softmax(np.concatenate([np.zeros_like(values), values], axis=1))
        values = np.concatenate([1 - values, values], axis=1)
    elif (values < 0).any() or (abs(values.sum(axis=1) - 1) > 1e-3).any():
        return _log_softmax(values)
    return np.log(np.clip(values, _LEAST, 1))


def with_temperature(logs: np.ndarray, temperature: float) -> np.ndarray:
    """Log probabilities after dividing the logits by a temperature above 0."""
    return _log_softmax(logs / temperature)


def measure(logs: np.ndarray, truth: np.ndarray, bins: int = BINS) -> Calibration:
    """Compare probabilities with what happened.

    Args:
        logs: (examples, classes) log probabilities.
        truth: (examples,) class numbers from 0.
        bins: how many bins of equal width the confidences from 0 to 1 are divided into.
    """
    import numpy as np

    probabilities = np.exp(logs)
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(truth)), predicted]
    right = predicted == truth
    edges = np.linspace(0, 1, bins + 1)
    # a confidence at an edge is in the bin below it, so that 1 is in the last
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    found = []
    for place in range(bins):
        inside = places == place
        count = int(inside.sum())
        found.append(
            Bin(
                float(edges[place]),
                float(edges[place + 1]),
                count,
                float(confidence[inside].mean()) if count else None,
                float(right[inside].mean()) if count else None,
            )
        )
    gaps = [
        (each.examples, abs(each.accuracy - each.confidence))
        for each in found
        if each.accuracy is not None and each.confidence is not None
    ]
    one_hot = np.eye(logs.shape[1])[truth]
    return Calibration(
        accuracy=float(right.mean()),
        confidence=float(confidence.mean()),
        expected_calibration_error=sum(count * gap for count, gap in gaps) / len(truth),
        maximum_calibration_error=max(gap for _, gap in gaps),
        negative_log_likelihood=_negative_log_likelihood(logs, truth),
        brier_score=float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        bins=tuple(found),
    )


def fit_temperature(logs: np.ndarray, truth: np.ndarray) -> float:
    """The temperature with the least negative log likelihood, within `TEMPERATURES`.

    That is convex in 1/temperature, and its slope is the mean over the examples of (expected log
    probability - that of the true class), so that halving an interval finds the least.

    Args:
        logs: (examples, classes) log probabilities.
        truth: (examples,) class numbers from 0.
    """
    import numpy as np

    of_true = logs[np.arange(len(truth)), truth].mean()

    def slope(inverse: float) -> float:
        weights = np.exp(_log_softmax(logs * inverse))
        return float((weights * logs).sum(axis=1).mean() - of_true)

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if slope(low) == 0:
        return 1.0  # all classes are equally probable, at any temperature
    for _ in range(60):
        middle = (low * high) ** 0.5
        # far from the least, a slope below 0 is rounded to 0
        low, high = (middle, high) if slope(middle) <= 0 else (low, middle)
    return float(1 / (low * high) ** 0.5)


def _negative_log_likelihood(logs: np.ndarray, truth: np.ndarray) -> float:
    import numpy as np

    return float(-logs[np.arange(len(truth)), truth].mean())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    import numpy as np

    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
