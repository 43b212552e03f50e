"""Whether one version is better than another, tested on the examples of one test split.

Right and wrong predictions: exact McNemar test and Tango's interval, with the standard library
alone, so that a promotion starts quickly. Everything else: a paired bootstrap of the objective's
values, with NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError, safe_repr
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.tasks import Direction

if TYPE_CHECKING:
    import numpy as np

    from registry_core.records import Version
    from registry_core.types import Observer

BOOTSTRAP_RESAMPLES = 10_000
_BOOTSTRAP_SEED = 0

# Up to this many examples, each resample draws from all of them; that takes some seconds.
FULL_BOOTSTRAP_EXAMPLES = 50_000
# Beyond that only the tails are resampled: half the smallest differences, half the largest.
TAIL_EXAMPLES = 10_000

# One batch of draws fits a processor's cache, and a signal waits for one batch at most.
_DRAWS_AT_ONCE = 200_000
_RESAMPLES_AT_ONCE = 50

# Up to this many disagreements the exact test sums integers, which takes milliseconds.
_EXACT_DISAGREEMENTS = 10_000

# Called with the number of resamples done and the total.
Progress = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None:
    pass


def resampling_progress(
    observer: Observer | None, candidate: Version, incumbent: Version
) -> Progress:
    """A callback that shows an observer the progress of a comparison; None shows nothing."""
    if observer is None:
        return _no_progress
    compared = " and ".join(dict.fromkeys((candidate.ref, incumbent.ref)))
    return partial(observer.calculated, f"Resampling the results of {compared}")


@dataclass(frozen=True)
class Comparison:
    """The paired test of a candidate against an incumbent, on the examples of one test split.

    Args:
        test: `exact McNemar` for classifiers; `paired bootstrap` for everything else, or
            `paired bootstrap, normal bulk` above FULL_BOOTSTRAP_EXAMPLES examples.
        measure: the objective that is compared: `accuracy`, `mae`, `loss`, …
        examples: size of the test split.
        difference: how much better the candidate is, in the objective's unit: its accuracy minus
            the incumbent's, or, where lower is better, the incumbent's mean minus the candidate's.
        low: lower end of the confidence interval of the difference.
        high: upper end.
        confidence: level of the interval, between 0 and 1.
        p_value: two-sided; the null hypothesis is no difference.
        only_candidate: examples that only the candidate gets right; None unless classifiers.
        only_incumbent: examples that only the incumbent gets right; None unless classifiers.
        direction: of the objective: `max` if more is better, `min` if less is.
        unit: of the objective; empty for none.
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
    direction: Direction = "max"
    unit: str = ""

    @property
    def level(self) -> float:
        """The significance level that belongs to the interval: 0.05 for one of 95 %."""
        return round(1 - self.confidence, 12)

    def verdict(self, level: float) -> Literal["better", "worse", "undecided"]:
        """What the test says of the candidate at a significance level.

        The p-value decides, not the interval: Tango's interval may leave out 0 where the exact
        test is not significant.
        """
        if not self.p_value < level or not self.difference:
            return "undecided"
        return "better" if self.difference > 0 else "worse"


def not_comparable_reason(
    candidate: PerExampleResults, incumbent: PerExampleResults
) -> tuple[str, str]:
    """Why two versions cannot be compared example by example, and what to do about it.

    Returns:
        Two parts of a sentence; both are empty if the versions can be compared.
    """
    if candidate.fingerprint != incumbent.fingerprint or candidate.examples != incumbent.examples:
        return (
            "they were evaluated on different test splits",
            f"one has {candidate.fingerprint[:19]}…, the other {incumbent.fingerprint[:19]}…",
        )
    ours, theirs = candidate.objective_or_default, incumbent.objective_or_default
    if ours != theirs:
        names = [
            f"{each.metric}{f' in {each.unit}' if each.unit else ''}" for each in (ours, theirs)
        ]
        return (
            f"they have different objectives, {names[0]} and {names[1]}",
            "train one of them again with the dataset's present task",
        )
    losses = candidate.loss_function, incumbent.loss_function
    if ours.name == "loss" and losses[0] != losses[1]:
        names = [name or "one that was not recorded" for name in losses]
        return (
            f"they were measured by different loss functions, {names[0]} and {names[1]}",
            "give the dataset's task an objective that does not depend on the loss, and train one "
            "of them again",
        )
    if candidate.measured() is None or incumbent.measured() is None:
        return (
            f"their objective, {ours.metric}, has no value for each example",
            "give it one: Objective(…, per_example=…)",
        )
    return "", ""


def compare(
    candidate: PerExampleResults,
    incumbent: PerExampleResults,
    confidence: float = 0.95,
    progress: Progress = _no_progress,
) -> Comparison:
    """Compare two versions example by example.

    Args:
        candidate: results on the test split of the incumbent.
        incumbent: the baseline.
        confidence: level of the interval, above 0 and below 1.
        progress: called during a bootstrap with (done, total); may be called often.

    Raises:
        UsageError: the test splits, the targets or the order of the examples differ, or the
            objectives or the loss functions do.
    """
    reason, remedy = not_comparable_reason(candidate, incumbent)
    if reason:
        raise UsageError(
            f"The two versions cannot be compared: {reason}.", f"{remedy[0].upper()}{remedy[1:]}."
        )
    if targets_differ(candidate, incumbent):
        raise UsageError(
            "The two versions cannot be compared: their test splits have the same fingerprint but "
            "different targets.",
            f"A stream needs a new fingerprint when its examples or their order change; this one "
            f"kept {safe_repr(candidate.fingerprint)}.",
        )
    if candidate.objective or candidate.correct is None or incumbent.correct is None:
        return _bootstrap(candidate, incumbent, confidence, progress)
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


def targets_differ(first: PerExampleResults, second: PerExampleResults) -> bool:
    """Whether two results with one fingerprint are known to have different targets or order.

    False also where too little was recorded to know.
    """
    if first.targets and second.targets:
        return first.targets != second.targets
    return None not in (first.expected, second.expected) and first.expected != second.expected


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value of the exact McNemar test: a binomial test of the disagreements.

    Args:
        only_first: examples that only the first gets right.
        only_second: examples that only the second gets right.

    Source: McNemar, Psychometrika 12 (1947); the exact form takes Binomial(n, 1/2).
    """
    disagreements = only_first + only_second
    fewer = min(only_first, only_second)
    if disagreements > _EXACT_DISAGREEMENTS:
        return min(1.0, 2 * _binomial_tail(fewer, disagreements))
    # integers throughout: exact, however small the tail is
    term = tail = 1
    for successes in range(fewer):
        term = term * (disagreements - successes) // (successes + 1)
        tail += term
    return min(1.0, _ratio(2 * tail, disagreements))


def _binomial_tail(successes: int, trials: int) -> float:
    """P(X <= successes) for X ~ Binomial(trials, 1/2), with a relative error below 1e-9.

    Integers of millions of bits would take minutes.

    Args:
        successes: at most half the trials.
        trials: at least one.
    """
    rest = trials - successes
    # each factor of the binomial coefficient is paired with its share of 2**-trials, so that the
    # sum of logarithms stays small
    logs = [math.log((rest + place) / (4 * place)) for place in range(1, successes + 1)]
    largest = math.exp(math.fsum([*logs, (successes - rest) * math.log(2)]))
    term = total = 1.0
    for place in range(successes, 0, -1):  # largest term first, until the sum no longer changes
        term *= place / (trials - place + 1)
        if total + term == total:
            break
        total += term
    return largest * total


def tango_interval(
    only_first: int, only_second: int, examples: int, confidence: float
) -> tuple[float, float]:
    """The score confidence interval of the difference between two paired proportions.

    Args:
        only_first: examples that only the first gets right.
        only_second: examples that only the second gets right.
        examples: total number of examples, at least one.
        confidence: above 0 and below 1.

    Returns:
        Lower and upper end of first minus second, between -1 and 1, with an error below 1e-9.

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
        second = (root - linear) / (4 * examples)  # maximum likelihood estimate at this difference
        variance = examples * (2 * second + difference * (1 - difference))
        distance = only_first - only_second - examples * difference
        if variance <= 0:
            return math.copysign(math.inf, distance) if distance else 0.0
        return distance / math.sqrt(variance)

    low = _crossing(lambda difference: score(difference) - quantile, -1.0, estimate)
    high = _crossing(lambda difference: score(difference) + quantile, estimate, 1.0)
    return low, high


def _crossing(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero, by bisection; an end if it does not."""
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
    """Count / 2**halvings, also where neither fits a float."""
    shift = max(0, count.bit_length() - 1000)
    return math.ldexp(float(count >> shift), shift - halvings)


def _bootstrap(
    candidate: PerExampleResults,
    incumbent: PerExampleResults,
    confidence: float,
    progress: Progress,
) -> Comparison:
    """Paired bootstrap of the mean difference of the objective's values, seeded.

    The interval is a percentile interval.
    """
    import numpy as np

    objective = candidate.objective_or_default
    sides = (candidate.measured(), incumbent.measured())
    ours, theirs = (np.asarray(side, "float32").astype(float) for side in sides)
    gains = ours - theirs if objective.direction == "max" else theirs - ours
    whole = len(gains) <= FULL_BOOTSTRAP_EXAMPLES
    means = resampled_means(gains, progress) if whole else tail_resampled_means(gains, progress)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    # plus one: the p-value of a bootstrap cannot be smaller than one resample
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Comparison(
        test="paired bootstrap" if whole else "paired bootstrap, normal bulk",
        measure=objective.name,
        examples=len(gains),
        difference=float(gains.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        p_value=min(1.0, 2 * (beyond + 1) / (BOOTSTRAP_RESAMPLES + 1)),
        direction=objective.direction,
        unit=objective.unit,
    )


def resampled_means(gains: np.ndarray, progress: Progress = _no_progress) -> np.ndarray:
    """Means of bootstrap resamples: (BOOTSTRAP_RESAMPLES,) float64.

    Args:
        gains: (examples,) float64, the paired differences.
        progress: called with (done, total).
    """
    import numpy as np

    generator = np.random.default_rng(_BOOTSTRAP_SEED)
    examples, means = len(gains), np.empty(BOOTSTRAP_RESAMPLES)
    at_once = max(1, min(_RESAMPLES_AT_ONCE, _DRAWS_AT_ONCE // examples))
    for done in range(0, BOOTSTRAP_RESAMPLES, at_once):
        progress(done, BOOTSTRAP_RESAMPLES)
        rows = min(at_once, BOOTSTRAP_RESAMPLES - done)
        drawn = generator.integers(0, examples, (rows, examples))
        means[done : done + rows] = gains[drawn].mean(axis=1)
    progress(BOOTSTRAP_RESAMPLES, BOOTSTRAP_RESAMPLES)
    return means


def tail_resampled_means(
    gains: np.ndarray, progress: Progress = _no_progress, tail: int = TAIL_EXAMPLES
) -> np.ndarray:
    """Approximate `resampled_means` in time and memory that barely depend on the sample size.

    The differences are split into a tail (the `tail` most extreme ones, half at each end) and a
    bulk (the others). The number of draws from the tail is binomial, and each of them is drawn.
    The sum of the draws from the bulk is drawn from its normal limit. Outliers keep their effect,
    which a normal interval of the whole sample would smooth away.

    The distribution differs from the bootstrap's by at most 0.4748 r / sqrt(m), in probability,
    for about m draws from the bulk, whose third absolute central moment is r standard deviations
    cubed (Berry-Esseen theorem for the bulk's sum; adding the tail's sum cannot enlarge it).

    Args:
        gains: (examples,) float64, the paired differences; more than `tail`.
        progress: called with (done, total).
        tail: how many differences are resampled one by one; even.

    Returns:
        (BOOTSTRAP_RESAMPLES,) float64.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993); the constant: Shevtsova,
    arXiv:1111.6554 (2011).
    """
    import numpy as np

    generator = np.random.default_rng(_BOOTSTRAP_SEED)
    examples, half = len(gains), tail // 2
    ordered = np.sort(gains)  # the order of the examples must not matter
    bulk = ordered[half:-half]
    extreme = np.concatenate([ordered[:half], ordered[-half:]])
    center, std = bulk.mean(), bulk.std()
    from_tail = generator.binomial(examples, tail / examples, BOOTSTRAP_RESAMPLES)
    from_bulk = examples - from_tail
    noise = np.sqrt(from_bulk) * std * generator.standard_normal(BOOTSTRAP_RESAMPLES)
    sums = from_bulk * center + noise
    for done, draws in enumerate(from_tail):
        if done % _RESAMPLES_AT_ONCE == 0:
            progress(done, BOOTSTRAP_RESAMPLES)
        sums[done] += extreme[generator.integers(0, tail, draws)].sum()
    progress(BOOTSTRAP_RESAMPLES, BOOTSTRAP_RESAMPLES)
    means: np.ndarray = sums / examples
    return means
