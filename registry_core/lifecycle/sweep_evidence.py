"""What a version that a sweep chose says of it: how many were tried, its rank, the optimism.

Known of the sweep alone until the version is measured on the test split, which is once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_test_value(evidence: Mapping[str, Any], metrics: Mapping[str, float]) -> dict[str, Any]:
    """The manifest's `sweep`: the evidence, and what the test split says of the same metric.

    Args:
        evidence: of the sweep; its metric is one of the validation split, such as `val_accuracy`.
        metrics: of the version, on the test split.

    Returns:
        The evidence with `test_value`, and with `optimism`: by how much the validation value is
        better; None for both if the test split has no such metric.
    """
    metric = str(evidence["metric"])
    test = metrics.get(f"test_{metric.removeprefix('val_')}")
    optimism = None
    if test is not None:
        sign = 1 if evidence["direction"] == "maximize" else -1
        optimism = sign * (float(evidence["value"]) - float(test))
    return {**evidence, "test_value": test, "optimism": optimism}


# The manifest's key of a version that confirms a trial with another seed: `sweep`, `trial`, and
# `metrics`, which are the trial's measured again.
CONFIRMS = "confirms"


def in_run_record(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's record has of a specification's `sweep`: its id, and the trial's number."""
    return {key: sweep[key] for key in ("id", "trial", CONFIRMS) if key in sweep}


def is_confirmation(sweep: Mapping[str, Any] | None) -> bool:
    """Whether a specification's `sweep` is about a run with another seed than its trial."""
    return sweep is not None and CONFIRMS in sweep


def is_evidence(sweep: Mapping[str, Any] | None) -> bool:
    """Whether a specification's `sweep` is about a whole sweep, and not about one trial of it."""
    return sweep is not None and "trials" in sweep


def reason_of(evidence: Mapping[str, Any]) -> str:
    """Why the version is registered, for the ledger: `best of 12 trials of sweep …`."""
    trials = f"{evidence['trials']} trials of sweep {evidence['id']}"
    if evidence["rank"] == 1:
        return f"best of {trials}"
    return f"trial {evidence['trial']}, rank {evidence['rank']}, of {trials}"
