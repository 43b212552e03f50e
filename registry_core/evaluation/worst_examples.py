"""Which test examples a version is worst at, and what it believes of them.

NumPy loads when they are looked for. Nothing here knows what an input looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry_core.errors import truncate
from registry_core.evaluation.packing import MAX_TARGETS
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.evaluation.predictions import classes_of, labels_of, numbers_of, usable_task
from registry_core.evaluation.probabilities import probabilities_of
from registry_core.evaluation.shown_examples import MAX_BELIEFS, MAX_EXAMPLES, ShownExample
from registry_core.evaluation.task_summary import target_name
from registry_core.formatting import number
from registry_core.tasks import Classification, MultiLabel, Regression, Segmentation, Task

if TYPE_CHECKING:
    import numpy as np

    from registry_core.types import Evaluation

# Classes of a place that are named, and the length of a name.
_NAMED = 5
_LONGEST_NAME = 200


def worst_examples(
    evaluation: Evaluation, task: Task, results: PerExampleResults, limit: int = MAX_EXAMPLES
) -> list[ShownExample]:
    """The examples with the greatest loss, of those that are wrong; without their inputs.

    Args:
        evaluation: of the test split.
        task: what the targets mean.
        results: packed of the evaluation.
        limit: how many at most.

    Returns:
        The worst first. Of a regression those with the greatest error, for several targets the mean
        of the errors relative to each target's mean error; of a segmentation those with the worst
        value of the objective; of other tasks those with the greatest loss.
    """
    task = usable_task(evaluation, task)
    if isinstance(task, Classification) and (classes := classes_of(evaluation, task)):
        wrong = classes[0] != classes[1]
        places = _greatest(evaluation.losses, limit, wrong)
        return _shown_classes(evaluation, task, places, classes[0], classes[1])
    if isinstance(task, MultiLabel) and (labels := labels_of(evaluation, task)):
        wrong = (labels[0] != labels[1]).any(axis=1)
        places = _greatest(evaluation.losses, limit, wrong)
        return _shown_labels(evaluation, task, places, labels[0])
    numbers = numbers_of(evaluation, task)
    if isinstance(task, Regression) and numbers and numbers[0].shape[1] <= MAX_TARGETS:
        return _shown_numbers(evaluation, task, limit, *numbers)
    if isinstance(task, Segmentation) and (areas := classes_of(evaluation, task)):
        return _shown_areas(evaluation, task, limit, results, *areas)
    places = _greatest(evaluation.losses, limit)
    return [ShownExample(place, _loss(evaluation, place), "") for place in places]


def _greatest(values: np.ndarray, limit: int, among: np.ndarray | None = None) -> list[int]:
    """The places of the greatest finite values, the first of equal ones first."""
    import numpy as np

    usable = np.isfinite(values) if among is None else np.isfinite(values) & among
    places = np.flatnonzero(usable)
    chosen: list[int] = places[np.argsort(-values[places], kind="stable")[:limit]].tolist()
    return chosen


def _loss(evaluation: Evaluation, place: int) -> float | None:
    import math

    loss = float(evaluation.losses[place])
    return loss if math.isfinite(loss) else None


def _shown_classes(
    evaluation: Evaluation,
    task: Classification,
    places: Sequence[int],
    true: np.ndarray,
    predicted: np.ndarray,
) -> list[ShownExample]:
    names = [truncate(name, _LONGEST_NAME) for name in task.class_names]
    probabilities = probabilities_of(evaluation, task)
    rows = probabilities.of(places) if probabilities and places else None
    shown = []
    for row, place in enumerate(places):
        beliefs: list[tuple[str, float | None]] = [(names[predicted[place]], None)]
        if rows is not None:
            best = (-rows[row]).argsort(kind="stable")[:MAX_BELIEFS].tolist()
            beliefs = [(names[each], _rounded(rows[row, each])) for each in best]
        truth = names[true[place]] if 0 <= true[place] < len(names) else str(true[place])
        shown.append(ShownExample(place, _loss(evaluation, place), truth, tuple(beliefs)))
    return shown


def _shown_labels(
    evaluation: Evaluation, task: MultiLabel, places: Sequence[int], true: np.ndarray
) -> list[ShownExample]:
    import numpy as np

    from registry_core.evaluation.predictions import true_and_output

    names = [truncate(name, _LONGEST_NAME) for name in task.label_names]
    probabilities = probabilities_of(evaluation, task)
    rows = probabilities.of(places) if probabilities and places else None
    _, outputs = true_and_output(evaluation, task)
    shown = []
    for row, place in enumerate(places):
        best = np.argsort(-outputs[place], kind="stable")[:MAX_BELIEFS].tolist()
        beliefs = [
            (names[each], None if rows is None else _rounded(rows[row, each])) for each in best
        ]
        truth = _listed([names[each] for each in np.flatnonzero(true[place])])
        shown.append(ShownExample(place, _loss(evaluation, place), truth, tuple(beliefs)))
    return shown


def _shown_numbers(
    evaluation: Evaluation, task: Regression, limit: int, true: np.ndarray, predicted: np.ndarray
) -> list[ShownExample]:
    import numpy as np

    targets = true.shape[1]
    errors = abs(predicted.astype("float64") - true)
    usual = np.nanmean(np.where(np.isfinite(errors), errors, np.nan), axis=0)
    relative = errors / np.where(usual > 0, usual, 1)
    places = _greatest(relative.mean(axis=1), limit, relative.any(axis=1))

    def described(values: np.ndarray, columns: Sequence[int]) -> str:
        return ", ".join(_quantity(task, column, targets, values[column]) for column in columns)

    shown = []
    for place in places:
        # of many targets, those that are furthest off
        columns = sorted((-relative[place]).argsort(kind="stable")[:MAX_BELIEFS].tolist())
        shown.append(
            ShownExample(
                place,
                _loss(evaluation, place),
                described(true[place], columns),
                ((described(predicted[place], columns), None),),
            )
        )
    return shown


def _shown_areas(
    evaluation: Evaluation,
    task: Segmentation,
    limit: int,
    results: PerExampleResults,
    true: np.ndarray,
    predicted: np.ndarray,
) -> list[ShownExample]:
    import numpy as np

    objective, values = results.objective_or_default, results.measured()
    if values is None:
        badness, what = evaluation.losses, ""
    else:
        sign = -1 if objective.direction == "max" else 1
        badness, what = sign * np.asarray(values, "float64"), objective.name.replace("_", " ")
    shown = []
    for place in _greatest(badness, limit):
        truth, belief = (
            _listed([truncate(task.class_names[n], _LONGEST_NAME) for n in present])
            for present in (
                [n for n in np.unique(each[place]).tolist() if 0 <= n < len(task.class_names)]
                for each in (true, predicted)
            )
        )
        if values is not None:
            belief = f"{belief} ({what} {number(values[place])})"
        shown.append(ShownExample(place, _loss(evaluation, place), truth, ((belief, None),)))
    return shown


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more if names else "none"


def _quantity(task: Regression, column: int, targets: int, value: float) -> str:
    """`price 312.40 EUR`; a single target is not named."""
    name = truncate(target_name(task, column, targets), _LONGEST_NAME) if targets > 1 else ""
    unit = task.units[column] if column < len(task.units) else ""
    shown = f"{value:,.0f}" if 1e3 <= abs(value) < 1e12 else number(float(value))
    return " ".join(part for part in (name, shown, unit) if part)


def _rounded(probability: float) -> float:
    return round(float(probability), 6)
