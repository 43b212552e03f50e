"""The report of several versions side by side; the first is the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_core.errors import MlregError
from registry_core.evaluation.comparison import Difference, SideBySide, side_by_side
from registry_core.evaluation.groups import Group, GroupDifference, group_of
from registry_core.evaluation.paired_tests import Comparison
from registry_core.evaluation.wording import format_comparison, format_p_value
from registry_core.formatting import fraction, signed
from registry_core.reports.changed_hands import changed_hands
from registry_core.reports.learning import compared_curves, group_curves
from registry_core.reports.overview import MAX_CLASSES, MAX_SETTINGS
from registry_core.reports.report import Report
from registry_core.reports.sources import ReportSource
from registry_core.reports.wording import (
    clip,
    damaged,
    left_out,
    quantity,
    setting,
    shown,
    signed_quantity,
)
from registry_core.sections import Block, Code, Section, Table, Text
from registry_core.store import Store

if TYPE_CHECKING:
    from registry_core.evaluation.summary_stats import MeanDifference
    from registry_core.types import Observer

# what a comparison shows of each version; see `ReportSource.problems`
_READ = ("manifest", "results", "examples", "group")

_MEASURES = {
    "accuracy": ("class", "Recall of each class"),
    "f1": ("label", "F1 of each label"),
    "iou": ("class", "Intersection over union of each class"),
    "mae": ("target", "Mean absolute error of each target"),
}


def compare_sources(
    store: Store, sources: Sequence[ReportSource], observer: Observer | None = None
) -> Report:
    """Compare versions, and the groups they belong to, with the first one.

    Args:
        store: the registry; the manifests of groups are read from it.
        sources: two or more, each with its version.
        observer: is told the progress of a long comparison.
    """
    versions = [source.version for source in sources if source.version]
    groups, histories = _groups(store, sources)
    compared = side_by_side(
        versions,
        [source.manifest for source in sources],
        [source.results for source in sources],
        groups,
        observer,
    )
    return compare_report(sources, compared, histories)


def compare_report(
    sources: Sequence[ReportSource],
    compared: SideBySide,
    histories: Sequence[Sequence[Mapping[str, Any]]] = (),
) -> Report:
    """The report of versions that were compared.

    Args:
        sources: what was recorded of each, in the order of `compared.versions`.
        compared: their differences.
        histories: the manifests of each group's versions; empty without groups.
    """
    names = [version.ref for version in compared.versions]
    baseline, *others = names
    sections = [
        *shown("Metrics", _metrics, sources, compared),
        *shown("Paired test", _tests, sources, compared),
        *shown("Groups", _groups_section, compared, histories),
        *shown("Learning curves", compared_curves, sources),
        *shown("Each class", _parts, compared),
        *shown("Examples that changed hands", changed_hands, sources, compared.differences),
        *shown("Settings that differ", _settings, compared),
        Section("How to compare again", [Code(f"mlreg compare {' '.join(names)}", "sh")]),
    ]
    title = f"{', '.join(others)} against {baseline}"
    made = dict.fromkeys(f"{each.dataset}, preset {each.preset}" for each in compared.versions)
    problems = dict.fromkeys(
        problem for source in sources for part, problem in source.problems.items() if part in _READ
    )
    return Report(clip(title, 200), clip("; ".join(made)), sections, names, list(problems))


def _groups(
    store: Store, sources: Sequence[ReportSource]
) -> tuple[list[Group], list[list[Mapping[str, Any]]]]:
    """The groups that versions belong to, each once, with their manifests.

    Both are empty if every version was made alone.
    """
    if all(len(source.group) < 2 for source in sources):
        return [], []
    once = {source.group[0].ref: source.group for source in sources if source.group}
    found, all_manifests = [], []
    for members in once.values():
        try:
            manifests: list[Mapping[str, Any]] = [store.manifest(member) for member in members]
        except MlregError:  # without it nothing says that the splits are equal
            manifests = [{} for _ in members]
        found.append(group_of(members, manifests))
        all_manifests.append(manifests)
    return found, all_manifests


def _metrics(sources: Sequence[ReportSource], compared: SideBySide) -> Section:
    names = [version.ref for version in compared.versions]
    found = [source.intervals for source in sources]
    rows = []
    for metric, values in compared.metrics.items():
        cells = [
            _with_interval(metric, value, of_version)
            for value, of_version in zip(values, found, strict=True)
        ]
        first = values[0]
        differences = [
            signed(metric, value - first) if value is not None and first is not None else ""
            for value in values[1:]
        ]
        rows.append((metric, *cells, *differences))
    columns = ("metric", *names, *(f"{name} − {names[0]}" for name in names[1:]))
    blocks: list[Block] = []
    for source in sources:
        for part in ("manifest", "results"):
            if problem := source.problems.get(part):
                what = "record" if part == "manifest" else "results for each test example"
                blocks.append(damaged(f"The {what} of {source.name}", problem))
    blocks.append(Table(columns, rows))
    if any(found):
        blocks.append(
            Text(
                "In brackets: 95 % intervals of each value alone. Whether a difference is more "
                "than chance is what the paired test below says, not whether these overlap."
            )
        )
    return Section("Metrics", blocks)


def _with_interval(metric: str, value: float | None, found: Mapping[str, Any]) -> str:
    if value is None:
        return ""
    ends = found.get(metric)
    between = f" ({fraction(metric, ends.low)} to {fraction(metric, ends.high)})" if ends else ""
    return f"{fraction(metric, value)}{between}"


def _tests(sources: Sequence[ReportSource], compared: SideBySide) -> Section:
    baseline = compared.versions[0].ref
    blocks: list[Block] = []
    for each in compared.differences:
        name = each.version.ref
        if each.comparison is None:
            blocks.append(Text(f"{name} and {baseline}: {_not_compared(each, sources)}."))
            continue
        line = format_comparison(each.comparison, name, baseline)
        blocks.append(Text(f"{verdict(each.comparison, name, baseline)}\n\n{line}."))
    return Section("Paired test", blocks)


def _not_compared(difference: Difference, sources: Sequence[ReportSource]) -> str:
    damaged_ones = [source.name for source in sources if "results" in source.problems]
    if damaged_ones and "not recorded" in difference.not_comparable_reason:
        return f"not compared: the results of {', '.join(damaged_ones)} cannot be read"
    return f"not compared: {clip(difference.not_comparable_reason)}"


def verdict(comparison: Comparison, name: str, baseline: str) -> str:
    """What the test says, as a sentence; it decides as a promotion that requires `better` does."""
    examples = f"the {comparison.examples:,} examples of this test split"
    found = comparison.verdict(comparison.level)
    if found != "undecided":
        return f"{name} is {found} than {baseline} on {examples}."
    p_value, level = format_p_value(comparison.p_value), f"{comparison.level:g}"
    return (
        f"{name} and {baseline} cannot be told apart on {examples}: {p_value} is not below {level}."
    )


def _groups_section(
    compared: SideBySide, histories: Sequence[Sequence[Mapping[str, Any]]]
) -> list[Section]:
    if not compared.groups:
        return []
    rows = []
    for group in compared.groups:
        for metric, stats in group.metrics.items():
            ends = [stats.std, stats.low, stats.high]
            deviation, low, high = ["" if end is None else fraction(metric, end) for end in ends]
            between = f"{low} to {high}" if low else ""
            rows.append(
                (group.name, metric, stats.n, fraction(metric, stats.mean), deviation, between)
            )
    columns = ("group", "metric", "runs", "mean", "deviation", "95 % interval of the mean")
    blocks: list[Block] = [Table(columns, rows, "Runs that differ only in their seed")]
    blocks += [_difference_of_groups(each) for each in compared.group_differences]
    names = [group.name for group in compared.groups]
    if charts := group_curves(list(zip(names, histories, strict=False))):
        blocks += [*charts, Text("Curves of groups: the mean of the runs ± one deviation.")]
    return [Section("Groups", blocks)]


def _difference_of_groups(each: GroupDifference) -> Block:
    against = f"{each.group.name} against {each.baseline.name}"
    if each.not_comparable_reason:
        return Text(f"{against}: not compared: {clip(each.not_comparable_reason)}.")
    rows = [
        (metric, signed(metric, found.difference), *_welch(metric, found))
        for metric, found in each.metrics.items()
    ]
    columns = ("metric", "difference of means", "95 % interval", "Welch's test")
    return Table(columns, rows, against)


def _welch(metric: str, found: MeanDifference) -> tuple[str, str]:
    if found.low is None or found.high is None or found.p_value is None:
        return "", f"none: {found.not_comparable_reason}"
    between = f"{signed(metric, found.low)} to {signed(metric, found.high)}"
    degrees = f"{found.degrees_of_freedom:.1f} degrees of freedom"
    return between, f"{format_p_value(found.p_value)}, {degrees}"


def _parts(compared: SideBySide) -> list[Section]:
    """Each class, label or target, those that differ most first."""
    if not compared.classes:
        return []
    measure = compared.class_measure
    noun, title = _MEASURES.get(measure, ("class", "Each class"))
    names = [version.ref for version in compared.versions]
    is_quantity = measure == "mae"

    def shown(value: float | None) -> str:
        if value is None:
            return ""
        return quantity(value) if is_quantity else f"{value:.4f}"

    def distance(values: Sequence[float | None]) -> float:
        known = [value for value in values if value is not None]
        return max(known) - min(known) if known else 0.0

    def changed(difference: float) -> str:
        return signed_quantity(difference) if is_quantity else f"{difference:+.4f}"

    ordered = sorted(compared.classes.items(), key=lambda item: -distance(item[1]))
    rows = []
    for name, values in ordered[:MAX_CLASSES]:
        first = values[0]
        differences = [
            "" if value is None or first is None else changed(value - first) for value in values[1:]
        ]
        rows.append((clip(name), *map(shown, values), *differences))
    columns = (noun, *names, *(f"{name} − {names[0]}" for name in names[1:]))
    return [
        Section(
            title,
            [
                Text(f"The {noun} with the largest difference is first."),
                Table(columns, rows),
                *left_out(MAX_CLASSES, len(ordered), noun),
            ],
        )
    ]


def _settings(compared: SideBySide) -> Section:
    if not compared.config:
        return Section("Settings that differ", [Text("The settings are the same.")])
    names = [version.ref for version in compared.versions]
    rows = [
        (clip(key), *("" if value is None else setting(value) for value in values))
        for key, values in compared.config.items()
    ]
    return Section(
        "Settings that differ",
        [
            Table(("setting", *names), rows[:MAX_SETTINGS]),
            *left_out(MAX_SETTINGS, len(rows), "setting"),
        ],
    )
