"""What a version's record says of the sweep that it was picked from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry_core.formatting import fraction
from registry_core.reports.sources import ReportSource
from registry_core.reports.sweep_words import optimism, range_of, value_of
from registry_core.reports.wording import clip
from registry_core.sections import Block, Facts, Section, Table, Text


def sweep_section(source: ReportSource) -> list[Section]:
    """How many trials there were, its rank among them, and how optimistic validation was."""
    found: Mapping[str, Any] | None = source.manifest.get("sweep")
    if not found:
        return []
    metric, direction = str(found["metric"]), str(found["direction"])
    value, test = found.get("value"), found.get("test_value")
    counts = [(state, found.get(state) or 0) for state in ("complete", "pruned", "failed")]
    facts = [
        ("sweep", f"{found['id']}, trial {found['trial']}"),
        ("trials", f"{found['trials']:,}: {', '.join(f'{n:,} {s}' for s, n in counts if n)}"),
        ("rank", f"{found['rank']} of {found['complete']:,}"),
    ]
    if value is not None:
        facts.append((metric, fraction(metric, value)))
    if found.get("median") is not None:
        facts.append(("median trial", fraction(metric, found["median"])))
    if test is not None:
        name = f"test_{metric.removeprefix('val_')}"
        facts.append((name, fraction(name, test)))
    if value is not None and test is not None:
        facts.append(("optimism", optimism(metric, direction, value, test)))
    facts.append(("sampler", str(found.get("sampler"))))
    params, space = found.get("params") or {}, found.get("space") or {}
    rows = [
        (clip(name), clip(range_of(each)), value_of(params[name]) if name in params else None)
        for name, each in space.items()
    ]
    blocks: list[Block] = [
        Text(
            "Its settings were picked by a sweep: the trials were compared on the validation split "
            "alone, and no trial read the test split. The more trials there are, the more the best "
            "validation value owes to luck; the test metrics of this version do not."
        ),
        Facts([(name, clip(text)) for name, text in facts]),
    ]
    if rows:
        blocks.append(Table(("setting", "searched", "picked"), rows))
    return [Section("Sweep", blocks)]
