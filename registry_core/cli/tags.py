"""`mlreg tag` and `alias`: tags and aliases of versions."""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.aliases import alias_words
from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import JsonOption, QuietOption, ReasonOption, WideOption
from registry_core.errors import UsageError
from registry_core.refs import check_model_name, parse_target
from registry_core.terminal import output
from registry_core.terminal.tables.ledger import show_holders
from registry_core.terminal.tables.versions import show_tags


@app.command(
    examples=("mlreg tag cifar10@3", "mlreg tag cifar10@3 dataset=clean reviewed"),
)
def tag(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL@VERSION [KEY[=VALUE]...]",
            help="A version, and the tags to set.",
            autocompletion=completed_by("tagging"),
        ),
    ],
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Delete this tag; can be repeated.",
            autocompletion=completed_by("tag keys"),
        ),
    ] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Set tags on a version, or show them."""
    registry = session.open()
    split = 1 if "@" in words[0] else 2
    ref, _ = parse_target(words[:split], after=0, command="tag")
    tags = dict(_key_and_value(word) for word in words[split:])
    gone = remove or []
    if both := set(tags) & set(gone):
        raise UsageError(
            f"The tag {min(both)} cannot be set and deleted at once.", "Do one of the two."
        )
    found = registry.tag(ref, tags, remove=gone, reason=reason)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([found.version.ref])
    else:
        show_tags(found.version)


@app.command(
    examples=("mlreg alias cifar10", "mlreg alias cifar10@staging --remove"),
)
def alias(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[@ALIAS]",
            help="A model, or one of its aliases: cifar10@production.",
            autocompletion=completed_by("alias references"),
        ),
    ],
    remove: Annotated[bool, typer.Option("--remove", help="Delete the alias.")] = False,
    reason: ReasonOption = "",
    wide: WideOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show a model's aliases, or delete one.

    `mlreg promote` and `mlreg rollback` move them.
    """
    registry = session.open()
    if len(words) > 1 and "@" in words[0]:
        raise UsageError(
            "mlreg alias shows and deletes aliases; it moves none.",
            "A promotion moves an alias, once its rules hold.",
            f"mlreg promote {' '.join(words[:2])}",
        )
    if remove:
        model, name = alias_words(registry, words, "alias --remove")
        released = registry.release(model, name, reason=reason)
        if as_json:
            output.print_json(released.to_json())
        elif quiet:
            output.print_references([released.previous.ref])
        else:
            output.print_text(f"{model}@{name} is deleted; it was {released.previous.ref}.")
            output.print_hint(f"To have it back: mlreg rollback {model}@{name}")
        return
    if len(words) == 1 and "@" not in words[0]:
        model, only = check_model_name(words[0]), None
    else:
        model, only = alias_words(registry, words, "alias")
    rows = registry.holders(model, only)
    if as_json:
        output.print_json(rows.to_json())
    elif quiet:
        output.print_references(f"{model}@{row.version}" for row in rows)
    elif rows:
        show_holders(rows, wide)
    else:
        output.print_hint(f"{model} has no aliases. Try: mlreg promote {model}@latest production")


def _key_and_value(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value
