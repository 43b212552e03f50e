"""The network is the recipe's, layer by layer, and compiled as the recipe compiles it."""

import pytest

from cifar_plugin.baseline.config import BaselineConfig
from cifar_plugin.config import CLASSES, IMAGE_SHAPE

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def model():
    from cifar_plugin.baseline.model import build

    return build(BaselineConfig(), 0.002, IMAGE_SHAPE, CLASSES)


def test_layers_are_those_of_the_recipe(model):
    """Kinds, order and sizes; dropout comes after the logits."""
    described = []
    for layer in model.layers:
        config = layer.get_config()
        size = config.get("filters") or config.get("units") or config.get("rate")
        described.append((type(layer).__name__, size, config.get("activation")))
    assert described == [
        ("Conv2D", 32, "relu"),
        ("BatchNormalization", None, None),
        ("MaxPooling2D", None, None),
        ("Conv2D", 64, "relu"),
        ("BatchNormalization", None, None),
        ("MaxPooling2D", None, None),
        ("Conv2D", 64, "relu"),
        ("BatchNormalization", None, None),
        ("Flatten", None, None),
        ("Dense", 64, "relu"),
        ("BatchNormalization", None, None),
        ("Dense", 10, "linear"),
        ("Dropout", 0.25, None),
    ]


def test_parameters_shapes_and_windows(model):
    """123,466 parameters, 3 × 3 kernels without padding, from images to ten logits."""
    assert model.count_params() == 123_466
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 10)
    convolutions = [layer for layer in model.layers if hasattr(layer, "filters")]
    assert all(layer.kernel_size == (3, 3) for layer in convolutions)
    assert all(layer.padding == "valid" for layer in convolutions)


def test_compiled_as_in_the_recipe(model):
    """Adam with the given rate, loss on logits, accuracy."""
    import numpy as np

    assert type(model.optimizer).__name__ == "Adam"
    assert float(model.optimizer.learning_rate) == pytest.approx(0.002)
    logits = np.array([[0.0] * 9 + [5.0]], "float32")
    expected = np.log(9 + np.exp(5.0)) - 5.0
    assert float(model.loss(np.array([9]), logits)) == pytest.approx(expected, rel=1e-5)
    images = np.zeros((4, 32, 32, 3), "float32")
    measured = model.evaluate(images, np.arange(4), verbose=0, return_dict=True)
    assert set(measured) == {"loss", "accuracy"}


def test_other_image_sizes_and_classes_work():
    """Only the default sizes are CIFAR-10's."""
    from cifar_plugin.baseline.model import build

    model = build(BaselineConfig(dropout=0.5), 0.001, (28, 28, 1), 7)
    assert model.output_shape == (None, 7)
    assert model.layers[-1].rate == 0.5
