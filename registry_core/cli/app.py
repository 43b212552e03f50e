"""The application and its global options; each group of commands adds itself from its own file."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import CommandFunctionType

from registry_core import streams
from registry_core.errors import Interrupted

if TYPE_CHECKING:
    from registry_core.registry import Registry


class _Command(TyperCommand):
    """A command that claims stdout before its body runs; `--help` is handled earlier."""

    def invoke(self, ctx: Any) -> Any:
        session.as_json = bool(ctx.params.get("as_json"))
        streams.claim()
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort) as error:
            # Typer would return status 130 without a message
            raise Interrupted(signal.SIGINT) from error


class Commands(typer.Typer):
    """A Typer group whose commands claim stdout."""

    def command(
        self, name: str | None = None, **options: Any
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        """As Typer's decorator."""
        return super().command(name, cls=_Command, **options)


class DefaultGroup(TyperGroup):
    """A group of commands that is its `list` where no other command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = Commands(
    name="mlreg",
    help="Turn a dataset plugin into trained, evaluated, plotted, versioned Keras models.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass
class Session:
    """The global options, and whether the command has `--json`."""

    registry: Path | None = None
    traceback: bool = False
    as_json: bool = False

    def open(self, create: bool = False, needs_versions: bool = True) -> Registry:
        """The registry that this command works on.

        Args:
            create: the command makes it where it is not there.
            needs_versions: the command is about a version or a model, so a registry must be there.
        """
        from registry_core.registry import open_registry

        registry = open_registry(self.registry)
        if create:
            return registry
        from registry_core.cli.place import PresentRegistry

        return PresentRegistry(registry, needs_versions)


session = Session()


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    registry: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The registry's folder; else MLREG_HOME, plugins.toml, the user's own.",
        ),
    ] = None,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Show mlreg's version.")] = False,
) -> None:
    """Turn a dataset plugin into trained, evaluated, plotted, versioned Keras models."""
    session.registry = registry
    session.traceback = traceback
    if version:
        import registry_core

        typer.echo(registry_core.__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    if context.invoked_subcommand is None:
        raise typer.Exit


# command -> the file that has it, in the order of the help page
_FILES = {
    "run": "runs",
    "runs": "again",
    "resume": "again",
    "reproduce": "again",
    "list": "versions",
    "show": "versions",
    "history": "versions",
    "compare": "versions",
    "evaluate": "use",
    "export": "use",
    "import": "use",
    "promote": "promotion",
    "rollback": "promotion",
    "rules": "rules",
    "alias": "labels",
    "tag": "labels",
    "rm": "care",
    "restore": "care",
    "gc": "care",
    "verify": "care",
    "plugins": "plugins",
    "data": "data",
    "env": "env",
}


def register_commands(words: Sequence[str]) -> None:
    """Import the files whose commands are named among the words; all of them if none is.

    Typer builds every command it knows of at each start, about a millisecond each.
    """
    named = dict.fromkeys(_FILES[word] for word in words if word in _FILES)
    for file in named or dict.fromkeys(_FILES.values()):
        import_module(f"registry_core.cli.{file}")
