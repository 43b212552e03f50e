"""Training on the images of a batch that a narrow network finds hardest.

Source: the idea is that of the proxy of airbench96, of KellerJordan/cifar10-airbench.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def kept_images(images: Any, share: float) -> Any:
    """How many of a batch's images are kept: a share in thousandths, rounded down, at least one."""
    # in whole numbers, which the count of a training's operations can follow
    return tf.maximum(1, images * round(1000 * share) // 1000)


@keras.saving.register_keras_serializable(package="cifar_plugin")
class ChosenByProxy(keras.Model):  # type: ignore[misc]
    """A network, and a narrow one that chooses what it is trained on.

    Predictions are those of the network. While `trains_proxy` is True, a step trains the proxy on a
    whole batch. Afterwards a step trains the network on the images for which the proxy's loss is
    largest; which these are depends on the batch and the proxy alone.

    Args:
        network: from images (n, height, width, channels) to logits (n, classes).
        proxy: the same, with fewer channels.
        kept_share: the part of a batch that the network is trained on, above 0 and at most 1.
        steps_per_epoch: of the training; the learning rates of the two depend on it.
    """

    def __init__(
        self,
        network: keras.Model,
        proxy: keras.Model,
        kept_share: float,
        steps_per_epoch: int,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.network = network
        self.proxy = proxy
        self.kept_share = kept_share
        self.steps_per_epoch = steps_per_epoch
        self.trains_proxy = False

    def train_next(self, proxy: bool) -> None:
        """Choose which of the two is trained; compile the model afterwards."""
        self.trains_proxy = proxy
        self.proxy.trainable = proxy
        self.network.trainable = not proxy

    def call(self, images: Any, training: bool = False) -> Any:
        network = self.proxy if training and self.trains_proxy else self.network
        return network(images, training=training)

    def train_step(self, data: Any) -> Any:
        images, classes, *_ = data  # there are no example weights
        return super().train_step(data if self.trains_proxy else self.hardest(images, classes))

    def hardest(self, images: Any, classes: Any) -> tuple[Any, Any]:
        """The images for which the proxy's loss is largest, and their classes.

        Args:
            images: (n, height, width, channels).
            classes: (n,) numbers.

        Returns:
            `kept_share` of both, rounded down, at least one; the hardest first.
        """
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.cast(classes, tf.int32), self.proxy(images, training=False)
        )
        kept = tf.math.top_k(losses, kept_images(tf.shape(losses)[0], self.kept_share)).indices
        return tf.gather(images, kept), tf.gather(classes, kept)

    def get_config(self) -> dict[str, Any]:
        parts = {"network": self.network, "proxy": self.proxy}
        serialized = {
            name: keras.saving.serialize_keras_object(part) for name, part in parts.items()
        }
        return {
            **serialized,
            "kept_share": self.kept_share,
            "steps_per_epoch": self.steps_per_epoch,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ChosenByProxy:
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("network", "proxy")
        }
        return cls(**{**config, **parts})
