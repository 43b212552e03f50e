"""The models: a pretrained backbone with a new last layer, or a small convolutional network.

Both take (examples, size, size, 3) uint8 images and return a logit for each class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from mlreg_folder.config import FolderConfig
from mlreg_folder.weights import find_weights


def build(config: FolderConfig, classes: int, learning_rate: Any) -> keras.Model:
    """The compiled model; its backbone, if there is one, is frozen.

    Args:
        config: the run's configuration.
        classes: the number of classes.
        learning_rate: of Adam.

    Raises:
        DataError: the weights that the configuration names do not exist.
    """
    weights = find_weights(config)
    inputs = keras.layers.Input((config.size, config.size, 3), dtype="uint8")
    if weights is None:
        features = _small_network(inputs, config.filters)
    else:
        features = _backbone(inputs, config, weights)
    features = keras.layers.Dropout(config.dropout)(features)
    logits = keras.layers.Dense(classes, dtype="float32")(features)
    model = keras.Model(inputs, logits)
    compile_model(model, learning_rate)
    return model


def compile_model(model: keras.Model, learning_rate: Any) -> None:
    """Compile anew, as is needed after a change of what is trainable."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def thaw(model: keras.Model, learning_rate: float) -> None:
    """Make the backbone trainable, all but its batch normalization, whose statistics stay.

    They are those of millions of images; a few batches of other images would ruin them.

    Args:
        model: as `build` made it.
        learning_rate: of Adam, which begins anew.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layer.trainable = True
            for inner in layer.layers:
                if isinstance(inner, keras.layers.BatchNormalization):
                    inner.trainable = False
    compile_model(model, learning_rate)


def _small_network(inputs: Any, filters: int) -> Any:
    """Four times: a convolution, twice as many filters as before, half the size."""
    values = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    for factor in (1, 2, 4, 4):
        values = keras.layers.Conv2D(factor * filters, 3, padding="same", use_bias=False)(values)
        values = keras.layers.BatchNormalization(momentum=0.9)(values)
        values = keras.layers.ReLU()(values)
        values = keras.layers.MaxPooling2D(2, padding="same")(values)
    return keras.layers.GlobalAveragePooling2D()(values)


def _backbone(inputs: Any, config: FolderConfig, weights: Path | str) -> Any:
    """The features of a frozen pretrained network, in the range of values that it expects."""
    name = "MobileNetV2" if config.backbone == "auto" else config.backbone
    kwargs: dict[str, Any] = {"weights": str(weights), "include_top": False, "pooling": "avg"}
    shape = (config.size, config.size, 3)
    if name == "MobileNetV2":
        backbone = keras.applications.MobileNetV2(input_shape=shape, **kwargs)
        values = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    else:
        backbone = keras.applications.EfficientNetV2B0(input_shape=shape, **kwargs)
        values = keras.layers.Rescaling(1.0)(inputs)  # it scales them itself
    backbone.trainable = False
    return backbone(values, training=False)
