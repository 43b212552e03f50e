"""What running an export found, beside the Keras model that it was made of. Knows no library."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.evaluation.paired_tests import Comparison


@dataclass(frozen=True)
class QuantizedTest:
    """The paired test of a quantised export against the float model, on the test split.

    Args:
        method: `full integer`: weights and activations; `dynamic range`: weights alone.
        reason: why the method is not full integer; empty if it is.
        calibration_examples: examples of the training split that set the ranges of activations.
        comparison: of the export with the float model; more is better for the export.
        quantized: the export's mean of the objective.
        float_: the float model's.
    """

    method: str
    reason: str
    calibration_examples: int
    comparison: Comparison
    quantized: float | None
    float_: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "reason": self.reason,
            "calibration_examples": self.calibration_examples,
            "comparison": asdict(self.comparison),
            "quantized": self.quantized,
            "float": self.float_,
        }


@dataclass(frozen=True)
class ExportCheck:
    """An export that was run beside the Keras model.

    Args:
        inputs: `test split`, or `generated`: made from the model's shapes, dtypes, vocabularies.
        examples: how many were run.
        reason: why the inputs are generated; empty if they are not.
        largest_difference: of an output, absolute; None if the outputs are not numbers.
        largest_output: the largest absolute output of the Keras model; None likewise.
        tolerance: the allowed difference, as a part of the largest output; None for a quantised
            export, whose loss the paired test measures.
        batch: examples for each call of the export; None if their number is open.
        milliseconds: for one call with one example, or with `batch`: the median of several.
        keras_milliseconds: the same for the Keras model, as a compiled function.
        size: of the export, in bytes.
        keras_size: of the registered `.keras` file, which may hold the optimizer's state.
        int8: the paired test of a quantised export; None for others.
    """

    inputs: str
    examples: int
    reason: str
    largest_difference: float | None
    largest_output: float | None
    tolerance: float | None
    batch: int | None
    milliseconds: float
    keras_milliseconds: float
    size: int
    keras_size: int
    int8: QuantizedTest | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "int8": self.int8.to_json() if self.int8 else None}
