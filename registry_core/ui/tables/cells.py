"""What the cells of several tables have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from registry_core.records import Version
from registry_core.ui.text import spread

# So many places of test examples, or versions, are named; --json names all.
_PLACES = 10


def new_table(*columns: str) -> Table:
    """An empty table with these heads, without lines."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def when(moment: str) -> str:
    """`2026-03-05 09:14 UTC` of an ISO 8601 time."""
    return f"{moment[:10]} {moment[11:16]} UTC"


def exact(value: float | None) -> str:
    """A metric with as many digits as tell noise from a difference."""
    return "" if value is None else f"{value:.7g}"


def some(places: Sequence[object]) -> str:
    """The first of them; an ellipsis stands for the others."""
    return ", ".join(map(str, places[:_PLACES])) + (", …" if len(places) > _PLACES else "")


def short_metrics(version: Version) -> dict[str, float]:
    """The metrics in one short cell: accuracy first, `test_` is in the column's head."""
    ordered = sorted(version.metrics.items(), key=lambda item: "accuracy" not in item[0])
    return {name.removeprefix("test_"): value for name, value in ordered[:2]}


def tags_line(evidence: Mapping[str, Any]) -> str:
    """`reviewed, owner=ann, without draft`."""
    tags = [f"{key}={value}" if value else key for key, value in evidence.get("set", {}).items()]
    return ", ".join([*tags, *(f"without {key}" for key in evidence.get("removed", ()))])


def means(versions: Sequence[Version]) -> str:
    """Mean and deviation of each metric, of versions of one group."""
    from registry_core.groups import metrics_of

    return ", ".join(f"{name} {spread(name, s)}" for name, s in metrics_of(versions).items())
