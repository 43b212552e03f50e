"""Per-example results: packed with NumPy, read without it."""

import base64
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.errors import IntegrityError
from registry_core.evaluation.packing import pack_results
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.evaluation.predictions import predicted_classes, true_classes
from registry_core.tasks import Classification, Other
from registry_core.types import Evaluation

ABC = Classification(("a", "b", "c"))


def evaluated(targets, outputs=None, losses=None) -> Evaluation:
    targets = np.asarray(targets)
    outputs = np.zeros((len(targets), 1)) if outputs is None else np.asarray(outputs)
    losses = np.arange(len(targets)) if losses is None else np.asarray(losses)
    return Evaluation({}, outputs, losses.astype("float32"), targets)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_correct_predictions_are_packed_as_bits(pairs):
    """Bit i is whether example i is right, most significant bit first; classes are int32."""
    truth, answers = (np.array(column) for column in zip(*pairs, strict=True))
    packed = pack_results(evaluated(truth, np.eye(3)[answers]), ABC, "sha256:1")
    bits = "".join(f"{byte:08b}" for byte in packed.correct)
    assert [bit == "1" for bit in bits[: len(pairs)]] == [t == a for t, a in pairs]
    assert "1" not in bits[len(pairs) :]
    assert np.frombuffer(packed.predicted, "<i4").tolist() == answers.tolist()
    assert packed.examples == len(pairs)
    assert packed.right() == [t == a for t, a in pairs]
    assert packed.expected_classes() == tuple(truth)
    assert PerExampleResults.from_json(packed.to_json()) == packed


def test_losses_are_stored_exactly():
    """Float32, little-endian, in the split's order."""
    losses = [0.1, 1e-30, 12.5]
    packed = pack_results(evaluated([0, 1, 2], np.eye(3), losses), ABC, "f")
    assert packed.losses == np.array(losses, "<f4").tobytes()


def test_without_classes_only_losses_are_stored():
    """A regression has no right or wrong."""
    packed = pack_results(evaluated([0.5, 2.5]), Other(), "f")
    assert packed.correct is None
    assert packed.predicted is None
    assert PerExampleResults.from_json(packed.to_json()) == packed


@pytest.mark.parametrize(
    "targets", [[2, 0, 1], [[2], [0], [1]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]], [2.0, 0.0, 1.0]]
)
def test_true_classes_come_from_class_numbers_or_one_hot_rows(targets):
    """All forms of the targets give the same classes."""
    evaluation = evaluated(targets, np.eye(3)[[2, 0, 2]])
    assert true_classes(evaluation.targets).tolist() == [2, 0, 1]
    assert predicted_classes(evaluation.outputs, 3).tolist() == [2, 0, 2]
    assert pack_results(evaluation, ABC, "f").correct == bytes([0b1100_0000])


def test_the_file_is_json_with_a_schema():
    """Other programs can read it: base64 of plain little-endian numbers."""
    packed = pack_results(
        evaluated([1, 0], [[0.1, 0.9], [0.2, 0.8]], [0.5, 1]),
        Classification(("a", "b")),
        "sha256:9",
    )
    record = json.loads(packed.to_json())
    assert record["schema"] == 1
    assert record["examples"] == 2
    assert record["fingerprint"] == "sha256:9"
    assert base64.b64decode(record["correct_bits"]) == b"\x80"
    assert np.frombuffer(base64.b64decode(record["predicted_int32"]), "<i4").tolist() == [1, 1]
    assert np.frombuffer(base64.b64decode(record["losses_float32"]), "<f4").tolist() == [0.5, 1]


WHOLE = json.loads(PerExampleResults(9, "f", bytes(36), bytes(2), bytes(36)).to_json())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        *(
            json.dumps({**WHOLE, **change}).encode()
            for change in (
                {"examples": 8},
                {"examples": 10},
                {"examples": -9},
                {"examples": "nine"},
                {"examples": None},
                {"examples": float("inf")},
                {"losses_float32": None},
                {"losses_float32": "AAAA"},
                {"losses_float32": 7},
                {"losses_float32": "no base64!"},
                {"correct_bits": "AA=="},
                {"predicted_int32": "AAAA"},
                {"expected_int32": "AAAA"},
            )
        ),
        json.dumps({key: WHOLE[key] for key in WHOLE if key != "fingerprint"}).encode(),
    ],
)
def test_an_invalid_file_is_refused(raw):
    """Any bytes give an IntegrityError rather than a crash."""
    with pytest.raises(IntegrityError, match=r"outcomes\.json"):
        PerExampleResults.from_json(raw)


def test_reading_needs_no_numpy():
    """A command that compares versions starts at once."""
    raw = PerExampleResults(1, "f", bytes(4)).to_json()
    code = (
        "import sys; from registry_core.evaluation.per_example_results import PerExampleResults\n"
        f"assert PerExampleResults.from_json({raw!r}).examples == 1\n"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
