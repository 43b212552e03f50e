"""The worst test examples: which they are, what is seen of them, and how a version keeps them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from registry_core.errors import IntegrityError
from registry_core.evaluation.example_views import MAX_PICTURE_BYTES, shortened, views_of
from registry_core.evaluation.packing import pack_results
from registry_core.evaluation.shown_examples import (
    ShownExample,
    examples_json,
    read_plugin_sections,
    read_shown_examples,
    sections_json,
)
from registry_core.evaluation.worst_examples import worst_examples
from registry_core.records import FileRecord
from registry_core.sections import PNG_SIGNATURE, Section, Text
from registry_core.tasks import Classification, MultiLabel, Other, Regression, Segmentation
from registry_core.types import Evaluation

ABC = ("ant", "bee", "cat")


def worst(task, targets, outputs, losses=None, **known):
    outputs = np.asarray(outputs)
    losses = np.ones(len(outputs)) if losses is None else np.asarray(losses)
    evaluation = Evaluation({}, outputs, losses.astype("float32"), np.asarray(targets), **known)
    return worst_examples(evaluation, task, pack_results(evaluation, task, "f"))


# --- which --------------------------------------------------------------------------------------


def test_wrong_classes_are_shown_by_loss():
    """With the three most probable classes; what is right is no mistake, whatever its loss."""
    outputs = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.3, 0.5, 0.2], [0.1, 0.8, 0.1]]
    first, second = worst(Classification(ABC), [0, 0, 1, 2], outputs, [9, 1, 0.5, 2])
    assert first == ShownExample(
        3, 2.0, "cat", (("bee", pytest.approx(0.8)), ("ant", 0.1), ("cat", 0.1))
    )
    assert (second.index, second.truth, second.beliefs[0]) == (1, "ant", ("cat", 0.6))


def test_logits_are_shown_as_probabilities_and_other_outputs_without():
    """The outputs of a hinge loss say which class, and not how sure the model is."""
    logits = np.log([[0.7, 0.2, 0.1]]).astype("float32")
    known = {"threshold": 0.0, "loss_function": "sparse_categorical_crossentropy"}
    (one,) = worst(Classification(ABC), [1], logits, **known)
    assert one.beliefs[0] == ("ant", pytest.approx(0.7))
    (one,) = worst(Classification(ABC), [1], logits, threshold=0.0, loss_function="hinge")
    assert one.beliefs == (("ant", None),)


def test_at_most_24_are_shown_and_equal_losses_keep_their_order():
    """The first of equal ones come first."""
    shown = worst(Classification(ABC), [0] * 40, [[0, 1, 0]] * 40)
    assert [each.index for each in shown] == list(range(24))


def test_labels_quantities_and_places_are_shown_in_words():
    """Each task has its own truth and belief."""
    (one,) = worst(MultiLabel(ABC), [[1, 1, 0], [0, 0, 0]], [[0.9, 0.2, 0.7], [0.1, 0.1, 0.1]])
    assert (one.index, one.truth) == (0, "ant, bee")
    assert [name for name, _ in one.beliefs] == ["ant", "cat", "bee"]

    task = Regression(("price",), ("EUR",))
    first, second = worst(task, [1.0, 5.0, 2.0], [1.5, 1234567.0, 2.0])
    assert (first.index, first.truth, first.beliefs) == (
        1,
        "5.00 EUR",
        (("1,234,567 EUR", None),),
    )
    assert second.index == 0

    task = Segmentation(("road", "car"))
    mask = np.zeros((2, 4, 4), int)
    outputs = np.eye(2)[[mask[0] + 1, mask[1]]]
    first, second = worst(task, mask, outputs)
    assert (first.index, first.truth, first.beliefs) == (0, "road", (("car (mean iou 0)", None),))

    first, second = worst(Other(), [[1.0], [2.0]], [[1.0], [2.0]], [0.5, 2])
    assert (first.index, first.truth, first.beliefs) == (1, "", ())


def test_errors_of_several_targets_are_compared_by_how_large_they_usually_are():
    """A metre of height is more than a gram of weight."""
    true = np.zeros((4, 2))
    outputs = [[1, 1000], [1, 1100], [9, 1000], [1, 1000]]
    first, second, *_ = worst(Regression(("height", "weight"), ("m", "g")), true, outputs)
    assert (first.index, second.index) == (2, 1)
    assert first.truth == "height 0 m, weight 0 g"
    assert first.beliefs == (("height 9.00 m, weight 1,000 g", None),)


@pytest.mark.parametrize("task", [Regression(), Classification(ABC), Other()])
def test_what_is_not_finite_hides_nothing_else(task):
    """An example without a number is left out; the others are shown."""
    outputs = np.array([[0.0, 1, 0], [np.nan, np.nan, np.nan], [0, 0, 1]])
    targets = np.zeros((3, 3)) if task.kind == "regression" else np.zeros(3, int)
    shown = worst(task, targets, outputs, [1, np.nan, 2])
    assert {each.index for each in shown} == {0, 2}
    assert json.loads(examples_json(shown))["schema"] == 1


# --- what is seen -------------------------------------------------------------------------------


def seen(value):
    (view,), _ = views_of([value])
    return view


def pixels(view) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(view.picture)))


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (32, 32, 3), (20, 30, 4)])
def test_arrays_with_the_shape_of_a_picture_are_pictures(shape):
    """Bytes, and floats up to 1 or 255, have the same pixels."""
    array = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    expected = array[..., 0] if shape[2:] == (1,) else array
    assert (pixels(seen(array)) == expected).all()
    assert (pixels(seen(array.astype("float32"))) == expected).all()
    assert (pixels(seen((array / 255).astype("float32"))) == expected).all()


def test_a_large_picture_is_made_small():
    """At most 128 pixels a side, and all of them together a few hundred kilobytes."""
    noise = np.random.default_rng(0).integers(0, 256, (500, 250, 3), "uint8")
    assert pixels(seen(noise)).shape == (128, 64, 3)
    views, _ = views_of([noise] * 24)
    assert sum(len(view.picture) for view in views) <= MAX_PICTURE_BYTES
    wide = np.random.default_rng(0).integers(0, 256, (400, 400, 4), "uint8")
    views, _ = views_of([wide] * 24)
    assert sum(len(view.picture) for view in views) <= MAX_PICTURE_BYTES


def test_small_numbers_are_pictures_with_the_contrast_that_they_have():
    """The digits of scikit-learn go up to 16; pictures of one run share their white."""
    for dtype in ("float32", "uint8"):
        bright, dark = np.full((8, 8), 16, dtype), np.full((8, 8), 4, dtype)
        views, _ = views_of([bright, dark])
        assert [int(pixels(view).max()) for view in views] == [255, 64]
    assert (pixels(seen(np.eye(8, dtype=bool))) == 255 * np.eye(8)).all()
    assert (pixels(seen(np.zeros((8, 8), "uint8"))) == 0).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((32, 32, 2), "uint8"),
        np.zeros((5, 3)),
        np.full((32, 32, 3), -1.0),
        np.full((32, 32, 3), np.nan),
        np.full((32, 32, 3), 300.0),
        np.zeros((32, 32, 3), "int64"),
        np.zeros((4, 32, 32, 3), "uint8"),
        np.zeros(31),
        np.zeros((0, 32, 3), "uint8"),
        np.array(["a", "b"]),
    ],
)
def test_what_is_no_picture_text_or_row_is_not_shown(array):
    """Neither is guessed."""
    view = seen(array)
    assert (view.picture, view.text) == (None, None)
    assert view.row is None or array.dtype.kind == "U"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain words", "plain words"),
        (b"bytes \xff\xfe", "bytes \ufffd\ufffd"),
        ("two\nlines\tand\r\nmore", "two lines and more"),
        ("\x1b[31mred\x00 \u202eback", "\\x1b[31mred\\x00 \\u202eback"),
        ("a lone \udc80", "a lone \\udc80"),
        ("", ""),
    ],
)
def test_texts_are_shown_on_one_line(value, text):
    """Nothing in them can act on a terminal or a page."""
    assert seen(np.array(value, object)).text == text
    assert seen([np.array([value], object)]).text == text


def test_a_huge_text_is_shortened():
    """Without copying all of it."""
    text = seen(np.array("word " * 1_000_000, object)).text
    assert len(text) <= 602
    assert text.endswith("word …")
    assert shortened("é" * 700, 600) == "é" * 600 + " …"


def test_columns_and_short_vectors_are_rows():
    """Names and values, at most thirty, and how many more there are."""
    columns = {
        "area": np.float32(81.3),
        "rooms": np.array([3]),
        "garden": np.bool_(True),
        "town": np.array("Ulm\x07"),
        "year": np.int64(1987),
        "price": np.float64("nan"),
        "point": np.array([1.5, 2.5]),
    }
    assert seen(columns).row == (
        ("area", 81.3),
        ("rooms", 3),
        ("garden", "true"),
        ("town", "Ulm\\x07"),
        ("year", 1987),
        ("price", "nan"),
        ("point[0]", 1.5),
        ("point[1]", 2.5),
    )
    assert seen(np.array([1.5, 2.0])).row == (("input[0]", 1.5), ("input[1]", 2.0))
    assert seen(np.float32(0.5)).row == (("input", 0.5),)
    row = seen({str(number): np.float32(0) for number in range(99)}).row
    assert (len(row), row[-1]) == (31, ("not shown", "69 more"))


def test_a_picture_with_columns_has_both():
    """As a model of two inputs takes them."""
    view = seen({"photo": np.zeros((32, 32, 3), "uint8"), "house": {"area": np.float32(81)}})
    assert view.picture.startswith(PNG_SIGNATURE)
    assert (view.text, view.row) == (None, (("house.area", 81.0),))
    assert seen((np.zeros((32, 32, 3), "uint8"), np.float32(81))).row == (("input 2", 81.0),)


def test_without_pillow_there_are_no_pictures(monkeypatch):
    """A sentence says so."""
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    views, missing = views_of([np.zeros((32, 32, 3), "uint8")])
    assert views[0].picture is None
    assert "pip install pillow" in missing


# --- how they are kept --------------------------------------------------------------------------

SHOWN = [
    ShownExample(17, 4.25, "cat", (("dog", 0.93), ("cat", None)), PNG_SIGNATURE + b"x"),
    ShownExample(3, None, "5 EUR", (), None, "words", (("area", 81.5), ("n", 3), ("x", None))),
]


class Files:
    """A store and a version of a single file."""

    ref = "flowers@1"

    def __init__(self, path, content, size=None):
        self._path, self._content = path, content
        self._size = len(content) if size is None else size

    def file(self, path):
        return FileRecord(path, self._size, "0" * 64) if path == self._path else None

    def read(self, version, path):
        return self._content


def test_examples_and_sections_are_read_back():
    """Versions of earlier mlregs have none."""
    kept = Files("report/examples.json", examples_json(SHOWN))
    assert read_shown_examples(kept, kept) == SHOWN
    assert read_plugin_sections(kept, kept) == []
    sections = [Section("one", [Text("two")])]
    kept = Files("report/sections.json", sections_json(sections))
    assert read_plugin_sections(kept, kept) == sections
    assert read_shown_examples(kept, kept) == []


EXAMPLE = SHOWN[0].to_json()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"schema": 2, "examples": [], "sections": []}',
        b'{"schema": 1}',
        b'{"schema": 1, "examples": {}, "sections": {}}',
        b'{"schema": 1, "examples": [null], "sections": [null]}',
        *(
            json.dumps({"schema": 1, "examples": [{**EXAMPLE, **change}], "sections": [7]}).encode()
            for change in (
                {"index": "17"},
                {"index": True},
                {"loss": "4"},
                {"loss": float("nan")},
                {"truth": None},
                {"beliefs": "dog"},
                {"beliefs": [["dog"]]},
                {"beliefs": [[1, 0.5]]},
                {"picture": "no base64!"},
                {"picture": "AAAA"},
                {"text": 7},
                {"row": 7},
                {"row": [["a", {}]]},
            )
        ),
    ],
)
def test_a_damaged_file_is_an_integrity_error(content):
    """It names the file and the version."""
    for path, read in (
        ("report/examples.json", read_shown_examples),
        ("report/sections.json", read_plugin_sections),
    ):
        kept = Files(path, content)
        with pytest.raises(IntegrityError, match=rf"{path} of flowers@1"):
            read(kept, kept)


def test_a_huge_file_is_not_read():
    """Its size is looked at first."""
    kept = Files("report/examples.json", None, size=10**9)
    with pytest.raises(IntegrityError, match="1,000,000,000 bytes"):
        read_shown_examples(kept, kept)
