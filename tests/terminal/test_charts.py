"""Curves and matrices in characters: what is where, and what fits."""

from __future__ import annotations

import math

import pytest
from rich.cells import cell_len

from registry_core.cli import run_command
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.terminal.charts import ASCII, UNICODE, characters, curve, matrix
from registry_core.terminal.tables.quality import show_quality

pytestmark = pytest.mark.drawn

RISING = [0.1, 0.4, 0.6, 0.7, 0.75]


def dots(lines: list[str]) -> list[list[int]]:
    """For each row of a braille chart, which dots of its characters are set, as a mask."""
    return [
        [ord(each) - 0x2800 if 0x2800 <= ord(each) < 0x2900 else 0 for each in line[6:]]
        for line in lines[:7]
    ]


def test_a_curve_begins_and_ends_where_its_values_are():
    """A rising one: its first point in the lowest dot, its last in the highest."""
    drawn = curve([("accuracy", RISING)], 80, UNICODE)
    assert (drawn[0][:6], drawn[6][:6]) == ("0.75 ┤", " 0.1 ┤")
    assert "epoch 5" in drawn[7]
    assert drawn[8].strip() == "⠒⠒ accuracy"
    rows = dots(drawn)
    assert rows[6][0] & 0x40  # bottom left dot
    assert rows[0][-1] & 0x08  # top right dot
    assert not any(rows[0][:8])


def test_two_lines_are_told_apart_without_colour():
    drawn = curve([("upper", [1.0] * 4), ("lower", [0.0] * 4)], 80, ASCII)
    assert set(drawn[0].partition("+")[2]) == {"*"}
    assert set(drawn[6].partition("+")[2]) == {"."}
    assert [line.strip() for line in drawn[8:]] == ["* upper", ". lower"]
    assert all(line.isascii() for line in drawn)


@pytest.mark.parametrize("width", [20, 40, 80, 300])
@pytest.mark.parametrize("epochs", [2, 7, 100, 5_000])
def test_a_curve_fits_its_terminal(width, epochs):
    values = [math.sin(epoch) for epoch in range(epochs)]
    for drawn_with in (UNICODE, ASCII):
        drawn = curve([("x", values), ("y", values[::-1])], width, drawn_with)
        assert max(map(cell_len, drawn)) <= max(width, 20)
        assert len(drawn) == 10


def test_gaps_and_numbers_that_are_not_finite_are_left_out():
    drawn = curve([("x", [0.0, None, math.nan, math.inf, 1.0])], 40, ASCII)
    row = drawn[3].partition("|")[2]
    assert not row.strip()  # no line crosses the gap
    assert drawn[0].rstrip().endswith("*")


@pytest.mark.parametrize("values", [[], [0.5], [None, None], [math.nan, 1.0]])
def test_there_is_no_curve_without_two_values(values):
    assert curve([("x", values)], 80, UNICODE) == []


def test_equal_values_are_a_level_line():
    drawn = curve([("x", [0.5, 0.5, 0.5])], 40, ASCII)
    assert set(drawn[3].partition("|")[2]) == {"*"}


def test_a_matrix_has_a_row_for_each_true_class():
    lines = matrix(["cat", "a long name of a class"], [[90, 10], [0, 0]], 80, UNICODE)
    assert lines == [
        "                  0  1  recall",
        "0 cat            90 10  90.0 %",
        "1 a long name o…  ·  ·       -",
    ]


def test_a_matrix_that_does_not_fit_is_none():
    names = [f"class number {n}" for n in range(12)]
    counts = [[10_000] * 12] * 12
    assert matrix(names, counts, 80, UNICODE) is None
    drawn = matrix(names, counts, 120, UNICODE)
    assert {cell_len(line) for line in drawn} == {len(drawn[0])}


@pytest.mark.parametrize(
    ("encoding", "term", "expected"),
    [
        ("utf-8", "xterm-256color", UNICODE),
        ("UTF8", "tmux-256color", UNICODE),
        ("utf-8", "linux", ASCII),
        ("utf-8", "dumb", ASCII),
        ("ascii", "xterm", ASCII),
        ("iso8859-1", "xterm", ASCII),
    ],
)
def test_ascii_is_used_where_the_terminal_has_no_braille(monkeypatch, encoding, term, expected):
    monkeypatch.setenv("TERM", term)
    assert characters(encoding) is expected


# --- what show prints ---------------------------------------------------------------------------


def manifest(task, **more):
    return {
        "objective": task["objective"],
        "history": {"accuracy": RISING, "loss": RISING[::-1]},
        "data": {"task": task},
        **more,
    }


def results(examples: int, classes: int, wrong: int = 0) -> PerExampleResults:
    import struct

    expected = [n % classes for n in range(examples)]
    predicted = [(e + 1) % classes if n < wrong else e for n, e in enumerate(expected)]
    packed = [struct.pack(f"<{examples}i", *each) for each in (predicted, expected)]
    return PerExampleResults(
        examples, "f", struct.pack(f"<{examples}f", *[0.5] * examples), None, *packed
    )


def classification(classes: int) -> dict:
    names = [f"c{n}" for n in range(classes)]
    objective = {"metric": "test_accuracy", "direction": "max", "unit": ""}
    return {
        "kind": "classification", "class_names": names, "output": None, "objective": objective,
    }  # fmt: skip


def test_beyond_twelve_classes_the_most_confused_pairs_are_shown(capsys):
    show_quality(manifest(classification(13)), results(26, 13, wrong=1))
    shown = capsys.readouterr().out
    assert "recall" not in shown
    (pair,) = [line.split() for line in shown.splitlines() if line.startswith("c0")]
    assert pair == ["c0", "c1", "1", "of", "2"]


def test_a_regression_shows_its_errors_in_their_unit(capsys):
    import base64
    import struct

    true, predicted = [10.0, 20.0, 30.0, 40.0], [11.0, 21.0, 31.0, 45.0]
    parts = [base64.b64encode(struct.pack("<4f", *each)).decode() for each in (true, predicted)]
    found = PerExampleResults(
        4,
        "f",
        struct.pack("<4f", 1, 1, 1, 25),
        details={"targets": 1, "expected_float32": parts[0], "predicted_float32": parts[1]},
    )
    task = {
        "kind": "regression", "target_names": ["price"], "units": ["EUR"], "output": None,
        "objective": {"metric": "test_mae", "direction": "min", "unit": "EUR"},
    }  # fmt: skip
    show_quality(manifest(task, history={"mean_absolute_error": [9, 2]}), found)
    shown = capsys.readouterr().out
    assert "Mean absolute error, best 2.00 in epoch 2" in shown
    assert "Errors of price on the test split, predicted minus true:" in shown
    assert "bias 2.00 EUR, mean absolute error 2.00 EUR, root mean square error 2.65 EUR" in shown
    assert "recall" not in shown


def test_a_version_without_history_or_results_is_shown_without_them(capsys):
    show_quality({"objective": {"metric": "test_x", "direction": "max"}}, None)
    assert capsys.readouterr().out == ""


def test_names_of_classes_cannot_write_on_the_terminal(capsys):
    task = classification(2) | {"class_names": ["\x1b[31mred", "b\nc"]}
    show_quality(manifest(task), results(4, 2))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "b\\nc" in shown


@pytest.mark.gate
def test_show_has_the_curve_and_the_matrix_of_a_run(tmp_path, monkeypatch, capsys):
    from lifecycle_helpers import Project

    project = Project(tmp_path)
    project.run()
    monkeypatch.chdir(tmp_path)
    assert run_command(["--registry", str(project.store.folder), "show", "flowers@1"]) == 0
    shown = capsys.readouterr().out
    assert "Loss, best 0.3333 in epoch 3" in shown
    assert [line for line in shown.splitlines() if line.startswith("0 setosa")]
