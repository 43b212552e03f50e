"""`mlreg plugins`: `list` imports no plugin; `show` imports the one that it shows.

`check` is in plugins_check.py.
"""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.app import Commands, app, completed_by
from registry_core.cli.options import JsonOption, QuietOption, WideOption
from registry_core.cli.plugins_check import check_plugin
from registry_core.terminal import output
from registry_core.terminal.tables.plugins import show_plugin, show_plugins

group = Commands(help="List plugins, and show one in detail.")
app.add_typer(group, name="plugins")


@group.command("list", examples=("mlreg plugins list",))
def list_plugins(
    wide: WideOption = False, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List plugins, and where each comes from."""
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.results import PluginList
    from registry_core.settings import find_settings

    known = KnownPlugins(find_settings())
    found = PluginList([*known.datasets.values(), *known.extensions.values()])
    rows = found.to_json()["plugins"]
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references(row["name"] for row in rows)
    else:
        show_plugins(rows, wide)
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


@group.command("show", examples=("mlreg plugins show cifar10",))
def show_plugin_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PLUGIN",
            help="A plugin; see `mlreg plugins list`.",
            autocompletion=completed_by("plugins"),
        ),
    ],
    wide: WideOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show a plugin's presets, settings and hooks."""
    from registry_core.plugins.description import describe_plugin
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.settings import find_settings

    found = describe_plugin(KnownPlugins(find_settings()).load_alone(name))
    if as_json:
        output.print_json({"plugin": found.to_json()})
    elif quiet:
        output.print_references(found.presets)
    else:
        show_plugin(found, wide)


group.command(
    "check", examples=("mlreg plugins check cifar10", "mlreg plugins check cifar10 --quick")
)(check_plugin)
