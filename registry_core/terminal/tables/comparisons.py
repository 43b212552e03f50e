"""Versions side by side, and the groups that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry_core.records import Version
from registry_core.refs import series
from registry_core.terminal.output import print_text, stdout
from registry_core.terminal.tables.table import Column, key, means, new_table, some
from registry_core.terminal.text import fraction, shown, signed

if TYPE_CHECKING:
    from registry_core.evaluation.comparison import SideBySide
    from registry_core.evaluation.groups import Group, GroupDifference
    from registry_core.evaluation.summary_stats import MeanDifference


def show_side_by_side(compared: SideBySide, wide: bool = False) -> None:
    """What differs between versions: metrics, settings, classes; and the paired test of each.

    Args:
        compared: the versions and what differs.
        wide: one table, however many versions there are and however narrow the terminal is.
    """
    from registry_core.promotion.gates import told

    console = stdout()
    columns = [version.ref for version in compared.versions]
    metrics = {
        name: ["" if value is None else fraction(name, value) for value in values]
        for name, values in compared.metrics.items()
    }
    settings = {key: [str(v) for v in values] for key, values in compared.config.items()}
    classes = {
        name: ["" if value is None else f"{value:.3f}" for value in values]
        for name, values in compared.classes.items()
    }
    for title, rows in (("metric", metrics), ("setting", settings), ("class", classes)):
        if rows:
            versions = (Column(ref, "anywhere", leaves=False) for ref in columns)
            table = new_table(key(title), *versions, wide=wide, blocks=True)
            for name, values in rows.items():
                table.add_row(shown(name), *(shown(value) for value in values))
            console.print(table)
            console.print()
    for each in compared.differences:
        names = each.version.ref, columns[0]
        found = (
            told(each.comparison, *names) if each.comparison else f"not compared: {each.why_not}"
        )
        console.print(shown(f"{each.version.ref} against {columns[0]}: {found}"))
        for name, places in (("gained", each.gained), ("lost", each.lost)):
            if places:
                console.print(shown(f"  {name} {len(places):,} test examples: {some(places)}"))
    if compared.groups:
        console.print()
        _show_groups(compared.groups, compared.group_differences)


def show_group(versions: Sequence[Version]) -> None:
    """What versions of one group measured: mean and deviation of each metric."""
    together = series(versions[0].model, [version.version for version in versions])
    print_text(f"{together}, mean ± deviation of {len(versions)} runs: {means(versions)}")


def _show_groups(groups: Sequence[Group], differences: Sequence[GroupDifference]) -> None:
    from registry_core.evaluation.summary_stats import CONFIDENCE

    console = stdout()
    table = new_table(
        key("group"),
        *(Column(head, leaves=False) for head in ("metric", "n", "mean", "deviation")),
        f"{_percent(CONFIDENCE)} interval of the mean",
    )
    for group in groups:
        for place, (metric, sample) in enumerate(group.metrics.items()):
            ends = [sample.deviation, sample.low, sample.high]
            deviation, low, high = ["" if e is None else fraction(metric, e) for e in ends]
            table.add_row(
                shown("" if place else group.name, "bold"),
                shown(metric),
                shown(sample.n),
                shown(fraction(metric, sample.mean)),
                shown(deviation),
                shown(f"{low} to {high}" if low else ""),
            )
    console.print(table)
    for each in differences:
        console.print()
        against = f"{each.group.name} against {each.first.name}"
        if each.why_not:
            console.print(shown(f"{against}: not compared: {each.why_not}"))
            continue
        console.print(shown(f"{against}, by their means:"))
        for metric, found in each.metrics.items():
            console.print(shown(f"  {metric} {_told_difference(metric, found)}"))


def _told_difference(metric: str, found: MeanDifference) -> str:
    from registry_core.promotion.gates import chance

    difference = signed(metric, found.difference)
    if found.low is None or found.high is None or found.p_value is None:
        return f"{difference}, without an interval: {found.why_not}"
    return (
        f"{difference}, {_percent(found.confidence)} interval {signed(metric, found.low)} to "
        f"{signed(metric, found.high)}, {chance(found.p_value)} "
        f"(Welch, {found.degrees_of_freedom:.1f} degrees of freedom)"
    )


def _percent(confidence: float) -> str:
    return f"{100 * confidence:.4g} %"
