"""The example `text`: reading texts and labels, splits, class weights, and its errors."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import mlreg_text
import numpy as np
import pytest
from cli_helpers import keras_mlreg, keras_python
from fakes import write_settings
from mlreg_text.new_texts import read_new_texts
from mlreg_text.reading import make_splits, read_texts

from mlreg import Classification, DataError, MultiLabel, UsageError
from mlreg.testing import plugin_checks
from registry_core.data.checks import check_splits

BASELINE = mlreg_text.mlreg_presets()["baseline"]
GOOD, BAD = ("tasty", "lovely", "fresh"), ("stale", "awful", "broken")


def reviews(count: int = 150) -> list[dict[str, str]]:
    """Reviews with 4 stars, or with 2: each has one word that says which."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(count):
        is_good = number % 3 > 0
        words = [f"item{number}", *draw.choice(["it", "was", "the", "tea", "so"], 6)]
        words.insert(int(draw.integers(1, 7)), str(draw.choice(GOOD if is_good else BAD)))
        rows.append({"review": " ".join(words), "stars": "4" if is_good else "2"})
    return rows


def as_csv(rows: list[dict[str, str]]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n"


def config(**changes):
    return BASELINE.changed({"path": "reviews.csv", "text": "review", "label": "stars", **changes})


@pytest.fixture
def load(tmp_path):
    """Write a file, and load it as a run does; the lines that are said are in `load.said`."""

    def load(content, **changes):
        chosen = config(**changes)
        name = chosen.path or "reviews.csv"
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        load.said = []
        return make_splits(read_texts(chosen, tmp_path), chosen, load.said.append)

    return load


def test_texts_are_the_inputs_and_labels_the_classes(load):
    """Classes that are numbers are in the order of numbers."""
    data = load(as_csv(reviews()))
    assert check_splits(data) == []
    assert data.task == Classification(("2", "4"))
    rows = {row["review"]: row["stars"] for row in reviews()}
    for split in (data.train, data.test, data.validation):
        for text, number in zip(split.inputs, split.targets, strict=True):
            assert rows.pop(text) == data.task.class_names[number]
    assert rows == {}


def test_lines_of_json_give_the_same_as_csv(load):
    """A class may be a number there."""
    lines = [json.dumps({**row, "stars": int(row["stars"])}) for row in reviews()]
    ours = load("\n".join(lines), path="reviews.jsonl")
    theirs = load(as_csv(reviews()))
    assert ours.train.inputs.tolist() == theirs.train.inputs.tolist()
    assert ours.train.targets.tolist() == theirs.train.targets.tolist()
    assert ours.task == theirs.task


def test_equal_texts_are_in_the_same_split_and_stay_there(load):
    rows = reviews(300)
    before = load(as_csv(rows[:150]))
    after = load(as_csv([*rows[::-1], *rows[:40]]))
    assert check_splits(after) == []
    assert set(before.test.inputs) < set(after.test.inputs)
    assert set(before.train.inputs) < set(after.train.inputs)


def test_a_column_can_say_which_texts_are_for_testing(load):
    parts = ["train", "TEST", "validation"]
    rows = [{**row, "part": parts[n % 3]} for n, row in enumerate(reviews())]
    data = load(as_csv(rows), split="part")
    assert [len(each) for each in (data.train, data.test, data.validation)] == [50, 50, 50]


def test_a_text_may_have_several_labels(load):
    labels = ["a; b", "b", "c;a", "c"]
    rows = [{**row, "stars": labels[n % 4]} for n, row in enumerate(reviews())]
    data = load(as_csv(rows), several=";")
    assert check_splits(data) == []
    assert data.task == MultiLabel(("a", "b", "c"))
    assert {tuple(row) for row in data.train.targets.tolist()} == {
        (1.0, 1.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.0, 0.0, 1.0)
    }  # fmt: skip
    with pytest.raises(UsageError, match="one class a text"):
        load(as_csv(rows), several=";", balance="true")


def test_balanced_classes_have_the_same_part_in_the_loss(load):
    """Their weights have the mean 1 over the training examples; nothing else is weighed."""
    assert load(as_csv(reviews())).train.class_weights is None
    data = load(as_csv(reviews()), balance="true")
    weights = data.train.class_weights
    counts = np.bincount(data.train.targets)
    assert weights["2"] * counts[0] == pytest.approx(weights["4"] * counts[1])
    assert weights["2"] * counts[0] + weights["4"] * counts[1] == pytest.approx(counts.sum())
    assert data.test.class_weights is None


def test_a_missing_text_is_an_empty_one_and_said(load):
    rows = reviews()
    rows[5]["review"] = ""
    data = load(as_csv(rows))
    assert load.said == ["1 rows have no text; it is taken for the empty text"]
    assert (
        sum("" in split.inputs.tolist() for split in (data.train, data.test, data.validation)) == 1
    )


@pytest.mark.parametrize(
    ("text", "changes", "error", "texts"),
    [
        (as_csv(reviews()), {"path": ""}, UsageError, ["needs a file", "-p label=stars"]),
        (as_csv(reviews()), {"text": "reviews"}, UsageError, ["no column 'reviews'", "'review'?"]),
        (as_csv(reviews()), {"label": "star"}, UsageError, ["no column 'star'", "'stars'?"]),
        (as_csv(reviews()), {"label": "review"}, DataError, ["150 classes in 150 rows"]),
        (as_csv(reviews()), {"split": "stars"}, DataError, ["'stars' has '2'", "validation"]),
        (as_csv(reviews()), {"test_fraction": 0.95}, DataError, ["leave no text"]),
        (as_csv(reviews()[:3]), {}, DataError, ["has 3 texts", "20"]),
        (as_csv(reviews()).replace(",4", ",2"), {}, DataError, ["has 1 classes"]),
        (as_csv(reviews()).replace(",4", ",", 2), {}, DataError, ["in 2 of 150 rows", "2, 3"]),
        ("", {}, DataError, ["cannot be read"]),
        ("review,stars\nso, so,2\n", {}, DataError, ["more cells than the first line"]),
        ("{", {"path": "reviews.jsonl"}, DataError, ["cannot be read", "on each line"]),
        ("review,stars\nZoë,2\n".encode("latin-1"), {}, DataError, ["encoding=latin-1"]),
        ("review,stars\na,2\n", {"encoding": "utf-9"}, UsageError, ["no encoding 'utf-9'"]),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(load, text, changes, error, texts):
    with pytest.raises(error) as caught:
        load(text, **changes)
    for each in texts:
        assert each in str(caught.value)


def test_a_missing_file_names_the_nearest(load, tmp_path):
    (tmp_path / "reviews.csv").touch()
    with pytest.raises(DataError, match=r"Did you mean .*reviews\.csv"):
        read_texts(config(path="review.csv"), tmp_path)


# --- the whole ----------------------------------------------------------------------------------

# without the plugin's folder on the path: the model needs Keras alone
PREDICT = """
import tensorflow as tf
from mlreg import open_registry

model = open_registry("registry").load("reviews@1")
texts = tf.constant(["so lovely", "AWFUL, the tea", "", "unheard of"])
print(model(texts).numpy().argmax(axis=1).tolist())
"""


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_registered_model_classifies_raw_texts(tmp_path):
    """Case and commas do not matter; a text without a known word has a class too."""
    (tmp_path / "reviews.csv").write_text(as_csv(reviews(600)))
    write_settings(tmp_path, {"text": "mlreg_text"}, registry="registry")
    words = [
        "-p",
        "path=reviews.csv",
        "-p",
        "text=review",
        "-p",
        "label=stars",
        "-p",
        "balance=true",
    ]
    installed = str(Path(mlreg_text.__file__).parents[1])
    run = keras_mlreg(
        "run", "text", "--name", "reviews", *words, "--json",
        cwd=tmp_path, PYTHONPATH=installed,
    )  # fmt: skip
    assert run.status == 0, run.stderr
    assert run.json["version"]["metrics"]["test_accuracy"] > 0.95
    done = keras_python("-c", PREDICT, cwd=tmp_path)
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)[:2] == [1, 0]
    told = keras_python(
        "-m", "registry_core", "predict", "reviews@1", "-", "--csv", "--top", "1",
        cwd=tmp_path, PYTHONPATH=installed, given="so lovely\n\nAWFUL, the tea\n",
    )  # fmt: skip
    assert told.status == 0, told.stderr
    rows = [line.split(",") for line in told.stdout.splitlines()]
    assert [row[:2] for row in rows] == [["example", "class"], ["stdin:1", "4"], ["stdin:3", "2"]]


def test_texts_to_predict_are_lines_or_a_column(tmp_path):
    """An empty line is no text; a CSV file needs the column of texts alone, and may have gaps."""
    chosen = BASELINE.changed({"text": "review"})
    plain, table = tmp_path / "plain.txt", tmp_path / "table.csv"
    plain.write_bytes("\ufefffirst, one\r\n\n third\n".encode())
    table.write_text('review,other\n"two\nlines",1\n,2\n')
    read = read_new_texts([plain, table], chosen)
    assert read.counts == [2, 2]
    assert read.names == ["1", "3", "1", "2"]
    assert read.inputs.tolist() == ["first, one", "third", "two\nlines", ""]
    table.write_text("text\nx\n")
    with pytest.raises(DataError, match="no column 'review'"):
        read_new_texts([table], chosen)
    plain.write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="not text in utf-8: byte 3 is not valid"):
        read_new_texts([plain], chosen)
    table.write_bytes(b"review\ncaf\xe9\n")
    with pytest.raises(DataError) as caught:  # `mlreg predict` has no -p
        read_new_texts([table], chosen)
    assert caught.value.remedy == "The version takes utf-8."


_FOLDER = tempfile.TemporaryDirectory()
_FILE = Path(_FOLDER.name, "reviews.csv")
_FILE.write_text(as_csv(reviews()))

test_the_plugin_keeps_the_light_rules = pytest.mark.gate(
    pytest.mark.processes(
        plugin_checks(
            mlreg_text,
            overrides={"path": str(_FILE), "text": "review", "label": "stars"},
            quick=True,
        )
    )
)
