"""The plugins that are known, and what one of them offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import Column, facts_table, key, new_table
from registry_core.terminal.text import shown

if TYPE_CHECKING:
    from registry_core.plugins.description import PluginDescription


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


def show_plugin(plugin: PluginDescription, wide: bool = False) -> None:
    """Presets and what they claim, settings and what they mean, hooks; as far as there are any."""
    console = stdout()
    console.print(shown(plugin.name, "bold").append_text(shown(f"  {plugin.about}", "default")))
    facts = [
        ("kind", plugin.kind),
        ("module", f"{plugin.module}, {plugin.file}" if plugin.file else plugin.module),
        ("named by", plugin.origin),
        ("hooks", ", ".join(plugin.hooks) or "none"),
    ]
    console.print(facts_table(facts))
    if plugin.presets:
        console.print()
        presets = new_table(key("preset"), "claim", wide=wide)
        for name, claim in plugin.presets.items():
            presets.add_row(shown(name, "bold"), shown(claim))
        console.print(presets)
    for names in dict.fromkeys(tuple(setting.values) for setting in plugin.settings):
        console.print()
        heads = [Column(name, "anywhere") for name in names]
        settings = new_table(key("setting"), *heads, "meaning", Column("type"), wide=wide)
        for setting in plugin.settings:
            if tuple(setting.values) == names:
                settings.add_row(
                    shown(setting.name, "bold"),
                    *(shown(_plain(setting.values[name])) for name in names),
                    shown(setting.about),
                    shown(setting.type),
                )
        console.print(settings)


def _plain(value: Any) -> str:
    """As `-p` takes it."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
