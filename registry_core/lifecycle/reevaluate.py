"""A registered version measured again, on the split it was measured on or on another one.

Nothing is written: what was recorded stays what it is, and is what the answer is held against.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from registry_core.config import RunConfig
from registry_core.data.checks import fingerprint, named_splits
from registry_core.errors import DataError, UsageError
from registry_core.evaluation.per_example_results import (
    Comparison,
    Outcomes,
    compare,
    other_targets,
    outcomes,
    telling,
)
from registry_core.lifecycle.run import load_data
from registry_core.lifecycle.spec import RunPlan, plan_again
from registry_core.plugins.manager import PluginSet
from registry_core.records import Version
from registry_core.types import DataSplits, Evaluation, Observer, Split

SPLITS = ("test", "validation", "train")

# Kernels are chosen by the processor, and add up in another order. Where every answer is the same,
# a metric that differs by less than this part of it differs by that alone.
NOISE = 1e-4


class Evaluator(Protocol):
    """What is asked of whoever measures; `registry_core.training` answers with Keras."""

    def check_data(self, data: DataSplits, read: bool = True) -> DataSplits: ...

    def suit(self, model: Any, data: DataSplits) -> str: ...

    def evaluate(self, model: Any, trained: Any, split: Split) -> Evaluation: ...


@dataclass(frozen=True)
class Reevaluation:
    """What a version measured this time, beside what was recorded.

    Args:
        version: the version.
        split: `test`, `validation` or `train`.
        examples: how many the split has.
        fingerprint: the split's.
        metrics: name -> value, with the split's name before it: `test_accuracy`.
        verdict: `identical`: every answer and every metric is the recorded one. `within noise`:
            every answer is the same, and no metric differs by more than `NOISE` of it.
            `different`: something does. `not recorded`: another split than the recorded one.
        recorded: name -> value, of the metrics that were recorded on this split.
        changed: places of examples that were answered otherwise; where there are no classes,
            whose loss differs by more than `NOISE` of it.
        comparison: of the answers now with the recorded ones; None where nothing was recorded.
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


def plan_of(
    plugins: PluginSet, manifest: Mapping[str, Any], data_dir: Path | None = None
) -> RunPlan:
    """The plan by which a version's data was loaded.

    Args:
        plugins: the version's plugins.
        manifest: its record.
        data_dir: a file or folder that holds the data, for the plugin.

    Raises:
        UsageError: the plugin does not have a setting of then any more, or the folder is not there.
    """
    if imported := manifest.get("imported"):
        of_data = {"preset": imported["data_preset"], "config": imported["data_config"]}
        manifest = {**manifest, **of_data}
    return plan_again(plugins, manifest, data_dir)


def evaluate(
    plan: RunPlan,
    version: Version,
    split_name: str,
    recorded: Outcomes | None,
    *,
    imported: bool,
    plugins: PluginSet,
    load_evaluator: Callable[[RunConfig], Evaluator],
    load_model: Callable[[Version], Any],
    observer: Observer,
) -> Reevaluation:
    """Measure a version again.

    Args:
        plan: by which the data is loaded.
        version: what is measured.
        split_name: one of `SPLITS`.
        recorded: what it answered on its test split; None where there is no record.
        imported: whether the model was made elsewhere, and may come without a loss.
        plugins: the plan's plugins.
        load_evaluator: called once the data is known to be good; importing TensorFlow is its
            affair.
        load_model: reads the version's model, checked.
        observer: told what goes on.

    Raises:
        UsageError: the plugin keeps no such split.
        DataError: its test split is another one than its fingerprint says.
        IntegrityError: the version's file is damaged.
        MlregError: of the kind that is at fault.
    """
    observer.stage_began("data")
    data = load_data(plan, plugins, observer)
    splits = named_splits(data)
    if split_name == "validation" and data.validation is data.test:
        splits["validation"] = data.test
    if split_name not in splits:
        raise UsageError(
            f"{plan.dataset} keeps no {split_name} split, with the settings of {version.ref}.",
            f"Splits: {', '.join(splits)}.",
            f"mlreg evaluate {version.ref} --split test",
        )
    split = splits[split_name]
    seen = fingerprint(split)
    observer.stage_began("model")
    evaluator = load_evaluator(plan.config)
    split = getattr(evaluator.check_data(data, read=False), split_name)
    model = load_model(version)
    if imported:
        evaluator.suit(model, data)
    observer.stage_began("evaluate")
    # layers of its own run here; a model from elsewhere has none
    with nullcontext() if imported else plugins.answerable("mlreg_model"):
        found = evaluator.evaluate(model, model, split)
    metrics = {f"{split_name}_{name}": value for name, value in found.metrics.items()}
    measured = version, split_name, len(split), seen, metrics
    if split_name != "test" or recorded is None or recorded.fingerprint != seen:
        return Reevaluation(*measured, "not recorded")
    answers = outcomes(found, data.class_names, seen)
    if other_targets(answers, recorded):
        raise DataError(
            f"The test split has the fingerprint that {version.ref} was measured on, and other "
            "targets.",
            "Its examples or their order changed: a stream needs another fingerprint then.",
        )
    changed = _changed(answers, recorded)
    if answers == recorded and metrics == dict(version.metrics):
        verdict = "identical"
    elif not changed and all(
        _same(metrics.get(name), value) for name, value in version.metrics.items()
    ):
        verdict = "within noise"
    else:
        verdict = "different"
    comparison = compare(answers, recorded, advanced=telling(observer, version, version))
    return Reevaluation(*measured, verdict, version.metrics, changed, comparison)


def _changed(ours: Outcomes, theirs: Outcomes) -> list[int]:
    if ours.predicted is not None and theirs.predicted is not None:
        kind, sides = "i", (ours.predicted, theirs.predicted)  # classes are the same or they differ
    else:
        kind, sides = "f", (ours.losses, theirs.losses)
    now, then = (struct.unpack(f"<{ours.examples}{kind}", side) for side in sides)
    pairs = enumerate(zip(now, then, strict=True))
    return [place for place, (a, b) in pairs if (a != b if kind == "i" else not _same(a, b))]


def _same(now: float | None, then: float) -> bool:
    return now is not None and abs(now - then) <= NOISE * max(abs(then), NOISE)
