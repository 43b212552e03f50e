"""What a dataset's targets mean, and by which objective one model is better than another.

A dataset says its task: `DataSplits(…, task=Regression(("price",), ("EUR",)))`. The task decides
how targets are checked, what a version remembers of each test example, which figures are drawn, and
what a promotion compares. Imports neither NumPy nor TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from registry_core.dataclass import dataclass
from registry_core.errors import DataError, is_unicode, safe_repr

if TYPE_CHECKING:
    import numpy as np

Direction = Literal["max", "min"]

# (targets, outputs) -> one number for each example, both as the task's `output` selects them.
PerExample = Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]


@dataclass(frozen=True)
class Objective:
    """The quantity by which one version is better than another.

    Args:
        name: of the metric, without `test_`: `accuracy`, `mae`. A version has it as `test_mae`:
            Keras's metric of that name, or else the mean of `per_example`.
        direction: `max` if more is better, `min` if less is.
        per_example: (targets (examples, ...), outputs (examples, ...)) -> (examples,) finite
            numbers, whose mean is the metric. It gets NumPy arrays of the test split. Without it,
            two versions have no paired test, unless `name` is one that the task knows.
        unit: of the metric, for people: `EUR`; empty for none.

    Raises:
        DataError: a field has an unsuitable value.
    """

    name: str
    direction: Direction
    per_example: PerExample | None = field(default=None, compare=False)
    unit: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not is_unicode(self.name):
            raise DataError(
                f"An objective's name is {safe_repr(self.name)}.",
                "It must be a text, such as 'mae'; the version's metric is then test_mae.",
            )
        if self.direction not in ("max", "min"):
            raise DataError(
                f"The direction of the objective '{self.name}' is {safe_repr(self.direction)}.",
                "It must be 'max' if more is better, or 'min' if less is.",
            )
        if self.per_example is not None and not callable(self.per_example):
            raise DataError(
                f"per_example of the objective '{self.name}' is {safe_repr(self.per_example)}.",
                "It must be a function: (targets, outputs) -> one number for each example.",
            )
        if not isinstance(self.unit, str) or not is_unicode(self.unit):
            raise DataError(
                f"The unit of the objective '{self.name}' is {safe_repr(self.unit)}.",
                "It must be a text, such as 'EUR'.",
            )

    @property
    def metric(self) -> str:
        """The version's metric: `test_mae`."""
        return f"test_{self.name}"

    def to_json(self) -> dict[str, str]:
        return {"metric": self.metric, "direction": self.direction, "unit": self.unit}


@dataclass(frozen=True)
class _Task:
    """What every task has.

    Args:
        objective: by what one version is better than another: a name that the task knows, or an
            `Objective`; empty takes the task's default.
        output: the key, or the number from 0, of the output and the target that the task is about,
            if the model or the targets have several.
        inferred: whether mlreg derived the task from class names and targets.
    """

    # the objectives that the task knows; the first is the default
    objectives: ClassVar[Mapping[str, Direction]]
    kind: ClassVar[str]

    objective: str | Objective = field(default="", kw_only=True)
    output: str | int | None = field(default=None, kw_only=True)
    inferred: bool = field(default=False, kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        known = self.objectives
        wanted = self.objective or next(iter(known))
        object.__setattr__(self, "objective", wanted)
        if not isinstance(wanted, Objective) and wanted not in known:
            raise DataError(
                f"A {self.kind} task has no objective {safe_repr(wanted)}.",
                f"It knows: {', '.join(known)}. For another one, give its direction and a "
                "function: Objective('name', 'max', per_example=…).",
            )
        if isinstance(self.output, bool) or not isinstance(self.output, str | int | None):
            raise DataError(
                f"The output of the {self.kind} task is {safe_repr(self.output)}.",
                "It must be the key, or the number from 0, of one of the model's outputs.",
            )

    @property
    def resolved_objective(self) -> Objective:
        """The objective, with its direction and unit."""
        if isinstance(self.objective, Objective):
            return self.objective
        unit = self._unit_of(self.objective)
        return Objective(self.objective, self.objectives[self.objective], unit=unit)

    def to_json(self) -> dict[str, Any]:
        """The task for a version's record: kind, names, output, objective."""
        return {
            "kind": self.kind,
            **self._names(),
            "output": self.output,
            "objective": self.resolved_objective.to_json(),
        }

    def _unit_of(self, objective: str) -> str:
        return ""

    def _names(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Classification(_Task):
    """Each example belongs to one class.

    Targets are (examples,) or (examples, 1) class numbers from 0, or (examples, classes) one-hot
    rows; the rows of a training split may be probabilities. The model has an output for each class.
    With two classes it may have a single output, for the second class: a probability, compared with
    0.5, or a logit, compared with 0, as its loss says.

    Objectives: `accuracy`, which is compared by the exact McNemar test; `loss`.

    Args:
        class_names: one for each class, in the order of the class numbers.

    Raises:
        DataError: a name is not a text, or is there twice; the objective is not known.
    """

    kind: ClassVar[str] = "classification"
    objectives: ClassVar[Mapping[str, Direction]] = {"accuracy": "max", "loss": "min"}

    class_names: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", checked_names(self.class_names, "class"))
        super().__post_init__()

    def _names(self) -> dict[str, Any]:
        return {"class_names": list(self.class_names)}


@dataclass(frozen=True)
class MultiLabel(_Task):
    """Each example has any number of labels.

    Targets are (examples, labels) of 0 and 1; those of a training split may lie between. The model
    has an output for each label: a probability, compared with 0.5, or a logit, compared with 0, as
    its loss says.

    Objectives: `example_f1`, the mean over the examples of 2 × (labels that are both true and
    predicted) / (true labels + predicted labels), and 1 for an example with neither;
    `exact_match`, the part of the examples with every label right; `loss`.

    Args:
        label_names: one for each label, in the order of the columns.

    Raises:
        DataError: a name is not a text, or is there twice; the objective is not known.
    """

    kind: ClassVar[str] = "multi-label"
    objectives: ClassVar[Mapping[str, Direction]] = {
        "example_f1": "max",
        "exact_match": "max",
        "loss": "min",
    }

    label_names: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_names", checked_names(self.label_names, "label"))
        super().__post_init__()

    @property
    def class_names(self) -> Sequence[str]:
        return self.label_names

    def _names(self) -> dict[str, Any]:
        return {"label_names": list(self.label_names)}


@dataclass(frozen=True)
class Regression(_Task):
    """Targets are quantities: (examples,), or (examples, ...) finite numbers.

    The model's output has the shape of the targets.

    Objectives: `mae`, the mean of |output - target| over the examples and their targets, in the
    targets' unit if all have the same; `mse`, the mean of the squares; `loss`.

    Args:
        target_names: one for each column of the targets; empty leaves the number of columns open.
        units: one for each name, such as `EUR`; a text stands for all of them; empty for none.

    Raises:
        DataError: a name is not a text, or is there twice; there are more or fewer units than
            names; the objective is not known.
    """

    kind: ClassVar[str] = "regression"
    objectives: ClassVar[Mapping[str, Direction]] = {"mae": "min", "mse": "min", "loss": "min"}

    target_names: Sequence[str] = ()
    units: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = checked_names(self.target_names, "target", least=0)
        object.__setattr__(self, "target_names", names)
        units = [self.units] * (len(names) or 1) if isinstance(self.units, str) else self.units
        units = checked_texts(units, "unit")
        if units and len(units) != (len(names) or 1):
            raise DataError(
                f"A regression task has {len(names)} target names and {len(units)} units.",
                "Give one unit for each target, or a single text for all; '' is no unit.",
            )
        object.__setattr__(self, "units", units)
        super().__post_init__()

    @property
    def class_names(self) -> Sequence[str]:
        return ()

    def _unit_of(self, objective: str) -> str:
        if objective == "loss" or len(set(self.units)) != 1 or not self.units[0]:
            return ""
        return self.units[0] if objective == "mae" else f"{self.units[0]}²"

    def _names(self) -> dict[str, Any]:
        return {"target_names": list(self.target_names), "units": list(self.units)}


@dataclass(frozen=True)
class Segmentation(_Task):
    """Each place of an example, such as a pixel, belongs to one class.

    Targets are (examples, ...) class numbers from 0, one for each place; a last axis of 1 is
    allowed. The model's output has the axes of the targets and one more, for the classes; with two
    classes its size may be 1, as in `Classification`.

    Objectives: `mean_iou`, the mean over the examples of the mean intersection over union of the
    classes that the example's target or output has; `accuracy`, the part of the places that is
    right, as a mean over the examples; `loss`.

    Args:
        class_names: one for each class, in the order of the class numbers.
        ignore: the class number of places that count for nothing, such as 255; or None.

    Raises:
        DataError: a name is not a text, or is there twice; `ignore` is the number of a class; the
            objective is not known.
    """

    kind: ClassVar[str] = "segmentation"
    objectives: ClassVar[Mapping[str, Direction]] = {
        "mean_iou": "max",
        "accuracy": "max",
        "loss": "min",
    }

    class_names: Sequence[str]
    ignore: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", checked_names(self.class_names, "class"))
        number, classes = self.ignore, len(self.class_names)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise DataError(f"ignore is {safe_repr(number)}.", "It must be an integer, or None.")
        if number is not None and 0 <= number < classes:
            raise DataError(
                f"ignore is {number}, which is the number of class '{self.class_names[number]}'.",
                f"Class numbers go from 0 to {classes - 1}; choose another, such as 255.",
            )
        super().__post_init__()

    def _names(self) -> dict[str, Any]:
        return {"class_names": list(self.class_names), "ignore": self.ignore}


@dataclass(frozen=True)
class Other(_Task):
    """None of the other tasks: versions are compared by their loss, or by an `Objective`.

    Without `output`, the objective's function gets all targets and outputs, nested as they are.

    Objectives: `loss`.
    """

    kind: ClassVar[str] = "other"
    objectives: ClassVar[Mapping[str, Direction]] = {"loss": "min"}

    @property
    def class_names(self) -> Sequence[str]:
        return ()


Task = Classification | MultiLabel | Regression | Segmentation | Other


def task_from_json(record: Mapping[str, Any]) -> Task:
    """Read a task from `to_json`. A function of its objective's own is not in there.

    Raises:
        ValueError: the kind is not known.
        DataError: a field has an unsuitable value.
    """
    said = record["objective"]
    own = Objective(said["metric"].removeprefix("test_"), said["direction"], unit=said["unit"])
    fields = {key: record[key] for key in record if key not in ("kind", "objective")}
    for kind in (Classification, MultiLabel, Regression, Segmentation, Other):
        if kind.kind == record["kind"]:
            return kind(**fields, objective=own.name if own.name in kind.objectives else own)
    raise ValueError(f"{record['kind']!r} is not a kind of task")


def checked_texts(values: Any, what: str) -> tuple[str, ...]:
    """A list, tuple or NumPy array of texts as a tuple.

    Args:
        values: the texts.
        what: what each is, for the message: `class`, `unit`.

    Raises:
        DataError: it is none of these, or one of them is not a text that a file can store.
    """
    listed = values.tolist() if hasattr(values, "tolist") else values  # NumPy, pandas
    if not isinstance(listed, Sequence) or isinstance(listed, str | bytes):
        raise DataError(
            f"The {what} names are {type(values).__qualname__}: {safe_repr(values)}."
            if what != "unit"
            else f"The units are {type(values).__qualname__}: {safe_repr(values)}.",
            "They must be a list of texts.",
        )
    for place, text in enumerate(listed):
        if not isinstance(text, str):
            raise DataError(
                f"{what.capitalize()} name {place} is {type(text).__qualname__}: "
                f"{safe_repr(text)}.",
                "Names must be texts: [str(name) for name in …].",
            )
        if not is_unicode(text):
            raise DataError(
                f"{what.capitalize()} name {place} is not valid Unicode: {safe_repr(text)}.",
                "It contains a lone surrogate, which a file cannot store. Decode it as UTF-8.",
            )
    return tuple(listed)


def checked_names(values: Any, what: str, least: int = 1) -> tuple[str, ...]:
    """Names as a tuple, each different from the others.

    Raises:
        DataError: they are not texts, two are equal, or there are fewer than `least`.
    """
    names = checked_texts(values, what)
    if len(names) < least:
        raise DataError(f"There are no {what} names.", f"Give one name for each {what}.")
    for place, name in enumerate(names):
        first = names.index(name)
        if first != place:
            raise DataError(
                f"The {what} names have {safe_repr(name)} twice: at {first} and at {place}.",
                f"Each {what} needs a name of its own, in the order of their numbers.",
            )
    return names


def part_of(value: Any, task: Task, what: str) -> Any:
    """The part of a nesting that a task is about: of the targets, or of the model's outputs.

    Args:
        value: a single array or tensor, or a dict, tuple or list of them.
        task: its `output` is a key or a number; with a single part it may be None. `Other` without
            an output is about the whole nesting.
        what: what the value is, for the message: `targets`, `model's outputs`.

    Raises:
        DataError: there are several parts, and `output` selects none of them.
    """
    if isinstance(value, Mapping):
        parts = dict(value)
    elif isinstance(value, tuple | list):
        parts = dict(enumerate(value))
    else:
        return value
    if task.output is None and len(parts) == 1:
        return next(iter(parts.values()))
    if task.output is None and isinstance(task, Other):
        return value  # it is about all of them
    if task.output not in parts:
        said = "does not say which one" if task.output is None else f"names {task.output!r}"
        raise DataError(
            f"The {what} are {', '.join(map(repr, parts))}, and the {task.kind} task {said}.",
            f"Say which one it is about: output={next(iter(parts), None)!r}.",
        )
    return parts[task.output]
