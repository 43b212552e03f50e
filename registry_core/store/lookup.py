"""The version that a reference names; where there is none, the nearest names.

Works on one view of the index, and reads no files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from registry_core.errors import UsageError
from registry_core.refs import Ref, shown
from registry_core.store.aliases import holder_after
from registry_core.store.ledger import is_intact
from registry_core.store.storage_errors import contradicted
from registry_core.version_query import FIELDS, PRESENT, TAG, Condition, VersionQuery

if TYPE_CHECKING:
    from registry_core.records import Version
    from registry_core.store.interfaces import IndexEntry, ReadTransaction


def resolve(view: ReadTransaction, ref: Ref, removed: bool = False) -> Version:
    """The version that a reference names; a name alone means the latest.

    Args:
        view: the index.
        ref: the reference.
        removed: also find a removed version by its number.

    Raises:
        UsageError: no version has the reference, or more than one; the message names the nearest.
    """
    if ref.number is not None:
        return by_number(view, ref.model, ref.number, removed)
    if ref.kind == "alias" and ref.selector is not None:
        return holder(view, ref.model, ref.selector) or _no_holder(view, ref, ref.selector)
    if ref.digest_prefix is not None:
        return _by_digest(view, ref, ref.digest_prefix)
    best = view.best(ref.model) if ref.kind == "best" else None
    return best.version if best else _latest(view, ref.model)


def _latest(view: ReadTransaction, model: str) -> Version:
    for latest in view.versions(model, limit=1):
        return latest
    check_model(view, model)
    raise UsageError(
        f"{model} has no versions: all were removed.",
        "What was not collected can be restored.",
        f"mlreg list {model} --removed",
    )


def _no_holder(view: ReadTransaction, ref: Ref, alias: str) -> NoReturn:
    _latest(view, ref.model)  # says if there is no such model, or no version
    known = [*view.aliases(ref.model), "latest", "best"]
    raise UsageError(
        f"{ref.model} has no alias {shown(alias)}.",
        choices("Known", known, alias),
        f"mlreg list {ref.model}",
    )


def holder(view: ReadTransaction, model: str, alias: str) -> Version | None:
    """The version that an alias is on, by the index and by the ledger; None if it is on none.

    Raises:
        DamagedIndexError: by the ledger, the alias is on another version.
    """
    entry = view.alias_entry(model, alias)
    row = view.move(model, alias)
    by_index, by_ledger = entry.version.version if entry else None, holder_after(row)
    if by_index != by_ledger or (row and not is_intact(row)):
        sides = [f"{model}@{number}" if number else "nothing" for number in (by_index, by_ledger)]
        what = f"{model}@{alias}: {sides[0]} in the index, {sides[1]} in the ledger"
        raise contradicted(what, "the ledger")
    return _present(entry) if entry else None


def by_number(view: ReadTransaction, model: str, number: int, removed: bool = False) -> Version:
    """The version of this number.

    Args:
        view: the index.
        model: the registered name.
        number: the number.
        removed: also find a removed version.

    Raises:
        UsageError: there is none, or it was removed.
    """
    entry = view.entry(model, number)
    if entry is None:
        check_model(view, model)
        newest = ", ".join(version.ref for version in view.versions(model, limit=3))
        raise UsageError(
            f"{model} has no version {number}.",
            f"Its newest: {newest}." if newest else "",
            f"mlreg list {model}",
        )
    return entry.version if removed else _present(entry)


def _present(entry: IndexEntry) -> Version:
    ref = entry.version.ref
    if entry.collected:
        raise UsageError(
            f"{ref} was removed at {entry.removed}, and its files were collected.",
            "Its manifest and its history are kept; it cannot be restored.",
            f"mlreg history {ref}",
        )
    if entry.removed is not None:
        raise UsageError(
            f"{ref} was removed at {entry.removed}.",
            "It can be restored until it is collected.",
            f"mlreg restore {ref}",
        )
    return entry.version


def _by_digest(view: ReadTransaction, ref: Ref, prefix: str) -> Version:
    found = view.by_digest(ref.model, prefix)
    if len(found) == 1:
        return found[0]
    if not found:
        _latest(view, ref.model)  # says if there is no such model, or no version
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


def check_query(view: ReadTransaction, model: str, query: VersionQuery) -> None:
    """Raise UsageError if a query names what the model never had.

    Raises:
        UsageError: no version has one of the metrics, or the number of the version that it
            continues after.
    """
    names = view.metric_names(model) if query.metrics else []
    for metric in query.metrics:
        has_it = VersionQuery([Condition(metric, PRESENT, None)])
        if metric not in names and not view.versions(model, 1, has_it):
            check_model(view, model)
            known = [*names, *FIELDS, f"{TAG}KEY"]
            raise UsageError(
                f"No version of {model} has a metric {shown(metric)}.",
                choices("Known", known, metric),
                f"mlreg list {model}",
            )
    if query.after is not None and view.entry(model, query.after) is None:
        raise UsageError(
            f"The place in the list is after {model}@{query.after}, which does not exist.",
            "Begin the list again.",
            f"mlreg list {model}",
        )


def choices(what: str, known: Iterable[str], wanted: str) -> str:
    """A line that lists the known names, the nearest to the wanted one first."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    rest = [name for name in names if name not in near]
    line = f"{what}: {', '.join((near + rest)[:10])}{', …' if len(names) > 10 else ''}."
    return f"{line} Did you mean {near[0]}?" if near else line
