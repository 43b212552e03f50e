"""The network as it is trained, and as it is registered in layers of Keras's own."""

import numpy as np
import pytest
from cli_helpers import keras_python

from cifar_plugin.airbench.config import PRESETS, AirbenchConfig
from registry_core.types import ArraySplit, DataSplits

pytestmark = pytest.mark.tensorflow

NARROW = AirbenchConfig(widths=(24, 8, 8), batch_size=16, epochs=2)


def noise(examples, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (examples, 32, 32, 3), dtype=np.uint8)


def data(examples=48):
    split = ArraySplit(noise(examples), np.arange(examples, dtype=np.uint8) % 10)
    return DataSplits(train=split, test=split, class_names=tuple("abcdefghij"))


def built(config=NARROW, splits=None):
    """The model that the hooks make of a configuration."""
    import keras

    from cifar_plugin import plugin
    from registry_core.data.checks import steps

    splits = splits if splits is not None else data()
    keras.utils.set_random_seed(config.seed)
    schedule = plugin.mlreg_scheduler(config, steps(len(splits.train), config.batch_size))
    return plugin.mlreg_model(config, splits, schedule)


def trained():
    """A model whose every weight has moved, its averages among them."""
    model, images = built(), noise(48)
    for part in (images[:16], images[16:32], images[32:]):
        model.train_on_batch(part, np.arange(16) % 10)
    return model


@pytest.fixture(scope="module")
def model():
    return trained()


def registered(model, **changes):
    from cifar_plugin import plugin

    return plugin.mlreg_inference_model(NARROW.changed(changes), model)


def test_images_are_standardized_as_by_keras_and_their_axes_moved():
    """Of raw images; the layer can be made again from its configuration."""
    from keras import layers

    from cifar_plugin.airbench.layers import StandardizedInside
    from cifar_plugin.airbench.network import MEAN, STD

    images = noise(5)
    layer = StandardizedInside.from_config(StandardizedInside(MEAN, STD).get_config())
    expected = layers.Normalization(mean=MEAN, variance=np.square(STD))(images)
    np.testing.assert_allclose(layer(images), np.transpose(expected, (1, 2, 0, 3)), atol=1e-6)
    assert layer.compute_output_shape((None, 32, 30, 3)) == (32, 30, None, 3)


def test_parameter_count_is_that_of_the_source():
    """1,972,792 in PyTorch, without 1,152 scales that are fixed to one and without averages."""
    config = PRESETS["airbench94"]
    model = built(config)
    learned = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    whitening_kernel, averages = 2 * 2 * 3 * 24, 2 * 2 * (64 + 256 + 256)
    assert model.count_params() - averages == learned + whitening_kernel == 1_971_640
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize(("channels", "filters", "size"), [(3, 5, 7), (24, 8, 15), (4, 4, 31)])
@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("gpus", [[], ["GPU:0"]])
def test_a_convolution_and_its_gradients_match_tensorflow(
    channels, filters, size, even, gpus, monkeypatch
):
    """Closer than float16 is, also without the row and column that pooling would drop."""
    import tensorflow as tf

    from cifar_plugin.airbench.layers import Convolution

    monkeypatch.setattr(tf.config, "list_logical_devices", {"GPU": gpus}.get)

    def assert_close(found, expected):
        error = np.abs(np.subtract(found, expected)).max()
        assert error < np.finfo(np.float16).eps * np.std(expected)

    layer = Convolution(filters, even=even)
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=(6, size, size, channels)).astype("float32"))
    layer.build((size, size, None, channels))
    outputs = size - size % 2 if even else size
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        kernel = tf.convert_to_tensor(layer.kernel)
        tape.watch(kernel)
        found = tf.transpose(layer(tf.transpose(images, [1, 2, 0, 3])), [2, 0, 1, 3])
        expected = tf.nn.conv2d(images, kernel, 1, "SAME")[:, :outputs, :outputs]
        heights = random.normal(size=expected.shape)
        sums = [tf.reduce_sum(answers * heights) for answers in (found, expected)]
    assert_close(found, expected)
    assert found.shape == (6, *layer.compute_output_shape((size, size, 6, channels))[:2], filters)
    moves = [tape.gradient(total, images) for total in sums]
    assert_close(*moves)
    assert_close(tape.gradient(sums[0], layer.kernel.value), tape.gradient(sums[1], kernel))


@pytest.mark.parametrize("gpus", [[], ["GPU:0"]])
def test_on_a_gpu_keras_may_compile_the_whole_step(gpus, monkeypatch):
    """On a processor the layers compile only what is faster for it."""
    import keras
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", {"GPU": gpus}.get)
    # whatever Keras says of determinism, which another test may have asked for
    monkeypatch.setattr(keras.Model, "_resolve_auto_jit_compile", lambda model: True)
    assert built().jit_compile is bool(gpus)


def test_pooling_and_its_gradient_match_tensorflow():
    """Whatever the signs and sizes."""
    import tensorflow as tf

    from cifar_plugin.airbench.layers import Pooling

    images = tf.random.stateless_normal([6, 8, 5, 3], [0, 1])
    behind = tf.transpose(images, [2, 0, 1, 3])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([images, behind])
        pooled, expected = Pooling()(images), tf.nn.max_pool2d(behind, 2, 2, "VALID")
        squares = [tf.reduce_sum(values**2) for values in (pooled, expected)]
    np.testing.assert_array_equal(tf.transpose(pooled, [2, 0, 1, 3]), expected)
    np.testing.assert_array_equal(
        tf.transpose(tape.gradient(squares[0], images), [2, 0, 1, 3]),
        tape.gradient(squares[1], behind),
    )


def test_one_of_equal_pixels_has_the_gradient_of_pooling():
    """The rows of a square are compared first, and the upper or left one is taken."""
    import tensorflow as tf

    from cifar_plugin.airbench.passes import pooled

    squares = tf.reshape([[0.0, 0, 0, 0], [1, 1, 0, 1], [0, 1, 0, 1]], [3, 2, 2])
    images = tf.transpose(squares, [1, 2, 0])[..., None]
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(7 * pooled(images))
    found = tf.transpose(tape.gradient(total, images)[..., 0], [2, 0, 1])
    expected = [[7, 0, 0, 0], [7, 0, 0, 0], [0, 7, 0, 0]]
    np.testing.assert_array_equal(tf.reshape(found, [3, 4]), expected)


def test_whitening_is_keras_s_convolution_with_gelu():
    """Its bias has that one's gradient."""
    import tensorflow as tf
    from keras import layers

    from cifar_plugin.airbench.layers import PatchConvolution

    images = tf.random.stateless_normal([5, 6, 7, 3], [0, 1])
    behind = tf.transpose(images, [2, 0, 1, 3])
    layer, other = PatchConvolution(4), layers.Conv2D(4, 2, activation="gelu")
    layer(images), other(behind)
    layer.kernel.assign(other.kernel)
    other.bias.assign(layer.bias)
    with tf.GradientTape(persistent=True) as tape:
        found, expected = layer(images), other(behind)
        squares = [tf.reduce_sum(values**2) for values in (found, expected)]
    np.testing.assert_allclose(tf.transpose(found, [2, 0, 1, 3]), expected, atol=1e-5)
    moves = tape.gradient(squares[0], layer.bias.value), tape.gradient(squares[1], other.bias.value)
    np.testing.assert_allclose(*moves, rtol=1e-4)


@pytest.mark.parametrize(("mean", "deviation"), [(0.3, 2.0), (50.0, 0.5)])
def test_normalization_and_gelu_and_their_gradients_match_tensorflow(mean, deviation):
    """However far the mean is from 0."""
    import tensorflow as tf

    from cifar_plugin.airbench.layers import NormalizedGelu

    images = mean + deviation * tf.random.stateless_normal([4, 6, 50, 5], [0, 1])
    upstream = tf.random.stateless_normal(images.shape, [2, 3])
    layer = NormalizedGelu(epsilon=1e-12)
    layer(images)
    layer.beta.assign(np.linspace(-1, 1, 5))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        exact = tf.cast(images, tf.float64)
        found = layer(images, training=True)
        centre, variance = tf.nn.moments(exact, [0, 1, 2])
        offset = tf.cast(layer.beta.value, tf.float64)
        values = tf.nn.batch_normalization(exact, centre, variance, offset, None, 1e-12)
        expected = tf.nn.gelu(values, approximate=False)
        sums = [
            tf.reduce_sum(found * upstream),
            tf.reduce_sum(expected * tf.cast(upstream, tf.float64)),
        ]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for source in (images, layer.beta.value):
        moves = [tape.gradient(each, source) for each in sums]
        np.testing.assert_allclose(*moves, atol=2e-4 * np.std(moves[1]))


def test_normalization_has_a_low_momentum():
    """The averages take 40 % from the last batch, with the unbiased variance."""
    import tensorflow as tf

    from cifar_plugin.airbench.layers import NormalizedGelu

    values = np.random.default_rng(0).normal(3, 2, (4, 4, 10, 5)).astype("float32")
    layer = NormalizedGelu()
    layer(tf.constant(values), training=True)
    np.testing.assert_allclose(layer.moving_mean, 0.4 * values.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(
        layer.moving_variance, 0.6 + 0.4 * values.var((0, 1, 2), ddof=1), rtol=1e-4
    )


def test_convolutions_are_initialized_to_the_identity():
    """Filters beyond the channels are small and random."""
    from cifar_plugin.airbench.network import Dirac

    kernel = np.array(Dirac(seed=1)((3, 3, 4, 7)))
    images = np.random.default_rng(0).normal(size=(5, 5, 4))
    middle = np.tensordot(images, kernel[1, 1], 1)
    np.testing.assert_allclose(middle[..., :4], images, rtol=1e-6)
    assert not np.delete(kernel.reshape(9, 4, 7), 4, axis=0)[..., :4].any()
    others = kernel[..., 4:]
    assert 0.1 < np.abs(others).max() <= 1 / 6 and np.unique(others).size == others.size


@pytest.mark.exhaustive
@pytest.mark.gate
def test_the_whitening_kernel_is_fixed():
    """It is computed from images before training; only its bias is trained."""
    from cifar_plugin.airbench.network import standardized
    from cifar_plugin.airbench.whitening import whitening_kernel

    model, layer = built(), None
    layer = model.get_layer("whitening")
    expected, bias = whitening_kernel(standardized(noise(48))), layer.bias.numpy()
    model.train_on_batch(noise(16), np.arange(16) % 10)
    np.testing.assert_allclose(layer.kernel, expected, rtol=1e-5, atol=1e-6)
    assert (layer.bias.numpy() != bias).any()


@pytest.mark.exhaustive
@pytest.mark.gate
def test_the_registered_model_predicts_as_the_trained_one(model):
    """One view, in other layers, gives the same logits."""
    images = noise(20, seed=2)
    found = registered(model, test_views=1).predict(images, verbose=0)
    np.testing.assert_allclose(found, model.predict(images, verbose=0), atol=1e-4)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_predictions_are_means_over_views(model):
    """The image and its mirror image have half of the weight, translations the rest."""
    images = noise(10, seed=2)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")

    def logits(place, mirrored):
        view = padded[:, place : place + 32, place : place + 32]
        return model.predict(view[:, :, ::-1] if mirrored else view, verbose=0)

    plain, mirrored = ([logits(place, flip) for place in (0, 1, 2)] for flip in (False, True))
    middle = (plain[1] + mirrored[1]) / 2
    expected = {
        1: plain[1],
        2: middle,
        4: middle / 2 + (plain[0] + mirrored[2]) / 4,
        6: middle / 2 + (plain[0] + mirrored[0] + plain[2] + mirrored[2]) / 8,
    }
    for views, mean in expected.items():
        found = registered(model, test_views=views).predict(images, verbose=0)
        np.testing.assert_allclose(found, mean, atol=1e-4)


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.processes
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_the_registered_model_loads_without_the_plugin(model, tmp_path, name):
    """In a process without it, compiled."""
    images = noise(4, seed=2)
    inference = registered(model)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "expected.npy", inference.predict(images, verbose=0))
    inference.save(tmp_path / name)
    script = (
        "import sys, numpy as np, keras\n"
        "images, expected = np.load('images.npy'), np.load('expected.npy')\n"
        "model = keras.saving.load_model(sys.argv[1], safe_mode=True)\n"
        "np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5)\n"
        "measured = model.evaluate(images, np.arange(4), verbose=0, return_dict=True)\n"
        "assert set(measured) == {'loss', 'accuracy'}, measured\n"
        "assert not [name for name in sys.modules if name.startswith('cifar_plugin')]\n"
    )
    done = keras_python("-c", script, name, cwd=tmp_path)
    assert done.status == 0, done.stderr


@pytest.mark.exhaustive
@pytest.mark.gate
def test_the_trained_model_can_be_saved_and_loaded(model, tmp_path):
    """With its optimizer's state, so that training can be continued."""
    import keras

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = noise(10, seed=2)
    np.testing.assert_array_equal(
        again.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    state = zip(again.optimizer.variables, model.optimizer.variables, strict=True)
    for found, expected in state:
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_the_loss_matches_keras_categorical_loss_with_label_smoothing():
    """One value for each example without a reduction."""
    import keras

    from cifar_plugin.airbench.loss import SmoothedCrossentropy

    logits = np.random.default_rng(0).normal(size=(6, 10)).astype("float32")
    classes = np.arange(6)
    usual = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.2, reduction=None
    )
    found = SmoothedCrossentropy(0.2, reduction=None)(classes, logits)
    np.testing.assert_allclose(found, usual(np.eye(10)[classes], logits), rtol=1e-5)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_two_trainings_with_one_seed_give_the_same_weights():
    """Bit for bit, in deterministic mode."""
    import tensorflow as tf
    from tensorflow.python.framework import config as framework

    tf.config.experimental.enable_op_determinism()
    try:
        first, second = trained(), trained()
    finally:
        framework.disable_op_determinism()
    for ours, theirs in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
