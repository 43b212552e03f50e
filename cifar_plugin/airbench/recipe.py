"""The airbench recipe, as the plugin's hooks call it."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import partial
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

    return LinearDecay(config.filter_learning_rate, config.network_epochs * steps_per_epoch)


def model(config: AirbenchConfig, data: DataSplits, learning_rate: Any) -> keras.Model:
    """The compiled network, its first layer computed from the first training images."""
    from cifar_plugin.airbench.network import standardized, training_network
    from cifar_plugin.airbench.whitening import whitening_kernel

    train = cast("ArraySplit", data.train)
    steps_per_epoch = math.ceil(len(train) / config.batch_size)
    shape, classes = train.inputs.shape[1:], len(data.class_names)
    whitening = whitening_kernel(standardized(train.inputs[: config.whitening_images]))
    model = network = training_network(shape, classes, config.widths, config.small_epochs > 0)
    network.get_layer("whitening").kernel.assign(whitening)
    examples = config.batch_size
    if config.proxy_epochs:
        from cifar_plugin.airbench.proxy import ChosenByProxy

        proxy = training_network(shape, classes, config.proxy_widths)
        proxy.get_layer("whitening").kernel.assign(whitening)
        model = ChosenByProxy(network, proxy, config.kept_share, steps_per_epoch)
        model.build((None, *shape))
        examples = _kept(config)
    _compile(model, config, learning_rate, steps_per_epoch, examples)
    return model


def _compile(
    model: keras.Model,
    config: AirbenchConfig,
    learning_rate: Any,
    steps_per_epoch: int,
    examples: int,
) -> None:
    """Compile a model whose steps train on so many examples."""
    import tensorflow as tf

    from cifar_plugin.airbench.loss import SmoothedCrossentropy
    from cifar_plugin.airbench.optimizer import MuonAndNesterov

    model.compile(
        optimizer=MuonAndNesterov(
            learning_rate,
            filter_learning_rate=config.filter_learning_rate,
            bias_learning_rate=config.bias_learning_rate,
            head_learning_rate=config.head_learning_rate,
            last_steps={
                layers: epochs * steps_per_epoch for layers, epochs in _last_epochs(config).items()
            },
            filter_momentum=config.filter_momentum,
            momentum=config.momentum,
            decay_per_step=config.weight_decay * examples,
            examples=examples,
        ),
        loss=SmoothedCrossentropy(config.label_smoothing),
        metrics=["accuracy"],
        # on a processor its layers use XLA themselves, where it is faster; on a GPU Keras does
        # for the whole step, if the run is not deterministic
        jit_compile="auto" if tf.config.list_logical_devices("GPU") else False,
    )


def _last_epochs(config: AirbenchConfig) -> dict[str, int]:
    """By the first letters of layers' names, for how many epochs these are trained.

    Layers that are not among them are trained to the end.
    """
    last = config.network_epochs
    epochs = {"whitening": min(config.whitening_bias_epochs, last)}
    if config.first_block_epochs and config.first_block_epochs < last:
        epochs |= dict.fromkeys(("convolution1", "normalization1"), config.first_block_epochs)
    return epochs


def _kept(config: AirbenchConfig) -> int:
    """How many images of a batch the proxy chooses."""
    from cifar_plugin.airbench.proxy import kept_images

    return int(kept_images(config.batch_size, config.kept_share))


def phases(config: AirbenchConfig, model: keras.Model) -> list[Phase] | None:
    """The epochs of the proxy, those on smaller images, those on whole ones.

    Both of the latter are divided where the training of the first layer's bias ends, and that of
    the first block. None if the network is trained on whole images, to its last epoch in all of
    its blocks.
    """
    from mlreg import Phase

    if not (config.proxy_epochs or config.small_epochs or config.first_block_epochs):
        return None
    whole = getattr(model, "network", model).input_shape[1]
    phases = [Phase("proxy", config.proxy_epochs, partial(_train_proxy, config=config))]
    begin, last_epochs, sizes = 0, _last_epochs(config), config.small_sizes
    for end in sorted({*sizes, *last_epochs.values(), config.network_epochs}):
        pixels = next((size for last, size in sizes.items() if end <= last), None)
        fixed = [layers for layers, last in last_epochs.items() if begin >= last]
        part = {0: "", 1: ", first layer fixed"}.get(len(fixed), ", first block fixed")
        phases.append(
            Phase(
                f"{pixels or whole} pixels{part}",
                end - begin,
                partial(_begin, config=config, pixels=pixels, fixed=fixed),
            )
        )
        begin = end
    return [phase for phase in phases if phase.epochs]


def _train_proxy(model: Any, config: AirbenchConfig) -> None:
    from cifar_plugin.airbench.schedule import LinearDecay

    model.train_next(proxy=True)
    steps = model.steps_per_epoch
    rate = LinearDecay(config.filter_learning_rate, config.proxy_epochs * steps)
    to_its_end = config.model_copy(update={"first_block_epochs": None})
    _compile(model, to_its_end, rate, steps, config.batch_size)


def _begin(model: Any, config: AirbenchConfig, pixels: int | None, fixed: Collection[str]) -> None:
    """Train the network on images of this size, apart from layers whose names begin so.

    The host traces its step anew in each phase.
    """
    if config.proxy_epochs and model.trains_proxy:
        model.train_next(proxy=False)
        steps = model.steps_per_epoch
        _compile(model, config, schedule(config, steps), steps, _kept(config))
    network = getattr(model, "network", model)
    if config.small_epochs:
        network.get_layer("shrinking").pixels = pixels
    for layer in network.layers:
        # at a learning rate of 0, the gradients of its weights and its input are not needed
        layer.trainable = not layer.name.startswith(tuple(fixed))


def inference_model(config: AirbenchConfig, model: keras.Model) -> keras.Model:
    """The trained weights in Keras's own layers, averaging over several views of an image."""
    from cifar_plugin.airbench.network import copy_weights, inference_network

    network = getattr(model, "network", model)  # without its proxy
    classes = network.output_shape[-1]
    registered = inference_network(
        network.input_shape[1:], classes, config.widths, config.test_views
    )
    copy_weights(network, registered)
    return registered
