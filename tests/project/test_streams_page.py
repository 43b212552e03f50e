"""The code in the part "Streams" of the pages about plugins, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = "".join(file.read_text("utf-8") for file in sorted(DOCS.glob("plugins*.md")))

pytestmark = pytest.mark.tensorflow


def code_after(comment: str) -> dict:
    """The names that a block of Python code defines."""
    found = re.search(rf"<!-- {comment} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(found[1], names)
    return names


def read(split) -> list:
    """The examples of a split as training reads them, after the checks."""
    from registry_core.data.checks import check_splits
    from registry_core.training.pipeline import evaluation_batches
    from registry_core.types import DataSplits

    check_splits(DataSplits(split, split))
    return list(evaluation_batches(split).unbatch().as_numpy_iterator())


def test_examples_by_index_are_read_from_files(tmp_path):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        for number in range(3):
            np.save(tmp_path / name / f"{number}_{name}.npy", np.full(8000, number, "float32"))
    data = code_after("an indexed split")["mlreg_dataset"](tmp_path)
    for split in (data.train, data.test):
        found = read(split)
        assert [int(target) for _, target in found] == [0, 1, 2]
        assert all((values == target).all() and len(values) == 8000 for values, target in found)


def test_a_function_reads_pictures_in_the_graph(tmp_path):
    import tensorflow as tf

    files = [tmp_path / f"{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        tf.io.write_file(str(file), tf.io.encode_png(np.full((64, 64, 3), number, "uint8")))
    found = read(code_after("an indexed split in the graph")["pictures"](files, [5, 6, 7]))
    assert [(int(x.max()), int(target)) for x, target in found] == [(0, 5), (1, 6), (2, 7)]


def test_a_stream_reads_records(tmp_path):
    records = np.arange(303, dtype="float32").reshape(3, 101)
    files = [tmp_path / "a.bin", tmp_path / "b.bin"]
    records[:2].tofile(files[0])
    records[2:].tofile(files[1])
    found = read(code_after("a stream")["records"](files, 3))
    assert np.array_equal([[*x, target] for x, target in found], records)
