"""Packs what an evaluation found for each example, and completes a version's metrics.

NumPy loads when an evaluation is packed. Reading the results is in `per_example_results`.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from registry_core.data.model_fit import single_output
from registry_core.errors import PluginError
from registry_core.evaluation.per_example_results import CONFIDENCES, PerExampleResults
from registry_core.evaluation.predictions import (
    areas_of,
    classes_of,
    labels_of,
    numbers_of,
    objective_values,
    true_and_output,
    usable_task,
)
from registry_core.evaluation.probabilities import probabilities_of
from registry_core.tasks import Classification, Task

if TYPE_CHECKING:
    import numpy as np

    from registry_core.types import Evaluation

# Predicted and true quantities are recorded up to this many targets, and numbers in total.
MAX_TARGETS = 16
MAX_NUMBERS = 500_000


def pack_results(evaluation: Evaluation, task: Task, fingerprint: str) -> PerExampleResults:
    """Pack the results of an evaluation.

    Args:
        evaluation: outputs (examples, ...), losses (examples,), targets (examples, ...).
        task: what the targets mean.
        fingerprint: of the test split.

    Raises:
        PluginError: the objective's own function does not give one finite number an example.
        DataError: the task does not say which of several outputs it is about.
    """
    import numpy as np

    task = usable_task(evaluation, task)
    correct = predicted = expected = None
    if isinstance(task, Classification) and (classes := classes_of(evaluation, task)):
        true, answered = classes
        correct = np.packbits(answered == true).tobytes()
        predicted, expected = (each.astype("<i4").tobytes() for each in (answered, true))
    objective, values = objective_values(evaluation, task)
    # the bits or the losses say the values already
    said = correct is not None and objective.name == "accuracy" and not objective.per_example
    if said or objective.name == "loss":
        values = None
    return PerExampleResults(
        len(evaluation.losses),
        fingerprint,
        evaluation.losses.astype("<f4").tobytes(),
        correct,
        predicted,
        expected,
        _digest(evaluation.targets),
        objective=None if said else replace(objective, per_example=None),
        values=None if values is None else values.astype("<f4").tobytes(),
        loss_function="" if said else evaluation.loss_function,
        details=_details(evaluation, task),
    )


def metrics_of(
    evaluation: Evaluation, task: Task, results: PerExampleResults, split: str
) -> tuple[dict[str, float], str]:
    """A split's metrics: those of Keras, and the objective if it is not among them.

    Args:
        evaluation: of the split.
        task: what the targets mean.
        results: packed of the evaluation.
        split: the first part of each name: `test` for `test_accuracy`.

    Returns:
        The metrics, and a warning; empty if there is none.

    Raises:
        PluginError: the objective is not among the metrics and has no value for each example.
    """
    metrics, warning = dict(evaluation.metrics), ""
    name, mean = results.objective_or_default.name, results.mean()
    if mean is None and name not in metrics:
        raise PluginError(
            f"The objective '{name}' is no metric of the model, and has no function.",
            f"Compile the model with a metric of that name, or give one number for each example: "
            f"Objective('{name}', …, per_example=…). Metrics: {', '.join(metrics)}.",
        )
    if mean is not None:
        theirs = metrics.setdefault(name, mean)
        # Keras compares a single output with 0.5, also where the loss reads it as a logit
        logit = isinstance(task, Classification) and evaluation.threshold == 0
        single = logit and single_output(task, true_and_output(evaluation, task)[1].shape)
        if single and name == "accuracy" and abs(theirs - mean) > 1e-4:
            metrics[name] = mean
            warning = (
                f"Keras's accuracy is {theirs:.4f}, because it compares the single output with "
                f"0.5. The loss reads the output as a logit: accuracy is {mean:.4f}, and that is "
                "recorded. Compile with metrics=[keras.metrics.BinaryAccuracy(threshold=0, "
                "name='accuracy')] to see it while training."
            )
    return {f"{split}_{name}": value for name, value in metrics.items()}, warning


def _details(evaluation: Evaluation, task: Task) -> dict[str, Any]:
    """What the task needs beside the objective: predictions, or counts by class."""
    import numpy as np

    if labels := labels_of(evaluation, task):
        bits = [base64.b64encode(np.packbits(each).tobytes()).decode() for each in labels]
        return {
            "kind": task.kind,
            "labels": labels[0].shape[1],
            "expected_bits": bits[0],
            "predicted_bits": bits[1],
        }
    numbers = numbers_of(evaluation, task)
    if numbers and numbers[0].shape[1] <= MAX_TARGETS and numbers[0].size <= MAX_NUMBERS:
        parts = [base64.b64encode(each.astype("<f4").tobytes()).decode() for each in numbers]
        return {
            "kind": task.kind,
            "targets": numbers[0].shape[1],
            "expected_float32": parts[0],
            "predicted_float32": parts[1],
        }
    if areas := areas_of(evaluation, task):
        shared, either = (each.sum(axis=0).tolist() for each in areas)
        return {"kind": task.kind, "intersections": shared, "unions": either}
    probabilities = probabilities_of(evaluation, task)
    if probabilities and (classes := classes_of(evaluation, task)):
        confidences = probabilities.of_classes(classes[1]).astype("<f4").tobytes()
        return {"kind": task.kind, CONFIDENCES: base64.b64encode(confidences).decode()}
    return {}


def _digest(targets: Any) -> str:
    """Sha256 of the targets in the order of the split, in hex; of a nesting, of all its arrays."""
    import numpy as np

    digest = hashlib.sha256()
    for array in _leaves(targets):
        content = np.ascontiguousarray(array)
        digest.update(
            content.tobytes() if content.dtype != object else repr(content.tolist()).encode()
        )
    return digest.hexdigest()


def _leaves(value: Any) -> list[np.ndarray]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _leaves(value[key])]
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]
