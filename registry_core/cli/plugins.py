"""`mlreg plugins`: `list` imports no plugin; `show` imports the one that it shows.

`check` is in plugins_check.py.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from registry_core.cli.app import Commands, app, completed_by
from registry_core.cli.options import DryRunOption, JsonOption, QuietOption, WideOption
from registry_core.cli.plugins_check import check_plugin
from registry_core.terminal import output
from registry_core.terminal.tables.plugins import show_new_files, show_plugin, show_plugins

group = Commands(help="List, show, make and check plugins.")
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


@group.command(
    examples=(
        "mlreg plugins new flowers",
        "mlreg plugins new rents --kind table --into projects/rents",
    )
)
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The plugin's name, a Python module's too.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="What its examples are: images, table, text or folder.",
            autocompletion=completed_by("kinds of project"),
        ),
    ] = "images",
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write into this folder, not one named NAME.",
            autocompletion=completed_by("folders"),
        ),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a new plugin: a package that can be installed and run."""
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.plugins.scaffold.projects import new_project
    from registry_core.settings import find_settings

    settings = find_settings()
    made = new_project(name, kind, into, KnownPlugins(settings), dry_run)
    if as_json:
        output.print_json(made.to_json())
    elif quiet:
        output.print_references(made.files)
    else:
        show_new_files(made)
        # pip takes a name without ./ for that of a package
        folder = shlex.quote(os.path.join(os.curdir, made.folder))  # noqa: PTH118
        output.print_hint(f"Edit first: {made.folder / 'src' / name / 'data.py'}")
        if settings.file is None:
            output.print_hint("To have a registry here: mlreg init")
        output.print_hint(f"To install: pip install -e {folder}")
        output.print_hint(f"Then: mlreg plugins check {name}")


group.command(
    "check", examples=("mlreg plugins check cifar10", "mlreg plugins check cifar10 --quick")
)(check_plugin)
