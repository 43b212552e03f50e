"""Replaces the index of a registry in a folder by a new one, and keeps the old files.

Nobody else writes meanwhile. The old files are kept under other names: `registry.sqlite3.before-…`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from registry_core.errors import IntegrityError, MlregError
from registry_core.store.clock import utc_now
from registry_core.store.local.folders import check_regular, names_in, opened
from registry_core.store.local.ledger_file import LEDGER_FILE, LedgerFile
from registry_core.store.local.ledger_head import HEAD_FILE, Head
from registry_core.store.local.locks import lock
from registry_core.store.local.objects import OBJECTS
from registry_core.store.sqlite.index import SqliteIndex
from registry_core.store.sqlite.rescue import JOURNALS, locked_index, writers_kept_out
from registry_core.store.storage_errors import DATABASE


def read_head(ledger_file: LedgerFile) -> Head | None:
    """The newest row that the objects know of; None if that is not known."""
    with suppress(MlregError):
        return ledger_file.head.read()
    return None


@contextmanager
def exclusively(folder: Path, busy_seconds: float) -> Iterator[None]:
    """Keep out other rebuilds, and writers if the old index can have any.

    A damaged one has none: they check it before they write.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lock(descriptor, folder / DATABASE, "rebuilding the index", busy_seconds)
        for name in JOURNALS:  # at which SQLite would wait, or which it would follow
            if not _is_regular(folder / name):
                _keep(folder, name, _free_ending(folder), move=True)
        with ExitStack() as stack:
            if (folder / DATABASE).exists() and _is_regular(folder / DATABASE):
                stack.enter_context(writers_kept_out(folder / DATABASE, busy_seconds))
            yield
    finally:
        os.close(descriptor)


def replace_index(folder: Path, made: Path, ledger_file: LedgerFile) -> tuple[str, str]:
    """Replace the index, then ledger.jsonl, while nobody else can write to either index.

    Args:
        folder: the registry.
        made: the new index.
        ledger_file: of the registry.

    Returns:
        The present names of the old index and of the old ledger.jsonl; empty where there was none.
    """
    ending = _free_ending(folder)
    with ExitStack() as stack:
        # locked before it gets its name, so that no writer comes in between
        after = stack.enter_context(locked_index(made))
        old_index = _keep(folder, DATABASE, ending)
        for name in JOURNALS:  # of the old index; they must not be applied to the new one
            _keep(folder, name, ending, move=True)
        old_ledger = _keep(folder, LEDGER_FILE, ending)
        before = read_head(ledger_file)
        if before is None:
            _keep(folder / OBJECTS, HEAD_FILE, ending, move=True)
        ledger_file.head.announce(before.after if before else None, after)
        with opened(made.parent) as source, opened(folder) as target:
            os.rename(made.name, DATABASE, src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)
        with SqliteIndex(folder, 0).read() as view:
            ledger_file.replace(view.ledger_after(0))
        ledger_file.head.set(after)
    return old_index, old_ledger


def _keep(folder: Path, name: str, ending: str, move: bool = False) -> str:
    """Keep a file under another name too; move it if asked, or if it is not a regular file."""
    kept = f"{name}.{ending}"
    with opened(folder) as descriptor, suppress(FileNotFoundError):
        if move or not _is_regular(folder / name):
            os.rename(name, kept, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        else:
            os.link(name, kept, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        return kept
    return ""


def _is_regular(place: Path) -> bool:
    try:
        check_regular(place)
    except IntegrityError:
        return False
    return True


def _free_ending(folder: Path) -> str:
    """`before-2026-05-03T143000Z`, with a number where two rebuilds come within a second."""
    base = f"before-{utc_now().replace(':', '')}"
    with opened(folder) as descriptor:
        taken = names_in(descriptor)
    number = 1
    while any(f"{base}-{number}" in name for name in taken):
        number += 1
    return f"{base}-{number}"
