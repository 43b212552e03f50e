"""Tables of the known plugins, and of what one of them offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import Column, facts_table, key_column, new_table
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.plugins.description import PluginDescription


def show_plugins(rows: Sequence[Mapping[str, Any]], wide: bool = False) -> None:
    """Show each known plugin and where it is named."""
    table = new_table(
        key_column("plugin"),
        Column("kind"),
        Column("state", "anywhere", hideable=False),
        Column("module"),
        Column("named by"),
        wide=wide,
    )
    for row in rows:
        good = row["state"] == "ok"
        table.add_row(
            safe_text(row["name"], "bold"),
            safe_text(row["kind"]),
            safe_text(row["state"], "" if good else "red"),
            safe_text(row["module"]),
            safe_text(row["named_by"]),
        )
    stdout().print(table)


def show_plugin(plugin: PluginDescription, wide: bool = False) -> None:
    """Show a plugin's hooks, its presets with their claims, and its settings with their meaning."""
    console = stdout()
    console.print(
        safe_text(plugin.name, "bold").append_text(safe_text(f"  {plugin.about}", "default"))
    )
    facts = [
        ("kind", plugin.kind),
        ("module", f"{plugin.module}, {plugin.file}" if plugin.file else plugin.module),
        ("named by", plugin.origin),
        ("hooks", ", ".join(plugin.hooks) or "none"),
    ]
    console.print(facts_table(facts))
    if plugin.presets:
        console.print()
        presets = new_table(key_column("preset"), "claim", wide=wide)
        for name, claim in plugin.presets.items():
            presets.add_row(safe_text(name, "bold"), safe_text(claim))
        console.print(presets)
    for names in dict.fromkeys(tuple(setting.values) for setting in plugin.settings):
        console.print()
        heads = [Column(name, "anywhere") for name in names]
        settings = new_table(key_column("setting"), *heads, "meaning", Column("type"), wide=wide)
        for setting in plugin.settings:
            if tuple(setting.values) == names:
                settings.add_row(
                    safe_text(setting.name, "bold"),
                    *(safe_text(_plain(setting.values[name])) for name in names),
                    safe_text(setting.about),
                    safe_text(setting.type),
                )
        console.print(settings)


def _plain(value: Any) -> str:
    """A value as `-p` takes it."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
