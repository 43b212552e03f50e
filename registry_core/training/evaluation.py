"""Evaluation of a model on a split: Keras's metrics as numbers, outputs and loss per example."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.data.nesting import is_nested, map_parts
from registry_core.errors import PluginError, TrainingError
from registry_core.training.operations import count_evaluation
from registry_core.training.per_example_loss import per_example_loss
from registry_core.training.pipeline import batch_size, evaluation_batches
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


def metric_names(model: keras.Model, inputs: Any, targets: Any) -> list[str]:
    """The names of a compiled model's metrics, as a history has them; without the loss.

    Args:
        model: compiled.
        inputs: of a few examples.
        targets: of the same.
    """
    model.compute_metrics(inputs, targets, model(inputs, training=False))
    names = [name for name in as_numbers(model.get_metrics_result()) if name != "loss"]
    model.reset_metrics()
    return names


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
        model: compiled with a loss, or one for each of several outputs.
        split: raw inputs and targets, and weights if it has them.

    Returns:
        The metrics of `model.evaluate`, and output and loss of each example.
    """
    batches = evaluation_batches(split)
    predict_with_loss, plain = per_example_loss(model), _has_standard_test_step(model)
    mean_loss = keras.metrics.Mean()

    def step(inputs: Any, expected: Any, weights: Any = None) -> tuple[Any, Any]:
        predicted, example_losses = predict_with_loss(inputs, expected, weights)
        if plain:
            loss = model.compute_loss(inputs, expected, predicted, weights, training=False)
            mean_loss.update_state(loss, sample_weight=batch_size(inputs))
            model.compute_metrics(inputs, expected, predicted, weights)
        return predicted, example_losses

    # Keras weighs the losses of several outputs by the static size of a batch, which is None in
    # `model.evaluate`
    several = is_nested(batches.element_spec[1]) or len(getattr(model, "outputs", None) or ()) > 1
    signature = batches.element_spec if several else None
    traced = tf.function(step, signature, autograph=False, reduce_retracing=True)
    outputs, losses, targets = [], [], []
    model.reset_metrics()
    for number, batch in enumerate(batches):
        check_unchanged(split, number, *batch)
        predicted, example_losses = traced(*batch)
        outputs.append(map_parts(np.asarray, predicted))
        losses.append(example_losses.numpy())
        targets.append(map_parts(np.asarray, batch[1]))
    if plain:
        metrics = {**model.get_metrics_result(), "loss": mean_loss.result()}
    else:
        metrics = model.evaluate(batches, verbose=0, return_dict=True)
    return Evaluation(
        as_numbers(metrics),
        _joined(outputs),
        np.concatenate(losses),
        _joined(targets),
        operations=count_evaluation(traced, len(split)),
        parameters=_parameters(model),
    )


def _parameters(model: keras.Model) -> dict[str, int]:
    """How many of a model's parameters are trainable; the others are fixed, or statistics."""
    trainable = sum(math.prod(each.shape) for each in model.trainable_weights)
    every = sum(math.prod(each.shape) for each in model.weights)
    return {"trainable": trainable, "fixed": every - trainable}


def _joined(batches: Sequence[Any]) -> Any:
    """Nestings of arrays of batches as one nesting of arrays of all examples."""
    return map_parts(lambda *parts: np.concatenate(parts), *batches)


def _has_standard_test_step(model: keras.Model) -> bool:
    """Whether the model computes test loss and metrics as `keras.Model` does."""
    steps = ("test_step", "compute_loss", "compute_metrics")
    return all(getattr(type(model), name) is getattr(keras.Model, name) for name in steps)
