"""Values in the words and digits that reports use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_core.errors import MlregError, one_line
from registry_core.formatting import as_typed, counted, fraction
from registry_core.sections import Section, Text
from registry_core.tasks import Classification, MultiLabel, Regression, Segmentation, Task

if TYPE_CHECKING:
    from registry_core.evaluation.task_summary import Interval

# One value of a table or of facts has at most this many characters.
_LONGEST = 2_000

# a space at which no line breaks
_NARROW = "\u202f"

VERIFY = "mlreg verify"


def clip(value: object, longest: int = _LONGEST) -> str:
    """A value as text, cut where it is too long for a report."""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


def setting(value: object) -> str:
    """A setting's value as `-p` takes it."""
    return clip(as_typed(value))


def quantity(value: float) -> str:
    """A number as people write it: `1,439`, `57`, `0.3125`, `1.2e+20`."""
    if not math.isfinite(value):
        return str(value)
    if 1_000 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


def signed_quantity(value: float) -> str:
    """The same with its sign: `+1,439`."""
    return f"{'+' if value > 0 else ''}{quantity(value)}"


def interval(name: str, found: Interval | None) -> str:
    """`0.8912 to 0.9034`; empty without one."""
    return f"{fraction(name, found.low)} to {fraction(name, found.high)}" if found else ""


def percent(share: float) -> str:
    """`93.1 %`; what is not quite all or nothing is not shown as all or nothing."""
    if 0 < share < 0.001:
        return f"<{_NARROW}0.1{_NARROW}%"
    if 0.999 < share < 1:
        return f">{_NARROW}99.9{_NARROW}%"
    return f"{100 * share:.1f}{_NARROW}%"


def shares(found: Interval | None) -> str:
    """An interval of a share: `89.1 % to 90.3 %`; empty without one."""
    return f"{percent(found.low)} to {percent(found.high)}" if found else ""


def in_unit(unit: str) -> str:
    """` EUR`; nothing without a unit."""
    return f" {unit}" if unit else ""


def damaged(what: str, problem: str) -> Text:
    """An alert about a file or a record that cannot be read."""
    return Text(
        f"{what} cannot be read: {problem}\n\n"
        f"Run `{VERIFY}` to see every damaged file of the registry.",
        is_alert=True,
    )


def shown(
    title: str, make: Callable[..., Section | Sequence[Section]], *given: object
) -> Sequence[Section]:
    """The sections that a function makes; one that says why, where the record has another form.

    A record may be of another mlreg, or hold what a plugin put there; it takes one section down.
    """
    try:
        made = make(*given)
    except (
        MlregError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
    ) as error:
        said = f"The record has a form that this mlreg does not know: {clip(one_line(error))}"
        return [Section(title, [Text(said, is_alert=True)])]
    return [made] if isinstance(made, Section) else made


def left_out(shown: int, total: int, noun: str) -> list[Text]:
    """A sentence about what a bounded list leaves out; nothing if it is complete."""
    if total <= shown:
        return []
    return [Text(f"The first {shown:,} of {counted(total, noun)} are shown.")]


def shape_of(described: Any, axis: str = "batch") -> str:
    """What a model takes, as recorded: `uint8 (batch, 32, 32, 3)`; nested values by name."""
    if isinstance(described, Mapping) and ("dtype" in described or "shape" in described):
        shape = described.get("shape")
        sizes = "any" if shape is None else ", ".join("?" if n is None else str(n) for n in shape)
        places = f"({axis}, {sizes})" if sizes else f"({axis},)"
        return f"{described.get('dtype') or 'unknown dtype'} {places}"
    if isinstance(described, Mapping):
        return "; ".join(f"{key}: {shape_of(each, axis)}" for key, each in described.items())
    if isinstance(described, list | tuple):
        return "; ".join(shape_of(each, axis) for each in described)
    return "not recorded"


def task_line(task: Task | None) -> str:
    """`classification into 10 classes`; empty if the task is not recorded or is none of ours."""
    if isinstance(task, Classification):
        return f"classification into {len(task.class_names):,} classes"
    if isinstance(task, MultiLabel):
        return f"multi-label classification with {len(task.label_names):,} labels"
    if isinstance(task, Segmentation):
        return f"segmentation into {len(task.class_names):,} classes"
    if isinstance(task, Regression):
        names = ", ".join(task.target_names)
        return f"regression of {names}" if names else "regression"
    return ""


def output_line(task: Task | None) -> str:
    """What a person gets from an output: `one of 10 classes`; empty if it is not known."""
    if isinstance(task, Classification):
        return f"one of {len(task.class_names):,} classes"
    if isinstance(task, MultiLabel):
        return f"any of {len(task.label_names):,} labels"
    if isinstance(task, Segmentation):
        return f"one of {len(task.class_names):,} classes for each place"
    if isinstance(task, Regression):
        units = [unit for unit in task.units if unit]
        of = (
            [f"{n} in {u}" for n, u in zip(task.target_names, units, strict=False)] if units else []
        )
        return ", ".join(of or task.target_names) or "a quantity"
    return ""


def signature_lines(signature: Any, name: str = "") -> list[str]:
    """`uint8 (8, 8, 1)`; a line for each part of a nesting; empty if nothing is recorded.

    Args:
        signature: `inputs` or `targets` of a split.
        name: of the part that it describes.
    """
    if isinstance(signature, Mapping) and not {"shape", "dtype"} <= signature.keys():
        parts = [signature_lines(inner, key) for key, inner in signature.items()]
        return [line for part in parts for line in part]
    if isinstance(signature, list | tuple):
        parts = [signature_lines(inner, str(place)) for place, inner in enumerate(signature)]
        return [line for part in parts for line in part]
    if not isinstance(signature, Mapping):
        return []
    shape = signature["shape"]
    sizes = "of unknown shape" if shape is None else _sizes(shape)
    line = f"{signature['dtype'] or 'values'} {sizes}".strip()
    return [f"{name}: {line}" if name else line]


def _sizes(shape: Sequence[int | None]) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    return f"({sizes}{',' * (len(shape) == 1)})" if shape else ""
