"""Paired tests, compared with SciPy and with their definitions."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_core.errors import UsageError
from registry_core.evaluation.paired_tests import (
    BOOTSTRAP_RESAMPLES,
    FULL_BOOTSTRAP_EXAMPLES,
    compare,
    exact_mcnemar,
    resampled_means,
    tail_resampled_means,
    tango_interval,
)
from registry_core.evaluation.per_example_results import PerExampleResults

counts = st.integers(0, 400)


def classified(correct: np.ndarray, fingerprint: str = "sha256:a") -> PerExampleResults:
    """Outcomes of a classifier that got these examples right."""
    losses = np.where(correct, 0.1, 2.0).astype("<f4").tobytes()
    return PerExampleResults(len(correct), fingerprint, losses, np.packbits(correct).tobytes())


def measured(losses: np.ndarray, fingerprint: str = "sha256:a") -> PerExampleResults:
    """Outcomes of something that is no classifier."""
    return PerExampleResults(len(losses), fingerprint, losses.astype("<f4").tobytes())


@settings(deadline=None)
@given(counts, counts)
def test_the_exact_test_equals_scipys_binomial_test(first, second):
    """McNemar's exact test is a binomial test of the disagreements."""
    if first + second == 0:
        assert exact_mcnemar(first, second) == 1.0
        return
    expected = scipy.stats.binomtest(first, first + second, 0.5).pvalue
    assert exact_mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_the_exact_test_is_accurate_far_out_in_the_tail():
    """Very small p-values do not fail."""
    assert exact_mcnemar(0, 1000) == pytest.approx(2.0**-999, rel=1e-12)
    assert exact_mcnemar(3000, 5000) < 1e-100
    assert exact_mcnemar(0, 5000) == 0.0  # below what a float can hold
    assert exact_mcnemar(0, 50_000) == 0.0


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.parametrize(
    ("first", "second"),
    [(5000, 5001), (5200, 4801), (6000, 5000), (50_000, 50_300), (1_000_000, 999_000)],
)
def test_the_exact_test_of_many_disagreements_equals_scipys(first, second):
    """Above ten thousand the tail is summed in floats, accurate to nine digits."""
    expected = scipy.stats.binomtest(first, first + second, 0.5).pvalue
    assert exact_mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert exact_mcnemar(second, first) == exact_mcnemar(first, second)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 400), st.sampled_from([0.9, 0.95]))
def test_the_interval_ends_where_the_score_test_rejects(first, second, others, confidence):
    """At each end the score statistic equals the quantile of the level."""
    examples = first + second + others
    low, high = tango_interval(first, second, examples, confidence)
    estimate = (first - second) / examples
    assert -1 <= low <= estimate <= high <= 1
    quantile = scipy.stats.norm.ppf(0.5 + confidence / 2)
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
    found = scipy.optimize.minimize_scalar(
        unlikely, bounds=(least, most), method="bounded", options={"xatol": 1e-14}
    ).x
    variance = (2 * found + difference - difference**2) / examples
    return ((first - second) / examples - difference) / math.sqrt(variance)


@settings(deadline=None)
@given(counts, counts, st.integers(1, 5000))
def test_swapping_the_sides_mirrors_the_interval(first, second, others):
    """Neither side is favoured."""
    low, high = tango_interval(first, second, first + second + others, 0.95)
    other_low, other_high = tango_interval(second, first, first + second + others, 0.95)
    assert (low, high) == pytest.approx((-other_high, -other_low), abs=1e-8)


def test_the_interval_has_its_nominal_coverage():
    """Of 2,000 intervals of 95 %, each of 300 examples, 93.5 to 96.5 % contain the true value."""
    generator = np.random.default_rng(1)
    draws = generator.multinomial(300, [0.10, 0.06, 0.84], size=2000)
    held = 0
    for first, second, _ in draws:
        low, high = tango_interval(int(first), int(second), 300, 0.95)
        held += low <= 0.04 <= high
    assert 0.935 <= held / len(draws) <= 0.965


def test_classifiers_are_compared_example_by_example():
    """Disagreements are counted on packed bits; padding bits do not count."""
    generator = np.random.default_rng(0)
    ours, theirs = generator.random(1003) < 0.8, generator.random(1003) < 0.7
    found = compare(classified(ours), classified(theirs))
    assert found.only_candidate == int((ours & ~theirs).sum())
    assert found.only_incumbent == int((theirs & ~ours).sum())
    assert found.difference == pytest.approx(ours.mean() - theirs.mean())
    assert found.low < found.difference < found.high
    table = [0, found.only_candidate, found.only_incumbent, 0]
    assert found.p_value == pytest.approx(scipy.stats.binomtest(table[1], sum(table), 0.5).pvalue)


def test_identical_predictions_have_no_difference():
    """No disagreement: no difference, p = 1, and an interval around zero."""
    right = np.ones(100, bool)
    found = compare(classified(right), classified(right))
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert found.low < 0 < found.high


def test_the_p_value_decides_what_a_comparison_says():
    """Also where the interval leaves out 0; and a level of its own may be asked for."""
    ours, theirs = np.ones(40, bool), np.arange(40) >= 5
    found = compare(classified(ours), classified(theirs))
    assert found.low > 0
    assert found.p_value == 0.0625
    assert (found.level, found.verdict(found.level)) == (0.05, "undecided")
    assert found.verdict(0.1) == "better"
    assert compare(classified(theirs), classified(ours)).verdict(0.1) == "worse"


def test_a_regression_is_compared_by_its_losses():
    """The bootstrap interval agrees with the paired t-test's; a smaller loss is better."""
    generator = np.random.default_rng(2)
    theirs = generator.gamma(2, 1, 800)
    ours = theirs - generator.normal(0.05, 0.4, 800)
    found = compare(measured(ours), measured(theirs))
    gains = theirs.astype("<f4").astype(float) - ours.astype("<f4").astype(float)
    expected = scipy.stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    width = expected.high - expected.low
    assert found.test == "paired bootstrap"
    assert found.difference == pytest.approx(gains.mean())
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)
    assert found == compare(measured(ours), measured(theirs))  # seeded


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("examples", [1, 7, 801, 4001])
def test_the_draws_of_a_full_bootstrap_never_change(examples):
    """Bit for bit: decisions in a ledger can be recomputed."""
    gains = np.random.default_rng(4).standard_t(3, examples)
    generator = np.random.default_rng(0)
    drawn = (generator.integers(0, examples, (50, examples)) for _ in range(200))
    expected = np.concatenate([gains[places].mean(axis=1) for places in drawn])
    assert resampled_means(gains).tobytes() == expected.tobytes()


def one_outlier(generator, examples):
    """A single prediction that is off by far."""
    gains = generator.normal(0.01, 1, examples)
    gains[7] = 2000.0
    return gains


# paired differences as losses give them
GAINS = {
    "normal": lambda generator, examples: generator.normal(0.01, 1, examples),
    "skewed": lambda generator, examples: 1 - generator.gamma(0.3, 3, examples),
    "heavy tails": lambda generator, examples: generator.standard_t(2.2, examples),
    "one heavy tail": lambda generator, examples: 1.8 - generator.pareto(2.1, examples),
    "one outlier": one_outlier,
    "hardly any differ": lambda generator, examples: (
        generator.normal(0, 1, examples) * (generator.random(examples) < 0.002)
    ),
    "right or wrong": lambda generator, examples: generator.choice([-1.0, 0, 1], examples),
}


def berry_esseen(gains: np.ndarray, tail: int) -> float:
    """How far the distribution may be from the bootstrap's, by the docstring's theorem."""
    bulk = np.sort(gains)[tail // 2 : -tail // 2]
    if not bulk.std():
        return 0.0
    third = (np.abs(bulk - bulk.mean()) ** 3).mean() / bulk.std() ** 3
    draws = scipy.stats.binom.ppf(1e-6, len(gains), 1 - tail / len(gains))
    return float(0.4748 * third / math.sqrt(draws))


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("name", GAINS)
def test_resampling_only_the_tail_matches_scipys_bootstrap_within_the_documented_error(name):
    """A tenth of 5,000 examples is resampled: same distribution, same interval."""
    examples, tail = 5000, 500
    gains = GAINS[name](np.random.default_rng(6), examples)
    found = scipy.stats.bootstrap(
        (gains,),
        np.mean,
        n_resamples=BOOTSTRAP_RESAMPLES,
        batch=100,
        method="percentile",
        random_state=1,
    )
    means = tail_resampled_means(gains, tail=tail)
    noise = math.sqrt(2 / BOOTSTRAP_RESAMPLES * math.log(2 / 1e-3) / 2)  # of two samples, to 0.1 %
    apart = scipy.stats.ks_2samp(means, found.bootstrap_distribution).statistic
    assert apart <= berry_esseen(gains, tail) + noise
    assert apart <= 0.03
    interval = found.confidence_interval
    width = interval.high - interval.low
    assert np.quantile(means, [0.025, 0.975]) == pytest.approx(
        [interval.low, interval.high], abs=0.05 * width
    )


def test_an_outlier_has_the_effect_that_it_has_in_a_bootstrap():
    """It is drawn never, once, twice: a skewed distribution, unlike a normal interval."""
    gains = one_outlier(np.random.default_rng(6), 5000)
    low = np.quantile(tail_resampled_means(gains, tail=500), 0.025)
    normal = scipy.stats.norm(gains.mean(), gains.std() / math.sqrt(len(gains)))
    assert low > normal.ppf(0.025) + 0.2


@pytest.mark.gate
def test_many_identical_losses_have_no_difference():
    """p = 1; with a constant difference, p is as small as it can be."""
    same = np.ones(FULL_BOOTSTRAP_EXAMPLES + 1)
    found = compare(measured(same), measured(same))
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    found = compare(measured(same), measured(same + 1))
    assert (found.low, found.high) == (1.0, 1.0)
    assert found.p_value == 2 / (BOOTSTRAP_RESAMPLES + 1)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_the_name_of_the_test_says_that_only_the_tail_is_resampled():
    """From 50,001 examples on; below that the name is the one in existing ledgers."""
    generator = np.random.default_rng(3)
    theirs = generator.gamma(2, 1, FULL_BOOTSTRAP_EXAMPLES + 1).astype("<f4")
    ours = theirs - generator.normal(0.01, 0.4, len(theirs)).astype("<f4")
    whole = compare(measured(ours[1:]), measured(theirs[1:]))
    tail = compare(measured(ours), measured(theirs))
    assert whole.test == "paired bootstrap"
    assert tail.test == "paired bootstrap, normal bulk"
    width = whole.high - whole.low
    assert (tail.low, tail.high) == pytest.approx((whole.low, whole.high), abs=0.05 * width)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_two_million_examples_are_compared_in_seconds_and_little_memory():
    """The interval agrees with the t-test's, for any order of the examples."""
    generator = np.random.default_rng(5)
    theirs = generator.gamma(2, 1, 2_000_000).astype("<f4")
    ours = theirs - generator.normal(0.0003, 0.4, len(theirs)).astype("<f4")
    packed = measured(ours), measured(theirs)
    began = time.process_time()
    found = compare(*packed)
    assert time.process_time() - began < 30
    gains = theirs.astype(float) - ours.astype(float)
    expected = scipy.stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx(expected, abs=0.05 * width)
    tracemalloc.start()
    assert found == compare(*packed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * gains.nbytes
    shuffled = np.random.default_rng(8).permutation(len(gains))
    turned = compare(measured(ours[shuffled]), measured(theirs[shuffled]))
    assert (turned.low, turned.high) == (found.low, found.high)


@pytest.mark.gate
def test_two_million_predictions_are_compared_in_seconds():
    """The time of the exact test is not quadratic in the disagreements."""
    generator = np.random.default_rng(5)
    ours, theirs = (generator.random(2_000_000) < 0.5 for _ in range(2))
    began = time.process_time()
    found = compare(classified(ours), classified(theirs))
    assert time.process_time() - began < 10
    assert found.only_candidate + found.only_incumbent > 900_000
    expected = scipy.stats.binomtest(
        found.only_candidate, found.only_candidate + found.only_incumbent, 0.5
    ).pvalue
    assert found.p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.gate
@pytest.mark.parametrize("examples", [100, FULL_BOOTSTRAP_EXAMPLES + 1])
def test_progress_reports_the_resamples_done(examples):
    """From none to all, in order."""
    losses = np.random.default_rng(0).gamma(2, 1, examples)
    told = []
    compare(measured(losses), measured(losses[::-1]), progress=lambda *done: told.append(done))
    assert told[0] == (0, BOOTSTRAP_RESAMPLES)
    assert told[-1] == (BOOTSTRAP_RESAMPLES, BOOTSTRAP_RESAMPLES)
    assert told == sorted(told)
    assert len(told) > 100


def test_different_test_splits_are_not_compared():
    """They are identified by fingerprint, not by their number of examples."""
    right = np.ones(10, bool)
    with pytest.raises(UsageError, match="different test splits"):
        compare(classified(right, "sha256:a"), classified(right, "sha256:b"))
