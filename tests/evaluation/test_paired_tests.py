"""Paired comparisons, held against SciPy and against what they are derived from."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

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
    assert exact_mcnemar(0, 50_000) == 0.0


@pytest.mark.parametrize(
    ("first", "second"),
    [(5000, 5001), (5200, 4801), (6000, 5000), (50_000, 50_300), (1_000_000, 999_000)],
)
def test_the_exact_test_of_many_disagreements_is_scipys_too(first, second):
    """Beyond ten thousand of them the tail is summed in floats: to nine digits the same."""
    expected = stats.binomtest(first, first + second, 0.5).pvalue
    assert exact_mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert exact_mcnemar(second, first) == exact_mcnemar(first, second)


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


@pytest.mark.parametrize("examples", [1, 7, 801, 4001])
def test_few_examples_are_resampled_with_the_draws_that_they_always_were(examples):
    """Bit for bit: decisions that a ledger has, come out again."""
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
    draws = stats.binom.ppf(1e-6, len(gains), 1 - tail / len(gains))
    return float(0.4748 * third / math.sqrt(draws))


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("name", GAINS)
def test_resampling_the_tail_alone_is_scipys_bootstrap_within_the_documented_error(name):
    """Of 5,000 examples a tenth are resampled: the same distribution, the same interval."""
    examples, tail = 5000, 500
    gains = GAINS[name](np.random.default_rng(6), examples)
    found = stats.bootstrap(
        (gains,),
        np.mean,
        n_resamples=BOOTSTRAP_RESAMPLES,
        batch=100,
        method="percentile",
        random_state=1,
    )
    means = tail_resampled_means(gains, tail=tail)
    noise = math.sqrt(2 / BOOTSTRAP_RESAMPLES * math.log(2 / 1e-3) / 2)  # of two samples, to 0.1 %
    apart = stats.ks_2samp(means, found.bootstrap_distribution).statistic
    assert apart <= berry_esseen(gains, tail) + noise
    assert apart <= 0.03
    interval = found.confidence_interval
    width = interval.high - interval.low
    assert np.quantile(means, [0.025, 0.975]) == pytest.approx(
        [interval.low, interval.high], abs=0.05 * width
    )


def test_an_outlier_moves_the_interval_as_the_bootstrap_has_it_and_not_as_a_normal_one():
    """It is drawn never, once, twice: a skewed distribution that no normal interval has."""
    gains = one_outlier(np.random.default_rng(6), 5000)
    low = np.quantile(tail_resampled_means(gains, tail=500), 0.025)
    normal = stats.norm(gains.mean(), gains.std() / math.sqrt(len(gains)))
    assert low > normal.ppf(0.025) + 0.2


def test_answers_that_differ_nowhere_differ_in_nothing_however_many():
    """p = 1; and where a constant is all that differs, there is no doubt."""
    same = np.ones(FULL_BOOTSTRAP_EXAMPLES + 1)
    found = compare(measured(same), measured(same))
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    found = compare(measured(same), measured(same + 1))
    assert (found.low, found.high) == (1.0, 1.0)
    assert found.p_value == 2 / (BOOTSTRAP_RESAMPLES + 1)


@pytest.mark.gate
def test_the_test_says_when_only_the_tail_is_resampled():
    """From 50,001 examples on; up to there its name is the one that ledgers have."""
    generator = np.random.default_rng(3)
    theirs = generator.gamma(2, 1, FULL_BOOTSTRAP_EXAMPLES + 1).astype("<f4")
    ours = theirs - generator.normal(0.01, 0.4, len(theirs)).astype("<f4")
    whole = compare(measured(ours[1:]), measured(theirs[1:]))
    tail = compare(measured(ours), measured(theirs))
    assert whole.test == "paired bootstrap"
    assert tail.test == "paired bootstrap, normal bulk"
    width = whole.high - whole.low
    assert (tail.low, tail.high) == pytest.approx((whole.low, whole.high), abs=0.05 * width)


@pytest.mark.gate
def test_two_million_examples_are_compared_in_seconds_and_little_memory():
    """The t-test's interval; the same every time, in any order of the examples."""
    generator = np.random.default_rng(5)
    theirs = generator.gamma(2, 1, 2_000_000).astype("<f4")
    ours = theirs - generator.normal(0.0003, 0.4, len(theirs)).astype("<f4")
    packed = measured(ours), measured(theirs)
    began = time.process_time()
    found = compare(*packed)
    assert time.process_time() - began < 30
    gains = theirs.astype(float) - ours.astype(float)
    expected = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
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


def test_two_million_answers_are_compared_in_seconds():
    """However many of them disagree: the exact test does not grow with their square."""
    generator = np.random.default_rng(5)
    ours, theirs = (generator.random(2_000_000) < 0.5 for _ in range(2))
    began = time.process_time()
    found = compare(classified(ours), classified(theirs))
    assert time.process_time() - began < 10
    assert found.only_candidate + found.only_incumbent > 900_000
    expected = stats.binomtest(
        found.only_candidate, found.only_candidate + found.only_incumbent, 0.5
    ).pvalue
    assert found.p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("examples", [100, FULL_BOOTSTRAP_EXAMPLES + 1])
def test_whoever_waits_is_told_how_many_resamples_are_done(examples):
    """From none to all, in order."""
    losses = np.random.default_rng(0).gamma(2, 1, examples)
    told = []
    compare(measured(losses), measured(losses[::-1]), progress=lambda *done: told.append(done))
    assert told[0] == (0, BOOTSTRAP_RESAMPLES)
    assert told[-1] == (BOOTSTRAP_RESAMPLES, BOOTSTRAP_RESAMPLES)
    assert told == sorted(told)
    assert len(told) > 100


def test_different_test_splits_are_not_compared():
    """By fingerprint: equal numbers of examples are no sign of equal examples."""
    right = np.ones(10, bool)
    with pytest.raises(UsageError, match="different test splits"):
        compare(classified(right, "sha256:a"), classified(right, "sha256:b"))
