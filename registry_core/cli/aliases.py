"""Parses versions and aliases; an error about a missing one suggests real names."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from registry_core.errors import UsageError
from registry_core.process import streams
from registry_core.refs import Ref, check_alias_name, check_model_name, parse_ref, parse_target
from registry_core.rules import near_alias

if TYPE_CHECKING:
    from registry_core.registry import Registry

_USUAL = "production"


def promoted_words(registry: Registry, words: Sequence[str]) -> tuple[Ref, str]:
    """Parse a version and its new alias: `cifar10@3 production`, `cifar10 3 production`.

    Raises:
        UsageError: the version or the alias is missing; its command has real names.
    """
    if words and len(words) < (2 if "@" in words[0] else 3):
        raise _incomplete(registry, words)
    ref, (alias,) = parse_target(words)
    return ref, check_alias_name(alias)


def alias_words(registry: Registry, words: Sequence[str], command: str) -> tuple[str, str]:
    """Parse an alias of a model: `cifar10@production`, or `cifar10 production`.

    Raises:
        UsageError: no alias is named; its command has real names.
    """
    if len(words) > (1 if words and "@" in words[0] else 2):
        raise UsageError(
            f"mlreg {command} takes one alias of one model.", "", f"mlreg {command} --help"
        )
    try:
        ref = parse_ref(*words) if words else None
    except UsageError:
        if len(words) == 2:  # the error describes aliases, not versions
            check_alias_name(words[1])
        raise
    if ref is not None and ref.kind == "alias" and ref.selector:
        return ref.model, ref.selector
    if ref is None:
        raise UsageError(
            "No alias is named.", "Name one: cifar10@production.", f"mlreg {command} --help"
        )
    aliases = registry.aliases(ref.model)
    if not aliases:
        raise UsageError(
            f"{ref.model} has no aliases.",
            "A promotion makes one.",
            f"mlreg promote {ref.model}@latest {_USUAL}",
        )
    if ref.kind == "none":
        alias = _first(aliases)
        what = f"Which alias of {ref.model}?"
    else:
        version = registry.version(ref)
        alias = _first(version.aliases or aliases)
        held = f"it holds {', '.join(version.aliases)}" if version.aliases else "it holds no alias"
        what = f"{ref} is a version, not an alias: {held}."
    raise UsageError(
        what,
        f"Aliases of {ref.model}: {', '.join(aliases)}.",
        f"mlreg {command} {ref.model}@{alias}",
    )


def confirm_new_alias(registry: Registry, model: str, alias: str, yes: bool, command: str) -> None:
    """Ask before making an alias whose name is similar to another one.

    An alias whose name is not similar to another one is made without asking.

    Args:
        registry: the registry.
        model: the model whose version is to get it.
        alias: the alias.
        yes: do not ask.
        command: the command for the alias that was probably meant, without its name.

    Raises:
        UsageError: the answer is no, or nobody can be asked.
    """
    aliases = registry.aliases(model)
    if yes or alias in aliases:
        return
    rules = {rule.alias for rule in registry.rules()}
    near = near_alias(alias, aliases) or near_alias(alias, rules - {alias})
    if near is None or alias in rules:
        return
    known = f"{model} has '{near}'" if near in aliases else f"there is a rule for '{near}'"
    what = f"'{alias}' would be a new alias of {model}, and {known}."
    if sys.stdin is not None and sys.stdin.isatty() and streams.err().isatty():
        if typer.confirm(f"{what} Make the new alias?", err=True):
            return
        raise UsageError(f"Cancelled: {model}@{alias} was not made.")
    raise UsageError(
        what,
        f"If '{alias}' is meant, repeat the command with --yes.",
        f"{command} {near}",
    )


def _incomplete(registry: Registry, words: Sequence[str]) -> UsageError:
    """The error for a missing version, alias or both."""
    parse_ref(words[0])  # a misspelled one gets a suggestion
    model, at, _ = words[0].partition("@")
    aliases = registry.aliases(check_model_name(model))  # an unknown model gets suggestions
    ref = parse_ref(words[0]) if at else parse_ref(*words[:2])
    if ref.kind == "none" or (not at and ref.kind == "alias"):
        latest = registry.version(Ref(model)).ref
        alias = ref.selector or _first(aliases)
        return UsageError(
            f"Which version of {model} is to become {alias}?"
            if ref.selector
            else f"Which version of {model} is to get which alias?",
            f"The newest is {latest}; mlreg list {model} shows all.",
            f"mlreg promote {latest} {alias}",
        )
    version = registry.version(ref)
    known = f"Aliases of {model}: {', '.join(aliases)}." if aliases else f"{model} has none yet."
    return UsageError(
        f"Which alias is {version.ref} to get?",
        known,
        f"mlreg promote {version.ref} {_first(aliases)}",
    )


def _first(aliases: Iterable[str]) -> str:
    known = list(aliases)
    return _USUAL if _USUAL in known or not known else known[0]
