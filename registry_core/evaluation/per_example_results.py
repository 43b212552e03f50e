"""What a version got right on each test example, and what two versions' answers say of each other.

Outcomes are written with NumPy once, after a run. Classifiers are compared with the standard
library alone, so that a promotion stays quick; anything else by a bootstrap with NumPy.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from registry_core.errors import IntegrityError, UsageError, safe_repr

if TYPE_CHECKING:
    import numpy as np

    from registry_core.records import Version
    from registry_core.types import Evaluation, Observer

OUTCOMES_FILE = "outcomes.json"


@dataclass(frozen=True)
class Outcomes:
    """The test split, example by example, in its own order.

    Args:
        examples: how many there are.
        fingerprint: the test split's; outcomes are compared only where it is equal.
        losses: examples × 4 bytes, little-endian float32.
        correct: one bit an example, most significant first, 1 where the class was right; None
            where the targets are not one class each.
        predicted: examples × 4 bytes, little-endian int32, the class that was answered; or None.
        expected: the same of the right class; or None.
        targets: sha256 of the targets in this order, in hex; empty where none was kept.
    """

    examples: int
    fingerprint: str
    losses: bytes
    correct: bytes | None = None
    predicted: bytes | None = None
    expected: bytes | None = None
    targets: str = field(default="", compare=False)

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
            targets = str(record.get("targets_sha256", ""))
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
        return cls(examples, fingerprint, losses, correct, predicted, expected, targets)

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
    if class_names and are_classes(evaluation.targets):
        answered, right = predicted_classes(evaluation), true_classes(evaluation)
        correct = np.packbits(answered == right).tobytes()
        predicted, expected = (classes.astype("<i4").tobytes() for classes in (answered, right))
    losses = evaluation.losses.astype("<f4").tobytes()
    targets = hashlib.sha256(np.ascontiguousarray(evaluation.targets).tobytes()).hexdigest()
    return Outcomes(
        len(evaluation.losses), fingerprint, losses, correct, predicted, expected, targets
    )


def are_classes(targets: np.ndarray) -> bool:
    """Whether each target can be one class: a number, or a single 1 in one column for each class.

    Args:
        targets: (examples, ...) as the split has them. Several labels, none, or shares of classes
            are no class that an answer is right or wrong about.
    """
    if targets.ndim != 2 or targets.shape[1] == 1:
        return True
    return bool(((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all())


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

# Up to this many examples every one of them is resampled, which takes some seconds.
WHOLE_EXAMPLES = 50_000
# Beyond that these are, half of them the smallest differences and half the largest.
TAIL_EXAMPLES = 10_000

# What is drawn at once fits a processor's cache, and a signal waits for no more.
_DRAWS_AT_ONCE = 200_000
_MOST_AT_ONCE = 50

# Up to this many disagreements the exact test adds whole numbers, in milliseconds.
_WHOLE_DISAGREEMENTS = 10_000

# Told how many resamples are done, of how many.
Advanced = Callable[[int, int], None]


def _tell_nobody(done: int, total: int) -> None:
    pass


def telling(observer: Observer | None, candidate: Version, incumbent: Version) -> Advanced:
    """Tell an observer how far the comparison of two versions is; None is nobody."""
    if observer is None:
        return _tell_nobody
    compared = " and ".join(dict.fromkeys((candidate.ref, incumbent.ref)))
    return partial(observer.calculated, f"Resampling the losses of {compared}")


@dataclass(frozen=True)
class Comparison:
    """A candidate beside an incumbent, paired on the examples of one test split.

    Args:
        test: `exact McNemar` for classifiers, `paired bootstrap` for anything else; of more than
            WHOLE_EXAMPLES examples `paired bootstrap, normal bulk`.
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


def compare(
    candidate: Outcomes,
    incumbent: Outcomes,
    confidence: float = 0.95,
    advanced: Advanced = _tell_nobody,
) -> Comparison:
    """Compare two versions example by example.

    Args:
        candidate: outcomes on the same test split as the incumbent's.
        incumbent: what it is held against.
        confidence: of the interval, above 0 and below 1.
        advanced: told how far a bootstrap is; may be called often.

    Raises:
        UsageError: the outcomes are those of different test splits, or of targets in another order.
    """
    if candidate.fingerprint != incumbent.fingerprint or candidate.examples != incumbent.examples:
        raise UsageError(
            "The two versions were measured on different test splits, and cannot be compared.",
            f"One has {candidate.fingerprint[:19]}…, the other {incumbent.fingerprint[:19]}….",
        )
    if other_targets(candidate, incumbent):
        raise UsageError(
            "The two test splits have one fingerprint and other targets: the versions cannot be "
            "compared.",
            f"A stream whose examples or their order change gets another fingerprint than "
            f"{safe_repr(candidate.fingerprint)}.",
        )
    if candidate.correct is None or incumbent.correct is None:
        return _bootstrapped(candidate, incumbent, confidence, advanced)
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


def other_targets(first: Outcomes, second: Outcomes) -> bool:
    """Whether two records of one fingerprint are known to be of other targets or another order."""
    if first.targets and second.targets:
        return first.targets != second.targets
    return None not in (first.expected, second.expected) and first.expected != second.expected


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value of the exact McNemar test: a binomial one on the disagreements.

    Args:
        only_first: examples that the first alone gets right.
        only_second: examples that the second alone gets right.

    Source: McNemar, Psychometrika 12 (1947); the exact form takes Binomial(n, 1/2).
    """
    disagreements = only_first + only_second
    fewer = min(only_first, only_second)
    if disagreements > _WHOLE_DISAGREEMENTS:
        return min(1.0, 2 * _binomial_tail(fewer, disagreements))
    # whole numbers throughout: nothing is lost however small the tail is
    term = tail = 1
    for successes in range(fewer):
        term = term * (disagreements - successes) // (successes + 1)
        tail += term
    return min(1.0, _ratio(2 * tail, disagreements))


def _binomial_tail(successes: int, trials: int) -> float:
    """P(X <= successes) of X ~ Binomial(trials, 1/2), to within 1e-9 of itself.

    Whole numbers of millions of bits would take minutes.

    Args:
        successes: at most half of the trials.
        trials: at least one.
    """
    rest = trials - successes
    # each factor of the binomial coefficient with its share of 2**-trials: the sum stays small
    logs = [math.log((rest + place) / (4 * place)) for place in range(1, successes + 1)]
    largest = math.exp(math.fsum([*logs, (successes - rest) * math.log(2)]))
    term = total = 1.0
    for place in range(successes, 0, -1):  # from the largest term down, until nothing is added
        term *= place / (trials - place + 1)
        if total + term == total:
            break
        total += term
    return largest * total


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


def _bootstrapped(
    candidate: Outcomes, incumbent: Outcomes, confidence: float, advanced: Advanced
) -> Comparison:
    """A paired bootstrap of the mean difference of losses; percentile interval, seeded."""
    import numpy as np

    theirs, ours = (np.frombuffer(o.losses, "<f4").astype(float) for o in (incumbent, candidate))
    gains = theirs - ours
    whole = len(gains) <= WHOLE_EXAMPLES
    means = resampled_means(gains, advanced) if whole else tail_resampled_means(gains, advanced)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    # one more than counted: a bootstrap of so many cannot show a smaller p-value
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Comparison(
        test="paired bootstrap" if whole else "paired bootstrap, normal bulk",
        measure="loss",
        examples=len(gains),
        difference=float(gains.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        p_value=min(1.0, 2 * (beyond + 1) / (BOOTSTRAP_RESAMPLES + 1)),
    )


def resampled_means(gains: np.ndarray, advanced: Advanced = _tell_nobody) -> np.ndarray:
    """Means of bootstrap resamples: (BOOTSTRAP_RESAMPLES,) float64.

    Args:
        gains: (examples,) float64, the paired differences.
        advanced: told how far it is.
    """
    import numpy as np

    generator = np.random.default_rng(_BOOTSTRAP_SEED)
    examples, means = len(gains), np.empty(BOOTSTRAP_RESAMPLES)
    at_once = max(1, min(_MOST_AT_ONCE, _DRAWS_AT_ONCE // examples))
    for done in range(0, BOOTSTRAP_RESAMPLES, at_once):
        advanced(done, BOOTSTRAP_RESAMPLES)
        rows = min(at_once, BOOTSTRAP_RESAMPLES - done)
        drawn = generator.integers(0, examples, (rows, examples))
        means[done : done + rows] = gains[drawn].mean(axis=1)
    advanced(BOOTSTRAP_RESAMPLES, BOOTSTRAP_RESAMPLES)
    return means


def tail_resampled_means(
    gains: np.ndarray, advanced: Advanced = _tell_nobody, tail: int = TAIL_EXAMPLES
) -> np.ndarray:
    """The same of many examples, in time and memory that hardly depend on how many.

    A resample draws from the tail and from the bulk: the `tail` most extreme differences, half at
    each end, and the others. How often it draws from the tail is binomial, and those draws are
    made. The sum of the others is drawn from its normal limit. No outlier is smoothed away, as it
    would be by a normal interval of the whole.

    The distribution differs from the bootstrap's by at most 0.4748 r / sqrt(m), in probability,
    for about m draws from the bulk, whose third absolute central moment is r standard deviations
    cubed (Berry and Esseen's theorem for the bulk's sum; adding the tail's cannot enlarge it).

    Args:
        gains: (examples,) float64, the paired differences; more than `tail`.
        advanced: told how far it is.
        tail: how many differences are resampled; even.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993); the constant: Shevtsova,
    arXiv:1111.6554 (2011).
    """
    import numpy as np

    generator = np.random.default_rng(_BOOTSTRAP_SEED)
    examples, half = len(gains), tail // 2
    ordered = np.sort(gains)  # the same whatever the order of the examples
    bulk = ordered[half:-half]
    extreme = np.concatenate([ordered[:half], ordered[-half:]])
    center, deviation = bulk.mean(), bulk.std()
    from_tail = generator.binomial(examples, tail / examples, BOOTSTRAP_RESAMPLES)
    from_bulk = examples - from_tail
    noise = np.sqrt(from_bulk) * deviation * generator.standard_normal(BOOTSTRAP_RESAMPLES)
    sums = from_bulk * center + noise
    for done, draws in enumerate(from_tail):
        if done % _MOST_AT_ONCE == 0:
            advanced(done, BOOTSTRAP_RESAMPLES)
        sums[done] += extreme[generator.integers(0, tail, draws)].sum()
    advanced(BOOTSTRAP_RESAMPLES, BOOTSTRAP_RESAMPLES)
    means: np.ndarray = sums / examples
    return means
