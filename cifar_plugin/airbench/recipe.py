"""The airbench recipe, as the plugin's hooks hand it on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import keras

    from cifar_plugin.airbench.config import AirbenchConfig
    from mlreg import ArraySplit, Augmentation, DataSplits


def augmentation(config: AirbenchConfig, data: DataSplits) -> Augmentation:
    """Flips by turns and translations."""
    from cifar_plugin.airbench.augmentation import alternating_flip_and_translation

    return alternating_flip_and_translation(len(data.train), config.seed, config.translate_pixels)


def schedule(config: AirbenchConfig, steps_per_epoch: int) -> Any:
    """Muon's learning rate, a line to nothing at the last step; the others follow it."""
    from cifar_plugin.airbench.schedule import LinearDecay

    return LinearDecay(config.filter_learning_rate, config.epochs * steps_per_epoch)


def model(config: AirbenchConfig, data: DataSplits, learning_rate: Any) -> keras.Model:
    """The network, its first layer made from the first training images, compiled."""
    from cifar_plugin.airbench.loss import SmoothedCrossentropy
    from cifar_plugin.airbench.network import standardized, trainable
    from cifar_plugin.airbench.optimizer import MuonAndNesterov
    from cifar_plugin.airbench.whitening import whitening_kernel

    train = cast("ArraySplit", data.train)
    steps_per_epoch = math.ceil(len(train) / config.batch_size)
    network = trainable(train.inputs.shape[1:], len(data.class_names), config.widths)
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
            shrinkage=config.weight_decay * config.batch_size,
            examples=config.batch_size,
        ),
        loss=SmoothedCrossentropy(config.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,  # its layers say themselves what XLA is good for
    )
    return network


def inference_model(config: AirbenchConfig, model: keras.Model) -> keras.Model:
    """The trained weights in layers of Keras's own, looking at several views of an image."""
    from cifar_plugin.airbench.network import copy_weights, registrable

    classes = model.output_shape[-1]
    registered = registrable(model.input_shape[1:], classes, config.widths, config.test_views)
    copy_weights(model, registered)
    return registered
