"""Example weights and class weights count as in plain Keras, in training and in evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from checkpoint_helpers import Nowhere
from fakes import Recorder
from training_helpers import NAMES, flowers

from registry_core.config import RunConfig
from registry_core.data.arrays import with_arrays
from registry_core.errors import DataError, PluginError
from registry_core.process.interrupts import StopRequest
from registry_core.types import ArraySplit, Assembly, DataSplits, StreamSplit

pytestmark = pytest.mark.tensorflow

WEIGHTS = np.linspace(0, 3, 30).astype("float32")
CLASS_WEIGHTS = {"setosa": 3.0, 1: 0.25}


def weighted(kind: str, container: str):
    """The flowers, with weights of that kind, as arrays or as a stream."""
    split = flowers(30)
    weights = WEIGHTS if "example" in kind else None
    of_class = CLASS_WEIGHTS if "class" in kind else None
    if container == "arrays":
        return replace(split, weights=weights, class_weights=of_class)
    import tensorflow as tf

    parts = [part for part in (split.inputs, split.targets, weights) if part is not None]
    dataset = tf.data.Dataset.from_tensor_slices(tuple(parts))
    return StreamSplit(dataset, 30, "drawn", class_weights=of_class)


def as_keras_weighs(kind: str) -> np.ndarray:
    """The weight of each of the thirty flowers; Keras takes one of the two kinds at a time."""
    from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

    weights = np.ones(30, "float32")
    if "example" in kind:
        weights = weights * WEIGHTS
    if "class" in kind:
        weights = weights * class_weight_to_sample_weights(flowers(30).targets, {0: 3.0, 1: 0.25})
    return weights


def a_model(keras):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss, weighted_metrics=["accuracy"])
    return model


def fitted(training, keras, train, validation=None):
    """The model after two epochs with batches of seven, and the history."""
    trainer = training.KerasTrainer(RunConfig(seed=3, epochs=2, batch_size=7))
    data = DataSplits(train, flowers(12, 1), validation, NAMES)
    data = trainer.check_data(with_arrays(data))
    model = a_model(keras)
    assembly = Assembly(data, model, None, None, [])
    history = trainer.fit(assembly, Recorder(), StopRequest(), Nowhere())
    return model, history.metrics


@pytest.fixture(scope="module")
def unweighted(training, keras):
    """Trained without weights, and validated with those of examples and of classes in turn."""
    made = {}

    def get(container="arrays"):
        if container not in made:
            split = weighted("example and class", container)
            made[container] = fitted(training, keras, flowers(30), validation=split)
        return made[container]

    return get


def digest_of(model) -> list[list]:
    return [np.asarray(weight.value).tolist() for weight in model.weights]


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("container", ["arrays", "stream"])
@pytest.mark.parametrize("kind", ["example", "class", "example and class"])
def test_weights_train_as_in_plain_keras(kind, container, training, keras, tf, unweighted):
    """The same batches with the same `sample_weight` give the same bits."""
    from registry_core.training.pipeline import TrainingBatches

    model, _ = fitted(training, keras, weighted(kind, container))
    numbered = ArraySplit(np.arange(30), np.arange(30))
    if container == "stream":
        dataset = tf.data.Dataset.from_tensor_slices((np.arange(30), np.arange(30)))
        numbered = StreamSplit(dataset, 30, "numbers")
    split, weights = flowers(30), as_keras_weighs(kind)
    plain = a_model(keras)
    batches = TrainingBatches(numbered, None, 7, 3)
    for epoch in range(2):
        batches.begin(epoch)
        for places, _ in batches.dataset.as_numpy_iterator():
            plain.train_on_batch(split.inputs[places], split.targets[places], weights[places])
    assert digest_of(model) == digest_of(plain)
    assert digest_of(unweighted()[0]) != digest_of(model)


def test_the_classes_of_one_hot_targets_and_of_each_position_are_weighed(tf):
    """As numbers, as a column, one-hot, and for each pixel."""
    from registry_core.training.example_weights import class_weighing

    weigh = class_weighing({0: 3.0, 1: 0.25})
    for targets in (
        tf.constant([0, 1, 2]),
        tf.constant([[0], [1], [2]], tf.uint8),
        tf.eye(3),
        tf.eye(3, dtype=tf.int64),
    ):
        (weights,) = weigh(targets)
        assert weights.numpy().tolist() == [3.0, 0.25, 1.0]
        (weights,) = weigh(targets, tf.constant([2, 0, 5]))
        assert weights.numpy().tolist() == [6.0, 0.0, 5.0]
    (weights,) = weigh(tf.constant([[[0, 1], [2, 7]]]), tf.constant([2.0]))
    assert weights.numpy().tolist() == [[[6.0, 0.5], [2.0, 2.0]]]
    assert class_weighing(None)(tf.eye(3)) == ()


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("container", ["arrays", "stream"])
def test_weights_count_in_validation_and_evaluation_and_class_weights_do_not(
    container, training, unweighted
):
    """As `model.evaluate` measures with a `sample_weight`; losses are weight times loss."""
    split = weighted("example and class", container)
    model, metrics = unweighted(container)
    trainer = training.KerasTrainer(RunConfig())
    evaluation = trainer.evaluate(model, model, split)
    arrays = flowers(30)
    model.run_eagerly = True  # the numbers of one batch need no graph
    right = model.evaluate(
        arrays.inputs, arrays.targets, sample_weight=WEIGHTS, verbose=0, return_dict=True
    )
    assert evaluation.metrics == pytest.approx(right, rel=1e-6)
    assert metrics["val_loss"][-1] == pytest.approx(right["loss"], rel=1e-6)
    assert metrics["val_accuracy"][-1] == pytest.approx(right["accuracy"], rel=1e-6)
    assert evaluation.losses.mean() == pytest.approx(right["loss"], rel=1e-6)
    plain = trainer.evaluate(model, model, arrays)
    assert evaluation.losses == pytest.approx(plain.losses * WEIGHTS, rel=1e-6)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    ("weight", "said"),
    [(-1.0, "weights are negative: the first is in example 5"), (np.nan, "example 5 has NaN")],
)
def test_a_wrong_weight_of_a_stream_is_reported_with_its_index(weight, said, training, keras, tf):
    split, weights = flowers(30), np.ones(30)
    weights[5] = weight
    dataset = tf.data.Dataset.from_tensor_slices((split.inputs, split.targets, weights))
    with pytest.raises(DataError, match=said):
        fitted(training, keras, StreamSplit(dataset, 30, "drawn"))


def test_weights_of_0_alone_and_weights_of_another_nesting_are_refused(training, keras, tf):
    """Of a stream that is read before training."""
    split = flowers(30)

    def refused(said, weights):
        dataset = tf.data.Dataset.from_tensor_slices((split.inputs, split.targets, weights))
        test = StreamSplit(dataset, 30, "drawn")
        with pytest.raises(DataError, match=said):
            training.KerasTrainer(RunConfig()).check_data(DataSplits(split, test))

    refused("The test weights are all 0", np.zeros(30))
    refused(r"yields inputs, targets, weights\['a'\]", {"a": np.ones(30)})


def test_the_weights_of_a_loss_by_position_need_axes_for_the_positions(training, keras, tmp_path):
    """Keras would multiply along the last axis; with more axes each example is weighed."""
    series = np.random.default_rng(0).normal(size=(40, 5, 2)).astype("float32")
    model = keras.Sequential([keras.Input((5, 2)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    weights = np.linspace(0, 2, 40)
    trainer = training.KerasTrainer(RunConfig())

    def checked(weights):
        split = ArraySplit(series, series[:, :, :1], weights)
        data = DataSplits(split, split)
        trainer.check(Assembly(data, model, None, None, []), tmp_path)
        return trainer.evaluate(model, model, split)

    with pytest.raises(PluginError) as caught:
        checked(weights)
    assert "(n, 5), and the weights are (n,)" in caught.value.what
    assert "(examples, 1)" in caught.value.remedy
    found, plain = checked(weights[:, None]), checked(None)
    assert found.losses == pytest.approx(plain.losses * weights, rel=1e-5)
    assert found.metrics["loss"] == pytest.approx(found.losses.mean(), rel=1e-5)
