"""Models of several inputs and outputs: their losses, their checks, and what saves them."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoint_helpers import Nowhere
from fakes import Recorder

from registry_core.config import RunConfig
from registry_core.errors import DataError, PluginError
from registry_core.process.interrupts import StopRequest
from registry_core.types import ArraySplit, Assembly, DataSplits, StreamSplit

pytestmark = pytest.mark.tensorflow


def inputs_of(examples: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "left": random.normal(size=(examples, 2)).astype("float32"),
        "right": random.normal(size=(examples, 3)).astype("float32"),
    }


def split_of(examples: int, seed: int = 0, targets: str = "both", **more) -> ArraySplit:
    random = np.random.default_rng(seed)
    kinds, sizes = random.integers(0, 3, examples), random.normal(size=(examples, 2))
    expected = {"kind": kinds, "size": sizes.astype("float32")}
    found = expected if targets == "both" else expected[targets]
    return ArraySplit(inputs_of(examples, seed), found, **more)


def a_model(keras, kind=None, **compiled):
    """Two inputs, and the outputs `kind`, of three units, and `size`, of two."""
    left, right = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    joined = keras.layers.Dense(4)(keras.layers.Concatenate()([left, right]))
    outputs = {"kind": keras.layers.Dense(3)(joined), "size": keras.layers.Dense(2)(joined)}
    model = (kind or keras.Model)({"left": left, "right": right}, outputs)
    given = {
        "loss": {
            "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "size": "mse",
        }
    }
    model.compile("sgd", **{**given, **compiled})
    return model


def trained(training, model, folder, split=None, test=None, augmentation=None):
    """Check, fit and evaluate as a run does; 270 test examples are two batches."""
    trainer = training.KerasTrainer(RunConfig(batch_size=16))
    data = DataSplits(split or split_of(40), test or split_of(270, 1))
    data = trainer.check_data(data)
    assembly = Assembly(data, model, augmentation, None, [])
    trainer.check_augmentation(assembly)
    trainer.check(assembly, folder)
    trainer.fit(assembly, Recorder(), StopRequest(), Nowhere())
    return trainer.evaluate(model, model, data.test)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 270)], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "compiled",
    [
        {},
        {"loss_weights": {"kind": 0.25, "size": 4.0}},
        {"metrics": {"kind": "accuracy"}, "weighted_metrics": {"size": ["mae"]}},
        {"loss": "mse"},
    ],
    ids=["losses", "loss weights", "metrics", "one loss"],
)
def test_losses_and_metrics_are_those_of_keras(compiled, weights, training, keras, tmp_path):
    """The losses of the examples are the weighted sum over the outputs; their mean is the loss."""
    model = a_model(keras, **compiled)
    train, test = split_of(40), split_of(270, 1, weights=weights)
    if compiled.get("loss") == "mse":  # the targets of both are numbers then
        train, test = (
            ArraySplit(s.inputs, {**s.targets, "kind": np.eye(3)[s.targets["kind"]]}, s.weights)
            for s in (train, test)
        )
    found = trained(training, model, tmp_path, train, test)
    model.run_eagerly = True  # the numbers of few batches need no graph
    right = model.evaluate(
        test.inputs, test.targets, sample_weight=weights, batch_size=270, verbose=0,
        return_dict=True,
    )  # fmt: skip
    assert found.losses.mean() == pytest.approx(right["loss"], rel=1e-5)
    for name, value in right.items():
        # Keras averages the losses of the outputs over batches, whatever their size
        if not name.endswith("_loss"):
            assert found.metrics[name] == pytest.approx(value, rel=1e-5)
    assert found.metrics.keys() == right.keys()
    assert {name: part.shape for name, part in found.outputs.items()} == {
        "kind": (270, 3),
        "size": (270, 2),
    }
    assert (found.targets["kind"] == test.targets["kind"]).all()


@pytest.mark.gate
@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # for the layer of that output
def test_an_output_without_a_loss_needs_no_target(training, keras, tmp_path):
    """As `fit` takes it: the loss of one output is None, and the targets are the others'."""
    losses = {"kind": keras.losses.SparseCategoricalCrossentropy(True), "size": None}
    model = a_model(keras, loss=losses, run_eagerly=True)
    test = split_of(270, 1, "kind")
    found = trained(training, model, tmp_path, split_of(40, 0, "kind"), test)
    model.run_eagerly = True  # the numbers of few batches need no graph
    right = model.evaluate(test.inputs, test.targets, verbose=0, return_dict=True)
    assert found.losses.mean() == pytest.approx(right["loss"], rel=1e-5)
    assert set(found.outputs) == {"kind", "size"}
    assert found.targets.shape == (270,)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("override", ["test_step", "compute_loss"])
def test_a_model_with_steps_of_its_own_takes_several_inputs(override, training, keras, tmp_path):
    """Its metrics are those of its own step; examples have the losses that it is compiled with."""
    seen = []

    @keras.saving.register_keras_serializable("nested_tests")
    class Own(keras.Model):
        if override == "test_step":

            def test_step(self, data):
                seen.append(sorted(data[0]))
                return super().test_step(data)

        else:

            def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
                seen.append(sorted(x))
                return 2 * super().compute_loss(x, y, y_pred, sample_weight, training)

    found = trained(training, a_model(keras, Own, run_eagerly=True), tmp_path)
    assert seen[0] == ["left", "right"]
    factor = 2 if override == "compute_loss" else 1
    assert found.metrics["loss"] == pytest.approx(factor * found.losses.mean(), rel=1e-4)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_an_inference_model_of_several_outputs_is_compiled_like_the_trained_one(
    training, keras, tmp_path
):
    """It may have layers of its own between the same names."""
    model = a_model(keras)
    trained(training, model, tmp_path)
    outputs = model(model.input)
    inference = keras.Model(model.input, {name: 2 * part for name, part in outputs.items()})
    trainer = training.KerasTrainer(RunConfig())
    found = trainer.evaluate(inference, model, split_of(270, 1))
    assert found.losses.mean() == pytest.approx(found.metrics["loss"], rel=1e-5)
    trainer.save(inference, tmp_path / "model.keras")
    trainer.check_saved(inference, tmp_path / "model.keras", split_of(5))


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.gate
def test_an_augmentation_must_return_every_input(training, keras, tf, tmp_path):
    """The same names and shapes; another dtype is allowed."""
    model = a_model(keras)

    def jitter(inputs, batch):
        noise = tf.random.stateless_normal(tf.shape(inputs["left"]), batch.seed)
        return {**inputs, "left": inputs["left"] + noise}

    trained(training, model, tmp_path, augmentation=jitter)
    for augmentation, said in (
        (lambda inputs, batch: inputs["left"], r"returned inputs for inputs\['left'\], inputs"),
        (
            lambda inputs, batch: {**inputs, "right": inputs["right"][:, :1]},
            r"returned \(2, 1\) for inputs\['right'\] of shape \(2, 3\)",
        ),
    ):
        with pytest.raises(PluginError, match=said):
            trained(training, model, tmp_path, augmentation=augmentation)


def test_outputs_that_change_by_saving_are_reported_by_name(training, keras, tmp_path):
    """Here a layer forgets a number that is in no weight."""
    made = iter((1.0, 2.0))

    @keras.saving.register_keras_serializable(package="nested_tests")
    class Forgetful(keras.layers.Layer):
        def __init__(self, **config):
            super().__init__(**config)
            self.factor = next(made)

        def call(self, inputs):
            return inputs * self.factor

    left = keras.Input((2,))
    model = keras.Model(left, {"as it is": left * 1.0, "times": Forgetful()(left)})
    model.save(tmp_path / "model.keras")
    with pytest.raises(PluginError, match=r"loading in outputs\['times'\] \(by up to 1\)"):
        training.check_saved(model, tmp_path / "model.keras", np.ones((2, 2), "float32"))


def stream(inputs, *others, says=None) -> StreamSplit:
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((inputs, *others))
    return StreamSplit(dataset, says or len(dataset), "drawn")


@pytest.mark.gate
def test_a_fault_in_a_stream_is_reported_with_the_name_of_the_part(training, tf):
    """Not finite, another shape, another example the second time."""
    trainer = training.KerasTrainer(RunConfig())
    split = split_of(300)

    def refused(test, said):
        with pytest.raises(DataError, match=said):
            trainer.check_data(DataSplits(split, test))

    spoilt = inputs_of(300)
    spoilt["right"][271, 1] = np.nan
    refused(
        stream(spoilt, split.targets),
        r"The test inputs\['right'\] are not all finite: example 271 has NaN",
    )

    def rows():
        for place in range(300):
            yield {"left": np.zeros(2), "right": np.zeros(1 if place == 150 else 3)}, 0

    spec = {"left": tf.TensorSpec((2,)), "right": tf.TensorSpec((None,))}
    odd = tf.data.Dataset.from_generator(rows, output_signature=(spec, tf.TensorSpec((), tf.int64)))
    refused(
        StreamSplit(odd, 300, "drawn"),
        r"Example 150 of the test stream has inputs\['right'\] of shape \(1,\), but example 0",
    )
    shuffled = tf.data.Dataset.from_tensor_slices((inputs_of(300), split.targets)).shuffle(300)
    stream_of_train = DataSplits(StreamSplit(shuffled, 300, "drawn"), split)
    with pytest.raises(DataError, match="The train stream changes: example"):
        trainer.check_data(stream_of_train)


def test_ragged_and_sparse_elements_of_a_stream_are_refused_with_what_works(training, tf):
    """Before anything is read, with the name of the part."""
    trainer = training.KerasTrainer(RunConfig())
    words = tf.ragged.constant([["a", "rose"], ["a"]])
    sparse = tf.sparse.from_dense(np.eye(2))
    for part, kind in ((words, "RaggedTensor"), (sparse, "SparseTensor")):
        with pytest.raises(DataError) as caught:
            trainer.check_data(DataSplits(stream({"words": part}, np.zeros(2)), split_of(2)))
        assert caught.value.what == f"The train stream yields inputs['words'] as {kind}."
        assert "pad rows" in caught.value.remedy
    with pytest.raises(DataError, match="The train stream yields targets of dtype string"):
        trainer.check_data(DataSplits(stream(np.zeros(2), ["a", "b"]), split_of(2)))
