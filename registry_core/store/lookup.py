"""Which version a reference leads to; and, where it leads nowhere, what is near.

Knows one view of the index, and no files.
"""

from __future__ import annotations

from collections.abc import Iterable

from registry_core.errors import UsageError
from registry_core.records import Version
from registry_core.refs import Ref, shown
from registry_core.store.ledger import is_whole
from registry_core.store.sqlite.index import ReadTransaction
from registry_core.store.storage_errors import contradicted


def resolve(view: ReadTransaction, ref: Ref, removed: bool = False) -> Version:
    """The version that a reference leads to; a name alone leads to the latest.

    Args:
        view: the index.
        ref: the reference.
        removed: let a number lead to a version that was removed, too.

    Raises:
        UsageError: it leads nowhere, or to more than one; the message names what is near.
    """
    if ref.number is not None:
        return by_number(view, ref.model, ref.number, removed)
    latest = next(iter(view.versions(ref.model, limit=1)), None)
    if latest is None:
        check_model(view, ref.model)
        raise UsageError(
            f"{ref.model} has no versions: all were removed.",
            "What was not collected can be restored.",
            f"mlreg list {ref.model} --removed",
        )
    if ref.kind in ("none", "latest"):
        return latest
    if ref.kind == "best":
        return view.best(ref.model) or latest
    if ref.digest_prefix is not None:
        return _by_digest(view, ref, ref.digest_prefix)
    aliases = view.aliases(ref.model)
    number = aliases.get(ref.selector or "")
    if number is None:
        known = [*aliases, "latest", "best"]
        raise UsageError(
            f"{ref.model} has no alias {shown(ref.selector or '')}.",
            choices("Known", known, ref.selector or ""),
            f"mlreg list {ref.model}",
        )
    check_holder(view, ref.model, ref.selector or "")
    return by_number(view, ref.model, number)


def check_holder(view: ReadTransaction, model: str, alias: str) -> None:
    """Hold what the index says of an alias against the ledger.

    Raises:
        DamagedIndexError: by the ledger, something else holds the alias.
    """
    held = view.aliases(model).get(alias)
    row = view.move(model, alias)
    by_ledger = row.version if row and row.action != "released" else None
    if held != by_ledger or (row and not is_whole(row)):
        sides = [f"{model}@{number}" if number else "nothing" for number in (held, by_ledger)]
        what = f"{model}@{alias}: {sides[0]} in the index, {sides[1]} in the ledger"
        raise contradicted(what, "the ledger")


def by_number(view: ReadTransaction, model: str, number: int, removed: bool = False) -> Version:
    """The version of this number; raises UsageError where there is none, or it was removed."""
    found = view.version(model, number)
    if found is None:
        check_model(view, model)
        newest = ", ".join(version.ref for version in view.versions(model, limit=3))
        raise UsageError(
            f"{model} has no version {number}.",
            f"Its newest: {newest}." if newest else "",
            f"mlreg list {model}",
        )
    removal = None if removed else view.removal(found)
    if removal and removal.collected:
        raise UsageError(
            f"{found.ref} was removed at {removal.at}, and its files were collected.",
            "Its manifest and its history are kept; it cannot be restored.",
            f"mlreg history {found.ref}",
        )
    if removal:
        raise UsageError(
            f"{found.ref} was removed at {removal.at}.",
            "It can be restored until it is collected.",
            f"mlreg restore {found.ref}",
        )
    return found


def _by_digest(view: ReadTransaction, ref: Ref, prefix: str) -> Version:
    found = view.by_digest(ref.model, prefix)
    if len(found) == 1:
        return found[0]
    if found:
        near = ", ".join(f"{version.ref} (sha256:{version.digest[:12]}…)" for version in found)
        raise UsageError(
            f"More than one version of {ref.model} has a digest that begins with {prefix}.",
            f"Write more of it: {near}.",
            f"mlreg list {ref.model}",
        )
    raise UsageError(
        f"No version of {ref.model} has a digest that begins with {prefix}.",
        "The digest is that of the version's manifest.",
        f"mlreg list {ref.model}",
    )


def check_model(view: ReadTransaction, model: str) -> None:
    """Raise UsageError if there is no such model."""
    names = view.model_names()
    if model in names:
        return
    if not names:
        raise UsageError(
            f"There is no model {shown(model)}: this registry is empty.",
            "A run registers its model.",
            "mlreg plugins list",
        )
    raise UsageError(
        f"There is no model {shown(model)}.", choices("Models", names, model), "mlreg list"
    )


def choices(what: str, known: Iterable[str], wanted: str) -> str:
    """What there is, the nearest to what was wanted first."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    rest = [name for name in names if name not in near]
    line = f"{what}: {', '.join((near + rest)[:10])}{', …' if len(names) > 10 else ''}."
    return f"{line} Did you mean {near[0]}?" if near else line
