"""What a model says of examples, in the words of the dataset's task.

Outputs become the most likely classes with their probabilities, labels, quantities with units, or
a summary of numbers. NumPy loads when outputs are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from registry_core.data.nesting import is_nested, map_parts, named_parts
from registry_core.dataclass import dataclass
from registry_core.errors import DataError
from registry_core.evaluation.predictions import predicted_classes
from registry_core.evaluation.probabilities import probabilities_of
from registry_core.formatting import number
from registry_core.tasks import Classification, MultiLabel, Regression, Segmentation, Task, part_of
from registry_core.types import Evaluation

if TYPE_CHECKING:
    import numpy as np

# Quantities of a regression are shown up to this many, and numbers of an output up to this many.
MAX_QUANTITIES = 100
MAX_NUMBERS = 1_000

# What the numbers beside classes are; a share is the part of the places of a segmentation.
ScoreKind = Literal["probability", "score", "share", ""]


class OutputScale(NamedTuple):
    """What says whether outputs are probabilities or logits, as `Evaluation` has it.

    loss_function: of the model, as text; empty if it has none.
    threshold: above which a single output means yes.
    """

    loss_function: str
    threshold: float


@dataclass(frozen=True)
class Belief:
    """A class or label, its number from 0, and its probability, score or share."""

    name: str
    number: int
    score: float | None

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "number": self.number, "score": self.score}


@dataclass(frozen=True)
class Quantity:
    """A predicted number; None if it is not finite."""

    name: str
    value: float | None
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.shown} {self.unit}".rstrip()

    @property
    def shown(self) -> str:
        """The number with six digits or more: 317,719; 0.00123457; 1,250,400."""
        if self.value is None:
            return "not finite"
        is_large = 1e5 <= abs(self.value) < 1e15
        return f"{self.value:,.0f}" if is_large else f"{self.value:,.6g}"

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "unit": self.unit}


@dataclass(frozen=True)
class Output:
    """An output that no task explains: what it looks like, and its numbers if they are few.

    Args:
        name: `output`, `output['mask']`.
        shape: of one example's output.
        dtype: its dtype.
        least: its smallest finite number; None without one, as for the next two.
        mean: the mean of the finite ones.
        greatest: the largest finite one.
        numbers: all of it, nested as its axes are; None if there are more than `MAX_NUMBERS`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    least: float | None
    mean: float | None
    greatest: float | None
    numbers: Any = None

    def __str__(self) -> str:
        if self.least is None or self.mean is None or self.greatest is None:
            return f"{self.dtype} {self.shape}"
        if not self.shape:
            return number(self.mean)
        span = f"{number(self.least)} to {number(self.greatest)}, mean {number(self.mean)}"
        return f"{self.dtype} {self.shape}: {span}"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "shape": list(self.shape)}


@dataclass(frozen=True)
class Prediction:
    """What a model says of one example.

    Args:
        name: of the example: its file, or `file:row`.
        file: as the user named it, or the folder that it is in.
        row: what the example is called in its file; empty if the file is the example.
        answer: the prediction in a few words: `cat`; `beach, dog`; `312.40 EUR`.
        classes: the most likely classes or labels, likely ones first; of a segmentation, the
            classes that have the most places.
        labels: the predicted labels, of a task with several labels.
        values: the predicted quantities, of a regression.
        outputs: of a segmentation, the class number of each place; of other tasks, and of outputs
            that do not fit the task, all outputs.
    """

    name: str
    file: str
    row: str = ""
    answer: str = ""
    classes: Sequence[Belief] = ()
    labels: Sequence[Belief] = ()
    values: Sequence[Quantity] = ()
    outputs: Sequence[Output] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "file": self.file,
            "row": self.row or None,
            "answer": self.answer,
            "classes": [each.to_json() for each in self.classes],
            "labels": [each.to_json() for each in self.labels],
            "values": [each.to_json() for each in self.values],
            "outputs": [each.to_json() for each in self.outputs],
        }


class ExampleName(NamedTuple):
    """What an example is called: its file, and the part of it; empty if it is the whole file."""

    file: str
    row: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.row}" if self.row else self.file


def describe_outputs(
    outputs: Any, task: Task | None, scale: OutputScale, names: Sequence[ExampleName], top: int
) -> tuple[list[Prediction], ScoreKind]:
    """Put a model's outputs into words.

    Args:
        outputs: (examples, ...) arrays, nested as the model's outputs are.
        task: of the version; None if its record has none.
        scale: what the numbers of the output are.
        names: of the examples.
        top: how many classes to name.

    Returns:
        One prediction for each example, and what the numbers beside the classes are.
    """
    fields, kind = _by_task(outputs, task, scale, top) or _unexplained(outputs, len(names))
    return [
        Prediction(str(name), name.file, name.row, **of_one)
        for name, of_one in zip(names, fields, strict=True)
    ], kind


_Fields = tuple[list[dict[str, Any]], ScoreKind]


def _by_task(outputs: Any, task: Task | None, scale: OutputScale, top: int) -> _Fields | None:
    """The fields of each example's prediction; None if the outputs do not fit the task."""
    if task is None:
        return None
    try:
        output = part_of(outputs, task, "model's outputs")
    except DataError:
        return None
    if is_nested(output):
        return None
    if isinstance(task, Classification):
        return _classified(output, task, scale, top)
    if isinstance(task, MultiLabel):
        return _labelled(output, task, scale, top)
    if isinstance(task, Regression):
        return _measured(output, task)
    if isinstance(task, Segmentation):
        return _segmented(output, task, scale, top)
    return None


def _classified(
    output: np.ndarray, task: Classification, scale: OutputScale, top: int
) -> _Fields | None:
    import numpy as np

    scores, kind = _scores(output, task, scale)
    if scores.shape[1:] == (1,) and len(task.class_names) == 2:
        side = scores[:, 0] - scale.threshold  # of a hinge loss
        scores = np.stack([-side, side], axis=1)
    if scores.shape[1:] != (len(task.class_names),):
        return None
    # by the outputs themselves, as evaluation does: rounding makes equal probabilities
    ranked = output if output.shape == scores.shape else scores
    order = np.argsort(-ranked, axis=1, kind="stable")[:, :top]
    found = []
    for row, best in zip(scores, order, strict=True):
        classes = [_belief(task.class_names, int(n), row[n]) for n in best]
        found.append({"answer": classes[0].name, "classes": classes})
    return found, kind


def _scores(output: np.ndarray, task: Task, scale: OutputScale) -> tuple[np.ndarray, ScoreKind]:
    """Probabilities, (examples, classes), or the outputs themselves where they stand for none."""
    import numpy as np

    seen = Evaluation({}, output, np.empty(0), output, scale.loss_function, scale.threshold)
    found = probabilities_of(seen, replace(task, output=None))
    if found is not None:
        return found.of(slice(None)), "probability"
    return output.reshape(len(output), -1), "score"


def _labelled(output: np.ndarray, task: MultiLabel, scale: OutputScale, top: int) -> _Fields | None:
    import numpy as np

    names, outputs = task.label_names, output.reshape(len(output), -1)
    if outputs.shape[1] != len(names):
        return None
    chosen = outputs > scale.threshold
    values, kind = _scores(output, task, scale)
    order = np.argsort(-values, axis=1, kind="stable")
    found = []
    for row, best, yes in zip(values, order, chosen, strict=True):
        beliefs = [_belief(names, int(n), row[n]) for n in best]
        labels = [each for each in beliefs if yes[each.number]]
        answer = ", ".join(label.name for label in labels)
        found.append({"answer": answer, "classes": beliefs[:top], "labels": labels})
    return found, kind


def _measured(output: np.ndarray, task: Regression) -> _Fields | None:
    values = output.reshape(len(output), -1)
    columns = values.shape[1]
    names = list(task.target_names)
    if not names:
        names = ["value"] if columns == 1 else [f"value {n + 1}" for n in range(columns)]
    if columns > MAX_QUANTITIES or columns != len(names):
        return None
    units = list(task.units) if len(task.units) == columns else [""] * columns
    if len(task.units) == 1:
        units = [task.units[0]] * columns
    found = []
    for row in values:
        fields = zip(names, row, units, strict=True)
        quantities = [Quantity(name, _finite(value), unit) for name, value, unit in fields]
        found.append({"answer": ", ".join(map(str, quantities)), "values": quantities})
    return found, ""


def _segmented(
    output: np.ndarray, task: Segmentation, scale: OutputScale, top: int
) -> _Fields | None:
    import numpy as np

    classes = len(task.class_names)
    if output.ndim < 2 or output.shape[-1] not in ((1, 2) if classes == 2 else (classes,)):
        return None
    numbers = predicted_classes(output, classes, scale.threshold).astype("int32")
    found = []
    for places in numbers:
        shares = np.bincount(places.reshape(-1), minlength=classes) / max(1, places.size)
        best = np.argsort(-shares, kind="stable")[:top]
        beliefs = [_belief(task.class_names, int(n), shares[n]) for n in best if shares[n]]
        answer = ", ".join(f"{each.name} {100 * (each.score or 0):.1f} %" for each in beliefs)
        outputs = [_summary("class numbers", places)]
        found.append({"answer": answer, "classes": beliefs, "outputs": outputs})
    return found, "share"


def _belief(names: Sequence[str], place: int, score: Any) -> Belief:
    return Belief(names[place], place, _finite(score))


def _finite(value: Any) -> float | None:
    """The number with as many digits as 32 bits hold; None if it is not finite."""
    import numpy as np

    found = float(str(np.float32(value)))
    return found if math.isfinite(found) else None


def _unexplained(outputs: Any, examples: int) -> _Fields:
    return [_summarized(outputs, place) for place in range(examples)], ""


def _summarized(outputs: Any, place: int) -> dict[str, Any]:
    of_one = map_parts(lambda array: array[place], outputs)
    summaries = [_summary(name, array) for name, array in named_parts(of_one, "output")]
    return {"answer": "; ".join(map(str, summaries)), "outputs": summaries}


def _summary(name: str, array: np.ndarray) -> Output:
    import numpy as np

    numbers = None
    if array.size <= MAX_NUMBERS:
        numbers = _plain(array.tolist() if array.dtype.kind in "iub" else array)
    if array.dtype.kind not in "biuf":
        return Output(name, array.shape, array.dtype.name, None, None, None, None)
    finite = array[np.isfinite(array)].astype("float64")
    least, mean, greatest = (
        (_finite(finite.min()), _finite(finite.mean()), _finite(finite.max()))
        if finite.size
        else (None, None, None)
    )
    return Output(name, array.shape, array.dtype.name, least, mean, greatest, numbers)


def _plain(value: Any) -> Any:
    if isinstance(value, int):
        return value
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return [_plain(each) for each in value] if value.ndim else _finite(value)
