"""`mlreg help`, and the help pages: plain lines, in the terminal's width, in ASCII.

Nothing here imports Rich, so a help page appears at once and is the same on every terminal.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from registry_core.cli.app import (
    GLOBAL,
    PANELS,
    app,
    command_names,
    completed_by,
    register_commands,
)

# The most columns of text, on a wider terminal too.
_WIDEST = 120

_NARROWEST = 40

# The help of a longer name is on the next line.
_NAMES = 30

_Row = tuple[str, str]


@app.command("help", examples=("mlreg help run", "mlreg help data fetch"))
def help_command(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND...]",
            help="A command, or a group and its command.",
            autocompletion=completed_by("commands"),
        ),
    ] = None,
) -> None:
    """Show the help of mlreg or of a command."""
    from registry_core.terminal.output import print_text

    root: Any = app.click_command()
    context = root.make_context("mlreg", [])
    for word in command or []:
        group = context.command
        if not hasattr(group, "commands"):
            break
        _, inner, _ = group.resolve_command(context, [word])
        is_group = hasattr(inner, "commands")
        context = inner.make_context(word, [], parent=context, resilient_parsing=not is_group)
    print_text(context.get_help())


def group_page(group: Any, context: Any) -> str:
    """The help page of mlreg, or of a group of commands."""
    is_root = context.parent is None
    if is_root and set(command_names()) - set(group.commands):
        register_commands([])
        group = app.click_command()
    summaries = {
        name: (command.help or "").partition("\n")[0] for name, command in group.commands.items()
    }
    panels = PANELS if is_root else {"Commands": tuple(summaries)}
    sections = [
        (panel, [(name, summaries[name]) for name in names if name in summaries])
        for panel, names in panels.items()
    ]
    sections += _option_sections(group, context)
    usage = f"{context.command_path} COMMAND [OPTIONS]"
    more = f"mlreg help{context.command_path.removeprefix('mlreg')} COMMAND"
    return f"{_page(usage, group.help, sections)}\n\nMore: {more}"


def command_page(command: Any, context: Any) -> str:
    """The help page of one command."""
    arguments = [
        (_metavar(parameter), parameter.help or "")
        for parameter in command.params
        if parameter.param_type_name == "argument"
    ]
    words = [context.command_path, *(name for name, _ in arguments), "[OPTIONS]"]
    sections = [("Arguments", arguments), *_option_sections(command, context)]
    if command.epilog:
        sections.append(("Examples", [(line, "") for line in command.epilog.splitlines()]))
    return _page(" ".join(words), command.help, sections)


def _page(
    usage: str,
    about: str | None,
    sections: Sequence[tuple[str, list[_Row]]],
) -> str:
    width = max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))
    lines = [f"Usage: {usage}", ""]
    for paragraph in (about or "").split("\n\n"):
        lines += [*textwrap.wrap(paragraph, width), ""]
    rows = [row for _, rows in sections for row in rows]
    indent = 2 + max((len(name) for name, _ in rows if len(name) <= _NAMES), default=2) + 2
    for title, rows in sections:
        if rows:
            lines += [title, *_table(rows, indent, width), ""]
    return "\n".join(lines).rstrip()


def _table(rows: list[_Row], indent: int, width: int) -> Iterable[str]:
    """Names on the left, help beside them, or below where a name is long."""
    for name, text in rows:
        wrapped = textwrap.wrap(text, width - indent) or [""]
        if len(name) > _NAMES and text:
            yield f"  {name}"
        else:
            yield f"  {name:<{indent - 2}}{wrapped.pop(0)}".rstrip()
        yield from (" " * indent + line for line in wrapped)


def _option_sections(command: Any, context: Any) -> list[tuple[str, list[_Row]]]:
    usual = "Options"
    found: dict[str, list[_Row]] = {usual: []}
    for parameter in command.get_params(context):
        if parameter.param_type_name != "option" or getattr(parameter, "hidden", False):
            continue
        helps = "--help" in parameter.opts
        panel = getattr(parameter, "rich_help_panel", None) or (
            GLOBAL if helps and not hasattr(command, "commands") else usual
        )
        found.setdefault(panel, []).append(
            (_names(parameter), "Show the help page." if helps else _described(parameter))
        )
    last = found.pop(GLOBAL, [])
    return [*found.items(), (GLOBAL, last)]


def _names(parameter: Any) -> str:
    names = ", ".join(sorted(parameter.opts, key=len))
    return names if parameter.is_flag else f"{names} {_metavar(parameter)}"


def _metavar(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    if parameter.param_type_name == "argument" and not parameter.required and name[:1] != "[":
        return f"[{name}]"
    return str(name)


def _described(parameter: Any) -> str:
    default = parameter.default
    if parameter.is_flag or default in (None, "", 0) or isinstance(default, (list, tuple)):
        return parameter.help or ""
    return f"{parameter.help} [default: {default}]"
