"""Gives a new model the weights of a saved one, layer by layer, where names and shapes fit.

A layer takes all of its weights or none. Optimizers, metrics and random seeds take nothing. A layer
is found by its place: its name in a functional or sequential model, elsewhere the attribute that
holds it. Either model may contain the other: what fits most is taken.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.utils.naming import to_snake_case

from registry_core.types import WeightTransfer

# Names within one layer -> its own weights.
_Weights = Mapping[str, keras.Variable]


def take_weights(model: keras.Model, saved: keras.Model) -> WeightTransfer:
    """Assign the weights of a saved model to the layers of another one that they fit.

    Args:
        model: built; is changed in place.
        saved: the other model.

    Returns:
        What was taken, and what was not; nothing may have been.
    """
    inside, there = _part_names(model), _part_names(saved)
    of_model, of_saved = _layers(model), _layers(saved)
    best: tuple[int, str, str] = (0, "", "")
    for part, source in sorted(
        ((into, out) for into in inside for out in there),
        key=lambda pair: (pair[0].count("/") + pair[1].count("/"), len(pair[0]) + len(pair[1])),
    ):
        fitting = _fitting(_below(of_model, part), _below(of_saved, source))
        found = sum(_numbers(of_model[part + name].values()) for name in fitting)
        if found > best[0]:
            best = found, part, source
    _, part, source = best
    candidates = _below(of_saved, source)
    taken = _fitting(_below(of_model, part), candidates) if best[0] else []
    for name in taken:
        for key, variable in of_model[part + name].items():
            variable.assign(np.asarray(candidates[name][key].value).astype(variable.dtype))
    layers = [part + name for name in taken]
    return WeightTransfer(
        taken=layers,
        fresh={
            path: _why_not(weights, candidates.get(path.removeprefix(part)))
            for path, weights in of_model.items()
            if path not in layers
        },
        unused=[path for path in of_saved if path.removeprefix(source) not in taken],
        variables=sum(len(of_model[path]) for path in layers),
        of_variables=sum(map(len, of_model.values())),
        parameters=sum(_numbers(of_model[path].values()) for path in layers),
        of_parameters=sum(_numbers(each.values()) for each in of_model.values()),
        part=part.removesuffix("/"),
        source=source.removesuffix("/"),
    )


def _numbers(variables: Sequence[keras.Variable] | Any) -> int:
    return sum(math.prod(each.shape) for each in variables)


def _below(layers: Mapping[str, _Weights], prefix: str) -> dict[str, _Weights]:
    """The layers of a part of a model, by their place in it."""
    return {
        path.removeprefix(prefix): weights
        for path, weights in layers.items()
        if path.startswith(prefix)
    }


def _fitting(layers: Mapping[str, _Weights], saved: Mapping[str, _Weights]) -> list[str]:
    return [name for name, each in layers.items() if not _why_not(each, saved.get(name))]


def _why_not(weights: _Weights, saved: _Weights | None) -> str:
    """Why a layer cannot take the weights of another one; empty if it can."""
    if saved is None:
        return "not there"
    if weights.keys() != saved.keys():
        return f"{', '.join(saved)} there, {', '.join(weights)} here"
    for name, variable in weights.items():
        there = saved[name]
        if tuple(variable.shape) != tuple(there.shape):
            return f"{name} {_shape(there)} there, {_shape(variable)} here"
        if _kind(variable) != _kind(there):
            return f"{name} {there.dtype} there, {variable.dtype} here"
    return ""


def _shape(variable: keras.Variable) -> str:
    return f"({', '.join(map(str, variable.shape))})"


def _kind(variable: keras.Variable) -> str:
    return "float" if "float" in str(variable.dtype) else str(variable.dtype)


def _layers(model: keras.Model) -> dict[str, _Weights]:
    """Every layer that has weights of its own, by its path: `block/conv`."""
    return {path: own for path, layer in _walk(model, "", set()) if (own := _own_weights(layer))}


def _part_names(model: keras.Model) -> list[str]:
    """The paths of a model and of the models in it, as prefixes: ``, `backbone/`."""
    return [
        f"{path}/" if path else ""
        for path, layer in _walk(model, "", set())
        if isinstance(layer, keras.Model)
    ]


def _walk(
    layer: keras.layers.Layer, path: str, seen: set[int]
) -> Iterator[tuple[str, keras.layers.Layer]]:
    """A layer and all layers in it, each once, by path."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer
    used: set[str] = set()
    for name, inner in _inner_layers(layer):
        while name in used:
            name += "+"
        used.add(name)
        yield from _walk(inner, f"{path}/{name}" if path else name, seen)


def _inner_layers(layer: keras.layers.Layer) -> list[tuple[str, keras.layers.Layer]]:
    # Keras names a layer anew when it loads one that was made without a name, unless the layer is
    # in the configuration of a functional or sequential model
    named = {id(each): name for name, each in _attributes(vars(layer))}
    if isinstance(layer, keras.Sequential) or hasattr(layer, "_operations"):
        named |= _names_in_model(layer.layers)
    return [(named.get(id(each), type(each).__name__), each) for each in layer._layers]


def _names_in_model(layers: Sequence[keras.layers.Layer]) -> dict[int, str]:
    """The id of each layer -> its name; those that Keras named are counted in this model alone."""
    counts: Counter[str] = Counter()
    names = {}
    for layer in layers:
        kind = to_snake_case(type(layer).__name__)
        names[id(layer)] = layer.name
        if re.fullmatch(rf"{kind}(_\d+)?", layer.name):
            names[id(layer)] = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
    return names


def _attributes(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, keras.layers.Layer):
            yield name, value
        elif isinstance(value, Mapping) and name != "_tracker":
            yield from _attributes({f"{name}/{key}": each for key, each in value.items()})
        elif isinstance(value, list | tuple) and name != "_layers":
            yield from _attributes({f"{name}/{key}": each for key, each in enumerate(value)})


def _own_weights(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    inner = {id(each) for part in layer._layers for each in part.weights}
    found: dict[str, keras.Variable] = {}
    for variable in layer.weights:
        if id(variable) not in inner:
            name = variable.name
            while name in found:
                name += "+"
            found[name] = variable
    return found
