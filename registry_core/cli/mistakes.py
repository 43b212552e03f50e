"""Suggests what was probably meant by a command line that cannot be parsed."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from registry_core.cli.app import command_names, session
from registry_core.errors import UsageError
from registry_core.process import streams
from registry_core.refs import shown

# Commands of other tools -> the command here.
_SYNONYMS = {
    "remove": "rm",
    "delete": "rm",
    "del": "rm",
    "train": "run",
    "fit": "run",
    "start": "run",
    "info": "show",
    "describe": "show",
    "inspect": "show",
    "cat": "show",
    "ls": "list",
    "models": "list",
    "versions": "list",
    "status": "runs",
    "ps": "runs",
    "jobs": "runs",
    "continue": "resume",
    "retrain": "reproduce",
    "diff": "compare",
    "log": "history",
    "ledger": "history",
    "deploy": "promote",
    "release": "promote",
    "revert": "rollback",
    "undo": "rollback",
    "aliases": "alias",
    "label": "tag",
    "tags": "tag",
    "save": "export",
    "register": "import",
    "add": "import",
    "eval": "evaluate",
    "test": "evaluate",
    "undelete": "restore",
    "prune": "gc",
    "clean": "gc",
    "check": "verify",
    "fsck": "verify",
    "doctor": "verify",
    "plugin": "plugins",
    "dataset": "data",
    "datasets": "data",
    "download": "data fetch",
    "fetch": "data fetch",
    "presets": "plugins show",
    "version": "--version",
}

# What Typer says of a text that is no number, and of a number outside its range
_NOT_A_NUMBER = re.compile(
    r""": ['"]?(?P<value>.*?)['"]? is not (a valid (int|float)\w*( range)?|in the range .*)\.$""",
    re.DOTALL,
)


def unknown_command(context: Any, group: Any, words: Sequence[str]) -> UsageError:
    """The error for an unknown command: it names the right one, or the nearest.

    Args:
        context: the group's context.
        group: the group in which it was looked for.
        words: the unknown command and the words after it.
    """
    name, rest = words[0], list(words[1:])
    path = context.command_path
    is_root = context.parent is None
    names = command_names() if is_root else list(group.commands)
    what = f"No command {shown(name)}." if is_root else f"No command {shown(name)} in {path}."
    meant = _SYNONYMS.get(name.lower()) if is_root else None
    if meant is not None and meant.split()[0] not in (*names, "--version"):
        meant = None
    if meant is None:
        meant = next(iter(difflib.get_close_matches(name.lower(), names, n=1)), None)
    if meant is None:
        return UsageError(what, f"Commands: {', '.join(names)}.", f"{path} --help")
    if meant == "--version":
        rest = []
    return UsageError(what, "", f"{path} {shlex.join([*meant.split(), *rest])}")


def extra_words(context: Any, extra: Sequence[str], words: Sequence[str]) -> UsageError:
    """The error for words that no argument takes.

    Args:
        context: the context of the command, as far as it was parsed.
        extra: the words that are left over.
        words: the whole command line.
    """
    path = context.command_path
    several = ", ".join(map(shown, extra[:3]))
    what = f"{path} does not take {several}."
    for at, word in enumerate(words[:-2]):
        key, value = words[at + 1], words[at + 2]
        if word in ("-p", "--parameter") and "=" not in key and value in extra:
            return UsageError(
                what,
                "A setting and its value are joined by '='.",
                _line([*words[: at + 1], f"{key}={value}", *words[at + 3 :]]),
            )
    dataset = context.params.get("dataset")
    if dataset is not None and "preset" in context.params:
        presets = list(presets_of(dataset))
        if extra[0] in presets:
            place = list(words).index(extra[0])
            return UsageError(
                what,
                "A preset is chosen by --preset.",
                _line([*words[:place], "--preset", extra[0], *words[place + 1 :]]),
            )
    return UsageError(what, "", f"{path} --help")


def explain(error: Any, words: Sequence[str]) -> UsageError:
    """A usage error of Typer in three lines.

    Args:
        error: the exception, of a private class.
        words: the whole command line.
    """
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "mlreg"
    parameter = getattr(error, "param", None)
    if hasattr(error, "possibilities") and context is not None:
        return _unknown_option(error.option_name, context, words)
    if hasattr(error, "option_name") and context is None:  # the parser knows no context
        return _without_value(error.option_name, words)
    if hasattr(error, "param_type") and parameter is not None:
        return _missing(parameter, context, words)
    if context is not None and hasattr(context.command, "commands"):
        names = list(context.command.commands)
        if "Missing command" in error.format_message():
            return UsageError(
                f"{path} needs a command.", f"Commands: {', '.join(names)}.", f"{path} --help"
            )
    message = error.format_message()
    number = _NOT_A_NUMBER.search(message)
    if parameter is not None and number is not None and (takes := _number(parameter.type)):
        what = f"{parameter.opts[0]} cannot be {shown(number['value'])}."
        return UsageError(what, f"It is {takes}.", f"{path} --help")
    return UsageError(message, command=f"{path} --help")


def _number(kind: Any) -> str:
    """The numbers of a type of Typer, such as `a whole number, 1 or more`; empty for another."""
    name = kind.name
    if not name.startswith(("int", "float")):
        return ""
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    what = "a whole number" if name.startswith("int") else "a number"
    if least is not None and most is not None:
        return f"{what} from {least:,} to {most:,}"
    return what + ("" if least is None else f", {least:,} or more")


def _without_value(option: str, words: Sequence[str]) -> UsageError:
    named = next((word for word in words if word in command_names()), None)
    path = f"mlreg {named}" if named else "mlreg"
    return UsageError(
        f"{shown(option)} needs a value.", f"Write it after {option}.", f"{path} --help"
    )


def _unknown_option(option: str, context: Any, words: Sequence[str]) -> UsageError:
    path = context.command_path
    what = f"{path} has no option {shown(option)}."
    name = option.strip("-").replace("-", "_")
    if context.command.name == "run":
        settings = _settings(words)
        key = next(iter(difflib.get_close_matches(name, settings, n=1, cutoff=0.75)), None)
        known = {each.name for each in context.command.params}
        if key is not None and key not in known:
            line = _as_setting(option, key, words)
            return UsageError(what, f"'{key}' is a setting: -p {key}=VALUE.", line)
    options = {
        name: each
        for each in context.command.get_params(context)
        for name in each.opts
        if name.startswith("--") and not getattr(each, "hidden", False)
    }
    # without the dashes, which all options share
    bare = {each.removeprefix("--"): each for each in options}
    near = difflib.get_close_matches(option.lstrip("-"), bare, n=1, cutoff=0.6)
    if not near:
        return UsageError(what, "", f"{path} --help")
    meant = bare[near[0]]
    fixed = [_replaced(word, option, meant) for word in words]
    return UsageError(what, f"Did you mean {meant}?", _line(fixed))


def _as_setting(option: str, key: str, words: Sequence[str]) -> str:
    """The command line with `--batch-size 64` or `--batch-size=64` as `-p batch_size=64`."""
    fixed: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == option:
            fixed += ["-p", f"{key}={next(rest, 'VALUE')}"]
        elif word.startswith(f"{option}="):
            fixed += ["-p", f"{key}={word.partition('=')[2]}"]
        else:
            fixed.append(word)
    return _line(fixed)


def _replaced(word: str, option: str, right: str) -> str:
    name, equals, value = word.partition("=")
    return f"{right}{equals}{value}" if name == option else word


def _missing(parameter: Any, context: Any, words: Sequence[str]) -> UsageError:
    path = context.command_path
    name = parameter.metavar or parameter.name.upper()
    what = f"Missing argument {name}." if parameter.param_type_name == "argument" else ""
    what = what or f"Missing option {parameter.opts[0]}."
    remedy = parameter.help or ""
    if parameter.name == "dataset" and (plugins := list(known_plugins())):
        return UsageError(
            what,
            f"Plugins: {', '.join(plugins)}.",
            f"{path} --help" if context.command.name == "import" else f"{path} {plugins[0]}",
        )
    after = {"reference": "", "target": " production", "words": ""}.get(parameter.name)
    if after is not None and (reference := _some_reference()):
        return UsageError(what, remedy, f"{path} {reference}{after}")
    return UsageError(what, remedy, f"{path} --help")


def known_plugins() -> Iterable[str]:
    """The dataset plugins, those of plugins.toml first; none if it cannot be read."""
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.settings import find_settings

    try:
        settings = find_settings()
        return dict.fromkeys([*settings.plugins, *KnownPlugins(settings).datasets])
    except UsageError:
        return []


def presets_of(dataset: str) -> Mapping[str, Any]:
    """The presets of a plugin; none if it fails, because the mistake is reported anyway."""
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.plugins.presets import find_presets
    from registry_core.settings import find_settings

    with streams.silenced():
        try:
            return find_presets(KnownPlugins(find_settings()).load(dataset))
        except Exception:
            return {}


def _settings(words: Sequence[str]) -> list[str]:
    """The settings of the plugin that the words name; of any run if they name none."""
    from registry_core.config import RunConfig

    plugins = set(known_plugins())
    dataset = next((word for word in words if word in plugins), None)
    presets = presets_of(dataset) if dataset else {}
    config = next(iter(presets.values()), RunConfig())
    return list(config.values())


def _some_reference() -> str:
    try:
        newest = session.open().newest_versions(1)
    except Exception:
        return ""
    return newest[0].ref if newest else ""


def _line(words: Sequence[str]) -> str:
    return shlex.join(["mlreg", *words])
