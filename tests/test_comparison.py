"""Paired comparisons, held against SciPy and against what they are derived from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from registry_core.errors import UsageError
from registry_core.statistics import Outcomes, compare, exact_mcnemar, tango_interval

counts = st.integers(0, 400)


def classified(correct: np.ndarray, fingerprint: str = "sha256:a") -> Outcomes:
    """Outcomes of a classifier that got these examples right."""
    losses = np.where(correct, 0.1, 2.0).astype("<f4").tobytes()
    return Outcomes(len(correct), fingerprint, losses, np.packbits(correct).tobytes())


def measured(losses: np.ndarray, fingerprint: str = "sha256:a") -> Outcomes:
    """Outcomes of something that is no classifier."""
    return Outcomes(len(losses), fingerprint, losses.astype("<f4").tobytes())


@given(counts, counts)
def test_the_exact_test_is_scipys_binomial_test(first, second):
    """McNemar's exact test is a binomial test of the disagreements."""
    if first + second == 0:
        assert exact_mcnemar(first, second) == 1.0
        return
    expected = stats.binomtest(first, first + second, 0.5).pvalue
    assert exact_mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_the_exact_test_holds_far_out_in_the_tail():
    """A difference that nobody doubts has a p-value that is small and not a failure."""
    assert exact_mcnemar(0, 1000) == pytest.approx(2.0**-999, rel=1e-12)
    assert exact_mcnemar(3000, 5000) < 1e-100
    assert exact_mcnemar(0, 5000) == 0.0  # below what a float can hold


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 400), st.sampled_from([0.9, 0.95]))
def test_the_interval_ends_where_the_score_test_turns(first, second, others, confidence):
    """At each end, the likelihood at that difference lies just as far off as the level says."""
    examples = first + second + others
    low, high = tango_interval(first, second, examples, confidence)
    estimate = (first - second) / examples
    assert -1 <= low <= estimate <= high <= 1
    quantile = stats.norm.ppf(0.5 + confidence / 2)
    for end, sign in ((low, 1), (high, -1)):
        if abs(end) > 1 - 1e-6 or end == estimate:
            continue
        assert independent_score(first, second, examples, end) == pytest.approx(
            sign * quantile, rel=1e-3
        )


def independent_score(first: int, second: int, examples: int, difference: float) -> float:
    """Tango's statistic from its definition: the nuisance by numeric maximum likelihood."""

    def unlikely(p_second: float) -> float:
        p_first = p_second + difference
        rest = 1 - p_first - p_second
        total = 0.0
        for count, chance in (
            (first, p_first),
            (second, p_second),
            (examples - first - second, rest),
        ):
            if count:
                if chance <= 0:
                    return 1e12
                total -= count * math.log(chance)
        return total

    least, most = max(0.0, -difference), (1 - difference) / 2
    found = optimize.minimize_scalar(
        unlikely, bounds=(least, most), method="bounded", options={"xatol": 1e-14}
    ).x
    variance = (2 * found + difference - difference**2) / examples
    return ((first - second) / examples - difference) / math.sqrt(variance)


@given(counts, counts, st.integers(1, 5000))
def test_swapping_the_two_turns_the_interval_around(first, second, others):
    """Neither side is favoured."""
    low, high = tango_interval(first, second, first + second + others, 0.95)
    other_low, other_high = tango_interval(second, first, first + second + others, 0.95)
    assert (low, high) == pytest.approx((-other_high, -other_low), abs=1e-8)


def test_the_interval_covers_as_often_as_it_says():
    """Of 2,000 intervals of 95 %, each of 300 examples, 93.5 to 96.5 % hold the truth."""
    generator = np.random.default_rng(1)
    draws = generator.multinomial(300, [0.10, 0.06, 0.84], size=2000)
    held = 0
    for first, second, _ in draws:
        low, high = tango_interval(int(first), int(second), 300, 0.95)
        held += low <= 0.04 <= high
    assert 0.935 <= held / len(draws) <= 0.965


def test_classifiers_are_compared_example_by_example():
    """Who alone is right is counted on packed bits; the bits that fill the last byte count not."""
    generator = np.random.default_rng(0)
    ours, theirs = generator.random(1003) < 0.8, generator.random(1003) < 0.7
    found = compare(classified(ours), classified(theirs))
    assert found.only_candidate == int((ours & ~theirs).sum())
    assert found.only_incumbent == int((theirs & ~ours).sum())
    assert found.difference == pytest.approx(ours.mean() - theirs.mean())
    assert found.low < found.difference < found.high
    table = [0, found.only_candidate, found.only_incumbent, 0]
    assert found.p_value == pytest.approx(stats.binomtest(table[1], sum(table), 0.5).pvalue)


def test_the_same_answers_differ_in_nothing():
    """No disagreement: no difference, p = 1, and an interval around zero."""
    right = np.ones(100, bool)
    found = compare(classified(right), classified(right))
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert found.low < 0 < found.high


def test_a_regression_is_compared_by_its_losses():
    """The bootstrap finds the paired t-test's interval, within its noise; less loss is better."""
    generator = np.random.default_rng(2)
    theirs = generator.gamma(2, 1, 800)
    ours = theirs - generator.normal(0.05, 0.4, 800)
    found = compare(measured(ours), measured(theirs))
    gains = theirs.astype("<f4").astype(float) - ours.astype("<f4").astype(float)
    expected = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    width = expected.high - expected.low
    assert found.test == "paired bootstrap"
    assert found.difference == pytest.approx(gains.mean())
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)
    assert found == compare(measured(ours), measured(theirs))  # seeded


def test_different_test_splits_are_not_compared():
    """By fingerprint: equal numbers of examples are no sign of equal examples."""
    right = np.ones(10, bool)
    with pytest.raises(UsageError, match="different test splits"):
        compare(classified(right, "sha256:a"), classified(right, "sha256:b"))
