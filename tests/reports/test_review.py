"""The page of predictions: by class, bounded, and nothing in it acts."""

from __future__ import annotations

import numpy as np

from registry_core.evaluation.beliefs import ExampleName, OutputScale, describe_outputs
from registry_core.reports.review import MAX_SHOWN, Review
from registry_core.tasks import Classification, MultiLabel, Regression

SCALE = OutputScale("binary_crossentropy", 0.5)
KINDS = Classification(("<cat>", "dog"))


def reviewed(outputs, task, inputs, names=None, unreadable=()):
    """The page of some outputs."""
    names = names or [ExampleName(f"{place}.x") for place in range(len(outputs))]
    review = Review()
    told, score = describe_outputs(np.array(outputs, "f4"), task, SCALE, names, 3)
    review.add(told, inputs)
    return review.page("flowers@1", score, unreadable)


def test_examples_are_by_class_and_the_unsure_ones_first():
    page = reviewed([[0.6, 0.4], [0.1, 0.9], [0.9, 0.1]], KINDS, np.zeros((3, 8, 8, 3), "uint8"))
    assert page.index("&lt;cat&gt;: 2 examples") < page.index("dog: 1 example")
    assert page.index("0.x") < page.index("2.x") < page.index("1.x")
    assert page.count("data:image/png;base64,") == 3
    assert "<cat>" not in page


def test_texts_rows_and_reasons_cannot_be_html():
    evil = "<script>alert(1)</script>"
    names = [ExampleName(f"{evil}\n.txt", "1")]
    page = reviewed([[0.5, 0.5]], KINDS, np.array([evil], object), names, [(evil, evil)])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    rows = reviewed([[1.5]], Regression(("price",), ("EUR",)), {"area": np.array([7.0])})
    assert "1.5 EUR" in rows
    assert "area" in rows


def test_a_name_that_is_not_unicode_is_escaped():
    """As the system has it, with lone surrogates."""
    names = [ExampleName("caf\udce9.png")]
    page = reviewed([[0.5, 0.5]], KINDS, np.zeros((1, 4), "f4"), names)
    assert r"caf\udce9.png" in page
    page.encode()


def test_a_page_of_thousands_shows_the_first_and_counts_all():
    count = MAX_SHOWN + 50
    page = reviewed([[0.9, 0.1]] * count, KINDS, np.zeros((count, 2), "f4"))
    assert f"The first {MAX_SHOWN} of {count} examples are shown." in page
    assert f"{MAX_SHOWN - 1}.x" in page
    assert f"{MAX_SHOWN}.x" not in page


def test_labels_have_one_gallery_in_the_order_of_the_files():
    task = MultiLabel(("beach", "dog"))
    page = reviewed([[0.9, 0.9], [0.1, 0.2]], task, np.zeros((2, 2), "f4"))
    assert "beach, dog" in page
    assert "(none)" in page
    assert page.index("0.x") < page.index("1.x")


def test_a_page_of_nothing_names_what_could_not_be_read():
    page = Review().page("flowers@1", "", [("bad.csv", "It holds no example.")])
    assert "Could not be read: 1" in page
    assert "It holds no example." in page
