"""Whether a model's outputs fit a task: which sizes the last layer needs."""

from __future__ import annotations

from collections.abc import Sequence

from registry_core.tasks import Classification, MultiLabel, Other, Regression, Segmentation, Task

Shape = Sequence[int | None]


def misfit(
    task: Task, outputs: Shape, targets: Shape, class_names: Sequence[str] = ()
) -> tuple[str, str] | None:
    """Why outputs do not fit a task, and what would; None if they do.

    Args:
        task: what the targets mean.
        outputs: the shape of the model's outputs that the task is about, with the examples' axis.
        targets: the shape of its targets, with the examples' axis.
        class_names: of the dataset; targets of an inferred `Other` may be class probabilities.
    """
    found, wanted = tuple(outputs[1:]), tuple(targets[1:])
    names = task.class_names or class_names
    if isinstance(task, Classification) or (isinstance(task, Other) and names):
        return _misfit_of_classes(found, wanted, len(names))
    if isinstance(task, MultiLabel) and found != (len(names),):
        return (
            f"The model's output has shape {found}, but there are {len(names)} labels.",
            f"The last layer needs {_units(len(names))}, one per label name.",
        )
    if isinstance(task, Segmentation):
        return _misfit_of_places(found, wanted, len(names))
    if isinstance(task, Regression) and not task.inferred and _squeezed(found) != _squeezed(wanted):
        units = wanted[-1] if wanted else 1
        return (
            f"The model's output has shape {found}, but the targets have {wanted}.",
            f"The last layer needs {_units(units)}, one per target"
            + (f": {', '.join(task.target_names)}." if task.target_names else "."),
        )
    return None


def single_output(task: Task, outputs: Shape) -> bool:
    """Whether there is one output, for the second of a task's two classes."""
    if not isinstance(task, Classification | Segmentation) or len(task.class_names) != 2:
        return False
    return len(outputs) == 1 or outputs[-1] == 1


def _misfit_of_classes(found: Shape, wanted: Shape, classes: int) -> tuple[str, str] | None:
    if tuple(found) == (classes,):
        return None
    single = classes == 2 and tuple(found) in ((), (1,))
    if single and tuple(wanted) in ((), (1,)):
        return None
    if single:
        return (
            f"The model's output has shape {found}, and the targets {wanted}: one-hot rows.",
            "A single unit for two classes needs class numbers, 0 and 1; one-hot rows need two.",
        )
    return (
        f"The model's output has shape {found}, but there are {classes} classes.",
        f"The last layer needs {_units(classes)}, one per class name"
        + (", or 1 unit for yes or no." if classes == 2 else "."),
    )


def _misfit_of_places(found: Shape, wanted: Shape, classes: int) -> tuple[str, str] | None:
    places = tuple(wanted[:-1]) if tuple(wanted[-1:]) == (1,) else tuple(wanted)
    last = (classes, 1) if classes == 2 else (classes,)
    fitting = [(*axes, size) for size in last for axes in (places, tuple(wanted))]
    if any(_agree(found, each) for each in fitting):
        return None
    return (
        f"The model's output has shape {tuple(found)}, but the targets {tuple(wanted)} and there "
        f"are {classes} classes.",
        f"It needs shape {(*places, classes)}: the last layer has {_units(classes)}, one per class "
        f"name{', or 1 unit for yes or no' if classes == 2 else ''}.",
    )


def _agree(found: Shape, wanted: Shape) -> bool:
    """Whether two shapes can be equal; None is a size that is not known."""
    pairs = zip(found, wanted, strict=False)
    return len(found) == len(wanted) and all(a == b or None in (a, b) for a, b in pairs)


def _squeezed(shape: Shape) -> tuple[int | None, ...]:
    return tuple(shape[:-1]) if tuple(shape[-1:]) == (1,) else tuple(shape)


def _units(count: int | None) -> str:
    return f"{count} unit{'' if count == 1 else 's'}"
