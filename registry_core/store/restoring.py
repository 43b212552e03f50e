"""Aliases, removals and tags of an index, made what the rows of the ledger say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_core.records import LedgerAction
from registry_core.store.ledger import Event

if TYPE_CHECKING:
    from registry_core.records import Version
    from registry_core.store.interfaces import VersionKey, WriteTransaction
    from registry_core.store.replay import Replay


def restore_state(index: WriteTransaction, replay: Replay) -> dict[str, str]:
    """Write the aliases, removals and tags by the rows, for the versions that exist.

    Adds a row for each alias that is on no version though its last row says otherwise.

    Args:
        index: has the rows and the versions.
        replay: the state by all rows.

    Returns:
        The aliases whose version is lost, with the reason.
    """
    lost: dict[str, str] = {}
    _restore_removals(index, replay)
    _restore_tags(index, replay)
    wanted = {}
    for (model, alias), number in replay.aliases.items():
        if _version(index, (model, number)) is not None:
            wanted[model, alias] = number
        else:
            lost[f"{model}@{alias}"] = f"what held it, {model}@{number}, is lost"
    present = {
        (model, alias): number
        for model in index.model_names()
        for alias, number in index.aliases(model).items()
    }
    for key in present.keys() - wanted.keys():
        index.release_alias(*key)
    for (model, alias), number in wanted.items():
        if present.get((model, alias)) != number:
            index.set_alias(model, alias, number)
    for (model, alias), moved_to in replay.moved_last.items():
        if moved_to is not None and (model, alias) not in wanted:
            reason = "its version was lost, or was removed by then"
            event = Event(LedgerAction.RELEASED, model, moved_to, alias, moved_to, reason)
            index.append(event)
    return lost


def _restore_removals(index: WriteTransaction, replay: Replay) -> None:
    present = dict(index.each_removal())
    for key in present.keys() - replay.removed.keys():
        if version := _version(index, key):
            index.restore(version)
    for key, removed in replay.removed.items():
        version = _version(index, key)
        if version is None:
            continue
        if key not in present:
            index.remove(version, removed.at)
        if removed.collected and not present.get(key, ("", ""))[1]:
            index.collect(version, removed.collected)


def _restore_tags(index: WriteTransaction, replay: Replay) -> None:
    present = index.all_tags()
    for key in present.keys() | replay.tags.keys():
        wanted, found = replay.tags.get(key, {}), present.get(key, {})
        if wanted != found and (version := _version(index, key)):
            index.tag(version, wanted, sorted(found.keys() - wanted.keys()))


def _version(index: WriteTransaction, key: VersionKey) -> Version | None:
    entry = index.entry(*key)
    return entry.version if entry else None
