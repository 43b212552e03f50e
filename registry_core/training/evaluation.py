"""Evaluation of a model on a split: Keras's metrics as numbers, outputs and loss per example."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.errors import PluginError, TrainingError
from registry_core.training.pipeline import evaluation_batches
from registry_core.training.stream_checks import check_unchanged
from registry_core.types import Evaluation, Split

# The most values of one metric: each becomes a metric of the version with its own figure.
MAX_METRIC_VALUES = 100


def as_numbers(measured: Mapping[str, Any]) -> dict[str, float]:
    """Keras's metric results with one number per name.

    Args:
        measured: metric -> number, array, or dict of them. The values of an array become `name_0`,
            `name_1`, … (`name_0_0`, … for a matrix); the values of a dict are named by its keys.
    """
    numbers: dict[str, float] = {}
    for name, value in measured.items():
        if isinstance(value, Mapping):
            numbers |= as_numbers({str(key): part for key, part in value.items()})
            continue
        array = np.asarray(value)
        if array.size == 1:
            numbers[name] = float(array.reshape(()))
            continue
        for place in np.ndindex(array.shape):
            numbers["_".join(map(str, (name, *place)))] = float(array[place])
    return numbers


def check_metrics(model: keras.Model, inputs: Any, targets: Any) -> None:
    """Compute the metrics of a few examples; raises PluginError if one has too many values."""
    model.compute_metrics(inputs, targets, model(inputs, training=False))
    for name, value in model.get_metrics_result().items():
        parts = len(as_numbers({name: value}))
        if parts > MAX_METRIC_VALUES:
            raise PluginError(
                f"The metric {name!r} has {parts:,} values. A version records each of them; at "
                f"most {MAX_METRIC_VALUES} per metric are allowed.",
                "Return their mean (average='macro'), or plot them in mlreg_report.",
            )
    model.reset_metrics()


def check_metric_finite(name: str, value: float, place: str) -> None:
    """Raise TrainingError if a metric other than the loss is not finite."""
    if not math.isfinite(value):
        raise TrainingError(
            f"The metric {name} is {value} {place}.",
            "Nothing was registered: metrics of a version must be finite. Fix that metric (often "
            "it divides by 0), or remove it from model.compile(metrics=[…]).",
        )


def evaluate_model(model: keras.Model, split: Split) -> Evaluation:
    """Evaluate a compiled model in one pass over a split.

    A model with a custom test step gets a second pass by `model.evaluate`.

    Args:
        model: compiled with a loss.
        split: raw inputs and targets.

    Returns:
        The metrics of `model.evaluate`, and output and loss of each example.
    """
    batches = evaluation_batches(split)
    predict_with_loss, plain = per_example_loss(model), _has_standard_test_step(model)
    mean_loss = keras.metrics.Mean()

    def step(inputs: Any, expected: Any) -> tuple[Any, Any]:
        predicted, example_losses = predict_with_loss(inputs, expected)
        if plain:
            loss = model.compute_loss(inputs, expected, predicted, training=False)
            mean_loss.update_state(loss, sample_weight=tf.shape(inputs)[0])
            model.compute_metrics(inputs, expected, predicted)
        return predicted, example_losses

    traced = tf.function(step, autograph=False, reduce_retracing=True)
    outputs, losses, targets = [], [], []
    model.reset_metrics()
    for number, (inputs, expected) in enumerate(batches):
        check_unchanged(split, number, inputs, expected)
        predicted, example_losses = traced(inputs, expected)
        outputs.append(predicted.numpy())
        losses.append(example_losses.numpy())
        targets.append(expected.numpy())
    if plain:
        metrics = {**model.get_metrics_result(), "loss": mean_loss.result()}
    else:
        metrics = model.evaluate(batches, verbose=0, return_dict=True)
    return Evaluation(
        as_numbers(metrics),
        np.concatenate(outputs),
        np.concatenate(losses),
        np.concatenate(targets),
    )


def per_example_loss(model: keras.Model) -> Callable[[Any, Any], tuple[Any, Any]]:
    """A function (inputs, targets) -> (outputs, losses), with one loss per example: (n,).

    Run as a graph without autograph, it equals Keras's training step: a loss that inspects how its
    outputs were computed (softmax or logits) finds the same as in training.
    """
    loss = keras.losses.get(model.loss)
    if isinstance(loss, keras.losses.Loss):
        loss = copy.copy(loss)
        loss.reduction = "none"

    def predict_with_loss(inputs: Any, expected: Any) -> tuple[Any, Any]:
        predicted = tf.nest.map_structure(_in_float32, model(inputs, training=False))
        if len(expected.shape) == 1 and predicted.shape[1:] == (1,):
            expected = expected[:, None]
        values = tf.convert_to_tensor(loss(expected, predicted))
        other_axes = list(range(1, values.shape.rank))
        return predicted, tf.reduce_mean(values, axis=other_axes)

    return predict_with_loss


def _in_float32(output: Any) -> Any:
    """An output of 16 bits as Keras's losses and metrics take it; any other output itself."""
    return tf.cast(output, tf.float32) if output.dtype in (tf.float16, tf.bfloat16) else output


def _has_standard_test_step(model: keras.Model) -> bool:
    """Whether the model computes test loss and metrics as `keras.Model` does."""
    steps = ("test_step", "compute_loss", "compute_metrics")
    return all(getattr(type(model), name) is getattr(keras.Model, name) for name in steps)
