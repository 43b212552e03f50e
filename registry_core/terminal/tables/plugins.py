"""Tables of the known plugins, and of what one of them offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_core.formatting import as_typed, counted, literal
from registry_core.terminal.output import print_note, print_text, stdout
from registry_core.terminal.tables.table import Column, facts_table, key_column, new_table
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.plugins.description import PluginDescription
    from registry_core.plugins.scaffold.projects import NewFiles


def show_plugins(rows: Sequence[Mapping[str, Any]], wide: bool = False) -> None:
    """Show each known plugin and where it is named."""
    table = new_table(
        key_column("plugin"),
        Column("kind"),
        Column("version"),
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
            safe_text(row["version"] or "-"),
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
    if plugin.presets:
        facts.append(("default", f"preset {next(iter(plugin.presets))}"))
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
        settings = new_table(key_column("setting"), *heads, "meaning", wide=wide)
        for setting in plugin.settings:
            if tuple(setting.values) == names:
                settings.add_row(
                    safe_text(setting.name, "bold"),
                    *(safe_text(as_typed(setting.values[name])) for name in names),
                    safe_text(f"{setting.range}: ", "dim").append_text(
                        safe_text(setting.about, "default")
                    ),
                )
        console.print(settings)


def show_new_files(made: NewFiles) -> None:
    """Show which files were written, or would be."""
    for path in made.files:
        print_text(literal(str(made.folder / path)))
    count = counted(len(made.files), "file")
    print_note(f"{count} written." if made.written else f"{count} would be written.")
