"""Numbers as tables, pages and messages show them."""

import pytest

from registry_core.evaluation.summary_stats import summarize
from registry_core.formatting import fraction, number, signed, spread


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"), (1.2346e-7, "1.235e-07"), (0.78012, "0.7801"), (1.0, "1.00"),
        (12.314, "12.31"), (9_999.5, "9999.50"), (10_000, "10,000"), (17_650.4, "17,650"),
        (-17_650.4, "-17,650"), (9_999_999.4, "9,999,999"), (17_650_000, "1.765e+07"),
        (float("inf"), "inf"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_amounts_of_money_are_whole_numbers_with_separators(value, shown):
    """A mean error of 17,650 EUR is no power of ten; what has more digits than a table has is."""
    assert number(value) == fraction("test_mae", value) == shown


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("test_mae", [16_000.0, 18_000.0, 20_000.0], "18,000 ± 2,000"),
        ("test_mae", [18_000.0, 18_000.2], "18,000 ± 0.1414"),
        ("test_loss", [1e9, 3e9], "2e+09 ± 1.414e+09"),
        ("test_accuracy", [0.42, 0.48], "0.4500 ± 0.0424"),
        ("test_loss", [2e-7, 4e-7], "3e-07 ± 1.414e-07"),
        ("test_loss", [1.5], "1.50"),
    ],
)
def test_a_deviation_has_the_decimals_of_its_mean(name, values, shown):
    """Or its own, where it would round to nothing."""
    assert spread(name, summarize(values)) == shown


def test_a_difference_has_a_sign_whatever_its_size():
    """Of accuracies, and of large amounts."""
    assert signed("test_accuracy", 0.012) == "+0.0120"
    assert signed("test_mae", -17_650.4) == "-17,650"
