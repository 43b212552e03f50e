"""What a person sees of an example's input: a small picture, a shortened text, or a few values.

NumPy and Pillow load when an input is looked at. Nothing here knows what an input means: an array
of the shape and range of a picture is one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from registry_core.data.texts import holds_texts
from registry_core.dataclass import dataclass
from registry_core.errors import escape_surrogates
from registry_core.evaluation.shown_examples import ShownExample, Value
from registry_core.formatting import literal

if TYPE_CHECKING:
    import numpy as np

# Pictures have this many pixels a side; all of them together are made smaller if they are large.
PICTURE_SIDE = 128
SMALL_SIDE = 64
MAX_PICTURE_BYTES = 400_000

# A text, a text among the values of a row, and the names of a row.
MAX_TEXT = 600
MAX_CELL = 120
MAX_NAMES = 30

# An array of fewer rows or columns is no picture: it may be a few measurements.
_LEAST_GRAY, _LEAST_COLOUR = 8, 4


@dataclass(frozen=True)
class View:
    """What is seen of one input; see `ShownExample`."""

    picture: bytes | None = None
    text: str | None = None
    row: tuple[tuple[str, Value], ...] | None = None


def with_inputs(
    examples: list[ShownExample], inputs: Mapping[int, Any]
) -> tuple[list[ShownExample], str]:
    """The examples with what can be seen of their inputs, and why pictures are missing.

    Args:
        examples: without inputs.
        inputs: index -> the input of one example, an array or a nesting of arrays. An example that
            is not among them is left as it is.

    Returns:
        The examples, and a sentence; empty if nothing is missing.
    """
    views, missing = views_of([inputs[each.index] for each in examples if each.index in inputs])
    remaining = iter(views)
    shown = [
        replace(each, **vars(next(remaining))) if each.index in inputs else each
        for each in examples
    ]
    return shown, missing


def views_of(inputs: list[Any]) -> tuple[list[View], str]:
    """What is seen of each input, and why pictures are missing; empty if they are not."""
    parts = [list(_named(each, "")) for each in inputs]
    views, pictures = [], []
    for each in parts:
        picture = next((array for _, array in each if _is_picture(array)), None)
        pictures.append(picture)
        others = [(name, array) for name, array in each if array is not picture]
        if picture is None and len(others) == 1 and _is_text(others[0][1]):
            views.append(View(text=shortened(others[0][1].item(), MAX_TEXT)))
        else:
            views.append(View(row=_row(others) or None))
    drawn, missing = _drawn(pictures)
    return [
        replace(view, picture=picture) for view, picture in zip(views, drawn, strict=True)
    ], missing


def shortened(text: str | bytes, longest: int) -> str:
    """A text on one line, cut, without characters that a terminal or a page would act on."""
    start = text[: 4 * longest]  # a text may be huge
    if isinstance(start, bytes):
        start = start.decode("utf-8", "replace")
    line = literal(" ".join(escape_surrogates(start).split()))
    return f"{line[:longest].rstrip()} …" if len(line) > longest or len(text) > len(start) else line


def _named(value: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a nesting with names for people: `area`, `house.area`, `input 2`."""
    import numpy as np

    if isinstance(value, Mapping):
        for key in value:
            inner = shortened(str(key), MAX_CELL)
            yield from _named(value[key], f"{name}.{inner}" if name else inner)
    elif isinstance(value, tuple | list):
        for place, part in enumerate(value, 1):
            yield from _named(part, f"{name}.{place}" if name else f"input {place}")
    else:
        yield name, np.asarray(value)


def _is_text(array: np.ndarray) -> bool:
    return array.size == 1 and holds_texts(array) and isinstance(array.item(), str | bytes)


def _is_picture(array: np.ndarray) -> bool:
    """Whether an array has the shape and the range of a picture."""
    import numpy as np

    if array.ndim == 3 and array.shape[2] in (1, 3, 4):
        least = _LEAST_COLOUR
    elif array.ndim == 2:
        least = _LEAST_GRAY
    else:
        return False
    if min(array.shape[:2]) < least:
        return False
    if array.dtype == np.uint8 or array.dtype == bool:
        return True
    # bfloat16 is no kind of NumPy's own
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        return False
    low, high = float(array.min()), float(array.max())
    return low >= 0 and high <= 255  # false if one is not a number


def _row(parts: list[tuple[str, np.ndarray]]) -> tuple[tuple[str, Value], ...]:
    """The values of scalars and short vectors, up to `MAX_NAMES`, and how many more there are."""
    row: list[tuple[str, Value]] = []
    for name, array in parts:
        if array.size == 1:
            row.append((name or "input", _cell(array.item())))
        elif array.ndim == 1 and array.size <= MAX_NAMES:
            row += [
                (f"{name or 'input'}[{place}]", _cell(value))
                for place, value in enumerate(array.tolist())
            ]
    more = len(row) - MAX_NAMES
    return (*row[:MAX_NAMES], ("not shown", f"{more:,} more")) if more > 0 else tuple(row)


def _cell(value: Any) -> Value:
    import math

    if isinstance(value, str | bytes):
        return shortened(value, MAX_CELL)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return shortened(str(value), MAX_CELL)
    if not math.isfinite(number):
        return str(number)
    number = float(f"{number:.6g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


# --- pictures -----------------------------------------------------------------------------------


def _drawn(arrays: list[np.ndarray | None]) -> tuple[list[bytes | None], str]:
    """A PNG for each array that there is."""
    found = [array for array in arrays if array is not None]
    if not found:
        return [None] * len(arrays), ""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return [None] * len(arrays), "Pillow is not installed: pip install pillow."
    top = _top(found)
    for side in (PICTURE_SIDE, SMALL_SIDE):
        drawn = [None if array is None else _png(array, top, side) for array in arrays]
        if sum(len(each) for each in drawn if each) <= MAX_PICTURE_BYTES:
            break
    return drawn, ""


def _top(arrays: list[np.ndarray]) -> float:
    """What white is: 1 or 255, or less where all are far below it."""
    highest = max(float(each.max()) for each in arrays)
    if highest <= 1:
        return 1.0
    return highest if highest <= 64 else 255.0  # the digits of scikit-learn go up to 16


def _png(array: np.ndarray, top: float, side: int) -> bytes:
    import numpy as np
    from PIL import Image

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or top != 255:
        array = np.rint(array.astype("float32") * (255 / top)).clip(0, 255).astype("uint8")
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.thumbnail((side, side))  # a smaller one stays as it is
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()
