"""Measures a registered version again, on the split that it was measured on or on another one.

The result is compared with what was recorded, and nothing is written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

from registry_core.data.checks import fingerprint, named_splits
from registry_core.dataclass import dataclass
from registry_core.errors import DataError, UsageError
from registry_core.evaluation.packing import metrics_of, pack_results
from registry_core.evaluation.paired_tests import (
    Comparison,
    compare,
    resampling_progress,
    targets_differ,
)
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.lifecycle.assembly import load_data
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.record import RecordedVersion
from registry_core.lifecycle.spec import RunSpec, spec_from_record
from registry_core.plugins.manager import PluginSet
from registry_core.records import PARENT, Version

# Another processor adds numbers in another order. If every example has the same class, a metric
# that differs by less than this part of it differs for that reason alone.
NOISE = 1e-4


@dataclass(frozen=True)
class Reevaluation:
    """What a version measures now, beside what was recorded.

    Args:
        version: the version.
        split: `test`, `validation` or `train`.
        examples: how many the split has.
        fingerprint: the split's.
        metrics: name -> value, with the split's name before it: `test_accuracy`.
        verdict: `identical`: every output and every metric is the recorded one. `within noise`:
            every output is, and no metric differs by more than `NOISE` of it. `different`: one
            does. `not recorded`: another split than the recorded one.
        recorded: name -> value, of the metrics that were recorded on this split.
        changed: places of examples whose class changed; without classes, those whose loss differs
            by more than `NOISE` of it.
        comparison: of the outputs now with the recorded ones; None if nothing was recorded.
    """

    version: Version
    split: str
    examples: int
    fingerprint: str
    metrics: Mapping[str, float]
    verdict: str
    recorded: Mapping[str, float] = field(default_factory=dict)
    changed: Sequence[int] = ()
    comparison: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version.to_json(),
            "split": self.split,
            "examples": self.examples,
            "fingerprint": self.fingerprint,
            "metrics": dict(self.metrics),
            "recorded": dict(self.recorded),
            "changed": list(self.changed),
            "comparison": asdict(self.comparison) if self.comparison else None,
            "verdict": self.verdict,
        }


def spec_of_data(
    plugins: PluginSet, manifest: Mapping[str, Any], data_dir: Path | None = None
) -> RunSpec:
    """The specification by which a version's data was loaded.

    Args:
        plugins: the version's plugins.
        manifest: the version's.
        data_dir: a file or folder that holds the data, for the plugin.

    Raises:
        UsageError: the plugin no longer has a recorded setting, or the folder does not exist.
    """
    if imported := manifest.get("imported"):
        of_data = {"preset": imported["data_preset"], "config": imported["data_config"]}
        manifest = {**manifest, **of_data}
    # its weights are its own by now
    manifest = {key: value for key, value in manifest.items() if key != PARENT}
    return spec_from_record(plugins, manifest, data_dir)


def evaluate(
    spec: RunSpec,
    recorded: RecordedVersion,
    split_name: str,
    load_model: Callable[[Version], Any],
    context: RunContext,
) -> Reevaluation:
    """Measure a version again and compare the result with its record.

    Args:
        spec: by which the data is loaded.
        recorded: the version.
        split_name: one of `registry_core.records.SPLITS`.
        load_model: reads the version's model, checked.
        context: what a run needs; its backend is loaded once the data is known to be good.

    Raises:
        UsageError: the plugin provides no such split.
        DataError: the test split's targets changed and its fingerprint did not.
        IntegrityError: the version's file is damaged.
        MlregError: of the kind that is at fault.
    """
    plugins, observer, version = context.plugins, context.observer, recorded.version
    context.interrupts.outcome = "Nothing was changed."
    observer.stage_began("data")
    data = load_data(spec, context)
    splits = named_splits(data)
    if split_name == "validation" and data.validation is data.test:
        splits["validation"] = data.test
    if split_name not in splits:
        raise UsageError(
            f"{spec.dataset} has no {split_name} split, with the settings of {version.ref}.",
            f"Splits: {', '.join(splits)}.",
            f"mlreg evaluate {version.ref} --split test",
        )
    split = splits[split_name]
    seen = fingerprint(split, split_name, observer)
    observer.stage_began("model")
    backend = context.load_backend(spec.config)
    split = getattr(backend.check_data(data, read=False), split_name)
    model = load_model(version)
    imported = "imported" in recorded.manifest  # it may have come without a loss
    if imported:
        backend.check_compatibility(model, data)
    observer.stage_began("evaluate")
    # the plugin's own layers run here; an imported model has none
    with nullcontext() if imported else plugins.attribute_errors("mlreg_model"):
        evaluation = backend.evaluate(model, model, split)
    assert data.task is not None  # noqa: S101 - load_data found it
    with plugins.attribute_errors("mlreg_dataset"):
        results = pack_results(evaluation, data.task, seen)
        metrics, _ = metrics_of(evaluation, data.task, results, split_name)
    measured = version, split_name, len(split), seen, metrics
    before = recorded.results
    if split_name != "test" or before is None or before.fingerprint != seen:
        return Reevaluation(*measured, "not recorded")
    if targets_differ(results, before):
        raise DataError(
            f"The test split has the fingerprint that {version.ref} was measured on, but other "
            "targets.",
            "Its examples or their order changed: a stream needs another fingerprint then.",
        )
    results, before = results.pair_with(before)
    changed = _changed(results, before)
    recorded_ones = {name: metrics.get(name) for name in version.metrics}
    if results == before and recorded_ones == dict(version.metrics):
        verdict = "identical"
    elif not changed and all(
        _same(metrics.get(name), value) for name, value in version.metrics.items()
    ):
        verdict = "within noise"
    else:
        verdict = "different"
    progress = resampling_progress(observer, version, version)
    comparison = compare(results, before, progress=progress)
    return Reevaluation(*measured, verdict, version.metrics, changed, comparison)


def _changed(ours: PerExampleResults, theirs: PerExampleResults) -> list[int]:
    if ours.predicted is not None and theirs.predicted is not None:
        kind, sides = "i", (ours.predicted, theirs.predicted)
    else:
        kind, sides = "f", (ours.losses, theirs.losses)
    now, then = (struct.unpack(f"<{ours.examples}{kind}", side) for side in sides)
    pairs = enumerate(zip(now, then, strict=True))
    return [place for place, (a, b) in pairs if (a != b if kind == "i" else not _same(a, b))]


def _same(now: float | None, then: float) -> bool:
    return now is not None and abs(now - then) <= NOISE * max(abs(then), NOISE)
