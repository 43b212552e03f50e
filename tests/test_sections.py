"""Sections of a report: plain data that is checked when it is made, and the same when read back."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_core.errors import DataError
from registry_core.sections import (
    MAX_BLOCKS,
    MAX_PICTURE_BYTES,
    MAX_POINTS,
    MAX_ROWS,
    MAX_TEXT,
    PNG_SIGNATURE,
    Axis,
    Bar,
    BarChart,
    Code,
    Facts,
    Gallery,
    GalleryItem,
    Heatmap,
    Histogram,
    LineChart,
    ParallelCoordinates,
    Picture,
    Scatter,
    Section,
    Series,
    Table,
    Text,
)

pytestmark = pytest.mark.drawn

PNG = PNG_SIGNATURE + b"and more"

EVERYTHING = Section(
    "Everything",
    [
        Text("one\n\ntwo"),
        Code("mlreg run cifar10", "sh"),
        Facts([("seed", "7")]),
        Table(["class", "recall"], [["cat", 0.5], ["dog", None], ["ant", 3]], "by class"),
        LineChart("loss", [Series("train", [1.0, None, 0.5], [0.5, None, 0.25], [2, None, 1])]),
        LineChart("loss", [Series("train", [1, 2])], x=[0.5, 1.5], is_log=True, diagonal=True),
        BarChart("recall", [Bar("cat", 0.5, 0.25, 0.75, "980 examples"), Bar("dog", None)], "", 1),
        Heatmap("confusion", ["a", "b"], ["c"], [[1], [2.5]], "true", "predicted", by_row=True),
        Scatter("price", [(1.0, 2.0), (3.0, 4.0)], "true", "predicted", diagonal=True),
        Scatter("slice", [(0.1, 2.0), (1.0, 4.0)], x_is_log=True, marked=[1]),
        Scatter("slice", [(0.0, 2.0), (1.0, 4.0)], x_names=["32", "64"]),
        LineChart("value", [Series("trial", [1.0, 2.0], only_points=True)]),
        ParallelCoordinates(
            "settings",
            [Axis("rate", is_log=True), Axis("size", names=["32", "64"]), Axis("value")],
            [Series("trial 1", [0.1, 1, None]), Series("trial 2", [0.01, 0, 0.5])],
            [1],
        ),
        Histogram("errors", [0, 1, 2.5], [3, 4]),
        Picture(PNG, "a cat", "example 17"),
        Gallery([GalleryItem("17", PNG, "", [("truth", "cat")]), GalleryItem("18", text="word")]),
    ],
)


def test_a_section_is_the_same_when_it_is_read_back():
    """Every kind of block, with everything that it may have."""
    record = json.loads(json.dumps(EVERYTHING.to_json(), allow_nan=False))
    assert Section.from_json(record) == EVERYTHING


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32) | st.none()
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@given(st.lists(numbers, max_size=9), st.lists(st.tuples(names, numbers), max_size=4), names)
@settings(max_examples=40, deadline=None)
def test_any_numbers_and_names_are_kept(values, bars, name):
    """What is not finite is a gap."""
    blocks = [
        LineChart(name, [Series(name, values)]),
        BarChart(name, [Bar(each, value) for each, value in bars]),
        Table([name], [[value] for value in values]),
    ]
    made = Section("numbers", blocks)
    record = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert Section.from_json(record) == made
    kept = [v if v is not None and math.isfinite(v) else None for v in values]
    assert list(made.blocks[0].series[0].values) == kept


def test_numbers_of_numpy_become_pythons():
    """Scalars and arrays, of floats and of integers."""
    values = np.array([[1, 2], [3, 4]], "int32")
    made = Section(
        "numpy",
        [
            Heatmap("counts", ["a", "b"], ["a", "b"], values),
            Table(["n", "share"], [[np.int64(3), np.float32(0.5)], ["x", np.nan]]),
            BarChart("loss", [Bar("median", np.float64(0.25), top := np.float32(0.125), top)]),
            Scatter("points", np.array([[0.5, 1.5]])),
            Histogram("errors", np.array([0.0, 1.0]), np.array([7])),
            LineChart("curve", [Series("train", np.array([1.0, np.nan]))], x=np.arange(2)),
        ],
    )
    assert Section.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.blocks[0].values == ((1, 2), (3, 4))
    assert made.blocks[1].rows == ((3, 0.5), ("x", None))
    assert type(made.blocks[1].rows[0][0]) is int
    assert made.blocks[5].series[0].values == (1.0, None)


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        (Text("not in a list"), "must be a list"),
        ("text", "must be a list"),
        (["text"], "no block"),
        ([Bar("a bar alone", 1)], "no block"),
        ([Text(b"bytes")], "must be a text"),
        ([Text("a lone \udc80")], "not Unicode"),
        ([Text("x" * (MAX_TEXT + 1))], "20,000 are allowed"),
        ([Text("x")] * (MAX_BLOCKS + 1), "50 are allowed"),
        ([Facts({"a": "b"})], "must be a list"),
        ([Facts([("a", 1)])], "must be a text"),
        ([Facts([("a", "b", "c")])], "must be 2 values"),
        ([Table(["a"], [["b", "c"]])], "1 columns and a row of 2 cells"),
        ([Table(["a"], [["b"]] * (MAX_ROWS + 1))], "1,000 are allowed"),
        ([Table(["a"], [[object()]])], "rows=<object"),
        ([LineChart("t", [[1, 2]])], "must be a Series"),
        ([LineChart("t", [Series("a", [1]), Series("b", [1, 2])])], "different lengths"),
        ([LineChart("t", [Series("a", [1, 2], low=[1])])], "different lengths"),
        ([LineChart("t", [Series("a", [1, 2])], x=[1])], "different lengths"),
        ([LineChart("t", [Series("a", [1, "2"])])], "values='2'"),
        ([LineChart("t", [Series("a", [0.0] * (MAX_POINTS + 1))])], "20,000 are allowed"),
        ([LineChart("t", [Series("a", [1])], is_log="yes")], "True or False"),
        ([BarChart("t", [("cat", 1)])], "must be a Bar"),
        ([BarChart("t", [Bar("cat", True)])], "value=True"),
        ([Heatmap("t", ["a"], ["b"], [[1, 2]])], "a row of 2 values"),
        ([Heatmap("t", ["a", "b"], ["c"], [[1]])], "1 rows of values"),
        ([Heatmap("t", ["a"], ["b"], [[math.nan]])], "must be finite"),
        ([Heatmap("t", ["a"], ["b"], [[10**400]])], "must be finite"),
        ([Heatmap("t", ["a"] * 201, ["b"] * 200, [[1] * 200] * 201)], "40,000 are allowed"),
        ([Scatter("t", [(1, math.inf)])], "must be finite"),
        ([Scatter("t", [(1, 2, 3)])], "must be 2 values"),
        ([ParallelCoordinates("t", [Axis("a")], [Series("b", [1, 2])])], "a line of 2 values"),
        ([ParallelCoordinates("t", ["a"], [])], "must be an Axis"),
        (
            [ParallelCoordinates("t", [Axis("a")] * 201, [Series("b", [1] * 201)] * 200)],
            "40,000 are allowed",
        ),
        ([Histogram("t", [0, 1], [1, 2])], "2 edges and 2 counts"),
        ([Histogram("t", [1, 0], [1])], "not in order"),
        ([Histogram("t", [0, 1], [0.5])], "must be an integer"),
        ([Picture(b"GIF89a", "a cat")], "not a PNG"),
        ([Picture("a.png", "a cat")], "must be a PNG"),
        ([Picture(PNG + bytes(MAX_PICTURE_BYTES), "a cat")], "1,000,000 are allowed"),
        ([Gallery([GalleryItem("17", b"not a PNG")])], "not a PNG"),
    ],
)
def test_what_no_report_can_show_is_refused(blocks, says):
    """The message names the section and what is wrong with it."""
    with pytest.raises(DataError) as caught:
        Section("mistakes", blocks)
    assert says in f"{caught.value}"
    assert "'mistakes'" in caught.value.what
    assert caught.value.remedy


def test_an_ordinary_chart_is_kept_as_earlier_mlregs_kept_it():
    """So they can read it: what a chart can have since then is written only where it is used."""
    made = Section("t", [Scatter("t", [(1, 2)]), LineChart("t", [Series("a", [1])])])
    scatter, line = made.to_json()["blocks"]
    assert set(scatter) == {"kind", "title", "points", "x_label", "y_label", "diagonal"}
    assert set(line["series"][0]) == {"name", "values", "low", "high"}


@pytest.mark.parametrize("title", ["", "  ", None, 7, "\udc80", "x" * 201])
def test_a_section_needs_a_short_title(title):
    """It is a heading."""
    with pytest.raises(DataError, match="title"):
        Section(title, [])


RECORD = EVERYTHING.to_json()


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "text",
        7,
        {},
        {"title": "t"},
        {"title": "t", "blocks": None},
        {"title": "t", "blocks": "text"},
        {"title": "t", "blocks": [None]},
        {"title": "t", "blocks": [{"kind": "html", "text": "<b>"}]},
        {"title": "t", "blocks": [{"kind": ["text"]}]},
        {"title": "t", "blocks": [{"kind": "text"}]},
        {"title": "t", "blocks": [{"kind": "text", "text": "t", "more": 1}]},
        {"title": "t", "blocks": [{"kind": "picture", "png": "no base64!", "alt": ""}]},
        {"title": "t", "blocks": [{"kind": "picture", "png": None, "alt": ""}]},
        {"title": "t", "blocks": [{"kind": "picture", "png": 7, "alt": ""}]},
        {"title": "t", "blocks": [{"kind": "bars", "title": "t", "bars": [7]}]},
        {"title": "t", "blocks": [{"kind": "bars", "title": "t", "bars": [{"name": 1}]}]},
        {"title": "t", "blocks": [{"kind": "facts", "rows": 7}]},
        {"title": "t", "blocks": [{"kind": "line", "title": "t", "series": {"a": 1}}]},
    ],
)
def test_malformed_json_is_refused(record):
    """A damaged file is a DataError, whatever it has."""
    with pytest.raises(DataError):
        Section.from_json(record)


@pytest.mark.gate(keep=12)
@pytest.mark.parametrize("kind", range(len(RECORD["blocks"])))
@pytest.mark.parametrize("wrong", [None, 7, "text", [7], [[7, 7, 7]], {"a": 1}, [None]])
def test_a_block_with_any_field_of_another_type_is_refused_or_sound(kind, wrong):
    """What is read can be drawn: it passes the same checks as what a plugin makes."""
    block = RECORD["blocks"][kind]
    for name in block:
        record = json.loads(json.dumps({"title": "t", "blocks": [{**block, name: wrong}]}))
        try:
            read = Section.from_json(record)
        except DataError:
            continue
        assert Section.from_json(json.loads(json.dumps(read.to_json()))) == read


def test_sections_need_neither_numpy_nor_tensorflow():
    """A report is drawn at once."""
    code = (
        "import sys; from registry_core.sections import Section, Text\n"
        "Section('t', [Text('x')]).to_json()\n"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'keras', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
