"""Conditions and sort keys of lists, as they are typed."""

from __future__ import annotations

import pytest

from registry_core.errors import UsageError
from registry_core.version_query import (
    NEWEST_FIRST,
    PRESENT,
    Condition,
    Order,
    parse_condition,
    parse_order,
    parse_query,
)

DAY = ("2026-01-31T00:00:00Z", "2026-01-31T23:59:59Z")


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("test_accuracy>0.9", Condition("test_accuracy", ">", 0.9)),
        (" test_loss <= 1e-3 ", Condition("test_loss", "<=", 0.001)),
        ("test_accuracy==1", Condition("test_accuracy", "=", 1.0)),
        ("top 5!=-0.5", Condition("top 5", "!=", -0.5)),
        ("test_top_5", Condition("test_top_5", PRESENT, None)),
        ("preset=quick", Condition("preset", "=", "quick")),
        ("preset!=a=b>c", Condition("preset", "!=", "a=b>c")),
        ("group=", Condition("group", "=", "")),
        ("seed>=-3", Condition("seed", ">=", -3)),
        ("version<10", Condition("version", "<", 10)),
        ("created=2026-01-31", Condition("created", "=", DAY)),
        (
            "created>2026-01-31T14:30+02:00",
            Condition("created", ">", ("2026-01-31T12:30:00Z",) * 2),
        ),
        ("tag:reviewed", Condition("reviewed", PRESENT, None, is_tag=True)),
        ("tag:reviewed=yes", Condition("reviewed", "=", "yes", is_tag=True)),
        ("tag:reviewed!=", Condition("reviewed", "!=", "", is_tag=True)),
    ],
)
def test_a_condition_is_a_key_an_operator_and_a_value(text, condition):
    assert parse_condition(text) == condition


@pytest.mark.parametrize(
    ("text", "help_says"),
    [
        ("", "Write test_accuracy>0.9"),
        ("=3", "Write test_accuracy>0.9"),
        ("x" * 2000, "Write test_accuracy>0.9"),
        ("test_accuracy>good", "'good' is not a number: test_accuracy>0.9"),
        ("test_accuracy>nan", "'nan' is not a number"),
        ("test_accuracy<inf", "'inf' is not a number"),
        ("seed=3.5", "'3.5' is not a whole number: seed=3"),
        ("version<99999999999999999999", "is not a whole number"),
        ("created>yesterday", "'yesterday' is not a date: created>2026-01-31"),
        ("created>0001-01-01T00:00+23:00", "is not a date"),
        ("created", "Compare it with a date: created=2026-01-31"),
        ("preset", "Compare it with a text: preset=NAME"),
        ("preset>quick", "preset is compared with = or !="),
        ("tag:", "A tag is compared with = or !=: tag:reviewed=yes"),
        ("tag:reviewed>1", "A tag is compared with = or !=: tag:reviewed=yes"),
    ],
)
def test_what_is_no_condition_is_refused_with_one_that_is(text, help_says):
    with pytest.raises(UsageError, match="Cannot read the condition") as refused:
        parse_condition(text)
    assert help_says in refused.value.remedy


def test_a_sort_key_is_a_field_or_a_metric_with_a_minus_for_the_largest_first():
    assert parse_order("test_accuracy") == Order("test_accuracy", descending=False)
    assert parse_order("-created") == Order("created", descending=True)
    assert parse_order("-version") == NEWEST_FIRST
    assert [str(parse_order(text)) for text in ("seed", "-seed")] == ["seed", "-seed"]
    for text in ("", "-", "--seed", "group", "tag:reviewed", "-" + "x" * 2000):
        with pytest.raises(UsageError, match="Versions cannot be sorted by"):
            parse_order(text)


def test_twenty_conditions_can_be_combined_and_no_more():
    assert len(parse_query("dummy", ["seed=1"] * 20).where) == 20
    with pytest.raises(UsageError, match="21 conditions are too many"):
        parse_query("dummy", ["seed=1"] * 21)
