"""What a compiled model says of its outputs: which loss measures them, and where a yes begins."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import keras

from registry_core.data.model_fit import misfit, single_output
from registry_core.data.nesting import is_nested
from registry_core.data.targets import resolve_task
from registry_core.errors import DataError, PluginError
from registry_core.tasks import Other, Task, part_of
from registry_core.types import DataSplits

# Parts of a loss's configuration that do not change what it measures.
_NOT_MEASURED = {"name", "reduction", "dtype", "fn", "from_logits"}

# Their single output is compared with 0, whatever the last activation is.
_AROUND_ZERO = {"hinge", "squared_hinge", "categorical_hinge"}

# Their outputs are one for each class; a single one would always have loss 0, or none.
_ONE_UNIT_PER_CLASS = ("categorical_crossentropy", "sparse_categorical_crossentropy")


def output_misfit(
    model: keras.Model, outputs: Any, targets: Any, data: DataSplits
) -> tuple[str, str] | None:
    """Why a model does not fit the dataset's task, and what would; None if it fits.

    Args:
        model: compiled.
        outputs: the model's, for a few examples.
        targets: of these examples.
        data: the dataset.
    """
    task = data.task or resolve_task(data).task
    assert task is not None  # noqa: S101 - resolved
    try:
        output = part_of(outputs, task, "model's outputs")
        target = part_of(targets, task, "targets")
    except DataError as error:
        if task.inferred or (isinstance(task, Other) and task.output is None):
            return None  # compared by the loss of all outputs together
        return error.what, error.remedy
    if is_nested(output) or is_nested(target):
        return None  # the task is about no single output
    shape = tuple(output.shape)
    if wrong := misfit(task, shape, tuple(target.shape), data.class_names):
        return wrong
    loss = loss_identity(model, task).partition("(")[0]
    if single_output(task, shape) and loss in _ONE_UNIT_PER_CLASS:
        return (
            f"The model has a single unit for two classes, and its loss is {loss}.",
            "That loss needs 2 units, one per class name; a single unit needs BinaryCrossentropy.",
        )
    return None


def check_objective(model: keras.Model, task: Task | None) -> None:
    """Check that an objective without a function of its own is a metric of the model.

    Args:
        model: its metrics were computed once.
        task: None checks nothing.

    Raises:
        PluginError: it is not; names the metrics.
    """
    if task is None:
        return
    objective = task.resolved_objective
    if objective.per_example is not None or objective.name in task.objectives:
        return
    metrics = dict.fromkeys(["loss", *model.get_metrics_result()])
    if objective.name not in metrics:
        raise PluginError(
            f"The objective '{objective.name}' is no metric of the model, and has no function.",
            f"Metrics: {', '.join(metrics)}. Compile the model with one of that name, or give a "
            f"number for each example: Objective('{objective.name}', …, per_example=…).",
        )


def loss_identity(model: keras.Model, task: Task | None = None) -> str:
    """What a model's loss measures, as text: `mean_squared_error`, `huber(delta=2.0)`.

    Two losses with the same text measure the same. Whether outputs are logits is no part of it.

    Args:
        model: compiled.
        task: None describes the losses of all outputs; else the one that the task is about.
    """
    loss = _part(getattr(model, "loss", None), task)
    weights = getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)
    text = _described(loss)
    return f"{text}, weights {weights}" if weights is not None and task is None else text


def yes_threshold(model: keras.Model, task: Task | None) -> float:
    """Above which a single output of a model means yes: 0.5 for a probability, 0 for a logit.

    A model that ends in a sigmoid gives probabilities. Otherwise the loss says it: by
    `from_logits`, or because it is a hinge loss. A loss of the plugin's own is taken to read
    logits, Keras's other ones to read probabilities.

    Args:
        model: compiled.
        task: its `output` selects the output and the loss.
    """
    if ends_in_sigmoid(model, task):
        return 0.5
    loss = _part(model.loss, task)
    if isinstance(loss, Mapping | list | tuple):
        return 0.5  # the task is about no single output
    loss = keras.losses.get(loss)
    if _described(loss).partition("(")[0] in _AROUND_ZERO:
        return 0.0
    known = getattr(loss, "from_logits", None)
    if known is None:
        known = getattr(loss, "_fn_kwargs", {}).get("from_logits")
    if known is not None:
        return 0.0 if known else 0.5
    module = getattr(getattr(loss, "fn", loss), "__module__", type(loss).__module__)
    return 0.5 if str(module).startswith("keras.") else 0.0


def _part(loss: Any, task: Task | None) -> Any:
    if task is None or not isinstance(loss, Mapping | list | tuple):
        return loss
    try:
        return part_of(loss, task, "losses")
    except DataError:
        return loss


def _described(loss: Any) -> str:
    if loss is None:
        return "none"
    if isinstance(loss, Mapping) and "class_name" not in loss:
        return "{" + ", ".join(f"{key}: {_described(loss[key])}" for key in sorted(loss)) + "}"
    if isinstance(loss, list | tuple):
        return "[" + ", ".join(map(_described, loss)) + "]"
    loss = keras.losses.get(loss)
    function = getattr(loss, "fn", None)
    if function is not None:  # one of Keras's, or a function with arguments
        return f"{_name(function)}{_arguments(function, getattr(loss, '_fn_kwargs', {}))}"
    if isinstance(loss, keras.losses.Loss):
        try:
            config = loss.get_config()
        except Exception:  # a class that cannot be configured: its name has to do
            config = {}
        return f"{_name(type(loss))}{_arguments(type(loss), config)}"
    return _name(loss)


def _name(thing: Any) -> str:
    """Keras's name of its own functions; else the module's, so that two plugins' differ."""
    name = getattr(thing, "__name__", type(thing).__name__)
    module = getattr(thing, "__module__", "") or ""
    return name if module.startswith("keras.") else f"{module}.{name}"


def _arguments(thing: Any, given: Mapping[str, Any]) -> str:
    """The arguments that are not the defaults: `(delta=2.0)`."""
    parameters: Mapping[str, inspect.Parameter] = {}
    with suppress(TypeError, ValueError):  # it may say nothing of its defaults
        parameters = inspect.signature(thing).parameters
    said = [
        f"{key}={value!r}"
        for key, value in sorted(given.items())
        if key not in _NOT_MEASURED and not (key in parameters and parameters[key].default == value)
    ]
    return f"({', '.join(said)})" if said else ""


def ends_in_sigmoid(model: keras.Model, task: Task | None) -> bool:
    """Whether the last thing that a model's output goes through is a sigmoid."""
    try:
        outputs = getattr(model, "outputs", None) or []
        named = getattr(model, "output_names", None) or []
        wanted = getattr(task, "output", None)
        place = named.index(wanted) if wanted in named else wanted or 0
        operation = outputs[place]._keras_history.operation
    except Exception:  # not built of layers: the last one, if it has any
        layers = getattr(model, "layers", [])
        operation = layers[-1] if layers else None
    for _ in range(100):  # through models, and activations that change nothing
        if isinstance(operation, keras.Model):
            return ends_in_sigmoid(operation, None)
        activation = getattr(operation, "activation", None)
        if activation is keras.activations.sigmoid:
            return True
        passes = isinstance(operation, keras.layers.Activation | keras.layers.Reshape)
        if not passes or activation not in (None, keras.activations.linear):
            return False
        history = getattr(getattr(operation, "input", None), "_keras_history", None)
        if history is None:
            return False
        operation = history.operation
    return False
