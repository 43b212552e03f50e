"""The first epochs of the airbench recipe may train on smaller images, the others on whole ones."""

import numpy as np
import pytest
from airbench_fits import AirbenchFits, config_with, phases_of
from pydantic import ValidationError

from cifar_plugin.airbench.config import AirbenchConfig


def test_the_first_epochs_are_small_and_the_others_whole():
    """All of them may be either; the first layer's bias is trained in the first three."""
    assert phases_of(epochs=7, small_epochs=5) == [
        ("24 pixels", 3),
        ("24 pixels, first layer fixed", 2),
        ("32 pixels, first layer fixed", 2),
    ]
    assert phases_of(epochs=7, small_epochs=1) == [
        ("24 pixels", 1),
        ("32 pixels", 2),
        ("32 pixels, first layer fixed", 4),
    ]
    assert phases_of(epochs=3, small_epochs=3, small_pixels=20) == [("20 pixels", 3)]
    assert phases_of(epochs=3, small_epochs=2) == [("24 pixels", 2), ("32 pixels", 1)]
    assert phases_of() is None


def test_several_sizes_share_the_small_epochs():
    """In their order; of epochs that cannot be shared equally, later sizes have one more."""
    assert phases_of(epochs=8, small_epochs=5, small_pixels=[17, 24]) == [
        ("17 pixels", 2),
        ("24 pixels", 1),
        ("24 pixels, first layer fixed", 2),
        ("32 pixels, first layer fixed", 3),
    ]
    assert phases_of(epochs=3, small_epochs=1, small_pixels=[17, 20, 24]) == [
        ("24 pixels", 1),
        ("32 pixels", 2),
    ]


def test_the_first_block_is_fixed_after_its_epochs():
    """On images of either size; at the end of all epochs there is nothing left to fix."""
    assert phases_of(epochs=9, small_epochs=6, first_block_epochs=7) == [
        ("24 pixels", 3),
        ("24 pixels, first layer fixed", 3),
        ("32 pixels, first layer fixed", 1),
        ("32 pixels, first block fixed", 2),
    ]
    assert phases_of(epochs=4, first_block_epochs=3) == [
        ("32 pixels", 3),
        ("32 pixels, first block fixed", 1),
    ]
    assert phases_of(epochs=3, first_block_epochs=3) == [("32 pixels", 3)]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"epochs": 3, "small_epochs": 4}, "small_epochs is 4; it must be at most epochs, 3"),
        ({"small_epochs": -1}, "small_epochs"),
        ({"small_pixels": 8}, "small_pixels.0\n.*greater than or equal to 9"),
        ({"small_pixels": [24, 33]}, "small_pixels.1\n.*less than or equal to 32"),
        ({"small_pixels": []}, "small_pixels\n.*at least 1 item"),
    ],
)
def test_sizes_and_epochs_that_cannot_be_are_refused(settings, why):
    """The poolings leave nothing of fewer than 9 pixels."""
    with pytest.raises(ValidationError, match=why):
        AirbenchConfig(**settings)


@pytest.mark.tensorflow
@pytest.mark.parametrize("smaller", [9, 20, 24, 32])
def test_smaller_images_are_means_over_areas(tf, smaller):
    """As TensorFlow's resizing by areas."""
    from cifar_plugin.airbench.layers import Shrinking

    images = np.random.default_rng(0).normal(size=(5, 32, 32, 3)).astype("float32")
    behind = tf.transpose(images, [1, 2, 0, 3])
    layer = Shrinking(smaller)
    expected = tf.image.resize(images, (smaller, smaller), "area")
    found = tf.transpose(layer(behind, training=True), [2, 0, 1, 3])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(layer(behind, training=False), behind)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("size", "points", "points_of_a_result"),
    [
        # two tiles of 6 results of an axis of 12, each with 8 points
        (12, 16, 8),
        # tiles of 5 and 4 results, with 7 and 6 points; one matrix for both, half of it zeros
        (9, 13, 13),
    ],
)
def test_the_operations_of_a_convolution_follow_from_the_size_of_its_images(
    tf, size, points, points_of_a_result
):
    """Of the size that it gets, not of the one that it was built for."""
    from cifar_plugin.airbench.layers import Convolution
    from registry_core.training.operations import count

    examples, channels, filters = 5, 3, 4
    layer = Convolution(filters)
    layer.build((32, 32, None, channels))
    images = tf.TensorSpec((size, size, None, channels), tf.float32)
    graph = tf.function(layer.call).get_concrete_function(images).graph
    multiplied = (
        points * size * size * examples * channels  # transform the images down
        + points * points * size * examples * channels  # and across
        + points * 3 * 3 * channels * filters  # the kernel down
        + points * points * 3 * channels * filters  # and across
        + points * points * examples * channels * filters  # their product
        + points_of_a_result * size * points * examples * filters  # the results down
        + points_of_a_result * size * size * examples * filters  # and across
    )
    assert count(graph, examples).operations == 2 * multiplied


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.usefixtures("one_step_a_call")
def test_each_phase_trains_on_its_size(tf, training):
    """The operations of a step in it are those of images of this size."""
    from registry_core.training.operations import count

    assembly = AirbenchFits(training, None)._assembly(None)
    images = tf.TensorSpec((None, 32, 32, 3), tf.uint8)

    def operations(is_training):
        step = tf.function(lambda images: assembly.model(images, training=is_training))
        return count(step.get_concrete_function(images).graph, 16).operations

    whole, in_phases = operations(True), []
    for phase in assembly.phases:
        phase.prepare(assembly.model)
        in_phases.append((operations(True), operations(False)))
    (small, evaluated), (large, evaluated_again) = in_phases
    assert small < 0.6 * large
    assert large == whole
    assert evaluated == evaluated_again


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.usefixtures("one_step_a_call")
def test_a_run_that_is_stopped_before_and_after_the_change_of_size_ends_in_the_same_weights(
    training, tmp_path
):
    """Within the small epoch and within the whole one."""
    fits = AirbenchFits(training, tmp_path)
    whole, resumed = fits.whole(), fits.resumed((0, 2), (1, 1))
    assert resumed.digest == whole.digest
    assert resumed.history.metrics == whole.history.metrics
    assert resumed.history.operations == whole.history.operations
    assert resumed.warnings == whole.warnings == []
    large = 3 * whole.history.operations["per_step"]  # in the last phase
    small = whole.history.operations["training"] - large
    assert 0.2 * large < small < 0.6 * large


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.usefixtures("one_step_a_call")
def test_a_version_records_the_operations_of_both_sizes(training, tmp_path):
    """Each epoch is counted with the size that it had; validation has whole images."""

    def operations(name, **settings):
        folder = tmp_path / name
        folder.mkdir()
        return AirbenchFits(training, folder, config_with(**settings)).whole().history.operations

    both = operations("both", epochs=3, small_epochs=2)
    small = operations("small", epochs=1, small_epochs=1)
    large = operations("large", epochs=1, small_epochs=0)
    assert small["training"] < 0.6 * large["training"]
    assert both["training"] == 2 * small["training"] + large["training"]
    assert both["validation"] == 3 * small["validation"] == 3 * large["validation"]


@pytest.mark.gate
@pytest.mark.tensorflow
def test_the_registered_model_takes_whole_images_and_has_layers_of_keras_alone(training):
    """It predicts as the trained one does, which has the layer that makes them smaller."""
    from cifar_plugin import plugin

    config = config_with(test_views=1)
    model = AirbenchFits(training, None, config)._assembly(None).model
    model.get_layer("shrinking").pixels = 20
    registered = plugin.mlreg_inference_model(config, model)
    assert registered.input_shape == (None, 32, 32, 3)
    modules = {type(each).__module__ for each in registered._flatten_layers()}
    assert not [name for name in modules if not name.startswith("keras.")]
    images = np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(registered(images), model(images, training=False), atol=1e-4)


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.usefixtures("one_step_a_call")
def test_the_smallest_images_leave_a_pixel_for_the_last_layer(training):
    """Of 9 pixels."""
    model = AirbenchFits(training, None)._assembly(None).model
    model.get_layer("shrinking").pixels = 9
    images = np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    assert np.isfinite(model(images, training=True)).all()


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.usefixtures("one_step_a_call")
def test_the_first_layer_is_fixed_in_phases_after_its_epochs_which_changes_no_weight(training):
    """Its learning rate is 0 then, so the gradient is not computed."""
    config = config_with(small_epochs=2, small_pixels=9, whitening_bias_epochs=1)
    assembly = AirbenchFits(training, None, config)._assembly(None)
    model, train = assembly.model, assembly.data.train
    first_layer = model.get_layer("whitening")
    assert first_layer.trainable
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(3)  # the steps of an epoch
    variables = [*model.variables, *model.optimizer.variables]
    start = [each.numpy() for each in variables]
    assembly.phases[1].prepare(model)
    assert not first_layer.trainable
    weights = []
    for is_trained in (False, True):
        first_layer.trainable = is_trained
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        model.make_train_function(force=True)
        model.train_on_batch(train.inputs[:16], train.targets[:16])
        weights.append([each.numpy() for each in model.variables])
    for fixed, trained in zip(*weights, strict=True):
        np.testing.assert_array_equal(fixed, trained)


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.usefixtures("one_step_a_call")
def test_a_fixed_first_block_keeps_its_weights_and_takes_fewer_operations(tf, training):
    """Its moving averages still follow the images; the other blocks are trained."""
    from registry_core.training.operations import count

    config = config_with(epochs=2, small_epochs=0, whitening_bias_epochs=1, first_block_epochs=1)
    assembly = AirbenchFits(training, None, config)._assembly(None)
    model, train = assembly.model, assembly.data.train
    operations = []
    for phase in assembly.phases:
        phase.prepare(model)
        step = tf.function(lambda images, classes: model.train_step((images, classes)))
        specs = tf.TensorSpec((16, 32, 32, 3), tf.uint8), tf.TensorSpec((16,), tf.uint8)
        operations.append(count(step.get_concrete_function(*specs).graph, 16).operations)
    assert operations[1] < 0.8 * operations[0]
    before = {each.path: each.numpy() for each in model.variables}
    model.make_train_function(force=True)
    model.train_on_batch(train.inputs[:16], train.targets[:16])
    changed = {each.path for each in model.variables if (each.numpy() != before[each.path]).any()}
    averages = {path for path in before if "moving" in path}
    assert averages <= changed
    fixed = ("whitening", "convolution1", "normalization1")
    assert not [path for path in changed - averages if path.startswith(fixed)]
    assert {"convolution2_1/kernel", "normalization2_1/beta", "head/kernel"} <= changed


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.usefixtures("one_step_a_call")
def test_a_run_that_is_stopped_before_and_after_its_first_block_is_fixed_ends_in_the_same_weights(
    training, tmp_path
):
    """Within the epoch that trains it and within the one that does not."""
    config = config_with(epochs=2, small_epochs=0, whitening_bias_epochs=1, first_block_epochs=1)
    fits = AirbenchFits(training, tmp_path, config)
    whole, resumed = fits.whole(), fits.resumed((0, 2), (1, 1))
    assert resumed.digest == whole.digest
    assert resumed.history.metrics == whole.history.metrics
    assert resumed.history.operations == whole.history.operations
    assert resumed.warnings == whole.warnings == []
