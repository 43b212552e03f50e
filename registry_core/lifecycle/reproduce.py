"""Trains a version again from its record: the result is the same, the same up to noise, or not.

Nothing is registered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, BinaryIO

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.evaluation.paired_tests import Comparison, compare, resampling_progress
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.lifecycle.context import RunContext, Workspace
from registry_core.lifecycle.record import Artifacts, RecordedVersion
from registry_core.lifecycle.record_diff import RecordChange, changed_since, covered
from registry_core.lifecycle.run import execute
from registry_core.lifecycle.spec import RunSpec
from registry_core.records import Version
from registry_core.types import Observer

# What may change a result and is not recorded.
NOT_LOOKED_AT = (
    "files that the plugin reads besides its data",
    "installed libraries' own files",
    "drivers",
    "time and network",
)

# The significance level of the paired test: a smaller p-value is more than noise.
LEVEL = 0.05


@dataclass(frozen=True)
class Reproduction:
    """The result of training a version again.

    Args:
        version: the version.
        verdict: `identical`: weights, history and metrics are the record's, bit for bit.
            `within noise`: they are not, and the paired test finds no difference between the
            outputs. `different`: it finds one, or the two cannot be compared.
        metrics: name -> value, now.
        weights: the digest of the weights, now.
        recorded_weights: and in the record.
        first_epoch: the first epoch, from 1, whose history differs from the record; None if all
            are equal.
        drift: what changed since the version was made.
        compared: what was compared for that, in words: `settings`, `plugin files (3)`, …
        not_recorded: what could not be compared, because the record does not say it.
        not_looked_at: what is never recorded and may have changed the result.
        causes: why the same training may give another result, known from the record.
        comparison: of the outputs now with the recorded ones; None if they cannot be compared.
        why_not: why they cannot; empty if they can.
    """

    version: Version
    verdict: str
    metrics: Mapping[str, float]
    weights: str
    recorded_weights: str
    first_epoch: int | None = None
    drift: Sequence[RecordChange] = field(default_factory=tuple)
    compared: Sequence[str] = ()
    not_recorded: Sequence[str] = ()
    not_looked_at: Sequence[str] = NOT_LOOKED_AT
    causes: Sequence[str] = ()
    comparison: Comparison | None = None
    why_not: str = ""

    @property
    def cause_known(self) -> bool:
        """Whether something is known that may explain a difference."""
        return bool(self.drift or self.causes)

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version.to_json(),
            "verdict": self.verdict,
            "metrics": dict(self.metrics),
            "weights": self.weights,
            "recorded_weights": self.recorded_weights,
            "first_epoch": self.first_epoch,
            "drift": [change.to_json() for change in self.drift],
            "compared": list(self.compared),
            "not_recorded": list(self.not_recorded),
            "not_looked_at": list(self.not_looked_at),
            "causes": list(self.causes),
            "cause_known": self.cause_known,
            "comparison": asdict(self.comparison) if self.comparison else None,
            "why_not": self.why_not,
        }


@dataclass(frozen=True)
class Retrained:
    """What is compared of a version that was trained again.

    Args:
        origin: what the training began with, as `build_origin` records it.
        history: name -> a value for each epoch.
        metrics: name -> value.
        weights: the digest of the weights.
        not_repeatable: what may give another result each time, as JSON.
        results: the outputs on the test split.
    """

    origin: Mapping[str, Any]
    history: Mapping[str, Sequence[float]]
    metrics: Mapping[str, float]
    weights: str
    not_repeatable: Sequence[Mapping[str, Any]]
    results: PerExampleResults


class EphemeralWorkspace:
    """A workspace that keeps nothing, so what is run in it cannot be resumed.

    Args:
        path: an empty folder.
    """

    id = ""
    record: Mapping[str, Any] | None = None
    checkpoint: Path | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, record: Mapping[str, Any]) -> None:
        pass

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        pass


def check_reproducible(version: Version, manifest: Mapping[str, Any]) -> None:
    """Refuse a version that was imported, or whose record is too old.

    Raises:
        UsageError: it cannot be trained again.
    """
    if "imported" in manifest:
        raise UsageError(
            f"{version.ref} was imported: how it was trained is not recorded.",
            "It can be measured again.",
            f"mlreg evaluate {version.ref}",
        )
    if "weights" not in manifest:
        raise UsageError(
            f"{version.ref} was made by an older mlreg, which kept no digest of its weights.",
            "It can be measured again.",
            f"mlreg evaluate {version.ref}",
        )


def reproduce(
    spec: RunSpec, recorded: RecordedVersion, workspace: Workspace, context: RunContext
) -> Reproduction:
    """Train a version again and compare the result with its record.

    Args:
        spec: the record's, or what is to be tried in its place.
        recorded: the version.
        workspace: where to train.
        context: what a run needs; its project is compared with the record's.

    Raises:
        MlregError: of the kind that is at fault.
        Interrupted: a signal asked to stop.
    """
    context.interrupts.outcome = "Nothing was changed."
    return compare_retrained(retrained(execute(spec, workspace, context)), recorded, context)


def retrained(artifacts: Artifacts) -> Retrained:
    """What is compared of a training."""
    history = artifacts.history
    return Retrained(
        artifacts.origin,
        {name: list(values) for name, values in history.metrics.items()},
        artifacts.metrics,
        artifacts.weights,
        [each.to_json() for each in history.not_repeatable],
        artifacts.results,
    )


def compare_retrained(
    found: Retrained, recorded: RecordedVersion, context: RunContext
) -> Reproduction:
    """Compare a training, in this process or in another, with a version's record.

    Args:
        found: what was trained again.
        recorded: the version.
        context: its observer hears of long calculations.
    """
    version, manifest = recorded.version, recorded.manifest
    origin, history = found.origin, found.history
    comparison, why_not = _compare(found.results, recorded, context.observer)
    same = found.weights == manifest["weights"] and history == manifest["history"]
    metrics = {name: found.metrics.get(name) for name in version.metrics}
    if same and metrics == dict(version.metrics):
        verdict = "identical"
    elif comparison is not None and comparison.p_value >= LEVEL:
        verdict = "within noise"
    else:
        verdict = "different"
    coverage = covered(manifest, origin)
    return Reproduction(
        version,
        verdict,
        found.metrics,
        found.weights,
        manifest["weights"],
        _first_difference(manifest["history"], history),
        changed_since(manifest, origin),
        coverage.compared,
        coverage.not_recorded,
        causes=_causes(manifest, {**origin, "not_repeatable": found.not_repeatable}),
        comparison=comparison,
        why_not=why_not,
    )


def _causes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What the records say about training that gives another result each time."""
    causes = []
    for record in (then, now):
        for each in record.get("not_repeatable", ()):
            if each["when"] == "always" or record.get("resumed"):
                causes.append(each["what"])
        if record["environment"].get("deterministic") is False:
            causes.append("deterministic is off: the order in which numbers are added may differ")
    return [*dict.fromkeys(causes)]


def _compare(
    results: PerExampleResults, recorded: RecordedVersion, observer: Observer
) -> tuple[Comparison | None, str]:
    """The comparison with the recorded outputs, or why there is none."""
    if recorded.results is None:
        return None, "there is no record of the answers on a test split"
    progress = resampling_progress(observer, recorded.version, recorded.version)
    try:
        return compare(*results.pair_with(recorded.results), progress=progress), ""
    except UsageError as error:
        return None, error.what


def _first_difference(
    then: Mapping[str, Sequence[float]], now: Mapping[str, Sequence[float]]
) -> int | None:
    epochs = max((len(values) for values in (*then.values(), *now.values())), default=0)
    for epoch in range(epochs):
        sides = ({name: side[name][epoch : epoch + 1] for name in side} for side in (then, now))
        if next(sides) != next(sides):
            return epoch + 1
    return None
