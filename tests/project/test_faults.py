"""Every row of docs/faults.md names tests that exist, and the README counts the rows."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PAGE = (ROOT / "docs" / "faults.md").read_text("utf-8")
ROWS = re.findall(r"^\| (\d+) \|(.*)\|$", PAGE, re.MULTILINE)
FAULTS = 62


@cache
def functions_of(name: str) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse((TESTS / name).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_fault_has_one_row_with_a_test():
    assert [int(number) for number, _ in ROWS] == list(range(1, FAULTS + 1))
    for number, row in ROWS:
        assert re.search(r"`\w+/test_\w+\.py::test_\w+`", row), f"fault {number} has no test"


def test_every_named_test_exists():
    named = re.findall(r"`((?:\w+/)?test_\w+\.py)::(\w+)`", PAGE)
    assert len(named) > FAULTS
    for file, name in named:
        assert name in functions_of(file), f"{file} has no {name}"


def test_the_readme_says_how_many_faults_there_are():
    assert f" {FAULTS} things that can go wrong" in (ROOT / "README.md").read_text("utf-8")
