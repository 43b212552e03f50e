"""Completes a command line in bash, zsh and fish: every argument of every command.

A script in the shell sends the line up to the cursor, and `mlreg` answers with words. Typer's own
scripts send words that bash has split at `@` and `=`, so they cannot complete a reference.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from registry_core.cli.app import PANELS, app, register_commands, session
from registry_core.cli.completion_scripts import BREAKS, LINE, SCRIPTS

# The help of an item that stands for all files, or all folders.
_PATHS = ("\0files", "\0folders")

_Item = tuple[str, str]


def answer(line: str) -> tuple[str, list[_Item]]:
    """Complete the last word of a command line.

    Args:
        line: as it was typed, up to the cursor.

    Returns:
        `words`, `open` (words to which no space is added), `files` or `folders`; and for the first
        two the words, each with its help.
    """
    words, incomplete = split(line)
    register_commands(words)
    items = _walk(words, incomplete)
    if items and items[0][1] in _PATHS:
        return items[0][1].removeprefix("\0"), []
    is_open = bool(items) and all(value.endswith(("=", ":")) for value, _ in items)
    return "open" if is_open else "words", items


def split(line: str) -> tuple[list[str], str]:
    """The words after `mlreg`, and the last one, which may be empty or in unfinished quotes."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words = []
    try:
        words += list(lexer)
    except ValueError:  # quotes that are not closed yet
        words = [*shlex.split(line[: _open_quote(line)]), line[_open_quote(line) + 1 :]]
        ended = False
    else:
        ended = not words or line[-1:].isspace()
    incomplete = "" if ended else words.pop()
    program = next((n for n, word in enumerate(words) if Path(word).name == "mlreg"), 0)
    return words[program + 1 :], incomplete


def _open_quote(line: str) -> int:
    """The position of the quote that is not closed."""
    quote, place = "", 0
    for position, character in enumerate(line):
        if character in "\"'" and quote in ("", character):
            quote, place = ("" if quote else character), position
    return place


def _walk(words: list[str], incomplete: str) -> list[_Item]:
    """Follow the words through the commands to the parameter that the last one belongs to."""
    context: Any = app.click_command().make_context("mlreg", [], resilient_parsing=True)
    typed, pending, only_words = _Typed(context), None, False
    for word in words:
        if pending is not None:
            typed.give(pending, word)
            pending = None
        elif word == "--":
            only_words = True
        elif word.startswith("-") and not only_words:
            name, equals, value = word.partition("=")
            option = typed.options.get(name)
            if option is not None and not option.is_flag:
                pending = None if equals else option
                if equals:
                    typed.give(option, value)
            elif option is not None:
                typed.give(option, True)
        elif hasattr(context.command, "commands"):
            inner = context.command.commands.get(word)
            if inner is None:
                return []
            context = inner.make_context(word, [], parent=context, resilient_parsing=True)
            typed = _Typed(context)
        else:
            typed.place(word)
    if pending is not None:
        return typed.complete(pending, incomplete)
    if incomplete.startswith("-") and not only_words:
        name, equals, value = incomplete.partition("=")
        option = typed.options.get(name)
        if equals and option is not None:
            found = typed.complete(option, value)
            is_path = bool(found) and found[0][1] in _PATHS
            return found if is_path else [(f"{name}={each}", text) for each, text in found]
        return [item for item in typed.option_names() if item[0].startswith(incomplete)]
    if hasattr(context.command, "commands"):
        return _command_items(context, incomplete)
    argument = typed.next_argument()
    return typed.complete(argument, incomplete) if argument is not None else []


class _Typed:
    """What was typed of one command's parameters."""

    def __init__(self, context: Any) -> None:
        self.context = context
        parameters = list(context.command.get_params(context))
        self.arguments = [each for each in parameters if each.param_type_name == "argument"]
        self.options = {
            name: each
            for each in parameters
            if each.param_type_name == "option"
            for name in each.opts
        }
        context.params.clear()
        context.params.update({each.name: [] for each in self.arguments if each.nargs == -1})

    def give(self, option: Any, value: str | bool) -> None:
        """The value of an option; that of --registry is used at once."""
        if option.name == "registry":
            session.registry = Path(str(value)).expanduser()
        self.context.params[option.name] = value

    def place(self, word: str) -> None:
        """The value of the next argument."""
        argument = self.next_argument()
        if argument is None:
            return
        if argument.nargs == -1:
            self.context.params[argument.name].append(word)
        else:
            self.context.params[argument.name] = word

    def next_argument(self) -> Any:
        """The argument that the next word belongs to; None where there is none."""
        params = self.context.params
        return next(
            (each for each in self.arguments if each.nargs == -1 or each.name not in params), None
        )

    def complete(self, parameter: Any, incomplete: str) -> list[_Item]:
        """What the parameter's own completer says."""
        items = parameter.shell_complete(self.context, incomplete)
        return [(str(item.value), item.help or "") for item in items]

    def option_names(self) -> list[_Item]:
        """Those that were not given yet, or can be given again; long names."""
        return [
            (name, "Show the help page." if name == "--help" else each.help or "")
            for name, each in self.options.items()
            if name.startswith("--")
            and not getattr(each, "hidden", False)
            and (each.name not in self.context.params or each.multiple)
        ]


def _command_items(context: Any, incomplete: str) -> list[_Item]:
    if context.parent is None:
        register_commands([])
        context.command = app.click_command()
    commands = context.command.commands
    order = [name for panel in PANELS.values() for name in panel if name in commands]
    return [
        (name, (commands[name].help or "").partition("\n")[0])
        for name in (order if context.parent is None else commands)
        if name.startswith(incomplete)
    ]


def respond(shell: str) -> str:
    """The lines that the shell's script reads: the kind, then a word and its help on each line."""
    line, breaks = os.environ.get(LINE, ""), os.environ.get(BREAKS, "")
    if shell not in SCRIPTS:
        return ""  # a script of Typer's that an earlier version installed
    kind, items = answer(line)
    if shell == "bash":
        _, incomplete = split(line)
        # readline replaces what follows the last of its word breaks, and an `@` itself
        ends = [incomplete.rfind(each) + (each != "@") for each in "@:=" if each in breaks]
        start = max(0, *ends, 0)
        return "\n".join([kind, *(shlex.quote(value)[start:] for value, _ in items)])
    return "\n".join([kind, *(f"{value}\t{text}".rstrip("\t") for value, text in items)])
