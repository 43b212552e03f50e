"""`mlreg plugins list`: names alone are read, nothing is imported."""

from __future__ import annotations

from registry_core.cli.app import Commands, app
from registry_core.cli.options import JsonOption, QuietOption
from registry_core.ui import output
from registry_core.ui.tables.plugins import show_plugins

group = Commands(help="Dataset plugins and extensions.", rich_markup_mode=None)
app.add_typer(group, name="plugins")


@group.command("list")
def list_plugins(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List what plugins.toml and the installed packages name."""
    from registry_core.plugins import KnownPlugins
    from registry_core.settings import find_settings

    known = KnownPlugins(find_settings())
    sources = [*known.datasets.values(), *known.extensions.values()]

    rows = [
        {
            "name": source.name,
            "kind": source.kind,
            "module": source.module,
            "named_by": source.origin,
            "state": source.state,
        }
        for source in sources
    ]
    if as_json:
        output.print_json({"plugins": rows})
    elif quiet:
        output.print_references(row["name"] for row in rows)
    else:
        show_plugins(rows)
    for row in rows:
        if row["state"] == "missing":
            output.print_warning(
                f"Plugin '{row['name']}' cannot run: no module '{row['module']}' is installed, "
                "and none is beside plugins.toml."
            )
        elif row["state"] != "ok" and "twice" not in row["state"]:
            output.print_warning(
                f"Plugin '{row['name']}' cannot run: '{row['module']}' is {row['state']}."
            )
