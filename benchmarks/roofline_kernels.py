"""What the kernels of a training step calculate: their operations and bytes, from the layers.

Operations are multiplications and additions in float32. Bytes are those of the arrays that a kernel
must read and write once; what stays in a cache counts too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FORWARD, WEIGHTS, INPUTS = "forward", "backward, weights", "backward, inputs"
ACTIVATION = "backward, activation"

_FLOAT = 4


@dataclass(frozen=True)
class Kernel:
    """One thing that a layer does in a step.

    Args:
        layer: the layer's name.
        kernel: the layer in words.
        direction: FORWARD, WEIGHTS, INPUTS or ACTIVATION.
        operations: floating-point operations.
        bytes: read and written.
    """

    layer: str
    kernel: str
    direction: str
    operations: float
    bytes: float

    def row(self) -> dict[str, Any]:
        """A row of the record, without its time."""
        return {**vars(self), "microseconds": 0.0, "operations_run": 0}

    @staticmethod
    def matches(row: Mapping[str, Any], name: str, kind: str) -> bool:
        """Whether an operation of TensorFlow is part of a row's kernel."""
        if not re.search(rf"/{row['layer']}(_\d+)?/", f"/{name}/"):
            return False
        if "gradient_tape" not in name:
            return bool(row["direction"] == FORWARD)
        if kind == "ReluGrad":
            return bool(row["direction"] == ACTIVATION)
        of_weights = "BackpropFilter" in kind or "BiasAddGrad" in kind or name.endswith("MatMul_1")
        return bool(row["direction"] == (WEIGHTS if of_weights else INPUTS))


def kernels_of(model: Any, batch: int) -> list[Kernel]:
    """The kernels of a sequential model, in order; renames its layers so that each is found.

    Args:
        model: its layers are those of the baseline.
        batch: examples in a batch.
    """
    kernels: list[Kernel] = []
    for number, layer in enumerate(model.layers):
        kind = type(layer).__name__
        layer.name = f"layer{number}x{kind.lower()}"
        kernels += _of_layer(layer, kind, batch, first=number == 0)
    return kernels


def _of_layer(layer: Any, kind: str, batch: int, first: bool) -> Iterator[Kernel]:
    inputs, outputs = (batch * math.prod(each.shape[1:]) for each in (layer.input, layer.output))
    height = "×".join(map(str, layer.input.shape[1:]))
    if kind in ("Conv2D", "Dense"):
        weights = math.prod(layer.kernel.shape)
        places = outputs / layer.kernel.shape[-1]
        moved = _FLOAT * (inputs + outputs + weights)
        word = "convolution" if kind == "Conv2D" else "dense layer"
        what = f"{word}, {height} to {layer.kernel.shape[-1]}"
        # the gradient of the first layer's inputs is not needed
        for direction in (FORWARD, WEIGHTS) if first else (FORWARD, WEIGHTS, INPUTS):
            yield Kernel(layer.name, what, direction, 2 * places * weights, moved)
        if getattr(layer.activation, "__name__", "") == "relu":
            yield Kernel(layer.name, what, ACTIVATION, outputs, _FLOAT * 3 * outputs)
    elif kind == "BatchNormalization":
        what = f"batch normalisation, {height}"
        yield Kernel(layer.name, what, FORWARD, 7 * inputs, _FLOAT * 2 * inputs)
        yield Kernel(layer.name, what, INPUTS, 11 * inputs, _FLOAT * 3 * inputs)
    elif kind == "MaxPooling2D":
        what = f"pooling, {height}"
        yield Kernel(layer.name, what, FORWARD, inputs, _FLOAT * (inputs + outputs))
        yield Kernel(layer.name, what, INPUTS, inputs, _FLOAT * (inputs + outputs))
