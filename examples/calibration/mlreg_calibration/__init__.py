"""A reliability diagram of each classification, and its calibration in numbers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlreg import LineChart, Section, Series, Table, Text, UsageError, hookimpl

if TYPE_CHECKING:
    from mlreg_calibration.measures import Calibration

BINS_VARIABLE = "MLREG_CALIBRATION_BINS"
_MOST_BINS = 1000


@dataclass(frozen=True)
class Found:
    """What was measured.

    Args:
        bins: how many.
        test_examples: of the test split.
        as_trained: on the test split.
        temperature: fitted to the validation split; None without one.
        missing: why there is no temperature; empty if there is.
        validation_examples: of the validation split.
        scaled: on the test split with the temperature; None without one.
    """

    bins: int
    test_examples: int
    as_trained: Calibration
    temperature: float | None = None
    missing: str = ""
    validation_examples: int = 0
    scaled: Calibration | None = None

    @property
    def caption(self) -> str:
        return f"with temperature {self.temperature:.2f}" if self.temperature else ""


@hookimpl
def mlreg_report(result, out_dir):
    """Write reliability.png and calibration.json, if the run is a classification."""
    found = _measured(result)
    if found is None:
        return []
    record: dict[str, Any] = {
        "schema": 1,
        "examples": found.test_examples,
        "bins": found.bins,
        "test": found.as_trained.to_json(),
        "temperature": found.temperature,
        "temperature_missing": found.missing or None,
        "test_with_temperature": found.scaled.to_json() if found.scaled else None,
    }
    if found.scaled:
        record["validation_examples"] = found.validation_examples

    from mlreg_calibration.figure import draw

    picture, numbers = out_dir / "reliability.png", out_dir / "calibration.json"
    subject = f"{result.dataset} {result.preset}"
    draw(picture, subject, found.as_trained, found.scaled, found.caption)
    numbers.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return [picture, numbers]


@hookimpl
def mlreg_report_sections(result):
    """Show the calibration with and without temperature, if the run is a classification."""
    found = _measured(result)
    if found is None:
        return []
    shown = {"as trained": found.as_trained}
    if found.scaled:
        shown[f"temperature {found.temperature:.2f}"] = found.scaled
    words = f"There is no temperature: {found.missing}."
    if found.scaled:
        words = (
            f"Dividing the logits by {found.temperature:.2f} has the least negative log likelihood "
            f"on the {found.validation_examples:,} validation examples. It changes no answer."
        )
    table = Table(
        ["", *shown],
        [
            [name, *(round(getattr(each, field), 4) for each in shown.values())]
            for name, field in (
                ("expected calibration error", "expected_calibration_error"),
                ("maximum calibration error", "maximum_calibration_error"),
                ("negative log likelihood", "negative_log_likelihood"),
                ("Brier score", "brier_score"),
            )
        ],
        caption=f"on {found.test_examples:,} test examples, {found.bins} bins",
    )
    chart = LineChart(
        "How often answers of each confidence are right",
        [Series(name, [b.accuracy for b in each.bins]) for name, each in shown.items()],
        x=[(each.low + each.high) / 2 for each in found.as_trained.bins],
        x_label="confidence",
        y_label="accuracy",
        diagonal=True,
    )
    return [Section("Temperature scaling", [Text(words), table, chart])]


def _measured(result: Any) -> Found | None:
    """The calibration on the test split; None if the run is no classification."""
    from mlreg_calibration import measures

    bins = _bins()
    test = _classified(result.evaluation, result)
    if test is None:
        return None
    found = Found(bins, len(test[1]), measures.measure(*test, bins))
    validation, missing = _validation(result)
    if validation is None:
        return replace(found, missing=missing)
    temperature = measures.fit_temperature(*validation)
    scaled = measures.measure(measures.with_temperature(test[0], temperature), test[1], bins)
    return replace(
        found, temperature=temperature, validation_examples=len(validation[1]), scaled=scaled
    )


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
