"""`mlreg registry init` and `grants`: where the registry is kept, and who may do what in it."""

from __future__ import annotations

import typer

from registry_core.cli.app import Commands, app, session
from registry_core.cli.options import JsonOption, QuietOption
from registry_core.terminal import output

group = Commands(help="Set up a registry, or a team's registry.")
app.add_typer(group, name="registry")


@group.callback(invoke_without_command=True)
def registry(context: typer.Context) -> None:
    """Set up a registry, or a team's registry."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@group.command(examples=("mlreg registry init",))
def init(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Make the registry, or bring its tables up to date.

    For a team's registry it tries the object store first, and refuses one in which versions would
    not be safe. A folder needs no set-up: the first run makes it.
    """
    registry = session.open(create=True)
    done = registry.set_up()
    if as_json:
        output.print_json(done.to_json())
    elif quiet:
        output.print_text(done.registry)
    else:
        output.print_text(f"{'Made' if done.made else 'Ready'}: {done.registry}")
        if done.made and done.index:
            output.print_hint(f"To give roles to users: mlreg registry grants | psql {done.index}")


@group.command(examples=("mlreg registry grants",))
def grants(as_json: JsonOption = False) -> None:
    """Print the SQL for the roles of a team's registry.

    The roles are reader, trainer, promoter and keeper. Run the SQL as the owner of the tables.
    """
    found = session.open(create=True).grants()
    if as_json:
        output.print_json(found.to_json())
    else:
        output.print_text(found.sql.rstrip())
