"""Markdown and YAML of any text, read back by readers of their own."""

from __future__ import annotations

import json

import pytest
from yaml import safe_load as read_yaml

from registry_core.reports.markdown import bullets, code, escaped, table, yaml

ODD = [
    "no",
    "1e3",
    "null",
    "a: b # c",
    '"quoted" \\ back',
    "two\nlines\ttab",
    "- item",
    "\x00\x07\x85\u2028\ufeff",
    "naïve 🐢 日本",
    "---",
    "",
    " spaced ",
    "{}[],&*!|>%@`",
]


@pytest.mark.parametrize("text", ODD)
def test_a_text_in_yaml_is_read_back_as_the_same_text(text):
    assert read_yaml(yaml({"key": text, "list": [text]})) == {"key": text, "list": [text]}


def test_numbers_keys_and_nestings_in_yaml_are_read_back_as_they_are():
    value = {
        "a": [{"b": 1, "no": {"c": [True, False, None, "x"]}}, {"d": 2}],
        "numbers": [1e-05, 1.5e300, 0.1, -2, 10**20],
        "empty": [],
        "none": {},
        "odd key: {": "value",
    }
    assert read_yaml(yaml(value)) == value


@pytest.mark.parametrize(
    "text",
    ["a | b", "<script>alert(1)</script>", "[x](javascript:1)", "**bold** `code`", "_it_ ~no~"],
)
def test_no_text_becomes_markup(text):
    """Every character of it that could is escaped, and its words stay."""
    shown = escaped(text)
    for mark in "|<>[]*`~":
        assert shown.count(f"\\{mark}") == shown.count(mark) == text.count(mark)
    assert shown.replace("\\", "") == text


def test_a_text_cannot_leave_its_cell_or_its_item():
    lines = table(["name"], [["a\n| b |\n# c"], [None]]).split("\n")
    assert lines == ["| name |", "| --- |", "| a\\\\n\\| b \\|\\\\n# c |", "|  |"]
    assert bullets(["# title", "1. one", "- two"]) == "- \\# title\n- 1\\. one\n- \\- two"


def test_a_fence_is_longer_than_any_inside():
    assert code("```\nx", "python") == "````python\n```\nx\n````"


def test_what_json_escapes_yaml_reads_too():
    """A quoted text is JSON's, wherever JSON's is valid YAML."""
    assert yaml('a"b\\c\n').strip() == json.dumps('a"b\\c\n')
