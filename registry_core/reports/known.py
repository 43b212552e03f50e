"""What a registry knows of one version: what cards and bills of materials are written from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from registry_core.evaluation.per_example_results import ACCURACY, LOSS, PerExampleResults
from registry_core.evaluation.recorded import read_per_example_results
from registry_core.evaluation.task_summary import Interval, metric_interval
from registry_core.records import LedgerRow, Version
from registry_core.store import Store
from registry_core.tasks import (
    Classification,
    MultiLabel,
    Regression,
    Segmentation,
    Task,
    task_from_json,
)

# A recorded metric is the mean of the recorded values, up to the rounding of float32.
_SAME = 1e-4


@dataclass(frozen=True)
class KnownVersion:
    """A version with everything that the registry recorded of it.

    Args:
        version: the version.
        manifest: its manifest.
        results: its results on the test split; None without a record.
        together: all versions of its group, itself among them.
        rows: the ledger's rows about it, oldest first.
        decisions: how many promotions of this model compared versions on its test split.
    """

    version: Version
    manifest: Mapping[str, Any]
    results: PerExampleResults | None = None
    together: Sequence[Version] = ()
    rows: Sequence[LedgerRow] = ()
    decisions: int = 0

    @property
    def splits(self) -> Mapping[str, Any]:
        """Split -> its description; empty if it is not recorded."""
        found: Mapping[str, Any] = self.manifest.get("data", {}).get("splits", {})
        return found

    @property
    def task(self) -> Task | None:
        """What the targets mean; None if it is not recorded."""
        recorded = self.manifest.get("data", {}).get("task")
        return None if recorded is None else task_from_json(recorded)

    @property
    def class_names(self) -> Sequence[str]:
        """One name for each class or label; empty if the targets are not classes."""
        if (task := self.task) is not None:
            return task.class_names
        names: Sequence[str] = self.manifest.get("data", {}).get("class_names", ())
        return names

    @property
    def imported(self) -> Mapping[str, Any] | None:
        """What is recorded of the file that it was imported from; None if it was trained here."""
        return self.manifest.get("imported")

    def intervals(self) -> dict[str, Interval]:
        """Metric -> its interval, of the metrics whose values are recorded example by example."""
        found = {}
        for name, value in self.version.metrics.items():
            interval = self._interval(name.removeprefix("test_"), value)
            if interval is not None:
                found[name] = interval
        return found

    def _interval(self, name: str, value: float) -> Interval | None:
        results = self.results
        if results is None:
            return None
        if name != results.objective_or_default.name:
            if name == LOSS.name:
                results = replace(results, objective=LOSS)
            elif name == ACCURACY.name and results.correct is not None:
                results = replace(results, objective=None, values=None)
            else:
                return None
        mean = results.mean()
        # a metric may be weighted, or be calculated from all examples at once
        if mean is None or not math.isclose(mean, value, rel_tol=_SAME, abs_tol=_SAME**2):
            return None
        return metric_interval(results)


def read_known(store: Store, version: Version) -> KnownVersion:
    """Read everything that the registry recorded of a version.

    Raises:
        IntegrityError: the manifest or the results are damaged.
    """
    manifest = store.manifest(version)
    fingerprint = manifest.get("data", {}).get("splits", {}).get("test", {}).get("fingerprint")
    rows = store.ledger(version.model)
    return KnownVersion(
        version,
        manifest,
        read_per_example_results(store, version),
        store.group(version),
        [row for row in reversed(rows) if version.version in (row.version, row.previous)],
        sum(_compares(row, fingerprint) for row in rows) if fingerprint else 0,
    )


def _compares(row: LedgerRow, fingerprint: str) -> bool:
    """Whether a promotion was decided by a comparison on this test split."""
    comparison = row.evidence.get("comparison")
    return isinstance(comparison, Mapping) and comparison.get("fingerprint") == fingerprint


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


def limits(known: KnownVersion) -> list[str]:
    """What the record itself says against relying on the version too much."""
    from registry_core.data.recorded import validation_split

    manifest, splits, found = known.manifest, known.splits, []
    same = validation_split(splits)
    if same == "test" and not known.imported:
        found.append(
            "The validation split is the test split itself: what was decided by validation was "
            "decided on the test split, so its metrics may be too good."
        )
    if same == "train" and not known.imported:
        found.append("The validation split is the training split itself.")
    if known.decisions:
        times = "once" if known.decisions == 1 else f"{known.decisions:,} times"
        found.append(
            f"Promotions of {known.version.model} compared versions on this test split {times}; "
            "each use makes its metrics a little less independent."
        )
    for part in manifest.get("not_repeatable", ()):
        found.append(f"Not repeatable{_when(part)}: {part['what']}")
    if changed := (manifest.get("training") or {}).get("weights_changed_by"):
        found.append(f"The weights are not those of the last epoch: {changed}.")
    if known.imported:
        found.append("The model was imported: how it was trained, and on what, is not known.")
    elif len(known.together) < 2:
        found.append("One run with one seed: how much the metrics vary between seeds is not known.")
    if known.results is None:
        found.append("No results for single test examples are recorded: there are no intervals.")
    if manifest.get("figures_missing"):
        found.append(f"Figures are missing: {manifest['figures_missing']}")
    git = (manifest.get("environment") or {}).get("git")
    if git and git.get("dirty"):
        found.append(f"The code had changes beside git commit {git['commit'][:12]}.")
    return found


def _when(part: Mapping[str, str]) -> str:
    return " if the run is stopped and resumed" if part.get("when") == "resumed" else ""
