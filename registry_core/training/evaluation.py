"""A model measured on a split: Keras's metrics as numbers, and what it answers to each example."""

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
from registry_core.training.stream_checks import refuse_change
from registry_core.types import Evaluation, Split

# Values of one metric: each becomes a metric of the version, with a figure of its own.
MOST_PARTS = 100


def as_numbers(measured: Mapping[str, Any]) -> dict[str, float]:
    """What Keras measured, one number for each name.

    Args:
        measured: metric -> a number, an array, or a dict of them. The values of an array become
            `name_0`, `name_1`, … (`name_0_0`, … of a matrix), those of a dict go by its keys.
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
    """Measure a few examples, and forget them; raises PluginError where that gives too much."""
    model.compute_metrics(inputs, targets, model(inputs, training=False))
    for name, value in model.get_metrics_result().items():
        parts = len(as_numbers({name: value}))
        if parts > MOST_PARTS:
            raise PluginError(
                f"The metric {name!r} gives {parts:,} values, and a version keeps each as a metric "
                f"of its own: {MOST_PARTS} of one metric at most.",
                "Let it give their mean (average='macro'), or draw them in mlreg_report.",
            )
    model.reset_metrics()


def refuse_metric(name: str, value: float, place: str) -> None:
    """Raise TrainingError where a metric, and not the loss, is no finite number."""
    if not math.isfinite(value):
        raise TrainingError(
            f"The metric {name} is {value} {place}.",
            "Nothing was registered: a version has finite metrics. Change that metric (often it "
            "divides by 0), or take it out of model.compile(metrics=[…]).",
        )


def measure(model: keras.Model, split: Split) -> Evaluation:
    """Measure a compiled model in one pass over a split.

    A model with a test of its own is asked for that, in a pass of its own.

    Args:
        model: compiled with a loss.
        split: raw inputs and targets.

    Returns:
        What `model.evaluate` gives, and output and loss of each example.
    """
    batches = evaluation_batches(split)
    examine, plain = examination(model), _tests_as_keras_does(model)
    mean_loss = keras.metrics.Mean()

    def step(inputs: Any, expected: Any) -> tuple[Any, Any]:
        answered, lost = examine(inputs, expected)
        if plain:
            loss = model.compute_loss(inputs, expected, answered, training=False)
            mean_loss.update_state(loss, sample_weight=tf.shape(inputs)[0])
            model.compute_metrics(inputs, expected, answered)
        return answered, lost

    traced = tf.function(step, autograph=False, reduce_retracing=True)
    outputs, losses, targets = [], [], []
    model.reset_metrics()
    for number, (inputs, expected) in enumerate(batches):
        refuse_change(split, number, inputs, expected)
        answered, lost = traced(inputs, expected)
        outputs.append(answered.numpy())
        losses.append(lost.numpy())
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


def examination(model: keras.Model) -> Callable[[Any, Any], tuple[Any, Any]]:
    """A function of (inputs, targets) that gives the outputs, and one loss for each example.

    As a graph, without autograph, it does what Keras's training step does: a loss that looks at how
    its outputs were made (softmax or logits) then sees what it saw in training.
    """
    loss = keras.losses.get(model.loss)
    if isinstance(loss, keras.losses.Loss):
        loss = copy.copy(loss)
        loss.reduction = "none"

    def examine(inputs: Any, expected: Any) -> tuple[Any, Any]:
        answered = model(inputs, training=False)
        if len(expected.shape) == 1 and answered.shape[1:] == (1,):
            expected = expected[:, None]
        values = tf.convert_to_tensor(loss(expected, answered))
        beyond_examples = list(range(1, values.shape.rank))
        return answered, tf.reduce_mean(values, axis=beyond_examples)

    return examine


def _tests_as_keras_does(model: keras.Model) -> bool:
    """Whether its loss and metrics follow from its answers by Keras's own rules."""
    steps = ("test_step", "compute_loss", "compute_metrics")
    return all(getattr(type(model), name) is getattr(keras.Model, name) for name in steps)
