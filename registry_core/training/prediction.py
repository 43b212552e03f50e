"""Outputs of a model for new inputs, as evaluation computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.data.nesting import map_parts, parts_of
from registry_core.errors import PluginError, TrainingError
from registry_core.evaluation.beliefs import OutputScale
from registry_core.tasks import Task
from registry_core.training.per_example_loss import in_float32
from registry_core.training.task_outputs import loss_identity, yes_threshold


class Predictor:
    """Predicts batches with one model; makes one graph for all sizes of batches.

    Args:
        model: as it was loaded.
        task: what its outputs are about; None if that is not known.
    """

    def __init__(self, model: keras.Model, task: Task | None) -> None:
        self.scale = OutputScale("", 0.5)
        if getattr(model, "loss", None) is not None:
            self.scale = OutputScale(loss_identity(model), yes_threshold(model, task))
        self._function = _graph(model)

    def predict(self, inputs: Any) -> Any:
        """The outputs for some examples.

        Args:
            inputs: (n, ...) arrays, nested as the model takes them.

        Returns:
            (n, ...) arrays of at least 32 bits, nested as the model's outputs are.

        Raises:
            TrainingError: memory ran out.
            PluginError: an output has not one row for each example.
        """
        examples = len(parts_of(inputs)[0])
        try:
            outputs = map_parts(np.asarray, self._function(map_parts(tf.constant, inputs)))
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise TrainingError(
                f"Memory ran out at a batch of {examples:,} examples.",
                "Predict fewer at a time.",
                f"--batch-size {max(1, examples // 2)}",
            ) from error
        for part in parts_of(outputs):
            if not part.ndim or len(part) != examples:
                raise PluginError(
                    f"The model's output is {part.shape} for {examples} examples.",
                    "Every output must have one row for each example: (n, ...).",
                )
        return outputs


def _graph(model: keras.Model) -> Callable[[Any], Any]:
    def step(inputs: Any) -> Any:
        return keras.tree.map_structure(in_float32, model(inputs, training=False))

    function: Callable[[Any], Any] = tf.function(step, autograph=False, reduce_retracing=True)
    return function
