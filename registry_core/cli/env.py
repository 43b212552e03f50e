"""`mlreg env`: what mlreg found here, to read or to paste into a report."""

from __future__ import annotations

from registry_core.cli.app import app, session
from registry_core.cli.options import JsonOption
from registry_core.terminal import output
from registry_core.terminal.tables.env import show_environment


@app.command(examples=("mlreg env", "mlreg env --json"))
def env(as_json: JsonOption = False) -> None:
    """Show the registry, versions, machine and plugins."""
    from registry_core.results.environment import find_environment

    found = find_environment(lambda: session.open(create=True)).to_json()
    if as_json:
        output.print_json(found)
    else:
        show_environment(found)
