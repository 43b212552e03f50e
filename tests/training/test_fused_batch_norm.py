"""Fused batch normalisation computes what Keras's layers compute."""

import copy
from pathlib import Path

import numpy as np
import pytest
from fakes import Recorder

from registry_core.config import RunConfig
from registry_core.lifecycle.reproduce import EphemeralWorkspace
from registry_core.process.interrupts import StopRequest
from registry_core.types import ArraySplit, Assembly, DataSplits

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def fused():
    from registry_core.training import fused_batch_norm as fused

    return fused


@pytest.fixture
def normalisation(keras):
    """Makes a model of one batch normalisation whose weights are no round numbers."""

    def make(shape, **settings):
        layer = keras.layers.BatchNormalization(**settings)
        model = keras.Sequential([keras.layers.Input(shape), layer])
        random = np.random.default_rng(1)
        model.set_weights([random.uniform(0.5, 2, w.shape) for w in model.get_weights()])
        return model

    return make


def learnt(model, inputs):
    """One training call as a graph: outputs, gradients of inputs and weights, moving statistics."""
    import tensorflow as tf

    @tf.function
    def step(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = model(values, training=True)
            loss = tf.reduce_sum(tf.sin(outputs))
        return outputs, tape.gradient(loss, [values, *model.trainable_variables])

    outputs, gradients = step(tf.constant(inputs))
    return outputs.numpy(), [g.numpy() for g in gradients], model.get_weights()


def assert_close(ours, theirs):
    """To a few roundings of float32 of the largest value: sums are taken in another order.

    Keras subtracts mean / deviation after dividing; what it rounds there is seen here.
    """
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5 * max(1, np.abs(theirs).max()))


def operations(model, inputs):
    """The kinds of TensorFlow operations that a training call is made of."""
    import tensorflow as tf

    traced = tf.function(lambda values: model(values, training=True))
    return {
        each.type
        for each in traced.get_concrete_function(tf.constant(inputs)).graph.get_operations()
    }


INPUTS = [(32, 9), (8, 6, 5), (5, 7, 6, 4), (3, 2, 3, 4, 5), (1, 4), (1, 1, 1, 3)]
SETTINGS = [
    {},
    {"scale": False},
    {"center": False, "momentum": 0.5, "epsilon": 0.1},
    {"scale": False, "center": False},
]


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("shape", INPUTS, ids=str)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_outputs_gradients_and_moving_statistics_equal_kerass(
    fused, normalisation, shape, settings
):
    """For tables, sequences, images and volumes, and for a batch of a single value."""
    inputs = np.random.default_rng(0).normal(1, 2, shape).astype("float32")
    theirs = learnt(normalisation(shape[1:], **settings), inputs)
    model = normalisation(shape[1:], **settings)
    with fused.fused_normalisation(model):
        assert "FusedBatchNormV3" in operations(model, inputs)
        ours = learnt(model, inputs)
    assert_close(ours[0], theirs[0])
    for mine, other in zip(ours[1] + ours[2], theirs[1] + theirs[2], strict=True):
        assert_close(mine, other)


@pytest.mark.parametrize(
    "settings",
    [
        {"axis": 1},
        {"epsilon": 1e-6},
        {"dtype": "mixed_float16"},
        {"dtype": "float64"},
        {"renorm": True},
        {"synchronized": True},
        {"trainable": False},
    ],
    ids=str,
)
def test_cases_that_the_kernel_does_not_support_are_left_to_keras(fused, normalisation, settings):
    """Another axis, a smaller epsilon, another precision, renormalisation, a frozen layer."""
    inputs = np.random.default_rng(0).normal(0, 1, (4, 3, 3, 2)).astype("float32")
    model = normalisation((3, 3, 2), **settings)
    with fused.fused_normalisation(model):
        assert "FusedBatchNormV3" not in operations(model, inputs)


def test_a_subclass_and_a_mask_are_left_to_keras(fused, keras):
    """Both compute something else."""

    class Own(keras.layers.BatchNormalization):
        pass

    masked = keras.Sequential(
        [keras.layers.Input((4, 3)), keras.layers.Masking(), keras.layers.BatchNormalization()]
    )
    inputs = np.random.default_rng(0).normal(0, 1, (6, 4, 3)).astype("float32")
    for model in (masked, keras.Sequential([keras.layers.Input((4, 3)), Own()])):
        with fused.fused_normalisation(model):
            assert "FusedBatchNormV3" not in operations(model, inputs)


def test_validation_uses_kerass_own_layers(fused, normalisation):
    """Validation evaluates what will be registered, to the bit."""
    inputs = np.random.default_rng(0).normal(0, 1, (4, 3, 3, 2)).astype("float32")
    model = normalisation((3, 3, 2))
    before = model(inputs, training=False).numpy()
    with fused.fused_normalisation(model):
        during = model(inputs, training=False).numpy()
    assert before.tobytes() == during.tobytes()


def test_the_model_is_restored_after_the_fit(fused, keras, normalisation, tf):
    """Also after a failed fit; copies made meanwhile work."""
    model = normalisation((3, 3, 2))
    layer = model.layers[0]
    with fused.fused_normalisation(model):
        copied = copy.deepcopy(layer)
        assert copied.call.__self__ is copied
        clone = keras.models.clone_model(model)
    with pytest.raises(ZeroDivisionError), fused.fused_normalisation(model):
        raise ZeroDivisionError
    assert "call" not in vars(layer) and "call" not in vars(clone.layers[0])
    assert "FusedBatchNormV3" not in operations(model, np.ones((4, 3, 3, 2), "float32"))


def images(examples: int, seed: int = 0) -> ArraySplit:
    random = np.random.default_rng(seed)
    classes = np.arange(examples) % 3
    inputs = random.normal(60 + 40 * classes[:, None, None, None], 30, (examples, 8, 8, 2))
    return ArraySplit(inputs.clip(0, 255).astype("uint8"), classes)


def network(keras):
    """Nested, as a plugin may build it."""
    layers = keras.layers
    inner = keras.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ]
    )
    model = keras.Sequential(
        [inner, layers.Dense(8, activation="relu"), layers.BatchNormalization(), layers.Dense(3)]
    )
    model.compile(
        keras.optimizers.Adam(0.001),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@pytest.fixture
def fitted(keras):
    """Fits on images, and returns the model with its history."""

    def fit(epochs=2):
        from registry_core.training import KerasTrainer

        trainer = KerasTrainer(RunConfig(epochs=epochs, batch_size=8))
        model = network(keras)
        data = DataSplits(images(60), images(12, 1), images(12, 1), ("a", "b", "c"))
        history = trainer.fit(
            Assembly(data, model, None, None, []),
            Recorder(),
            StopRequest(),
            EphemeralWorkspace(Path()),
        )
        return model, history

    return fit


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_fit_ends_with_the_weights_of_plain_keras(fitted, fused, monkeypatch):
    """Sixteen steps of Adam on convolution, pooling and both normalisations."""
    ours, history = fitted()
    monkeypatch.setattr(fused, "_can_fuse", lambda layer: False)
    theirs, expected = fitted()
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        # one rounding more moves a weight by a small part of a step of 0.001
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=2e-4)
    for name, values in expected.metrics.items():
        assert history.metrics[name] == pytest.approx(values, rel=1e-3, abs=1e-4)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_two_fits_of_one_seed_are_equal_to_the_bit(fitted):
    """Whatever kernels are chosen."""
    first, again = fitted()[0], fitted()[0]
    assert [w.tobytes() for w in first.get_weights()] == [w.tobytes() for w in again.get_weights()]


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_fitted_model_loads_with_plain_keras(fitted, keras, tmp_path):
    """Its outputs equal those of the model in memory."""
    model, _ = fitted(epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    inputs = images(4).inputs
    assert np.allclose(model.predict(inputs, verbose=0), loaded.predict(inputs, verbose=0))
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.layers)
