"""What receivers were told of promotions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry_core.formatting import literal
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import Column, key_column, new_table, time_cell
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.notify.deliver import KnownDelivery

_COLOURS = {"delivered": "green", "failed": "red"}


def show_deliveries(deliveries: Sequence[KnownDelivery], wide: bool = False) -> None:
    """Show a line for each delivery: what happened, who was told, and what became of it."""
    table = new_table(
        key_column("row"),
        Column("what", "between words", hideable=False),
        key_column("receiver"),
        Column("state", hideable=False),
        Column("attempts"),
        Column("at"),
        Column("error", "anywhere"),
        wide=wide,
    )
    for known in deliveries:
        each, row = known.delivery, known.row
        what = f"{row.model}@{row.version} {row.action}: {row.alias}" if row else "a lost row"
        name = each.receiver if known.is_known else f"{each.receiver} (not named here)"
        table.add_row(
            safe_text(str(each.row)),
            safe_text(what),
            safe_text(name, "bold"),
            safe_text(each.state, _COLOURS.get(each.state, "yellow")),
            safe_text(str(each.attempts)),
            time_cell(each.at),
            safe_text(literal(each.error)),
        )
    stdout().print(table)
