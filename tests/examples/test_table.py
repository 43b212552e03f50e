"""The example `table`: types of columns, missing values, the target, splits, and its errors."""

from __future__ import annotations

import base64
import json
import math
import sys
import tempfile
from pathlib import Path

import mlreg_table
import numpy as np
import pytest
from cli_helpers import keras_mlreg, keras_python
from fakes import write_settings
from mlreg_table.columns import make_inputs
from mlreg_table.new_rows import read_new_rows
from mlreg_table.reading import read_table
from mlreg_table.splits import make_splits
from pydantic import ValidationError

from mlreg import ArraySplit, Classification, DataError, Regression, UsageError, open_registry
from mlreg.testing import plugin_checks
from registry_core.data.checks import check_splits
from registry_core.data.signature import signature as signature_of

pytestmark = pytest.mark.drawn

BASELINE = mlreg_table.mlreg_presets()["baseline"]


def cells(rows: int = 120, **columns) -> str:
    """A table as CSV: a price, an area, rooms with gaps, a town and whether there is a garden."""
    draw = np.random.default_rng(0)
    area = draw.integers(30, 200, rows)
    town = draw.choice(["Aa", "Bree", "Zoë"], rows)
    rooms = [str(n) if n else "" for n in draw.integers(0, 6, rows)]
    garden = draw.choice(["true", "false"], rows)
    price = 1000 * area + 20_000 * (town == "Bree") + draw.normal(0, 1000, rows).round(2)
    table = {"Area (m²)": area, "rooms": rooms, "town": town, "garden": garden, "price": price}
    table |= columns
    lines = [
        ",".join(table),
        *(",".join(map(str, row)) for row in zip(*table.values(), strict=True)),
    ]
    return "\n".join(lines) + "\n"


def config(**changes):
    return BASELINE.changed({"path": "houses.csv", "target": "price", **changes})


@pytest.fixture
def load(tmp_path):
    """Write a table, and load it as a run does; the lines that are said are in `load.said`."""

    def load(text, **changes):
        (tmp_path / "houses.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        chosen = config(**changes)
        load.said = []
        return make_splits(read_table(chosen, tmp_path), chosen, load.said.append)

    return load


# --- what the model gets ------------------------------------------------------------------------


def test_columns_become_numbers_and_texts_by_what_they_hold(load):
    """Names are reduced to what an exported model may have; missing numbers have a second input."""
    data = load(cells())
    check_splits(data)
    kinds = {name: column.dtype.kind for name, column in data.train.inputs.items()}
    assert kinds == {"Area_m2": "f", "rooms": "f", "rooms_known": "f", "town": "O", "garden": "f"}
    assert set(data.train.inputs["town"]) == {"Aa", "Bree", "Zoë"}
    assert set(data.train.inputs["garden"]) == {0.0, 1.0}
    known = data.train.inputs["rooms_known"]
    assert set(known) == {0.0, 1.0}
    assert not data.train.inputs["rooms"][known == 0].any()
    assert data.train.inputs["rooms"][known == 1].all()
    assert data.train.targets.dtype == np.float32
    assert data.task == Regression(("price",), ("",))


def test_a_column_that_is_named_like_an_input_of_ours_keeps_its_numbers(load):
    """Nor do two columns share an input, or have a name that Keras and TensorFlow refuse."""
    odd = {"rooms_known": [7.5] * 119 + [8], "Town": ["x", "y"] * 60, "2nd/3rd": ["p", "q"] * 60}
    inputs = load(cells(**odd)).train.inputs
    assert set(inputs["rooms_known"]) == {0.0, 1.0}
    assert 7.5 in inputs["rooms_known_"]
    assert set(inputs["Town_2"]) == {"x", "y"}
    assert set(inputs["column_2nd_3rd"]) == {"p", "q"}


def test_a_missing_category_is_a_category_of_its_own(load):
    towns = ["Aa", "", "NA", " Aa "] * 30
    assert set(load(cells(town=towns)).train.inputs["town"]) == {"Aa", ""}
    assert set(load(cells(town=["Aa", "?"] * 60), missing='["?"]').train.inputs["town"]) == {
        "Aa",
        "",
    }


def test_columns_that_say_nothing_are_left_out_and_named(load):
    names = [f"house {number}" for number in range(120)]
    data = load(cells(name=names, land=["here"] * 120, empty=[""] * 120, id=range(120)))
    assert {"name", "land", "empty"}.isdisjoint(data.train.inputs)
    assert [line.split("'")[1] for line in load.said] == ["name", "land", "empty", "id"]
    assert "the same value in every row" in load.said[1]
    assert "counts the rows" in load.said[3]
    assert "id" in data.train.inputs
    assert "id" not in load(cells(id=range(120)), drop='["id"]').train.inputs


def test_numbers_can_be_categories(load):
    data = load(cells(postcode=["01067", "80331"] * 60), categories='["postcode"]')
    assert set(data.train.inputs["postcode"]) == {"01067", "80331"}


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (["2024-03-01"] * 60 + ["2024-12-31 10:00"] * 60, ["dates, such as 2024-03-01", "drop="]),
        (["1.5", "inf"] * 60, ["not finite or too large: rows 2, 4, 6, 8, 10 and 55 more"]),
        (["?", *range(119)], ["has numbers, and 1 texts such as '?'", "missing=", '["?"]']),
    ],
)
def test_a_column_that_needs_a_decision_is_refused(load, column, texts):
    with pytest.raises(DataError) as caught:
        load(cells(odd=column))
    for text in ["Column 'odd'", *texts]:
        assert text in str(caught.value)


# --- the target ---------------------------------------------------------------------------------


def test_texts_and_few_whole_numbers_are_classes_and_other_numbers_quantities(load):
    task = load(cells(), target="town").task
    assert task == Classification(("Aa", "Bree", "Zoë"))
    stars = [10, 2, 1] * 40
    data = load(cells(stars=stars), target="stars")
    assert data.task == Classification(("1", "2", "10"))
    assert set(data.train.targets) == {0, 1, 2}
    number = load(cells(stars=stars), target="stars", task="regression", unit="stars")
    assert number.task == Regression(("stars",), ("stars",))
    assert set(number.train.targets) == {1.0, 2.0, 10.0}
    assert load(cells(), target="garden").task == Classification(("false", "true"))


@pytest.mark.parametrize(
    ("changes", "columns", "texts"),
    [
        ({}, {"price": [*[1.5, ""] * 2, *[2.5] * 116]}, ["missing in 2 of 120 rows: rows 2 and 4"]),
        ({"target": "town"}, {"town": ["Aa"] * 120}, ["a single class: 'Aa'"]),
        ({"task": "classification"}, {}, ["classes in 120 rows", "task=regression"]),
        ({"target": "town", "task": "regression"}, {}, ["has texts, such as 'Aa'"]),
        (
            {"split": "town"},
            {},
            [
                "has other texts, such as 'Bree', in rows 1, 2,",
                "It must have train, test, validation",
            ],
        ),
        ({"test_fraction": 0.9}, {}, ["leave no row for training"]),
        ({"drop": '["Area (m²)", "rooms", "town", "garden"]'}, {}, ["no column left"]),
    ],
)
def test_an_unsuitable_target_or_split_is_refused(load, changes, columns, texts):
    with pytest.raises(DataError) as caught:
        load(cells(**columns), **changes)
    for text in texts:
        assert text in str(caught.value)


def test_a_class_that_no_training_row_has_is_named(load):
    parts = (["train"] * 3 + ["test"]) * 30
    load(cells(kind=["a", "b", "a", "c"] * 30, part=parts), target="kind", split="part")
    assert load.said == ["no training row has the class 'c'"]


# --- splits -------------------------------------------------------------------------------------


def test_rows_keep_their_split_when_the_file_grows(load):
    """A row is known by its price. Neither the order nor later rows move it."""

    def places(data):
        return {
            price: name
            for name in ("train", "validation", "test")
            for price in getattr(data, name).targets
        }

    lines = cells(600).splitlines()
    before = places(load("\n".join(lines[:301])))
    after = places(load("\n".join([lines[0], *reversed(lines[1:])])))
    assert len(after) > len(before) > 290
    assert before == {price: after[price] for price in before}
    share = sum(name == "test" for name in after.values()) / len(after)
    assert math.isclose(share, 0.2, abs_tol=0.05)


def test_equal_rows_are_in_the_same_split(load):
    """Whatever their target is, so no training row is tested."""
    lines = cells(60).splitlines()
    data = load("\n".join([*lines, *(f"{line}9" for line in lines[1:])]))
    assert check_splits(data) == []


def test_a_column_can_say_which_rows_are_for_testing(load):
    data = load(cells(part=["train", "Test", "validation"] * 40), split="part")
    assert [len(each) for each in (data.train, data.test, data.validation)] == [40, 40, 40]
    assert "part" not in data.train.inputs


# --- reading ------------------------------------------------------------------------------------


def test_parquet_gives_the_same_as_csv(tmp_path):
    """Its types are used: numbers, true and false, categories, texts."""
    import pandas as pd

    (tmp_path / "houses.csv").write_text(cells())
    frame = pd.read_csv(tmp_path / "houses.csv").astype({"town": "category"})
    frame.to_parquet(tmp_path / "houses.parquet")
    chosen = config(path="houses.parquet")
    ours, _ = make_inputs(read_table(chosen, tmp_path), chosen, print)
    theirs, _ = make_inputs(read_table(config(), tmp_path), config(), print)
    assert list(ours) == list(theirs)
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "houses.parquet").write_bytes(b"PAR1")
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match="needs pyarrow") as caught:
        read_table(config(path="houses.parquet"), tmp_path)
    assert caught.value.command == "pip install pyarrow"


@pytest.mark.parametrize(
    ("text", "changes", "error", "texts"),
    [
        (cells(), {"path": ""}, UsageError, ["needs a file", "-p path=houses.csv"]),
        (cells(), {"path": "hauses.csv"}, DataError, ["There is no file", "Did you mean"]),
        (cells(), {"path": "."}, DataError, ["is not a file"]),
        (cells(), {"target": "Price"}, UsageError, ["no column 'Price'", "mean 'price'"]),
        (cells(), {"drop": '["twon"]'}, UsageError, ["no column 'twon'", "mean 'town'"]),
        (cells().replace(",", ";"), {}, UsageError, ["a single column", "'separator=;'"]),
        (cells(5), {}, DataError, ["has 5 rows", "20"]),
        ("", {}, DataError, ["is empty"]),
        (cells().encode("latin-1"), {}, DataError, ["is not text in utf-8", "encoding=latin-1"]),
        (cells(), {"encoding": "utf-9"}, UsageError, ["no encoding 'utf-9'"]),
        ("a,b\n1,2\n1,2,3\n", {}, DataError, ["cannot be read as CSV", "line 3"]),
        ("a,b\n1,2,3\n1,2,3\n", {}, DataError, ["more cells than the first line"]),
        ("price,a,a \n1,2,3\n", {}, DataError, ["two columns 'a'"]),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(load, text, changes, error, texts):
    with pytest.raises(error) as caught:
        load(text, **changes)
    for each in texts:
        assert each in str(caught.value)


def test_another_separator_and_encoding_are_read(load):
    text = cells().replace(",", ";").encode("utf-16")
    assert set(load(text, separator=";", encoding="utf-16").train.inputs) == set(
        load(cells()).train.inputs
    )


def test_a_hidden_layer_needs_units():
    with pytest.raises((UsageError, ValidationError), match="1 unit or more"):
        config(hidden="[8, 0]")


# --- rows to predict ----------------------------------------------------------------------------


def signature(inputs):
    """What a version's record says of inputs like these."""
    split = ArraySplit(inputs, np.zeros(len(next(iter(inputs.values())))))
    return signature_of(split)["inputs"]


def test_new_rows_become_the_inputs_that_training_made_of_them(tmp_path):
    """Also where the new rows alone would say otherwise: no gap, one town, numbers as texts."""
    text = cells(wing=["7" if row % 9 else "east" for row in range(120)])
    (tmp_path / "houses.csv").write_text(text)
    chosen = config()
    inputs, _ = make_inputs(read_table(chosen, tmp_path), chosen, print)
    first, *rows = text.splitlines()
    for start in (0, 4, 30):
        few = tmp_path / f"{start}.csv"
        few.write_text("\n".join([first, *rows[start : start + 3]]))
        read = read_new_rows([few], chosen, signature(inputs))
        assert read.counts == [3]
        assert read.names == ["1", "2", "3"]
        assert read.inputs.keys() == inputs.keys()
        for name, values in read.inputs.items():
            assert values.tolist() == inputs[name][start : start + 3].tolist(), name
            assert values.dtype.kind == inputs[name].dtype.kind


def test_rows_to_predict_need_no_target_and_may_have_other_columns(tmp_path):
    (tmp_path / "houses.csv").write_text(cells())
    inputs, _ = make_inputs(read_table(config(), tmp_path), config(), print)
    few = tmp_path / "few.csv"
    few.write_text("note,garden,town,rooms,Area (m²)\nnew,true,Aa,,70\n")
    read = read_new_rows([few], config(), signature(inputs))
    assert {name: values.tolist() for name, values in read.inputs.items()} == {
        "Area_m2": [70.0], "rooms": [0.0], "rooms_known": [0.0], "town": ["Aa"], "garden": [1.0],
    }  # fmt: skip


def test_a_row_that_cannot_be_predicted_is_named_and_the_others_are_read(tmp_path):
    """A word where a number belongs; a gap where training had none; a number too large."""
    (tmp_path / "houses.csv").write_text(cells())
    inputs, _ = make_inputs(read_table(config(), tmp_path), config(), print)
    few = tmp_path / "few.csv"
    head = "garden,town,rooms,Area (m²)\n"
    few.write_text(f"{head}true,Aa,2,70\ntrue,Aa,2,wide\ntrue,Aa,2,\ntrue,Aa,1e99,50\nno,B,1,60\n")
    read = read_new_rows([few], config(), signature(inputs))
    assert read.names == ["1"]
    assert [(row, why) for _, row, why in read.unreadable] == [
        ("2", "'Area (m²)' is 'wide', not a finite number"),
        ("3", "'Area (m²)' is missing, which no training row had"),
        ("4", "'rooms' is '1e99', not a finite number"),
        ("5", "'garden' is 'no', not a finite number"),
    ]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("town,rooms,Area (m²)", "no column for the input 'garden'"),
        ("garden,town,rooms,Area (m²),Area m2", "cannot be told apart"),
    ],
)
def test_a_file_without_the_columns_of_training_is_refused(tmp_path, head, said):
    (tmp_path / "houses.csv").write_text(cells())
    inputs, _ = make_inputs(read_table(config(), tmp_path), config(), print)
    few = tmp_path / "few.csv"
    few.write_text(head + "\n")
    with pytest.raises(DataError, match=said):
        read_new_rows([few], config(), signature(inputs))


@pytest.mark.parametrize("content", [b"town\ncaf\xe9\n", b'"town\nAa\n'])
def test_new_rows_that_cannot_be_read_name_what_the_version_takes(tmp_path, content):
    """`mlreg predict` has no -p, so no setting is suggested."""
    (tmp_path / "houses.csv").write_text(cells())
    inputs, _ = make_inputs(read_table(config(), tmp_path), config(), print)
    few = tmp_path / "few.csv"
    few.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_new_rows([few], config(), signature(inputs))
    assert caught.value.remedy == "The version takes utf-8, with cells separated by ','."


# --- the whole ----------------------------------------------------------------------------------

# without the plugin's folder on the path: the model needs Keras alone
PREDICT = """
import json
import tensorflow as tf
from mlreg import open_registry

model = open_registry("registry").load("houses@1")
def price(area=100.0, rooms=0.0, rooms_known=0.0, town="Bree"):
    row = {"Area_m2": area, "rooms": rooms, "rooms_known": rooms_known, "garden": 1.0, "town": town}
    return float(model({name: tf.constant([value]) for name, value in row.items()})[0, 0])

print(json.dumps([price(), price(rooms=9.0), price(town="Nowhere"), price(area=1e9)]))
"""


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_registered_model_predicts_from_raw_columns_in_the_targets_unit(tmp_path):
    """Missing numbers, towns that are new and absurd areas are answered."""
    part = ["test" if row % 5 == 0 else "train" for row in range(600)]
    (tmp_path / "houses.csv").write_text(cells(600, part=part))
    write_settings(tmp_path, {"table": "mlreg_table"}, registry="registry")
    words = ["-p", "path=houses.csv", "-p", "target=price", "-p", "unit=EUR", "--epochs", "20"]
    installed = str(Path(mlreg_table.__file__).parents[1])
    run = keras_mlreg(
        "run", "table", "--name", "houses", *words, "-p", "split=part", "--json",
        cwd=tmp_path, PYTHONPATH=installed,
    )  # fmt: skip
    assert run.status == 0, run.stderr
    assert run.json["version"]["metrics"]["test_mae"] < 10_000  # the prices' deviation is 50,000
    done = keras_python("-c", PREDICT, cwd=tmp_path)
    assert done.status == 0, done.stderr
    unknown, ignored, elsewhere, absurd = json.loads(done.stdout)
    assert unknown == ignored
    assert abs(unknown - 120_000) < 15_000
    assert abs(elsewhere - 100_000) < 30_000
    assert math.isfinite(absurd)
    told = keras_mlreg(
        "predict", "houses@1", "houses.csv", "--json", cwd=tmp_path, PYTHONPATH=installed
    )
    assert told.status == 0, told.stderr
    assert {each["values"][0]["unit"] for each in told.json["predictions"]} == {"EUR"}
    prices = [each["values"][0]["value"] for each in told.json["predictions"]]
    np.testing.assert_allclose(prices[::5], recorded_predictions(tmp_path), rtol=1e-6)


def recorded_predictions(folder: Path) -> np.ndarray:
    """What houses@1 was measured to predict for its test rows."""
    registry = open_registry(folder / "registry")
    details = registry.per_example_results(registry.version("houses@1")).details
    return np.frombuffer(base64.b64decode(details["predicted_float32"]), "<f4")


_FOLDER = tempfile.TemporaryDirectory()
_FILE = Path(_FOLDER.name, "houses.csv")
_FILE.write_text(cells())

test_the_plugin_keeps_the_light_rules = pytest.mark.gate(
    pytest.mark.processes(
        plugin_checks(mlreg_table, overrides={"path": str(_FILE), "target": "price"}, quick=True)
    )
)
