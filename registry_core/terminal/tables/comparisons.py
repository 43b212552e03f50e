"""Tables that compare versions side by side, and the groups that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry_core.formatting import fraction, signed
from registry_core.refs import series
from registry_core.terminal.output import print_text, stdout
from registry_core.terminal.tables.table import (
    Column,
    first_few,
    format_means,
    key_column,
    new_table,
)
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.evaluation.comparison import SideBySide
    from registry_core.evaluation.groups import Group, GroupDifference
    from registry_core.evaluation.summary_stats import MeanDifference
    from registry_core.records import Version


# What the rows of a comparison are, by what is compared of each.
_CLASS_TITLES = {"f1": "label (F1)", "iou": "class (IoU)", "mae": "target (mean absolute error)"}


def show_side_by_side(compared: SideBySide, wide: bool = False) -> None:
    """Show the metrics, settings and classes that differ, and the paired test of each version.

    Args:
        compared: the versions and their differences.
        wide: show one table, however many versions there are and however narrow the terminal is.
    """
    from registry_core.evaluation.wording import format_comparison

    console = stdout()
    columns = [version.ref for version in compared.versions]
    metrics = {
        name: ["" if value is None else fraction(name, value) for value in values]
        for name, values in compared.metrics.items()
    }
    settings = {
        key: ["none" if v is None else str(v) for v in values]
        for key, values in compared.config.items()
    }
    classes = {
        name: ["" if value is None else _part(compared.class_measure, value) for value in values]
        for name, values in compared.classes.items()
    }
    title_of_classes = _CLASS_TITLES.get(compared.class_measure, "class")
    for title, rows in (("metric", metrics), ("setting", settings), (title_of_classes, classes)):
        if rows:
            versions = (Column(ref, "anywhere", hideable=False) for ref in columns)
            table = new_table(key_column(title), *versions, wide=wide, blocks=True)
            for name, values in rows.items():
                table.add_row(safe_text(name), *(safe_text(value) for value in values))
            console.print(table)
            console.print()
    for each in compared.differences:
        names = each.version.ref, columns[0]
        found = (
            format_comparison(each.comparison, *names)
            if each.comparison
            else f"not compared: {each.not_comparable_reason}"
        )
        console.print(safe_text(f"{each.version.ref} against {columns[0]}: {found}"))
        for name, places in (("gained", each.gained), ("lost", each.lost)):
            if places:
                console.print(
                    safe_text(f"  {name} {len(places):,} test examples: {first_few(places)}")
                )
    if compared.groups:
        console.print()
        _show_groups(compared.groups, compared.group_differences)


def _part(measure: str, value: float) -> str:
    return fraction(measure, value) if measure == "mae" else f"{value:.3f}"


def show_group(versions: Sequence[Version]) -> None:
    """Show the mean and deviation of each metric over the versions of one group."""
    references = series(versions[0].model, [version.version for version in versions])
    print_text(f"{references}, mean ± deviation of {len(versions)} runs: {format_means(versions)}")


def _show_groups(groups: Sequence[Group], differences: Sequence[GroupDifference]) -> None:
    from registry_core.evaluation.summary_stats import CONFIDENCE

    console = stdout()
    table = new_table(
        key_column("group"),
        *(Column(head, hideable=False) for head in ("metric", "n", "mean", "deviation")),
        f"{_percent(CONFIDENCE)} interval of the mean",
    )
    for group in groups:
        for index, (metric, sample) in enumerate(group.metrics.items()):
            ends = [sample.std, sample.low, sample.high]
            deviation, low, high = ["" if e is None else fraction(metric, e) for e in ends]
            table.add_row(
                safe_text("" if index else group.name, "bold"),
                safe_text(metric),
                safe_text(sample.n),
                safe_text(fraction(metric, sample.mean)),
                safe_text(deviation),
                safe_text(f"{low} to {high}" if low else ""),
            )
    console.print(table)
    for each in differences:
        console.print()
        against = f"{each.group.name} against {each.baseline.name}"
        if each.not_comparable_reason:
            console.print(safe_text(f"{against}: not compared: {each.not_comparable_reason}"))
            continue
        console.print(safe_text(f"{against}, by their means:"))
        for metric, found in each.metrics.items():
            console.print(safe_text(f"  {metric} {_format_difference(metric, found)}"))


def _format_difference(metric: str, found: MeanDifference) -> str:
    from registry_core.evaluation.wording import format_p_value

    difference = signed(metric, found.difference)
    if found.low is None or found.high is None or found.p_value is None:
        return f"{difference}, without an interval: {found.not_comparable_reason}"
    return (
        f"{difference}, {_percent(found.confidence)} interval {signed(metric, found.low)} to "
        f"{signed(metric, found.high)}, {format_p_value(found.p_value)} "
        f"(Welch, {found.degrees_of_freedom:.1f} degrees of freedom)"
    )


def _percent(confidence: float) -> str:
    return f"{100 * confidence:.4g} %"
