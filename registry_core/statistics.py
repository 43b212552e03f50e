"""What a version got right on each test example, and what two versions' answers say of each other.

Outcomes are written with NumPy once, after a run. Classifiers are compared with the standard
library alone, so that a promotion stays quick; anything else by a bootstrap with NumPy.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from registry_core.errors import IntegrityError, UsageError

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
        expected: the same of the right class; or None.
    """

    examples: int
    fingerprint: str
    losses: bytes
    correct: bytes | None = None
    predicted: bytes | None = None
    expected: bytes | None = None

    def to_json(self) -> bytes:
        """The file's bytes: JSON with base64 inside, so that no reader needs more than Python."""
        packed = {
            name: base64.b64encode(value).decode() if value is not None else None
            for name, value in (
                ("losses_float32", self.losses),
                ("correct_bits", self.correct),
                ("predicted_int32", self.predicted),
                ("expected_int32", self.expected),
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
            losses, correct, predicted, expected = (
                base64.b64decode(record[name], validate=True) if record[name] is not None else None
                for name in ("losses_float32", "correct_bits", "predicted_int32", "expected_int32")
            )
            examples, fingerprint = int(record["examples"]), str(record["fingerprint"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise IntegrityError(
                f"{OUTCOMES_FILE} is not a record of outcomes: {error}."
            ) from error
        whole = [part for part in (losses, predicted, expected) if part is not None]
        wrong = any(len(part) != 4 * examples for part in whole)
        if losses is None or wrong or (correct is not None and len(correct) != -(-examples // 8)):
            raise IntegrityError(
                f"{OUTCOMES_FILE} does not hold the {examples} examples it states."
            )
        return cls(examples, fingerprint, losses, correct, predicted, expected)

    def right(self) -> list[bool] | None:
        """Whether each example's class was right, in order; None where there are no classes."""
        if self.correct is None:
            return None
        return [bool(self.correct[n // 8] & 0x80 >> n % 8) for n in range(self.examples)]

    def expected_classes(self) -> Sequence[int] | None:
        """The right class of each example, in order; None where there are no classes."""
        return struct.unpack(f"<{self.examples}i", self.expected) if self.expected else None


def outcomes(evaluation: Evaluation, class_names: Sequence[str], fingerprint: str) -> Outcomes:
    """Pack what an evaluation found.

    Args:
        evaluation: outputs (examples, ...), losses (examples,), targets (examples, ...).
        class_names: empty where the targets are not classes.
        fingerprint: the test split's.
    """
    import numpy as np

    correct = predicted = expected = None
    if class_names:
        answered, right = predicted_classes(evaluation), true_classes(evaluation)
        correct = np.packbits(answered == right).tobytes()
        predicted, expected = (classes.astype("<i4").tobytes() for classes in (answered, right))
    losses = evaluation.losses.astype("<f4").tobytes()
    return Outcomes(len(evaluation.losses), fingerprint, losses, correct, predicted, expected)


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


# --- two versions on one test split -------------------------------------------------------------

BOOTSTRAP_RESAMPLES = 10_000
_BOOTSTRAP_SEED = 0
_RESAMPLES_AT_ONCE = 50


@dataclass(frozen=True)
class Comparison:
    """A candidate beside an incumbent, paired on the examples of one test split.

    Args:
        test: `exact McNemar` for classifiers, `paired bootstrap` for anything else.
        measure: `accuracy`, or `loss`.
        examples: how many there are.
        difference: how much better the candidate is: its accuracy less the incumbent's, or the
            incumbent's mean loss less its own.
        low: lower end of the difference's interval.
        high: upper end.
        confidence: of the interval, between 0 and 1.
        p_value: two-sided, of there being no difference.
        only_candidate: examples that the candidate alone gets right; None but for classifiers.
        only_incumbent: examples that the incumbent alone gets right; None but for classifiers.
    """

    test: str
    measure: str
    examples: int
    difference: float
    low: float
    high: float
    confidence: float
    p_value: float
    only_candidate: int | None = None
    only_incumbent: int | None = None


def compare(candidate: Outcomes, incumbent: Outcomes, confidence: float = 0.95) -> Comparison:
    """Compare two versions example by example.

    Args:
        candidate: outcomes on the same test split as the incumbent's.
        incumbent: what it is held against.
        confidence: of the interval, above 0 and below 1.

    Raises:
        UsageError: the outcomes are those of different test splits.
    """
    if candidate.fingerprint != incumbent.fingerprint or candidate.examples != incumbent.examples:
        raise UsageError(
            "The two versions were measured on different test splits, and cannot be compared.",
            f"One has {candidate.fingerprint[:19]}…, the other {incumbent.fingerprint[:19]}….",
        )
    if candidate.correct is None or incumbent.correct is None:
        return _bootstrapped(candidate, incumbent, confidence)
    ours, theirs = (int.from_bytes(bits) for bits in (candidate.correct, incumbent.correct))
    only_candidate, only_incumbent = (ours & ~theirs).bit_count(), (theirs & ~ours).bit_count()
    examples = candidate.examples
    low, high = tango_interval(only_candidate, only_incumbent, examples, confidence)
    return Comparison(
        test="exact McNemar",
        measure="accuracy",
        examples=examples,
        difference=(only_candidate - only_incumbent) / examples,
        low=low,
        high=high,
        confidence=confidence,
        p_value=exact_mcnemar(only_candidate, only_incumbent),
        only_candidate=only_candidate,
        only_incumbent=only_incumbent,
    )


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value of the exact McNemar test: a binomial one on the disagreements.

    Args:
        only_first: examples that the first alone gets right.
        only_second: examples that the second alone gets right.

    Source: McNemar, Psychometrika 12 (1947); the exact form takes Binomial(n, 1/2).
    """
    disagreements = only_first + only_second
    # whole numbers throughout: nothing is lost however small the tail is
    term = tail = 1
    for successes in range(min(only_first, only_second)):
        term = term * (disagreements - successes) // (successes + 1)
        tail += term
    return min(1.0, _ratio(2 * tail, disagreements))


def tango_interval(
    only_first: int, only_second: int, examples: int, confidence: float
) -> tuple[float, float]:
    """The score interval of a difference between two paired proportions.

    Args:
        only_first: examples that the first alone gets right.
        only_second: examples that the second alone gets right.
        examples: all of them, at least one.
        confidence: above 0 and below 1.

    Returns:
        Lower and upper end of first less second, between -1 and 1, to within 1e-9.

    Source: Tango, Statistics in Medicine 17 (1998).
    """
    from statistics import NormalDist

    quantile = NormalDist().inv_cdf(0.5 + confidence / 2)
    estimate = (only_first - only_second) / examples

    def score(difference: float) -> float:
        """How many standard errors the estimate lies above this difference."""
        linear = (2 * examples - only_first + only_second) * difference - only_first - only_second
        constant = -only_second * difference * (1 - difference)
        root = math.sqrt(max(0.0, linear**2 - 8 * examples * constant))
        second = (root - linear) / (4 * examples)  # its likeliest value at this difference
        variance = examples * (2 * second + difference * (1 - difference))
        distance = only_first - only_second - examples * difference
        if variance <= 0:
            return math.copysign(math.inf, distance) if distance else 0.0
        return distance / math.sqrt(variance)

    low = _crossing(lambda difference: score(difference) - quantile, -1.0, estimate)
    high = _crossing(lambda difference: score(difference) + quantile, estimate, 1.0)
    return low, high


def _crossing(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero, by halving; an end where it does not."""
    if falling(low) <= 0:
        return low
    if falling(high) >= 0:
        return high
    while high - low > 1e-10:
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _ratio(count: int, halvings: int) -> float:
    """Give count / 2**halvings, where neither needs to fit a float."""
    shift = max(0, count.bit_length() - 1000)
    return math.ldexp(float(count >> shift), shift - halvings)


def _bootstrapped(candidate: Outcomes, incumbent: Outcomes, confidence: float) -> Comparison:
    """A paired bootstrap of the mean difference of losses; percentile interval, seeded."""
    import numpy as np

    theirs, ours = (np.frombuffer(o.losses, "<f4").astype(float) for o in (incumbent, candidate))
    gains = theirs - ours
    generator = np.random.default_rng(_BOOTSTRAP_SEED)
    means = np.concatenate(
        [
            gains[generator.integers(0, len(gains), (_RESAMPLES_AT_ONCE, len(gains)))].mean(axis=1)
            for _ in range(BOOTSTRAP_RESAMPLES // _RESAMPLES_AT_ONCE)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    # one more than counted: a bootstrap of so many cannot show a smaller p-value
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Comparison(
        test="paired bootstrap",
        measure="loss",
        examples=len(gains),
        difference=float(gains.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        p_value=min(1.0, 2 * (beyond + 1) / (BOOTSTRAP_RESAMPLES + 1)),
    )
