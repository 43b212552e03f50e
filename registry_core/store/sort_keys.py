"""What versions of a model can be sorted and filtered by, as rows that an index serves.

A row has a key and a value: `preset`, `seed`, or a metric as `metrics.test_loss`. What a version
lacks has no row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_core.version_query import FIELDS

if TYPE_CHECKING:
    from registry_core.records import Version

METRICS = "metrics."
# The number has a column of its own.
_STORED = [key for key in FIELDS if key != "version"]


def key_of(name: str) -> str:
    """The key of a field or a metric."""
    return name if name in FIELDS else METRICS + name


def sort_keys(version: Version) -> dict[str, str | int | float]:
    """Each key of a version, and its value."""
    fields = {key: getattr(version, key) for key in _STORED}
    metrics = {METRICS + name: value for name, value in version.metrics.items()}
    return {key: value for key, value in {**fields, **metrics}.items() if value is not None}
