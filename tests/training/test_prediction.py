"""Predicting batches with Keras gives what evaluation measured, for every nesting and precision."""

from __future__ import annotations

import numpy as np
import pytest

from registry_core.config import RunConfig
from registry_core.data.nesting import map_parts, parts_of
from registry_core.errors import PluginError, TrainingError
from registry_core.evaluation.beliefs import ExampleName, describe_outputs
from registry_core.evaluation.predictions import classes_of
from registry_core.tasks import Classification, Regression
from registry_core.types import ArraySplit

pytestmark = pytest.mark.tensorflow

NAMES = ("a", "b", "c")


def texts_and_numbers(keras):
    """A model of a text and two numbers, with two outputs, the first in 16 bits."""
    word = keras.layers.Input((), dtype="string", name="word")
    pair = keras.layers.Input((2,), name="pair")
    lookup = keras.layers.StringLookup(vocabulary=["x", "y"], output_mode="one_hot")
    features = keras.layers.Concatenate()([lookup(word), pair])
    first = keras.layers.Dense(3, name="kind", dtype="mixed_bfloat16")(features)
    second = keras.layers.Dense(1, name="size")(features)
    model = keras.Model({"word": word, "pair": pair}, {"kind": first, "size": second})
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", {"kind": crossentropy, "size": "mse"})
    return model


def test_outputs_are_those_of_the_evaluation_bit_for_bit(training, keras):
    """In batches of any size, with texts, several outputs, and an output of 16 bits."""
    backend = training.KerasBackend(RunConfig())
    model = texts_and_numbers(keras)
    draw = np.random.default_rng(0)
    inputs = {
        "pair": draw.normal(size=(300, 2)).astype("float32"),
        "word": draw.choice(["x", "y", "z"], 300).astype(object),
    }
    targets = {"kind": np.arange(300) % 3, "size": np.ones((300, 1), "float32")}
    split = ArraySplit(inputs, targets)
    task = Classification(NAMES, output="kind")
    backend._task = task
    evaluation = backend.evaluate(model, model, split)
    predictor = backend.predictor(model, task)
    for size in (250, 7):
        for first in range(0, 300, size):
            part = slice(first, first + size)
            outputs = predictor.predict(map_parts(lambda array, part=part: array[part], inputs))
            for ours, theirs in zip(parts_of(outputs), parts_of(evaluation.outputs), strict=True):
                np.testing.assert_array_equal(ours, theirs[part])
    assert predictor.scale.threshold == evaluation.threshold
    assert predictor.scale.loss_function == evaluation.loss_function

    names = [ExampleName(str(place)) for place in range(300)]
    told, score = describe_outputs(evaluation.outputs, task, predictor.scale, names, 3)
    assert score == "probability"
    _, predicted = classes_of(evaluation, task)
    assert [each.classes[0].number for each in told] == predicted.tolist()
    assert all(abs(sum(b.score for b in each.classes) - 1) < 1e-5 for each in told)


def test_an_output_without_a_row_for_each_example_is_the_plugins_fault(training, keras):
    """As where a layer takes the mean over the batch."""

    class Whole(keras.layers.Layer):
        def call(self, values):
            return keras.ops.mean(values, axis=0)

    model = keras.Sequential([keras.layers.Input((2,)), Whole()])
    predictor = training.KerasBackend(RunConfig()).predictor(model, None)
    with pytest.raises(PluginError, match="for 3 examples"):
        predictor.predict(np.ones((3, 2), "float32"))
    assert predictor.scale == ("", 0.5)  # not compiled: nothing says what the outputs are


def test_too_little_memory_names_the_option(training, keras, tf):
    """The option of this command, not the setting of a run."""

    class Greedy(keras.layers.Layer):
        def call(self, values):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    predictor = training.KerasBackend(RunConfig()).predictor(model, Regression())
    predictor._function = lambda inputs: Greedy().call(inputs)
    with pytest.raises(TrainingError, match="a batch of 4 examples") as caught:
        predictor.predict(np.ones((4, 2), "float32"))
    assert caught.value.command == "--batch-size 2"
