"""The one grammar for naming a version."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.errors import UsageError
from registry_core.refs import (
    Ref,
    check_alias_name,
    check_model_name,
    parse_ref,
    parse_target,
    parse_words,
    series,
    spans,
)

BAD_NAMES = [
    "../x",
    "/etc",
    "a%2Fb",
    "CON",
    "",
    "a" * 300,
    "a" * 65,
    "\u202egnp",
    "a\u202e",
    "a\0b",
    "-x",
    "a\n",
    "é",
    "1a",
    "a.b",
    "a b",
    "\ud800",
]


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("cifar10", "none", "cifar10"),
        ("cifar10@3", "number", "cifar10@3"),
        ("cifar10@v3", "number", "cifar10@3"),
        ("cifar10@03", "number", "cifar10@3"),
        ("cifar10@latest", "latest", "cifar10@latest"),
        ("cifar10@best", "best", "cifar10@best"),
        ("cifar10@production", "alias", "cifar10@production"),
        ("cifar10@v3-final", "alias", "cifar10@v3-final"),
        ("cifar10@sha256:ABCD", "digest", "cifar10@sha256:abcd"),
    ],
)
def test_every_kind_of_selector_is_parsed(text, kind, shown):
    ref = parse_ref(text)
    assert (ref.model, ref.kind, str(ref)) == ("cifar10", kind, shown)
    assert parse_ref(str(ref)) == ref


def test_a_selector_gives_its_number_or_its_digest():
    assert parse_ref("cifar10@v12").number == 12
    assert parse_ref("cifar10@sha256:abcdef").digest_prefix == "abcdef"
    assert parse_ref("cifar10@best").number is None
    assert parse_ref("cifar10").digest_prefix is None


@pytest.mark.parametrize(
    "text",
    [
        "m@",
        "m@@",
        "m@3@4",
        "m@sha256:abc",
        "m@sha256:xyzw",
        "m@sha256:" + "a" * 65,
        "m@-1",
        "m@3.0",
        "m@" + "9" * 19,
        "m@\u0663",
        "m@Production",
        "m@3\n",
        "m@../x",
        "@3",
    ],
)
def test_an_invalid_selector_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_ref(text)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", BAD_NAMES)
def test_invalid_names_are_refused_with_the_rule_and_escaped(name):
    for check in (check_model_name, check_alias_name):
        with pytest.raises(UsageError) as caught:
            check(name)
        message = str(caught.value)
        assert "a-z first" in message
        assert all(char.isprintable() or char == "\n" for char in message)
        assert "\u202e" not in message
        assert len(message) < 400


@pytest.mark.parametrize("alias", ["latest", "best", "v3", "v03"])
def test_an_alias_cannot_look_like_another_selector(alias):
    with pytest.raises(UsageError):
        check_alias_name(alias)


def test_two_words_are_one_reference():
    assert parse_words(["cifar10", "3"]) == parse_words(["cifar10@3"]) == parse_ref("cifar10", "3")
    assert parse_words(["cifar10"]) == Ref("cifar10")


@pytest.mark.parametrize("words", [["cifar10@3", "production"], ["cifar10", "3", "production"]])
def test_the_words_after_a_target_are_returned(words):
    assert parse_target(words) == (Ref("cifar10", "number", "3"), ["production"])


def test_a_name_alone_is_not_a_target():
    """`mlreg promote cifar10 production` shows the command to type."""
    with pytest.raises(UsageError) as caught:
        parse_target(["cifar10", "production"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[2] == "Try: mlreg promote cifar10@latest production"


@pytest.mark.parametrize(
    "words",
    [[], ["cifar10"], ["cifar10@3"], ["cifar10", "3", "production", "x"], ["cifar10@3", "a", "b"]],
)
def test_too_few_and_too_many_words_are_refused(words):
    with pytest.raises(UsageError):
        parse_target(words)


def test_a_version_cannot_be_named_twice():
    with pytest.raises(UsageError, match="another"):
        parse_words(["cifar10@3", "4"])
    with pytest.raises(UsageError):
        parse_words(["cifar10", "3", "4"])


@given(st.text())
def test_any_text_is_a_reference_or_a_usage_error(text):
    try:
        ref = parse_ref(text)
    except UsageError as error:
        assert "\n" in str(error)
        return
    assert parse_ref(str(ref)) == ref


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([], ""),
        ([4], "m@4"),
        ([5, 4], "m@4, m@5"),
        ([3, 1, 2], "m@1 … m@3"),
        ([1, 2, 3, 5, 8, 9], "m@1 … m@3, m@5, m@8, m@9"),
    ],
)
def test_consecutive_versions_are_shortened(numbers, told):
    """Three or more are shown as first and last."""
    assert series("m", numbers) == told


@given(st.sets(st.integers(1, 30)))
def test_spans_contain_exactly_the_numbers(numbers):
    """Spans do not overlap or touch."""
    found = spans(numbers)
    assert {n for first, last in found for n in range(first, last + 1)} == numbers
    assert all(one[1] + 1 < other[0] for one, other in pairwise(found))
