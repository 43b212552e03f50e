"""The application and its global options; each group of commands adds itself from its own file."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.models import CommandFunctionType

from registry_core.dataclass import dataclass
from registry_core.errors import Interrupted, UsageError
from registry_core.process import streams

if TYPE_CHECKING:
    from registry_core.registry import Registry

OUTPUT = "Output"
PLACE = "Where it runs"
GLOBAL = "Global options"

_REGISTRY_HELP = "Use the registry in this folder."
_TRACEBACK_HELP = "Show the traceback of an error."


class _Command(TyperCommand):
    """A command that claims stdout before its body runs; `--help` is handled before that."""

    def invoke(self, ctx: Any) -> Any:
        _apply_early_flags(ctx)
        session.as_json = bool(ctx.params.get("as_json"))
        streams.claim()
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort) as error:
            # Typer would return status 130 without a message
            raise Interrupted(signal.SIGINT) from error

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own parameters, and the global options, which may also follow the command."""
        own = super().get_params(ctx)
        return [*own[: len(self.params)], *_global_options(), *own[len(self.params) :]]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Click does; words that are left over are an error that suggests what was meant."""
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            from registry_core.cli.mistakes import extra_words

            raise extra_words(ctx, rest, session.words)
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from registry_core.cli.help import command_page

        formatter.write(command_page(self, ctx))


class _Group(TyperGroup):
    """A group that suggests a command for an unknown one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            from registry_core.cli.mistakes import unknown_command

            raise unknown_command(ctx, self, args)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from registry_core.cli.help import group_page

        formatter.write(group_page(self, ctx))


class Commands(typer.Typer):
    """A Typer group whose commands claim stdout."""

    def __init__(self, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "cls": _Group,
            "rich_markup_mode": None,
            "add_completion": False,  # our own: cli/completion.py
            "pretty_exceptions_enable": False,
            "context_settings": {"help_option_names": ["-h", "--help"]},
        }
        super().__init__(**(defaults | options))
        self._made: tuple[int, Any] | None = None

    def command(
        self, name: str | None = None, *, examples: Sequence[str] = (), **options: Any
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        """As Typer's decorator.

        Args:
            name: the command's name, if not the function's.
            examples: command lines that the help page shows.
            options: Typer's.
        """
        options.setdefault("epilog", "\n".join(examples) or None)
        return super().command(name, cls=_Command, **options)

    def click_command(self) -> Any:
        """The Click command of what has been registered; made again only when there is more."""
        size = len(self.registered_commands) + len(self.registered_groups)
        if self._made is None or self._made[0] != size:
            self._made = (size, typer.main.get_command(self))
        return self._made[1]


class DefaultGroup(_Group):
    """A group that runs its `list` if no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def completed_by(kind: str) -> Callable[[typer.Context, str], Any]:
    """For `autocompletion` of a parameter: a kind of cli/completers.py, imported when needed."""

    def completed(context: typer.Context, incomplete: str) -> Any:
        from registry_core.cli.completers import complete

        return complete(kind, context, incomplete)

    return completed


app = Commands(name="mlreg")


@dataclass
class Session:
    """The global options of this command line, and whether the command has `--json`."""

    registry: Path | None = None
    traceback: bool = False
    as_json: bool = False
    words: Sequence[str] = ()
    # flags before the command: parameter -> how it is written
    early: dict[str, str] = field(default_factory=dict)

    def begin(self, words: Sequence[str]) -> None:
        """Forget an earlier command line of this process."""
        self.registry, self.early = None, {}
        self.words = words
        # for a command line that cannot be parsed; a command sets it from its own option
        self.as_json = "--json" in words
        self.traceback = "--traceback" in words

    def open(self, create: bool = False, needs_versions: bool = True) -> Registry:
        """The registry of this command line.

        Args:
            create: the command makes it if it does not exist.
            needs_versions: the command is about a version or a model, so a registry must exist.
        """
        from registry_core.registry import open_registry

        registry = open_registry(self.registry)
        if create:
            return registry
        from registry_core.cli.place import check_registry

        return registry.require(partial(check_registry, needs_versions=needs_versions))


session = Session()


def _set_up_completion(value: bool) -> bool:
    """Install or print a completion script; the shell's name may follow the option."""
    if value:
        from registry_core.cli.completion_scripts import set_up

        typer.echo(set_up(session.words))
        raise typer.Exit
    return value


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    registry: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help=_REGISTRY_HELP, autocompletion=completed_by("folders")),
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help=_TRACEBACK_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", hidden=True)] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            help="Install completion for this shell.",
            callback=_set_up_completion,
            is_eager=True,
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            help="Print the completion script.",
            callback=_set_up_completion,
            is_eager=True,
        ),
    ] = False,
    version: Annotated[bool, typer.Option("-V", "--version", help="Print the version.")] = False,
) -> None:
    """Train Keras models from dataset plugins, and keep every version."""
    session.registry = registry
    session.traceback = session.traceback or traceback
    session.early = {
        name: flag
        for name, flag, given in (("as_json", "--json", as_json), ("quiet", "--quiet", quiet))
        if given
    }
    if context.invoked_subcommand is not None:
        return
    if version:
        import registry_core

        typer.echo(registry_core.__version__)
    else:
        typer.echo(context.get_help())
    raise typer.Exit


def _global_options() -> list[TyperOption]:
    def use_registry(context: Any, parameter: Any, value: Any) -> None:
        if value is not None:
            session.registry = Path(value)

    def show_traceback(context: Any, parameter: Any, value: Any) -> None:
        session.traceback = session.traceback or bool(value)

    folders = completed_by("folders")
    registry = TyperOption(
        param_decls=["--registry"],
        metavar="PATH",
        help=_REGISTRY_HELP,
        expose_value=False,
        callback=use_registry,
        # Click's own class passes the words as well
        autocompletion=lambda context, _, incomplete: folders(context, incomplete),
        rich_help_panel=GLOBAL,
    )
    traceback = TyperOption(
        param_decls=["--traceback"],
        is_flag=True,
        default=False,
        help=_TRACEBACK_HELP,
        expose_value=False,
        callback=show_traceback,
        rich_help_panel=GLOBAL,
    )
    return [registry, traceback]


def _apply_early_flags(context: Any) -> None:
    """`mlreg --json list` is `mlreg list --json`."""
    for name, flag in session.early.items():
        if name not in context.params:
            raise UsageError(
                f"{context.command_path} has no {flag}.",
                "Leave it out.",
                shlex.join(
                    ["mlreg", *(word for word in session.words if word not in (flag, "-q"))]
                ),
            )
        context.params[name] = True


# command -> its file
_FILES = {
    "run": "runs",
    "sweep": "sweep",
    "runs": "resume",
    "sweeps": "sweeps",
    "resume": "resume",
    "reproduce": "resume",
    "list": "versions",
    "show": "versions",
    "history": "versions",
    "compare": "versions",
    "report": "reports",
    "evaluate": "models",
    "predict": "predict",
    "export": "models",
    "import": "models",
    "card": "cards",
    "bom": "cards",
    "promote": "promotion",
    "rollback": "promotion",
    "requests": "requests",
    "approve": "requests",
    "decline": "requests",
    "notify": "notify",
    "rules": "rules",
    "alias": "tags",
    "tag": "tags",
    "push": "transfers",
    "pull": "transfers",
    "pack": "transfers",
    "unpack": "transfers",
    "rm": "maintenance",
    "restore": "maintenance",
    "gc": "maintenance",
    "verify": "maintenance",
    "init": "init",
    "registry": "registry_setup",
    "plugins": "plugins",
    "data": "data",
    "sign": "signing",
    "help": "help",
    "env": "env",
    "ui": "ui",
}

# The help page: each panel's commands in order; every command is in one, as a test holds.
PANELS = {
    "Train": ("run", "sweep", "runs", "resume", "reproduce"),
    "Look": ("list", "show", "compare", "history", "sweeps", "report", "ui"),
    "Release": (
        *("promote", "rollback", "alias", "tag", "rules"),
        *("requests", "approve", "decline", "notify", "sign"),
    ),
    "Use": ("predict", "export", "import", "evaluate", "card", "bom"),
    "Share": ("push", "pull", "pack", "unpack"),
    "Housekeeping": ("rm", "restore", "gc", "verify"),
    "Setup": ("init", "registry", "plugins", "data", "env", "help"),
}


def command_names() -> list[str]:
    """Every command, in the order of the help page."""
    return [name for names in PANELS.values() for name in names if name in _FILES]


def register_commands(words: Sequence[str]) -> None:
    """Import the files of the commands that the words name; all files if they name none.

    Typer builds every command it knows of at each start, about a millisecond each.
    """
    named = dict.fromkeys(_FILES[word] for word in words if word in _FILES)
    if not named or words[0] in ("-h", "--help", "help"):
        named = dict.fromkeys(_FILES.values())
    for file in named:
        import_module(f"registry_core.cli.{file}")
