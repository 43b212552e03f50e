"""What a handful of measurements says of what was measured: mean, deviation, Student's t.

For runs that differ by their seed alone: each metric of each run is one number. Written with the
standard library alone, so that comparing starts at once. Nothing here knows versions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sample:
    """Independent measurements of one thing, summed up.

    Args:
        n: how many there are, at least one.
        mean: of them.
        deviation: the sample standard deviation, by n - 1; None where n is 1.
        low: lower end of the mean's interval; None where n is 1.
        high: upper end.
        confidence: of the interval, between 0 and 1.
    """

    n: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    confidence: float


@dataclass(frozen=True)
class MeanDifference:
    """The mean of one sample less that of another, by Welch's test, which takes no equal variances.

    Args:
        difference: of the means.
        low: lower end of the difference's interval; None, as the rest is, where there is no test.
        high: upper end.
        confidence: of the interval, between 0 and 1.
        p_value: two-sided, of there being no difference.
        degrees_of_freedom: Welch's and Satterthwaite's, at least the smaller n - 1.
        why_not: why there is no test; empty where there is one.
    """

    difference: float
    low: float | None
    high: float | None
    confidence: float
    p_value: float | None
    degrees_of_freedom: float | None
    why_not: str = ""


def summed_up(values: Sequence[float], confidence: float = CONFIDENCE) -> Sample:
    """The mean of a sample, and where the true one lies by Student's t.

    Args:
        values: at least one; finite.
        confidence: of the interval, above 0 and below 1.
    """
    from statistics import mean, stdev  # exact sums: equal values have a deviation of 0

    center = float(mean(values))
    if len(values) == 1:
        return Sample(1, center, None, None, None, confidence)
    deviation = float(stdev(values))
    reach = student_quantile(1 - confidence, len(values) - 1) * deviation / math.sqrt(len(values))
    return Sample(len(values), center, deviation, center - reach, center + reach, confidence)


def difference_of_means(
    first: Sample, second: Sample, confidence: float = CONFIDENCE
) -> MeanDifference:
    """The first sample's mean less the second's, with its interval and p-value.

    Args:
        first: any number of measurements.
        second: the same thing measured elsewhere; need not be as many, nor vary as much.
        confidence: of the interval, above 0 and below 1.

    Source: Welch, Biometrika 34 (1947); degrees of freedom: Satterthwaite, Biometrics 2 (1946).
    """
    difference = first.mean - second.mean
    if first.deviation is None or second.deviation is None:
        why_not = "one run alone has no deviation"
        return MeanDifference(difference, None, None, confidence, None, None, why_not)
    # errors rather than their squares, which a float could not hold where they are small
    of_first, of_second = (
        each.deviation / math.sqrt(each.n) if each.deviation else 0.0 for each in (first, second)
    )
    error = math.hypot(of_first, of_second)
    if error == 0:
        why_not = "neither side varies"
        return MeanDifference(difference, None, None, confidence, None, None, why_not)
    shares = ((of_first / error) ** 2, first.n - 1), ((of_second / error) ** 2, second.n - 1)
    degrees = 1 / sum(share**2 / others for share, others in shares)
    reach = student_quantile(1 - confidence, degrees) * error
    return MeanDifference(
        difference,
        difference - reach,
        difference + reach,
        confidence,
        student_tails(difference / error, degrees),
        degrees,
    )


# --- Student's t --------------------------------------------------------------------------------


def student_tails(statistic: float, degrees_of_freedom: float) -> float:
    """How likely Student's t is to lie at least as far from 0 as a value, on either side.

    Args:
        statistic: the value.
        degrees_of_freedom: at least 1; any real number.

    Returns:
        Between 0 and 1, to within 1e-10 of itself for at most 1e6 degrees of freedom.

    Source: Abramowitz and Stegun 26.7.1, an incomplete beta function of df / (df + t²).
    """
    ratio = abs(statistic) / math.sqrt(degrees_of_freedom)
    if ratio == 0:
        return 1.0
    # x and 1 - x, each without the other: a small one is not what is left of a large one
    outside, inside = 1 / (1 + ratio * ratio), 1 / (1 + 1 / ratio / ratio)
    half = degrees_of_freedom / 2
    # x^a (1-x)^b / B(a, b), for b of 1/2
    front = (
        math.exp(-half * math.log1p(ratio * ratio))
        * math.sqrt(inside / math.pi)
        * _gamma_ratio(half)
    )
    if outside < (half + 1) / (half + 2.5):
        return front * _continued_fraction(half, 0.5, outside) / half
    return 1 - 2 * front * _continued_fraction(0.5, half, inside)


def student_quantile(tails: float, degrees_of_freedom: float) -> float:
    """The value that Student's t lies beyond, on either side, with this probability.

    Args:
        tails: of both sides together, above 0 and below 1; 0.05 for an interval of 95 %.
        degrees_of_freedom: at least 1; any real number.

    Returns:
        Above 0; `student_tails` of it is `tails`.
    """
    low = high = 1.0
    while student_tails(high, degrees_of_freedom) > tails:
        high *= 2
    while student_tails(low, degrees_of_freedom) < tails:
        low /= 2
    # halved by ratio, since quantiles span many powers of ten
    while low < (middle := math.sqrt(low) * math.sqrt(high)) < high:
        if student_tails(middle, degrees_of_freedom) > tails:
            low = middle
        else:
            high = middle
    return middle


def _gamma_ratio(a: float) -> float:
    """Γ(a + 1/2) / Γ(a) for a > 0, to a few units in the last place.

    The difference of two `lgamma` would lose as many digits as they have before the point.

    Source: Tricomi and Erdélyi, Pacific J. Math. 1 (1951), the asymptotic series.
    """
    if a < 100:
        return math.gamma(a + 0.5) / math.gamma(a)
    coefficients = (1, -1 / 8, 1 / 128, 5 / 1024, -21 / 32768, -399 / 262144)
    return math.sqrt(a) * math.fsum(c / a**power for power, c in enumerate(coefficients))


def _continued_fraction(a: float, b: float, x: float) -> float:
    """The fraction of the incomplete beta function: I_x(a, b) = x^a (1-x)^b / (a B(a, b)) × it.

    Args:
        a: above 0.
        b: above 0.
        x: above 0, at most (a + 1) / (a + b + 2), where it converges fast.

    Source: Press and others, Numerical Recipes, 3rd edition, 6.4, by Lentz's method; DLMF 8.17.22.
    """
    tiny = 1e-300  # in place of a denominator of 0
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
