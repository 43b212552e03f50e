"""The state of callbacks is saved as JSON and restored; what cannot be saved is named."""

import json
import random
from collections import Counter, deque, namedtuple
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

Pair = namedtuple("Pair", "first second")


@pytest.fixture
def blank(keras):
    """A callback that remembers nothing yet."""

    class Blank(keras.callbacks.Callback):
        pass

    def make(**attributes):
        callback = Blank()
        vars(callback).update(attributes)
        return callback

    return make


def through_json(before, after):
    """Write down what one remembers, and give it to the other."""
    from registry_core.training.callback_state import restore_state, saved_state

    tensors = []
    kept = json.loads(json.dumps(saved_state(before, tensors)))
    restore_state(after, kept, tensors)
    return after


class Meter:
    def __init__(self, *values):
        self.values = list(values)


@pytest.mark.exhaustive(keep=6)
@pytest.mark.gate
@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            3,
            2.5,
            float("inf"),
            "text",
            b"bytes",
            [1, [2.0]],
            (1, ("a",)),
            {"a": {"b": 1}},
        ),
        *({1: "one", (2, 3): "two"}, {1, 2}, frozenset({3}), deque([1, 2]), Counter("aab")),
        *({"state": 1, "of": 2}, {"array": "x"}, [{"dict": 1}], Path("a") / "b", [Path("c")]),
        *(Pair(1, "b"), {"object": [np.float32]}),
    ],
    ids=str,
)
def test_a_value_is_restored_unchanged(blank, value):
    """Whatever the words in it are."""
    import copy

    assert through_json(blank(it=value), blank(it=copy.deepcopy(value))).it == value


def test_arrays_and_tensors_are_restored_with_their_dtypes(blank):
    """bfloat16 and texts among them."""
    import tensorflow as tf

    arrays = [np.arange(6, dtype="int8").reshape(2, 3), np.float64(1.5), np.array(["a", "bc"])]
    brain = tf.constant([1.0, 2.0], tf.bfloat16)
    kept = through_json(blank(arrays=arrays, weights=[brain.numpy()], tensor=brain), blank())
    for now, then in zip([*kept.arrays, *kept.weights], [*arrays, brain.numpy()], strict=True):
        assert (now.dtype, now.shape) == (then.dtype, then.shape)
        assert now.tobytes() == then.tobytes()
    assert kept.tensor.dtype == tf.bfloat16
    assert tf.reduce_all(kept.tensor == brain)


def test_shared_objects_are_restored_in_place(blank):
    """A list that two callbacks share stays one list."""
    shared, table, seen = [], {}, set()
    after = blank(values=shared, table=table, seen=seen, last=deque(maxlen=2))
    before = blank(values=[1, 2], table={1: 2}, seen={3}, last=deque([4, 5], maxlen=2))
    through_json(before, after)
    assert (shared, table, seen) == ([1, 2], {1: 2}, {3})
    assert after.values is shared
    assert after.last.maxlen == 2


def test_generators_and_variables_are_restored_in_place(blank, keras):
    """In lists, dicts and objects of a plugin's classes."""

    def make():
        meter = Meter(np.random.default_rng(1))
        mean = keras.metrics.Mean()
        return blank(rngs=[random.Random(1)], own={"meter": [meter]}, mean=mean)

    before, after = make(), make()
    before.rngs[0].random()
    before.own["meter"][0].values[0].random()
    before.mean.update_state(4.0)
    rng, meter, mean = after.rngs[0], after.own["meter"][0], after.mean
    through_json(before, after)
    assert after.rngs[0] is rng
    assert after.own["meter"][0] is meter
    assert after.mean is mean
    assert rng.random() == before.rngs[0].random()
    assert meter.values[0].random() == before.own["meter"][0].values[0].random()
    assert float(mean.result()) == 4.0


def test_a_missing_object_is_reported(blank):
    """It cannot be created from the saved state."""
    from registry_core.training.callback_state import NotRestoredError

    with pytest.raises(NotRestoredError, match="Meter"):
        through_json(blank(meter=Meter(1)), blank(meter=None))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lambda: iter([1]), "'it' (list_iterator)"),
        (lambda: (n for n in ()), "'it' (generator)"),
        (lambda: [iter([1])], "'it' (list)"),
        (lambda: {"rates": iter([1])}, "'it' (dict)"),
        (lambda: Meter(iter([1])), "'it' (Meter)"),
    ],
)
def test_values_that_cannot_be_saved_are_named(blank, value, named):
    """Also deep inside."""
    from registry_core.training.callback_state import unsaved_state

    assert unsaved_state(blank(it=value())) == [named]


def test_constants_are_not_named(blank, keras, tmp_path):
    """Functions, classes, files, settings, other callbacks."""
    from registry_core.config import RunConfig
    from registry_core.training.callback_state import unsaved_state

    with (tmp_path / "log").open("w") as file:
        callback = blank(
            file=file,
            files=[file],
            config=RunConfig(epochs=1),
            where=tmp_path,
            schedule=lambda epoch: epoch,
            kind=Meter,
            other=blank(it=iter([1])),
            loss=keras.losses.MeanSquaredError(),
            dtype=np.dtype("int8"),
        )
        assert unsaved_state(callback) == []
