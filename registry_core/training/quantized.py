"""What 8-bit integers cost a model: the export, measured on a split as the Keras model is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.data.checks import steps
from registry_core.data.nesting import map_parts
from registry_core.training.exported_models import Exported, as_called
from registry_core.training.per_example_loss import loss_of_outputs
from registry_core.training.pipeline import EVALUATION_BATCH, evaluation_batches
from registry_core.types import Evaluation, Split

Progress = Callable[[int, int], None]


def evaluate_exported(
    model: keras.Model, exported: Exported, split: Split, like: Evaluation, progress: Progress
) -> Evaluation:
    """Outputs and losses of an export on a split.

    Args:
        model: the Keras model, compiled; its loss measures the export.
        exported: the export.
        split: the split.
        like: of the Keras model on the same split.
        progress: called with the examples that are done and all of them, after each batch.

    Returns:
        The same as `like`, of the export, without Keras's metrics.
    """
    nesting = like.outputs
    loss = tf.function(loss_of_outputs(model), autograph=False, reduce_retracing=True)
    outputs, losses, done = [], [], 0
    progress(0, len(split))
    for batch in evaluation_batches(split):
        inputs, targets, *weights = batch
        flat = _of_any_number(exported, as_called(model, (inputs,)))
        predicted = keras.tree.pack_sequence_as(nesting, flat)
        outputs.append(predicted)
        losses.append(loss(targets, map_parts(tf.constant, predicted), *weights).numpy())
        done += len(flat[0])
        progress(done, len(split))
    assert len(losses) == steps(len(split), EVALUATION_BATCH)  # noqa: S101 - as many as `like` has
    joined = map_parts(lambda *parts: np.concatenate(parts), *outputs)
    return Evaluation(
        {}, joined, np.concatenate(losses), like.targets, like.loss_function, like.threshold
    )


def _of_any_number(exported: Exported, inputs: tuple[Any, ...]) -> list[np.ndarray]:
    """The outputs of a batch; its last examples are repeated where the export takes a fixed number.

    The repeated ones are left out of the result.
    """
    total = len(keras.tree.flatten(inputs)[0])
    lacking = -total % (exported.batch or 1)
    if lacking:
        inputs = keras.tree.map_structure(
            lambda part: tf.concat([part, tf.repeat(part[-1:], lacking, axis=0)], axis=0), inputs
        )
    return [each[:total] for each in exported(*inputs)]
