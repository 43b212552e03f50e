"""A reliability diagram of each classification, and its calibration in numbers."""

from __future__ import annotations

import json
import os
from typing import Any

from mlreg import UsageError, hookimpl

BINS_VARIABLE = "MLREG_CALIBRATION_BINS"
_MOST_BINS = 1000


@hookimpl
def mlreg_report(result, out_dir):
    """Write reliability.png and calibration.json, if the run is a classification."""
    from mlreg_calibration import measures

    bins = _bins()
    test = _classified(result.evaluation, result)
    if test is None:
        return []
    as_trained = measures.measure(*test, bins)
    record: dict[str, Any] = {
        "schema": 1,
        "examples": len(test[1]),
        "bins": bins,
        "test": as_trained.to_json(),
        "temperature": None,
        "temperature_missing": None,
        "test_with_temperature": None,
    }
    scaled, caption = None, ""
    validation, missing = _validation(result)
    if validation is None:
        record["temperature_missing"] = missing
    else:
        temperature = measures.fit_temperature(*validation)
        scaled = measures.measure(measures.with_temperature(test[0], temperature), test[1], bins)
        caption = f"with temperature {temperature:.2f}"
        record["temperature"] = temperature
        record["validation_examples"] = len(validation[1])
        record["test_with_temperature"] = scaled.to_json()

    from mlreg_calibration.figure import draw

    picture, numbers = out_dir / "reliability.png", out_dir / "calibration.json"
    draw(picture, f"{result.dataset} {result.preset}", as_trained, scaled, caption)
    numbers.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return [picture, numbers]


def _bins() -> int:
    from mlreg_calibration.measures import BINS

    text = os.environ.get(BINS_VARIABLE, str(BINS))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_BINS:
        raise UsageError(
            f"{BINS_VARIABLE} is {text!r}.",
            f"It must be a whole number from 1 to {_MOST_BINS:,}, such as {BINS}.",
        )
    return int(text)


def _validation(result: Any) -> tuple[tuple[Any, Any] | None, str]:
    """Log probabilities and true classes of the validation split, or why there are none.

    A temperature that is fitted to the test split would look better on it than it is.
    """
    if result.validated_on_test:
        return None, "the validation split is the test split"
    if result.validation is None:
        return None, "the dataset has no validation split"
    return _classified(result.validation, result), "the validation targets are not classes"


def _classified(evaluation: Any, result: Any) -> tuple[Any, Any] | None:
    """(examples, classes) log probabilities and (examples,) true classes.

    None if the run is no classification, or a target is not exactly one class.
    """
    import numpy as np

    from mlreg_calibration.measures import log_probabilities

    if result.task.kind != "classification":
        return None
    classes = len(result.class_names)
    outputs = np.asarray(_part(evaluation.outputs, result.task.output))
    targets = np.asarray(_part(evaluation.targets, result.task.output))
    if targets.ndim == 2 and targets.shape[1] == classes:
        if not ((targets == 0) | (targets == 1)).all() or not (targets.sum(axis=1) == 1).all():
            return None  # probabilities
        targets = targets.argmax(axis=1)
    return log_probabilities(outputs, evaluation.threshold), targets.reshape(-1).astype("int64")


def _part(value: Any, output: Any) -> Any:
    """Of several outputs or targets, the one that the task is about."""
    if isinstance(value, dict):
        return value[output if output is not None else next(iter(value))]
    if isinstance(value, tuple | list):
        return value[output or 0]
    return value
