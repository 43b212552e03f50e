"""Summary statistics of a few measurements: mean, standard deviation, Student's t, Welch's test.

For runs that differ only in their seed: each metric of each run is one number. Uses the standard
library alone, so that comparing starts quickly. Knows nothing of versions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from registry_core.dataclass import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SummaryStats:
    """Summary of independent measurements of one quantity.

    Args:
        n: number of measurements, at least one.
        mean: their mean.
        std: sample standard deviation (n - 1 in the denominator); None if n is 1.
        low: lower end of the confidence interval of the mean; None if n is 1.
        high: upper end.
        confidence: level of the interval, between 0 and 1.
    """

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None
    confidence: float

    def to_json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "mean": self.mean,
            "deviation": self.std,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
        }


@dataclass(frozen=True)
class MeanDifference:
    """The difference of two means by Welch's test, which allows unequal variances.

    Args:
        difference: first mean minus second.
        low: lower end of the confidence interval of the difference; None if there is no test.
        high: upper end; None if there is no test.
        confidence: level of the interval, between 0 and 1.
        p_value: two-sided, the null hypothesis is no difference; None if there is no test.
        degrees_of_freedom: Welch-Satterthwaite, at least the smaller n - 1; None if there is no
            test.
        not_comparable_reason: why there is no test; empty if there is one.
    """

    difference: float
    low: float | None
    high: float | None
    confidence: float
    p_value: float | None
    degrees_of_freedom: float | None
    not_comparable_reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
            "p_value": self.p_value,
            "degrees_of_freedom": self.degrees_of_freedom,
            "why_not": self.not_comparable_reason,
        }


_Interval = TypeVar("_Interval", SummaryStats, MeanDifference)


def clip_interval(found: _Interval, lowest: float, highest: float) -> _Interval:
    """The same summary, its interval cut at the values that the quantity can have.

    The interval covers the true value as often as before, because this lies between the bounds.
    """
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(found.low, lowest), high=min(found.high, highest))


def summarize(values: Sequence[float], confidence: float = CONFIDENCE) -> SummaryStats:
    """Mean, standard deviation and Student's t confidence interval of the mean.

    Args:
        values: at least one; finite.
        confidence: level of the interval, above 0 and below 1.
    """
    from statistics import mean, stdev  # exact sums: equal values have a deviation of exactly 0

    center = float(mean(values))
    if len(values) == 1:
        return SummaryStats(1, center, None, None, None, confidence)
    std = float(stdev(values))
    margin = student_quantile(1 - confidence, len(values) - 1) * std / math.sqrt(len(values))
    return SummaryStats(len(values), center, std, center - margin, center + margin, confidence)


def difference_of_means(
    first: SummaryStats, second: SummaryStats, confidence: float = CONFIDENCE
) -> MeanDifference:
    """The first sample's mean minus the second's, with confidence interval and p-value.

    Args:
        first: any number of measurements.
        second: of the same quantity; may have another size and variance.
        confidence: level of the interval, above 0 and below 1.

    Source: Welch, Biometrika 34 (1947); degrees of freedom: Satterthwaite, Biometrics 2 (1946).
    """
    difference = first.mean - second.mean
    if first.std is None or second.std is None:
        reason = "a single run has no standard deviation"
        return MeanDifference(difference, None, None, confidence, None, None, reason)
    # standard errors rather than their squares, which underflow where they are small
    first_error, second_error = (
        each.std / math.sqrt(each.n) if each.std else 0.0 for each in (first, second)
    )
    error = math.hypot(first_error, second_error)
    if error == 0:
        reason = "neither side varies"
        return MeanDifference(difference, None, None, confidence, None, None, reason)
    shares = ((first_error / error) ** 2, first.n - 1), ((second_error / error) ** 2, second.n - 1)
    degrees = 1 / sum(share**2 / others for share, others in shares)
    margin = student_quantile(1 - confidence, degrees) * error
    return MeanDifference(
        difference,
        difference - margin,
        difference + margin,
        confidence,
        student_tails(difference / error, degrees),
        degrees,
    )


# --- Student's t --------------------------------------------------------------------------------


def student_tails(statistic: float, degrees_of_freedom: float) -> float:
    """The two-sided tail probability P(|T| >= |statistic|) of Student's t distribution.

    Args:
        statistic: any real number.
        degrees_of_freedom: at least 1; any real number.

    Returns:
        Between 0 and 1, with a relative error below 1e-10 up to 1e6 degrees of freedom.

    Source: Abramowitz and Stegun 26.7.1, an incomplete beta function of df / (df + t²).
    """
    ratio = abs(statistic) / math.sqrt(degrees_of_freedom)
    if ratio == 0:
        return 1.0
    # x and 1 - x computed separately: a subtraction would lose digits of a small one
    outside, inside = 1 / (1 + ratio * ratio), 1 / (1 + 1 / ratio / ratio)
    half = degrees_of_freedom / 2
    # x^a (1-x)^b / B(a, b) for b = 1/2
    front = (
        math.exp(-half * math.log1p(ratio * ratio))
        * math.sqrt(inside / math.pi)
        * _gamma_ratio(half)
    )
    if outside < (half + 1) / (half + 2.5):
        return front * _continued_fraction(half, 0.5, outside) / half
    return 1 - 2 * front * _continued_fraction(0.5, half, inside)


def student_quantile(tails: float, degrees_of_freedom: float) -> float:
    """The inverse of `student_tails`: the critical value for a two-sided tail probability.

    Args:
        tails: of both sides together, above 0 and below 1; 0.05 for a 95 % interval.
        degrees_of_freedom: at least 1; any real number.

    Returns:
        The positive value whose `student_tails` is `tails`.
    """
    low = high = 1.0
    while student_tails(high, degrees_of_freedom) > tails:
        high *= 2
    while student_tails(low, degrees_of_freedom) < tails:
        low /= 2
    # bisected on a log scale: quantiles span many powers of ten
    while low < (middle := math.sqrt(low) * math.sqrt(high)) < high:
        if student_tails(middle, degrees_of_freedom) > tails:
            low = middle
        else:
            high = middle
    return middle


def _gamma_ratio(a: float) -> float:
    """Γ(a + 1/2) / Γ(a) for a > 0, accurate to a few units in the last place.

    The difference of two `lgamma` values would lose digits to cancellation.

    Source: Tricomi and Erdélyi, Pacific J. Math. 1 (1951), the asymptotic series.
    """
    if a < 100:
        return math.gamma(a + 0.5) / math.gamma(a)
    coefficients = (1, -1 / 8, 1 / 128, 5 / 1024, -21 / 32768, -399 / 262144)
    return math.sqrt(a) * math.fsum(c / a**power for power, c in enumerate(coefficients))


def _continued_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the regularised incomplete beta function.

    I_x(a, b) is x^a (1-x)^b / (a B(a, b)) times this value.

    Args:
        a: above 0.
        b: above 0.
        x: above 0, at most (a + 1) / (a + b + 2), where it converges fast.

    Source: Press et al., Numerical Recipes, 3rd edition, 6.4, Lentz's method; DLMF 8.17.22.
    """
    tiny = 1e-300  # replaces a denominator of 0
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    fraction = d
    for m in range(1, 10_000):
        step = 1.0
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d or tiny)
            c = 1 + term / c or tiny
            step = c * d
            fraction *= step
        if abs(step - 1) < 1e-16:
            break
    return fraction
