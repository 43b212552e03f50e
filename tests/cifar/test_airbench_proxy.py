"""A narrow network may be trained first, and choose what the network is trained on."""

import numpy as np
import pytest
from airbench_fits import AirbenchFits, config_with, phases_of
from pydantic import ValidationError

PROXY = {"proxy_epochs": 1, "proxy_widths": (24, 8, 8), "kept_share": 0.5}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"epochs": 2, "proxy_epochs": 2}, "proxy_epochs is 2; it must be below epochs, 2"),
        (
            {"epochs": 3, "proxy_epochs": 1, "small_epochs": 3},
            "small_epochs is 3; it must be at most epochs, 3 less proxy_epochs, 1",
        ),
        ({"kept_share": 0}, "kept_share\n.*greater than 0"),
        ({"kept_share": 1.1}, "kept_share\n.*less than or equal to 1"),
    ],
)
def test_a_proxy_that_leaves_no_epoch_or_image_is_refused(settings, why):
    """The network has an epoch at least, and an image of each batch."""
    with pytest.raises(ValidationError, match=why):
        config_with(**{"small_epochs": 0, **settings})


def test_the_proxy_has_the_first_epochs():
    """The network's first ones may be small."""
    assert phases_of(epochs=5, proxy_epochs=2) == [("proxy", 2), ("32 pixels", 3)]
    assert phases_of(epochs=7, proxy_epochs=2, small_epochs=4) == [
        ("proxy", 2),
        ("24 pixels", 3),
        ("24 pixels, first layer fixed", 1),
        ("32 pixels, first layer fixed", 1),
    ]


def made(training):
    return AirbenchFits(training, None, config_with(epochs=3, **PROXY))._assembly(None).model


@pytest.fixture(scope="module")
def model(training):
    """As the hooks make it; not trained."""
    return made(training)


@pytest.mark.gate
@pytest.mark.tensorflow
def test_the_images_with_the_largest_losses_are_kept(tf, model):
    """Of an odd number half, rounded down."""
    images = np.random.default_rng(1).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    classes = np.arange(9, dtype=np.uint8)
    logits = model.proxy(images, training=False).numpy()
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(9), classes]
    kept, kept_classes = model.hardest(tf.constant(images), tf.constant(classes))
    expected = np.argsort(-losses)[:4]
    np.testing.assert_array_equal(kept_classes, expected)
    np.testing.assert_array_equal(kept, images[expected])
    one, _ = model.hardest(tf.constant(images[:1]), tf.constant(classes[:1]))
    assert len(one) == 1


@pytest.mark.gate
@pytest.mark.tensorflow
def test_predictions_are_those_of_the_network(model):
    """Also of the registered model, which has no proxy."""
    from cifar_plugin import plugin

    images = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    registered = plugin.mlreg_inference_model(config_with(test_views=1), model)
    found = model(images, training=False)
    np.testing.assert_array_equal(found, model.network(images, training=False))
    np.testing.assert_allclose(registered(images), found, atol=1e-4)
    assert registered.count_params() == model.network.count_params()


@pytest.mark.gate
@pytest.mark.tensorflow
def test_the_operations_of_the_choice_are_counted(tf, model):
    """They are those of the proxy, and some for each loss; the network's follow from its share."""
    from registry_core.training.operations import count

    specs = [tf.TensorSpec((None, 32, 32, 3), tf.uint8), tf.TensorSpec((None,), tf.uint8)]
    alone = tf.function(lambda images: model.proxy(images)).get_concrete_function(specs[0])
    chosen = tf.function(lambda *batch: model.network(model.hardest(*batch)[0]))
    network = tf.function(lambda images: model.network(images)).get_concrete_function(specs[0])
    counted = count(chosen.get_concrete_function(*specs).graph, 20)
    of_proxy, of_network = count(alone.graph, 20), count(network.graph, 10)
    assert not counted.not_counted
    of_losses = counted.operations - of_proxy.operations - of_network.operations
    assert 0 < of_losses < 20 * 100


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.usefixtures("one_step_a_call")
def test_a_run_with_a_proxy_that_is_stopped_and_resumed_ends_in_the_same_weights(
    training, tmp_path
):
    """Stopped while the proxy is trained, and while it chooses; its operations are counted."""
    fits = AirbenchFits(training, tmp_path, config_with(epochs=3, small_pixels=24, **PROXY))
    whole, resumed = fits.whole(), fits.resumed((0, 2), (2, 1))
    assert resumed.digest == whole.digest
    assert resumed.history.metrics == whole.history.metrics
    assert resumed.history.operations == whole.history.operations
    assert whole.history.operations["not_counted"] == []
    assert resumed.warnings == whole.warnings == []


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.usefixtures("one_step_a_call")
def test_the_network_is_trained_after_the_proxy_and_not_with_it(training):
    """A step of either changes nothing of the other."""
    from cifar_plugin import plugin

    model = made(training)
    images = np.random.default_rng(1).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    classes = np.arange(16) % 10
    proxy, *_, whole = plugin.mlreg_phases(config_with(epochs=3, **PROXY), model)
    for phase, changes in ((proxy, model.proxy), (whole, model.network)):
        phase.prepare(model)
        model.run_eagerly = True  # what changes needs no graph
        before = [variable.numpy() for variable in model.weights]
        model.train_on_batch(images, classes)
        changed = {
            id(variable)
            for variable, value in zip(model.weights, before, strict=True)
            if (variable.numpy() != value).any()
        }
        assert changed and changed <= {id(variable) for variable in changes.weights}


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_the_trained_model_can_be_saved_and_loaded(model, tmp_path):
    """With its proxy."""
    import keras

    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for found, expected in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert (again.kept_share, again.steps_per_epoch) == (0.5, 3)
