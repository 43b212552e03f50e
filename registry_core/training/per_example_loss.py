"""The loss of each example, from the losses that a model was compiled with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers.compile_utils import CompileLoss

from registry_core.data.nesting import is_nested
from registry_core.errors import PluginError


def per_example_loss(model: keras.Model) -> Callable[..., tuple[Any, Any]]:
    """A function (inputs, targets, weights=None) -> (outputs, losses), with one loss per example.

    The losses, (n,), are the sum of the losses of the outputs, each times its `loss_weights` and
    the example's weight, as Keras computes them. Their mean is the loss that Keras reports, less
    what layers add to it. Inputs, targets, outputs are nested as the model's are; weights are (n,)
    or nested like the outputs.

    Run as a graph without autograph, it equals Keras's training step: a loss that inspects how its
    outputs were computed (softmax or logits) finds the same as in training.
    """
    loss = loss_of_outputs(model)

    def predict_with_loss(inputs: Any, expected: Any, weights: Any = None) -> tuple[Any, Any]:
        predicted = keras.tree.map_structure(in_float32, model(inputs, training=False))
        return predicted, loss(expected, predicted, weights)

    return predict_with_loss


def loss_of_outputs(model: keras.Model) -> Callable[..., Any]:
    """A function (targets, outputs, weights=None) -> losses (n,), as in `per_example_loss`."""
    compiled = getattr(model, "_compile_loss", None)  # None if the model overrides `compile`
    loss = _PerExampleLoss(
        model.loss,
        getattr(compiled, "_user_loss_weights", None),
        output_names=getattr(model, "output_names", None),
    )

    def losses(expected: Any, predicted: Any, weights: Any = None) -> Any:
        if is_nested(predicted) and not is_nested(expected):
            expected = (expected,)  # Keras might share the rows out among the outputs
        return tf.convert_to_tensor(loss(expected, predicted, weights))

    return losses


def in_float32(output: Any) -> Any:
    """An output of 16 bits as Keras's losses and metrics take it; any other output itself."""
    return tf.cast(output, tf.float32) if output.dtype in (tf.float16, tf.bfloat16) else output


class _PerExampleLoss(CompileLoss):
    """Keras's sum of the losses of all outputs, for each example in place of their mean."""

    _flat_losses: Any

    def build(self, y_true: Any, y_pred: Any) -> None:
        super().build(y_true, y_pred)
        self._flat_losses = [
            each._replace(loss=_one_number_each(each.loss)) for each in self._flat_losses
        ]
        # Keras has a metric for the loss of each of several outputs
        self._metrics = [None] * len(self._flat_losses)


def _one_number_each(loss: keras.losses.Loss) -> Callable[..., Any]:
    # copy.copy goes through the configuration, which an unregistered function has no place in
    unreduced = object.__new__(type(loss))
    vars(unreduced).update(vars(loss), reduction="none")

    def losses(expected: Any, predicted: Any, weights: Any = None) -> Any:
        if expected.shape.rank == 1 and predicted.shape[1:] == (1,):
            expected = expected[:, None]
        if weights is not None and weights.shape.rank == 1:
            _check_axes(unreduced(expected, predicted).shape)
        values = tf.convert_to_tensor(unreduced(expected, predicted, weights))
        other_axes = list(range(1, values.shape.rank))
        return tf.reduce_mean(values, axis=other_axes)

    return losses


def _check_axes(shape: Any) -> None:
    """Check that (n,) weights fit a loss of this shape; Keras would multiply along its last axis.

    Raises:
        PluginError: the loss has a number for each of several positions of an example.
    """
    if shape.rank is not None and shape.rank > 1:
        sizes, more = ", ".join(["n", *map(str, shape[1:])]), ", 1" * (shape.rank - 1)
        raise PluginError(
            f"The loss has a number for each position of an example, ({sizes}), and the weights "
            "are (n,).",
            f"Give the weights the shape (examples{more}): one for each example, the same for all "
            "of its positions.",
        )
