"""The state of callbacks, saved as JSON and arrays, and restored.

State is their attributes, and the variables around their functions (`nonlocal`). Numbers, texts and
collections of them are saved as values. Objects with variables or random generators (variables,
models and metrics of Keras and TensorFlow, generators of NumPy and Python) and plain objects of a
plugin's classes are restored in place.
"""

from __future__ import annotations

import dis
import io
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.config import RunConfig

# Attributes that Keras's callbacks set again when training begins: the model, files, writers.
# Whether a CSV file has a header already is read from the file.
_SET_BY_KERAS = {
    *("model", "_model", "params", "validation_data", "append_header", "csv_file", "writer"),
    *("progbar", "checkpointer", "_async_futures", "_writers", "_summary_module"),
    *("_prev_summary_state", "_batch_trace_context", "_executor", "_futures"),
}

# Functions that Keras's callbacks choose at the end of the first epoch, together with a sign that
# they keep: choosing again would flip the sign of EarlyStopping's min_delta a second time.
_FUNCTIONS = {"less": keras.ops.less, "greater": keras.ops.greater}

# Objects of these packages have no relevant state, except those that `_state` can read.
_LIBRARIES = {*sys.stdlib_module_names, "keras", "numpy", "pydantic", "registry_core", "tensorflow"}

# Depth to which objects within objects are followed.
_DEPTH = 5

_COLLECTIONS: dict[str, Any] = {
    each.__name__: each for each in (list, tuple, set, frozenset, deque)
}


# Kinds of packed values that are restored into an existing object.
_OBJECTS = {"constant", "made", "object", "state"}


class NotRestoredError(Exception):
    """An object that existed when the run stopped is missing, or has another class now."""


class _UnknownError(Exception):
    """A value that cannot be saved."""


def class_names_of(callbacks: Sequence[keras.callbacks.Callback]) -> list[str]:
    """The class name of each callback."""
    return [type(each).__qualname__ for each in callbacks]


def saved_state(callback: keras.callbacks.Callback, tensors: list[bytes]) -> dict[str, Any]:
    """The state of a callback, as JSON.

    Args:
        callback: of a plugin.
        tensors: the bytes of arrays are appended to this list.

    Returns:
        Name -> packed value; values that cannot be saved are left out.
    """
    kept = {}
    for slot in _slots(callback):
        known = len(tensors)
        try:
            kept[slot.name] = pack(slot.value, tensors)
        except _UnknownError:
            del tensors[known:]
    return kept


def restore_state(
    callback: keras.callbacks.Callback, kept: Mapping[str, Any], tensors: Sequence[bytes]
) -> None:
    """Restore what `saved_state` returned for a callback."""
    slots = {slot.name: slot for slot in _slots(callback)}
    for name, packed in kept.items():
        if name in slots:
            slots[name].value = _restored(slots[name].value, packed, tensors)
        elif name.isidentifier():
            vars(callback)[name] = _restored(None, packed, tensors)


def unsaved_state(callback: keras.callbacks.Callback) -> list[str]:
    """State of a callback that may change but cannot be saved, each as `'name' (class)`."""
    if type(callback).__module__.partition(".")[0] == "keras":
        found = [slot for slot in _slots(callback) if ":" in slot.name]
    else:
        found = list(_slots(callback))
    names = []
    for slot in found:
        try:
            pack(slot.value, [])
        except _UnknownError:
            if not _is_constant(slot.value):
                names.append(f"{slot.name.rpartition(':')[2]!r} ({type(slot.value).__qualname__})")
    names += [f"{name!r} (a global of the module)" for name in _globals_set(callback)]
    return sorted(set(names))


# --- where state is stored -----------------------------------------------------------------------


class _Attribute:
    def __init__(self, owner: dict[str, Any], name: str) -> None:
        self._owner, self.name = owner, name

    @property
    def value(self) -> Any:
        return self._owner[self.name]

    @value.setter
    def value(self, value: Any) -> None:
        self._owner[self.name] = value


class _Cell:
    """A variable around a function."""

    def __init__(self, cell: types.CellType, name: str) -> None:
        self._cell, self.name = cell, name

    @property
    def value(self) -> Any:
        return self._cell.cell_contents

    @value.setter
    def value(self, value: Any) -> None:
        self._cell.cell_contents = value


def _slots(callback: keras.callbacks.Callback) -> Iterator[_Attribute | _Cell]:
    attributes, trained = vars(callback), callback.model
    # the trained model and its optimizer are saved elsewhere
    apart = (trained, getattr(trained, "optimizer", None))
    for name, value in list(attributes.items()):
        if name not in _SET_BY_KERAS and _function(value) is None and not _is_any(value, apart):
            yield _Attribute(attributes, name)
    seen: set[int] = set()
    for place, function in _functions(callback):
        for cell in _cells(place, function, seen):
            if not _is_any(cell.value, apart):
                yield cell


def _is_any(value: Any, others: Sequence[Any]) -> bool:
    return value is not None and any(value is other for other in others)


def _cells(place: str, function: types.FunctionType, seen: set[int]) -> Iterator[_Cell]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name == "__class__" or id(cell) in seen:
            continue
        seen.add(id(cell))
        try:
            value = cell.cell_contents
        except ValueError:  # not set yet
            continue
        if (inner := _function(value)) is not None:
            yield from _cells(f"{place}:{name}", inner, seen)
        elif not isinstance(value, type | keras.callbacks.Callback):
            yield _Cell(cell, f"{place}:{name}")


def _functions(callback: keras.callbacks.Callback) -> Iterator[tuple[str, types.FunctionType]]:
    """Functions of its class that are not Keras's, and functions in its attributes."""
    for owner in type(callback).__mro__:
        if owner.__module__.partition(".")[0] not in ("keras", "builtins"):
            for name, value in vars(owner).items():
                if (function := _function(value)) is not None:
                    yield f"{owner.__qualname__}.{name}", function
    for name, value in vars(callback).items():
        if name not in _SET_BY_KERAS and (function := _function(value)) is not None:
            yield name, function


def _function(value: Any) -> types.FunctionType | None:
    """The Python function behind a value; None for other values and functions of Keras."""
    value = getattr(value, "__func__", value)
    if not isinstance(value, types.FunctionType):
        return None
    library = value.__module__ or ""
    return None if library.partition(".")[0] in ("keras", "tensorflow") else value


def _globals_set(callback: keras.callbacks.Callback) -> Iterator[str]:
    for _, function in _functions(callback):
        for instruction in dis.get_instructions(function):
            if instruction.opname == "STORE_GLOBAL":
                yield str(instruction.argval)


# --- as JSON, and back ---------------------------------------------------------------------------


def pack(value: Any, tensors: list[bytes], depth: int = _DEPTH) -> Any:
    """A value as JSON; arrays are appended to `tensors`.

    Raises:
        _UnknownError: the value cannot be saved.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject or value.dtype.fields or not _is_named(value.dtype):
            raise _UnknownError
        tensors.append(value.tobytes())
        return {"array": str(value.dtype), "shape": list(value.shape), "at": len(tensors) - 1}
    if isinstance(value, bytes | bytearray):
        tensors.append(bytes(value))
        return {type(value).__name__: len(tensors) - 1}
    if (name := next((name for name, each in _FUNCTIONS.items() if value is each), "")) != "":
        return {"function": name}
    if tf.is_tensor(value) and not isinstance(value, tf.Variable | keras.Variable):
        if not hasattr(value, "numpy") or value.dtype in (tf.string, tf.variant, tf.resource):
            raise _UnknownError
        return {"tensor": pack(value.numpy(), tensors)}
    if depth == 0:
        raise _UnknownError
    for kind, collection in _COLLECTIONS.items():
        if isinstance(value, collection) and not hasattr(value, "_make"):
            parts = [_pack_part(each, tensors, depth) for each in value]
            if kind not in ("list", "tuple") and any(map(_holds_object, parts)):
                raise _UnknownError  # their elements could not be matched when restoring
            return {kind: parts}
    if isinstance(value, dict):
        if all(type(key) is str for key in value):
            return {"dict": {key: _pack_part(each, tensors, depth) for key, each in value.items()}}
        pairs = [[pack(part, tensors, depth - 1) for part in pair] for pair in value.items()]
        if any(_holds_object(part) for pair in pairs for part in pair):
            raise _UnknownError
        return {"pairs": pairs}
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return {"made": type(value).__qualname__, "of": pack(tuple(value), tensors, depth - 1)}
    if (state := _state(value)) is not None:
        return {"state": type(value).__qualname__, "of": pack(state[0](), tensors)}
    if _is_plain_object(value):
        inside = {}
        for name, each in vars(value).items():
            if _function(each) is None:
                try:
                    inside[name] = pack(each, tensors, depth - 1)
                except _UnknownError:
                    if not _is_constant(each):
                        raise
        return {"object": type(value).__qualname__, "of": {"dict": inside}}
    raise _UnknownError


def _pack_part(value: Any, tensors: list[bytes], depth: int) -> Any:
    """Pack an element of a collection; constants are not saved."""
    if isinstance(value, PurePath):
        return {"path": str(value)}
    known = len(tensors)
    try:
        return pack(value, tensors, depth - 1)
    except _UnknownError:
        del tensors[known:]
        if not _is_constant(value):
            raise
        return {"constant": type(value).__qualname__}


def unpack(packed: Any, tensors: Sequence[bytes]) -> Any:
    """The inverse of `pack`, for values that are not restored in place."""
    if not isinstance(packed, dict):
        return packed
    if "array" in packed:
        array = np.frombuffer(tensors[packed["at"]], packed["array"]).reshape(packed["shape"])
        return array.copy() if packed["shape"] else array[()]
    ((kind, content),) = packed.items()
    if kind == "dict":
        return {key: unpack(each, tensors) for key, each in content.items()}
    if kind == "pairs":
        return {unpack(key, tensors): unpack(each, tensors) for key, each in content}
    if kind == "function":
        return _FUNCTIONS[content]
    if kind == "path":
        return Path(content)
    if kind == "tensor":
        return tf.constant(unpack(content, tensors))
    if kind in ("bytes", "bytearray"):
        return {"bytes": bytes, "bytearray": bytearray}[kind](tensors[content])
    return _COLLECTIONS[kind](unpack(each, tensors) for each in content)


def _restored(now: Any, packed: Any, tensors: Sequence[bytes]) -> Any:
    """Restore a packed value, in place if other code may refer to the present object."""
    if _is_object(packed):
        return _restore_object(now, packed, tensors)
    if _holds_object(packed):
        ((kind, content),) = packed.items()
        if kind == "dict":
            held = now if isinstance(now, dict) else {}
            given = {key: _restored(held.get(key), each, tensors) for key, each in content.items()}
            held.clear()
            held.update(given)
            return held
        known = list(now) if isinstance(now, list | tuple) else []
        known += [None] * (len(content) - len(known))
        parts = [_restored(was, each, tensors) for was, each in zip(known, content, strict=False)]
        if kind == "tuple":
            return tuple(parts)
        if isinstance(now, list):
            now[:] = parts
            return now
        return parts
    value = unpack(packed, tensors)
    if type(value) is type(now) and value is not now:
        if isinstance(now, list):
            now[:] = value
            return now
        if isinstance(now, dict | set):
            now.clear()
            now.update(value)
            return now
        if isinstance(now, deque):
            now.clear()
            now.extend(value)
            return now
    elif isinstance(now, dict) and isinstance(value, dict):  # a Counter, a defaultdict
        now.clear()
        now.update(value)
        return now
    return value


def _is_object(packed: Any) -> bool:
    return isinstance(packed, dict) and not _OBJECTS.isdisjoint(packed)


def _holds_object(packed: Any) -> bool:
    """Whether a packed value is such an object, or a collection that contains one."""
    if not isinstance(packed, dict) or _is_object(packed):
        return isinstance(packed, dict)
    content = next(iter(packed.values()))
    parts = content.values() if "dict" in packed else content if isinstance(content, list) else ()
    return any(map(_holds_object, parts))


def _restore_object(now: Any, packed: Mapping[str, Any], tensors: Sequence[bytes]) -> Any:
    (how,) = _OBJECTS.intersection(packed)
    if type(now).__qualname__ != packed[how]:
        raise NotRestoredError(packed[how])
    if how == "constant":
        return now
    if how == "made":
        return now._make(_restored(tuple(now), packed["of"], tensors))
    if how == "object":
        for name, part in packed["of"]["dict"].items():
            vars(now)[name] = _restored(vars(now).get(name), part, tensors)
    elif (state := _state(now)) is not None:
        state[1](unpack(packed["of"], tensors))
    return now


def _is_named(dtype: np.dtype[Any]) -> bool:
    try:
        return np.dtype(str(dtype)) == dtype
    except TypeError:
        return False


# --- objects -------------------------------------------------------------------------------------

_State = tuple[Callable[[], Any], Callable[[Any], Any]]


def _state(value: Any) -> _State | None:
    """Functions that get and set the state of an object; None if it has none."""
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    if isinstance(value, np.random.Generator):
        return _bit_generator(value.bit_generator)
    if isinstance(value, np.random.BitGenerator):
        return _bit_generator(value)
    if isinstance(value, np.random.RandomState):
        return value.get_state, value.set_state
    variables = _variables(value)
    if variables is None:
        return None
    return (
        lambda: [np.asarray(each) for each in variables],
        lambda arrays: [each.assign(array) for each, array in zip(variables, arrays, strict=True)],
    )


def _bit_generator(generator: Any) -> _State:
    return lambda: generator.state, lambda state: setattr(generator, "state", state)


def _variables(value: Any) -> list[Any] | None:
    if isinstance(value, keras.Variable | tf.Variable):
        return [value]
    if isinstance(value, keras.random.SeedGenerator | tf.random.Generator):
        return [value.state]
    if isinstance(value, keras.Layer | keras.Metric | keras.Optimizer):
        return list(value.variables)
    return None


def _is_plain_object(value: Any) -> bool:
    """Whether a value is a plain object of a class outside of Python and the libraries."""
    return hasattr(value, "__dict__") and not _is_constant(value) and not _is_iterator(value)


def _is_constant(value: Any) -> bool:
    """Whether a callback cannot change a value in a way that affects training."""
    if isinstance(value, list | tuple | dict | set | frozenset | deque):
        return False
    if isinstance(value, keras.callbacks.Callback | RunConfig | io.IOBase | type):
        return True
    dataclass = getattr(type(value), "__dataclass_params__", None)
    if dataclass is not None and dataclass.frozen:
        return True
    return type(value).__module__.partition(".")[0] in _LIBRARIES and not _is_iterator(value)


def _is_iterator(value: Any) -> bool:
    return hasattr(value, "__next__")
