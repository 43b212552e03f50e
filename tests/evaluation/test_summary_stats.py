"""Means, intervals and Student's t, compared with SciPy over a wide grid."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from registry_core.evaluation.summary_stats import (
    difference_of_means,
    student_quantile,
    student_tails,
    summarize,
)

pytestmark = pytest.mark.drawn

DEGREES = [1, 1.5, 2, 3, 4, 4.7, 9, 29.5, 100, 199, 200, 201, 1000, 12345.6, 1e5, 1e6]
TAILS = [1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.05, 0.1, 0.3, 0.5, 0.9, 0.99, 0.999]
accuracies = st.lists(st.floats(0, 1), min_size=2, max_size=12)


@pytest.mark.parametrize("degrees", DEGREES)
def test_tails_and_quantiles_equal_scipys(degrees):
    """Probabilities from 1e-12 to 0.999, degrees of freedom from one to a million."""
    for tails in TAILS:
        value = scipy.stats.t.isf(tails / 2, degrees)
        assert student_tails(value, degrees) == pytest.approx(
            2 * scipy.stats.t.sf(value, degrees), 1e-10
        )
        assert student_tails(-value, degrees) == student_tails(value, degrees)
        assert student_quantile(tails, degrees) == pytest.approx(value, rel=1e-9)


@given(st.floats(1, 1e6), st.floats(1e-12, 0.999))
def test_the_quantile_inverts_the_tails(degrees, tails):
    """Also between the points of the grid."""
    found = student_quantile(tails, degrees)
    assert student_tails(found, degrees) == pytest.approx(tails, rel=1e-9)
    assert 2 * scipy.stats.t.sf(found, degrees) == pytest.approx(tails, rel=1e-9)


def test_one_and_two_degrees_of_freedom_match_their_closed_forms():
    """Cauchy's arctangent, and a square root: accurate to the last digits."""
    for value in (1e-9, 1e-3, 0.5, 1.0, 2.0, 12.7, 1e4, 1e9):
        cauchy = 2 / math.pi * math.atan2(1, value)
        assert student_tails(value, 1) == pytest.approx(cauchy, rel=1e-13)
        two = math.hypot(value, math.sqrt(2))
        assert student_tails(value, 2) == pytest.approx(2 / (two * (two + value)), rel=1e-13)


def test_extreme_statistics_do_not_fail():
    """Very large ones, zero, and infinity."""
    assert student_tails(1e6, 20) == pytest.approx(2 * scipy.stats.t.sf(1e6, 20), rel=1e-10)
    assert student_tails(0, 4) == student_tails(1e-300, 4) == 1.0
    assert student_tails(1e200, 20) == student_tails(math.inf, 4) == 0.0


@given(accuracies)
def test_summarize_equals_scipy(values):
    """Mean, standard deviation by n - 1, and Student's interval."""
    found = summarize(values, 0.9)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-12)
    if np.std(values) > 1e-12:
        expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
        assert (found.low, found.high) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_one_measurement_has_a_mean_and_nothing_else():
    """Its standard deviation is unknown, not 0."""
    found = summarize([0.7])
    assert (found.n, found.mean) == (1, 0.7)
    assert found.std is found.low is found.high is None


def test_equal_measurements_do_not_vary():
    """The mean and the standard deviation of equal values are exact."""
    found = summarize([0.1] * 7)
    assert (found.mean, found.std, found.low, found.high) == (0.1, 0.0, 0.1, 0.1)


@pytest.mark.filterwarnings("ignore:Precision loss")  # SciPy's, where one sample hardly varies
@given(accuracies, accuracies)
def test_the_difference_of_means_equals_scipys_welch_test(ours, theirs):
    """Difference, interval, p-value, degrees of freedom; samples of any two sizes."""
    found = difference_of_means(summarize(ours), summarize(theirs))
    if max(np.std(ours), np.std(theirs)) < 1e-6:
        return
    expected = scipy.stats.ttest_ind(ours, theirs, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.not_comparable_reason == ""
    assert found.difference == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert (found.low, found.high) == pytest.approx(tuple(interval), rel=1e-6, abs=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert found.degrees_of_freedom == pytest.approx(expected.df, rel=1e-6)
    assert found.degrees_of_freedom > min(len(ours), len(theirs)) - 1 - 1e-9


def test_swapping_the_sides_mirrors_the_interval():
    """Neither side is favoured."""
    few, many = summarize([0.71, 0.74]), summarize([0.70, 0.69, 0.72, 0.71, 0.73])
    there, back = difference_of_means(few, many), difference_of_means(many, few)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p_value == pytest.approx(back.p_value)


def test_a_side_without_variance_leaves_the_other_sides_degrees_of_freedom():
    """As in SciPy."""
    steady, varying = [0.5] * 4, [0.51, 0.55, 0.52]
    found = difference_of_means(summarize(varying), summarize(steady))
    assert found.degrees_of_freedom == pytest.approx(2)
    expected = scipy.stats.ttest_1samp(varying, 0.5).pvalue
    assert found.p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        ([0.5], [0.4, 0.6], "a single run has no standard deviation"),
        ([0.4, 0.6], [0.5], "a single run has no standard deviation"),
        ([0.75] * 3, [0.5] * 2, "neither side varies"),
    ],
)
def test_without_a_test_there_is_a_reason(ours, theirs, why):
    """The difference of means is still computed."""
    found = difference_of_means(summarize(ours), summarize(theirs))
    assert found.not_comparable_reason == why
    assert found.difference == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert found.low is found.high is found.p_value is found.degrees_of_freedom is None


def test_a_deviation_whose_square_underflows_still_counts():
    """Small is not zero."""
    found = difference_of_means(summarize([1e-200, 3e-200]), summarize([7e-200, 9e-200]))
    assert found.p_value == pytest.approx(
        scipy.stats.ttest_ind([1, 3], [7, 9], equal_var=False).pvalue
    )


@pytest.mark.exhaustive
@pytest.mark.gate
def test_intervals_have_their_nominal_coverage():
    """Of 2,000 Welch intervals of 95 %, five runs against three, 93.5 to 97 % contain the truth."""
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        ours, theirs = generator.normal(0.02, 0.03, 5), generator.normal(0, 0.01, 3)
        found = difference_of_means(summarize(ours.tolist()), summarize(theirs.tolist()))
        held += found.low <= 0.02 <= found.high
    assert 0.935 <= held / 2000 <= 0.97


def test_only_the_standard_library_is_imported():
    """So comparing groups starts quickly."""
    code = (
        "import sys\n"
        "from registry_core.evaluation.summary_stats import difference_of_means, summarize\n"
        "difference_of_means(summarize([1.0, 2.0]), summarize([2.0, 4.0]))\n"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'scipy', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
