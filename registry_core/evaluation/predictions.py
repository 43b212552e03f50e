"""What outputs predict by the task, and the objective's value of each example.

NumPy loads when outputs are looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry_core.errors import DataError, PluginError
from registry_core.tasks import (
    Classification,
    MultiLabel,
    Objective,
    Other,
    Regression,
    Segmentation,
    Task,
    part_of,
)

if TYPE_CHECKING:
    import numpy as np

    from registry_core.types import Evaluation


# Errors of a regression are computed for this many examples at once.
_EXAMPLES_AT_ONCE = 1024


def true_and_output(evaluation: Evaluation, task: Task) -> tuple[Any, Any]:
    """The targets and the outputs that a task is about: arrays, of `Other` also nestings."""
    return (
        part_of(evaluation.targets, task, "targets"),
        part_of(evaluation.outputs, task, "model's outputs"),
    )


def usable_task(evaluation: Evaluation, task: Task) -> Task:
    """The task, or `Other` if mlreg derived it and the model has several outputs.

    Raises:
        DataError: a declared task does not say which of several outputs it is about.
    """
    try:
        true_and_output(evaluation, task)
    except DataError:
        if not task.inferred:
            raise
        return Other(inferred=True)
    return task


def classes_of(evaluation: Evaluation, task: Task) -> tuple[np.ndarray, np.ndarray] | None:
    """The true and the predicted class numbers, of examples or of places.

    Returns:
        Two int64 arrays of one shape: (examples,) for a classification, (examples, ...) for a
        segmentation. None for other tasks, for targets that are not exactly one class each, and
        for outputs that do not fit.
    """
    if not isinstance(task, Classification | Segmentation):
        return None
    targets, outputs = true_and_output(evaluation, task)
    classes = len(task.class_names)
    if isinstance(task, Classification):
        if not are_classes(targets):
            return None
        true = true_classes(targets)
    else:
        true = targets.astype("int64")
    predicted = predicted_classes(outputs, classes, evaluation.threshold)
    fits = outputs.shape[-1:] == (classes,) or _is_single(outputs, classes)
    if not fits or true.size != predicted.size or len(true) != len(predicted):
        return None
    return true.reshape(predicted.shape), predicted


def are_classes(targets: np.ndarray) -> bool:
    """Whether each target is exactly one class: a class number, or a one-hot row.

    Args:
        targets: (examples, ...) as the split has them. False for multi-label targets and for
            class probabilities.
    """
    if targets.ndim != 2 or targets.shape[1] == 1:
        return True
    return bool(((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all())


def true_classes(targets: np.ndarray) -> np.ndarray:
    """The true class of each example: (examples,) int64, from class numbers or one-hot rows."""
    one_hot = targets.ndim == 2 and targets.shape[1] > 1
    classes: np.ndarray = targets.argmax(axis=1) if one_hot else targets.reshape(-1)
    return classes.astype("int64")


def predicted_classes(outputs: np.ndarray, classes: int, threshold: float = 0.5) -> np.ndarray:
    """The predicted class numbers, int64: the index of the largest output along the last axis.

    Args:
        outputs: (examples, ..., classes), or (examples, ..., 1) or (examples,) for the second of
            two classes.
        classes: how many classes there are.
        threshold: above which a single output means the second class.
    """
    if _is_single(outputs, classes):
        single = outputs if outputs.ndim == 1 else outputs[..., 0]
        return (single > threshold).astype("int64")
    numbers: np.ndarray = outputs.argmax(axis=-1)
    return numbers


def _is_single(outputs: np.ndarray, classes: int) -> bool:
    """Whether there is one output, for the second of two classes."""
    return classes == 2 and (outputs.ndim == 1 or outputs.shape[-1] == 1)


def labels_of(evaluation: Evaluation, task: Task) -> tuple[np.ndarray, np.ndarray] | None:
    """The true and the predicted labels: two (examples, labels) bool; None for other tasks."""
    if not isinstance(task, MultiLabel):
        return None
    targets, outputs = true_and_output(evaluation, task)
    if targets.shape != outputs.shape:
        return None
    return targets > 0.5, outputs > evaluation.threshold


def numbers_of(evaluation: Evaluation, task: Task) -> tuple[np.ndarray, np.ndarray] | None:
    """The true and the predicted quantities: two (examples, columns) arrays of their own dtypes.

    None for other tasks, and for outputs that are something else, such as a mean and a variance.
    """
    if not isinstance(task, Regression):
        return None
    targets, outputs = true_and_output(evaluation, task)
    shapes = (targets.shape, outputs.shape)
    ours, theirs = (shape[:-1] if shape[-1:] == (1,) else shape for shape in shapes)
    if ours != theirs:
        return None
    return targets.reshape(len(targets), -1), outputs.reshape(len(outputs), -1)


def areas_of(evaluation: Evaluation, task: Task) -> tuple[np.ndarray, np.ndarray] | None:
    """The places that target and output share, and that either has: two (examples, classes) int64.

    Args:
        evaluation: targets are (examples, ...) class numbers.
        task: a segmentation; places of its `ignore` are left out. None is returned for others.
    """
    import numpy as np

    found = classes_of(evaluation, task) if isinstance(task, Segmentation) else None
    if found is None or not isinstance(task, Segmentation):
        return None
    true, predicted = (each.reshape(len(each), -1) for each in found)
    counted = np.ones(true.shape, bool) if task.ignore is None else true != task.ignore
    shared, either = [], []
    for number in range(len(task.class_names)):
        ours, theirs = (true == number) & counted, (predicted == number) & counted
        shared.append((ours & theirs).sum(axis=1))
        either.append((ours | theirs).sum(axis=1))
    return np.stack(shared, axis=1), np.stack(either, axis=1)


def objective_values(evaluation: Evaluation, task: Task) -> tuple[Objective, np.ndarray | None]:
    """The objective that versions are compared by, and its value for each example.

    Returns:
        The task's objective, and (examples,) float64; None if there are no such values. If mlreg
        derived the task and the outputs do not fit it, the loss takes its place.

    Raises:
        PluginError: the objective's own function does not give one finite number an example.
    """
    objective = task.resolved_objective
    if objective.name == "loss":
        return objective, evaluation.losses.astype("float64")
    if objective.per_example is not None:
        return objective, _own_values(objective, evaluation, task)
    values = _known_values(objective.name, evaluation, task)
    if values is None and objective.name in task.objectives:
        if not task.inferred:
            raise PluginError(
                f"The {task.kind} task's {objective.name} cannot be computed: the model's outputs "
                "or the targets have another shape.",
                "Give the objective a function of your own: Objective(…, per_example=…).",
            )
        return Objective("loss", "min"), evaluation.losses.astype("float64")
    return objective, values


def _known_values(name: str, evaluation: Evaluation, task: Task) -> Any:
    import numpy as np

    if name in ("accuracy", "mean_iou") and isinstance(task, Segmentation):
        areas = areas_of(evaluation, task)
        return None if areas is None else _segmented(name, evaluation, task, *areas)
    if name == "accuracy" and (classes := classes_of(evaluation, task)):
        return (classes[0] == classes[1]).astype("float64")
    if name in ("example_f1", "exact_match") and (labels := labels_of(evaluation, task)):
        true, predicted = labels
        if name == "exact_match":
            return (true == predicted).all(axis=1).astype("float64")
        both, sizes = (true & predicted).sum(axis=1), true.sum(axis=1) + predicted.sum(axis=1)
        return np.where(sizes == 0, 1.0, 2 * both / np.maximum(sizes, 1))
    if name in ("mae", "mse") and (numbers := numbers_of(evaluation, task)):
        return _errors(name, *numbers)
    return None


def _errors(name: str, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """In parts: an output may be large, and float64 is twice as large."""
    import numpy as np

    values = np.empty(len(true))
    for first in range(0, len(true), _EXAMPLES_AT_ONCE):
        part = slice(first, first + _EXAMPLES_AT_ONCE)
        errors = predicted[part].astype("float64") - true[part]
        values[part] = (abs(errors) if name == "mae" else np.square(errors)).mean(axis=1)
    return values


def _segmented(
    name: str, evaluation: Evaluation, task: Segmentation, shared: np.ndarray, either: np.ndarray
) -> np.ndarray:
    """An example without any counted place has nothing wrong: 1."""
    import numpy as np

    if name == "mean_iou":
        present = (either > 0).sum(axis=1)
        total = (shared / np.maximum(either, 1)).sum(axis=1)
        ious: np.ndarray = np.where(present == 0, 1.0, total / np.maximum(present, 1))
        return ious
    targets, _ = true_and_output(evaluation, task)
    places = (targets != task.ignore).reshape(len(targets), -1).sum(axis=1)
    right = shared.sum(axis=1)
    return np.where(places == 0, 1.0, right / np.maximum(places, 1))


def _own_values(objective: Objective, evaluation: Evaluation, task: Task) -> np.ndarray:
    import numpy as np

    assert objective.per_example is not None  # noqa: S101 - asked before
    values = np.asarray(objective.per_example(*true_and_output(evaluation, task)))
    examples = len(evaluation.losses)
    if values.shape != (examples,) or values.dtype.kind not in "biuf":
        raise PluginError(
            f"per_example of the objective '{objective.name}' returned {values.dtype} "
            f"{values.shape} for {examples} examples.",
            "It must return one number for each example: (targets, outputs) -> (examples,).",
        )
    finite = np.isfinite(values)
    if not finite.all():
        raise PluginError(
            f"per_example of the objective '{objective.name}' returned "
            f"{values[int(finite.argmin())]} for example {int(finite.argmin())}.",
            "It must return a finite number for each example.",
        )
    return values.astype("float64")
