"""What a report is made from: everything that the registry recorded of one version.

A part that cannot be read becomes a sentence in `problems`; the rest is shown all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any, TypeVar

from registry_core.dataclass import dataclass
from registry_core.errors import MlregError
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.evaluation.recorded import read_per_example_results
from registry_core.evaluation.shown_examples import (
    ShownExample,
    read_plugin_sections,
    read_shown_examples,
)
from registry_core.evaluation.task_summary import Interval, metric_intervals
from registry_core.formatting import counted
from registry_core.records import FIGURES_FOLDER, LedgerRow, Version
from registry_core.sections import MAX_PICTURE_BYTES, Section
from registry_core.store import Store
from registry_core.tasks import Task, task_from_json

# Figures that the host draws itself, without the number of a target: a report has charts of them.
_STANDARD = ("confusion_matrix", "labels", "predicted_and_true", "residuals", "iou")
_SPLITS = ("train", "validation", "test")
_PNG = b"\x89PNG\r\n\x1a\n"

# A page shows this many figures of plugins, newest ledger rows, and bytes of figures together.
MAX_FIGURES = 24
MAX_FIGURE_BYTES = 8_000_000
MAX_EVENTS = 200

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class ReportSource:
    """What is known of one version, or of a run that is about to be registered.

    Args:
        manifest: the version's manifest, or the record of a run with its `model` and `run`.
        version: the version; None for a run.
        results: its results on the test split; None if they were not recorded.
        examples: the worst mistakes.
        plugin_sections: sections that plugins made.
        pictures: path -> PNG of the figures that plugins drew.
        ledger: the rows about the version, newest first.
        group: the versions of its group, itself among them.
        problems: part -> why it cannot be read, as a sentence: `manifest`, `results`, `examples`,
            `sections`, `figures`, `ledger`, `group`.
        omitted: part -> why it is not on the page in full, as a sentence: `examples`, `sections`,
            `figures`.
    """

    manifest: Mapping[str, Any]
    version: Version | None = None
    results: PerExampleResults | None = None
    examples: Sequence[ShownExample] = ()
    plugin_sections: Sequence[Section] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    ledger: Sequence[LedgerRow] = ()
    group: Sequence[Version] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    omitted: Mapping[str, str] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return self.version.model if self.version else str(self.manifest.get("model", ""))

    @property
    def name(self) -> str:
        """The version's reference; the model's name for a run."""
        return self.version.ref if self.version else self.model

    @property
    def metrics(self) -> Mapping[str, float]:
        found: Mapping[str, float] = (
            self.version.metrics if self.version else self.manifest.get("metrics", {})
        )
        return found

    @property
    def intervals(self) -> dict[str, Interval]:
        """Metric -> its interval, of the metrics whose values are recorded example by example."""
        return metric_intervals(self.metrics, self.results)

    @property
    def data(self) -> Mapping[str, Any]:
        """What the record says of the splits."""
        return self.manifest.get("data") or {}

    @property
    def config(self) -> Mapping[str, Any]:
        return self.manifest.get("config") or {}

    @property
    def splits(self) -> dict[str, Any]:
        """Split -> its description, in the order train, validation, test, others."""
        found: Mapping[str, Any] = self.data.get("splits") or {}
        order = [*(name for name in _SPLITS if name in found), *found]
        return {name: found[name] for name in order}

    @property
    def task(self) -> Task | None:
        """What the targets mean; None in older records and in those that cannot be read."""
        recorded = self.data.get("task")
        if not recorded:
            return None
        try:
            return task_from_json(recorded)
        except (MlregError, ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def class_names(self) -> Sequence[str]:
        """One name for each class or label; empty if the targets are not classes."""
        if (task := self.task) is not None:
            return task.class_names
        return self.data.get("class_names") or ()

    @property
    def imported(self) -> Mapping[str, Any] | None:
        """What is recorded of the file that it was imported from; None if it was trained here."""
        return self.manifest.get("imported")


@dataclass(frozen=True)
class VersionSource(ReportSource):
    """What a card is written from: a registered version whose record is whole.

    Args:
        version: the version.
        moves: the ledger's rows about it or about what replaced it, oldest first.
        decisions: how many promotions of this model compared versions on its test split.
    """

    version: Version
    moves: Sequence[LedgerRow] = ()
    decisions: int = 0


def read_source(store: Store, version: Version) -> ReportSource:
    """Everything that the registry recorded of a version, as far as it can be read."""
    problems: dict[str, str] = {}
    omitted: dict[str, str] = {}
    no_manifest: dict[str, Any] = {}
    no_examples: list[ShownExample] = []
    no_sections: list[Section] = []
    no_rows: list[LedgerRow] = []

    def read(part: str, what: Callable[[], _Read], otherwise: _Read) -> _Read:
        try:
            return what()
        except MlregError as error:
            problems[part] = error.what
            return otherwise

    manifest = read("manifest", partial(store.manifest, version), no_manifest)
    results = read("results", partial(read_per_example_results, store, version), None)
    examples = read("examples", partial(read_shown_examples, store, version), no_examples)
    sections = read("sections", partial(read_plugin_sections, store, version), no_sections)
    ledger = partial(store.ledger, version.model, version.version, limit=MAX_EVENTS)
    group = partial(store.group, version)
    return ReportSource(
        manifest,
        version,
        results,
        examples,
        sections,
        _figures(store, version, manifest, problems, omitted),
        read("ledger", ledger, no_rows),
        read("group", group, [version]),
        problems,
        omitted,
    )


def read_version(store: Store, version: Version) -> VersionSource:
    """What the registry recorded of a version, without examples, sections and figures.

    Raises:
        IntegrityError: the manifest or the results are damaged.
    """
    manifest = store.manifest(version)
    fingerprint = manifest.get("data", {}).get("splits", {}).get("test", {}).get("fingerprint")
    rows = store.ledger(version.model)
    return VersionSource(
        manifest,
        version,
        read_per_example_results(store, version),
        group=store.group(version),
        moves=[row for row in reversed(rows) if version.version in (row.version, row.previous)],
        decisions=sum(_compares(row, fingerprint) for row in rows) if fingerprint else 0,
    )


def _compares(row: LedgerRow, fingerprint: str) -> bool:
    """Whether a promotion was decided by a comparison on this test split."""
    comparison = row.evidence.get("comparison")
    return isinstance(comparison, Mapping) and comparison.get("fingerprint") == fingerprint


def _figures(
    store: Store,
    version: Version,
    manifest: Mapping[str, Any],
    problems: dict[str, str],
    omitted: dict[str, str],
) -> dict[str, bytes]:
    """The PNG files that plugins drew, in the order of their paths."""
    found: dict[str, bytes] = {}
    sizes = {file.path: file.size for file in version.files}
    paths, others = shown_figures(sizes, manifest, MAX_FIGURE_BYTES)
    omitted["figures"] = figures_omitted(others)
    for path in paths:
        try:
            content = store.read(version, path)
        except MlregError as error:
            problems["figures"] = error.what
            continue
        if content.startswith(_PNG):
            found[path] = content
    return found


def shown_figures(
    sizes: Mapping[str, int], manifest: Mapping[str, Any], most_bytes: int
) -> tuple[list[str], int]:
    """The figures of plugins that a page shows, and the number of those that it does not.

    Args:
        sizes: path -> bytes of each file of the version.
        manifest: of the version.
        most_bytes: of all figures on the page together.
    """
    own = [path for path in sizes if _is_own_figure(path, manifest)]
    shown: list[str] = []
    for path in own:
        left = most_bytes - sum(sizes[each] for each in shown)
        if len(shown) < MAX_FIGURES and sizes[path] <= min(left, MAX_PICTURE_BYTES):
            shown.append(path)
    return shown, len(own) - len(shown)


def figures_omitted(count: int) -> str:
    """A sentence about figures that are not on the page; empty if it has all of them."""
    if not count:
        return ""
    return (
        f"The page would be too large with {counted(count, 'more figure')} of plugins; "
        "the version has all as files."
    )


def _is_own_figure(path: str, manifest: Mapping[str, Any]) -> bool:
    """Whether a file is a PNG that a plugin drew, rather than one of the host's figures."""
    folder, _, name = path.rpartition("/")
    if folder.partition("/")[0] != FIGURES_FOLDER or not name.endswith(".png"):
        return False
    stem = name.removesuffix(".png")
    numbered = stem.rpartition("_")
    kind = numbered[0] if numbered[2].isdigit() else stem
    history = {metric.removeprefix("val_") for metric in manifest.get("history") or {}}
    return not (folder == FIGURES_FOLDER and (kind in _STANDARD or stem in history))
