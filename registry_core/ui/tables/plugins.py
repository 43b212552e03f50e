"""The plugins that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.ui.output import stdout
from registry_core.ui.tables.cells import Column, key, new_table
from registry_core.ui.text import shown


def show_plugins(rows: Sequence[Mapping[str, Any]], wide: bool = False) -> None:
    """Every plugin that is known, and where its name comes from."""
    table = new_table(
        key("plugin"),
        Column("kind"),
        Column("state", "anywhere", leaves=False),
        Column("module"),
        Column("named by"),
        wide=wide,
    )
    for row in rows:
        good = row["state"] == "ok"
        table.add_row(
            shown(row["name"], "bold"),
            shown(row["kind"]),
            shown(row["state"], "" if good else "red"),
            shown(row["module"]),
            shown(row["named_by"]),
        )
    stdout().print(table)
