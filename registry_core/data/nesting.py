"""Nestings, as Keras takes them: dicts, tuples and lists of arrays, tensors or specifications.

The entries of a dict are in the order of their keys, as in `keras.tree` and `tf.nest`. Imports
neither NumPy nor TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def is_nested(value: Any) -> bool:
    """Whether a value holds several parts, rather than being one array or tensor."""
    return isinstance(value, Mapping | tuple | list)


def named_parts(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The arrays of a nesting in order, each with its name: `inputs['area']`, `inputs[1]`.

    Args:
        value: a nesting, or one array, whose name is `name` alone.
        name: of the whole.
    """
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from named_parts(value[key], f"{name}[{key!r}]")
    elif isinstance(value, tuple | list):
        for place, part in enumerate(value):
            yield from named_parts(part, f"{name}[{place}]")
    else:
        yield name, value


def parts_of(value: Any) -> list[Any]:
    """The arrays of a nesting, in order."""
    return [part for _, part in named_parts(value, "")]


def map_parts(function: Callable[..., Any], value: Any, *more: Any) -> Any:
    """Apply a function to each array of a nesting, or to equal places of several nestings.

    Returns:
        The same nesting of the results, with plain dicts and tuples.
    """
    if isinstance(value, Mapping):
        return {
            key: map_parts(function, value[key], *(each[key] for each in more))
            for key in sorted(value)
        }
    if isinstance(value, tuple | list):
        return tuple(
            map_parts(function, part, *(each[place] for each in more))
            for place, part in enumerate(value)
        )
    return function(value, *more)


def same_nesting(first: Any, second: Any) -> bool:
    """Whether two values have the same parts; a list is as good as a tuple."""
    return [name for name, _ in named_parts(first, "")] == [
        name for name, _ in named_parts(second, "")
    ]


def numbered(value: Any) -> tuple[Any, list[Any]]:
    """A nesting as JSON, with a number in place of each array; and the arrays in that order."""
    arrays: list[Any] = []

    def number(array: Any) -> int:
        arrays.append(array)
        return len(arrays) - 1

    return map_parts(number, value), arrays
