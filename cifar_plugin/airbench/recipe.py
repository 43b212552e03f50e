"""The airbench recipe, as the plugin's hooks call it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import keras

    from cifar_plugin.airbench.config import AirbenchConfig
    from mlreg import ArraySplit, Augmentation, DataSplits, Phase


def augmentation(config: AirbenchConfig, data: DataSplits) -> Augmentation:
    """Alternating flips, and translations."""
    from cifar_plugin.airbench.augmentation import alternating_flip_and_translation

    return alternating_flip_and_translation(len(data.train), config.seed, config.translate_pixels)


def schedule(config: AirbenchConfig, steps_per_epoch: int) -> Any:
    """Muon's learning rate, decaying linearly to 0; the other rates are proportional to it."""
    from cifar_plugin.airbench.schedule import LinearDecay

    return LinearDecay(config.filter_learning_rate, config.epochs * steps_per_epoch)


def model(config: AirbenchConfig, data: DataSplits, learning_rate: Any) -> keras.Model:
    """The compiled network, its first layer computed from the first training images."""
    from cifar_plugin.airbench.loss import SmoothedCrossentropy
    from cifar_plugin.airbench.network import standardized, training_network
    from cifar_plugin.airbench.optimizer import MuonAndNesterov
    from cifar_plugin.airbench.whitening import whitening_kernel

    train = cast("ArraySplit", data.train)
    steps_per_epoch = math.ceil(len(train) / config.batch_size)
    network = training_network(
        train.inputs.shape[1:], len(data.class_names), config.widths, config.small_epochs > 0
    )
    sample = standardized(train.inputs[: config.whitening_images])
    network.get_layer("whitening").kernel.assign(whitening_kernel(sample))
    network.compile(
        optimizer=MuonAndNesterov(
            learning_rate,
            filter_learning_rate=config.filter_learning_rate,
            bias_learning_rate=config.bias_learning_rate,
            head_learning_rate=config.head_learning_rate,
            whitening_steps=config.whitening_bias_epochs * steps_per_epoch,
            filter_momentum=config.filter_momentum,
            momentum=config.momentum,
            decay_per_step=config.weight_decay * config.batch_size,
            examples=config.batch_size,
        ),
        loss=SmoothedCrossentropy(config.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,  # its layers use XLA themselves where it is faster
    )
    return network


def phases(config: AirbenchConfig, model: keras.Model) -> list[Phase] | None:
    """The epochs on smaller images, then those on whole ones; None if all are whole."""
    from mlreg import Phase

    if not config.small_epochs:
        return None
    small, whole = config.small_pixels, model.input_shape[1]
    phases = [Phase(f"{small} pixels", config.small_epochs, lambda model: _shrink(model, small))]
    if rest := config.epochs - config.small_epochs:
        phases.append(Phase(f"{whole} pixels", rest, lambda model: _shrink(model, None)))
    return phases


def _shrink(model: keras.Model, pixels: int | None) -> None:
    # the host traces the training step anew in each phase
    model.get_layer("shrinking").pixels = pixels


def inference_model(config: AirbenchConfig, model: keras.Model) -> keras.Model:
    """The trained weights in Keras's own layers, averaging over several views of an image."""
    from cifar_plugin.airbench.network import copy_weights, inference_network

    classes = model.output_shape[-1]
    registered = inference_network(model.input_shape[1:], classes, config.widths, config.test_views)
    copy_weights(model, registered)
    return registered
