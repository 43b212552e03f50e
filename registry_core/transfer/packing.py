"""Writing versions into an archive file, which appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.exports.outputs import Output
from registry_core.store.local.disk import sync_folder
from registry_core.transfer.archive import ENDING, ArchiveWriter
from registry_core.transfer.copying import Copied, arriving, progress_of, size_of

if TYPE_CHECKING:
    from registry_core.transfer.sources import Source, Wanted
    from registry_core.types import Progress


def output(file: Path, overwrite: bool, command: str) -> Output:
    """The archive's place; `check` refuses one that cannot be written.

    Args:
        file: the archive.
        overwrite: whether an existing file may be replaced.
        command: what was typed, up to the file, for messages.
    """
    fallback = file if os.path.isfile(file) else Path.cwd() / f"versions{ENDING}"  # noqa: PTH113 - never raises
    return Output(file, False, overwrite, command, fallback)


def pack(
    source: Source, wanted: Sequence[Wanted], place: Output, progress: Progress, dry_run: bool
) -> list[Copied]:
    """Write versions into an archive; with a dry run, only say which.

    Raises:
        UsageError, StorageError: the archive cannot be written.
        IntegrityError: a version is damaged; nothing was written.
    """
    if dry_run:
        return [
            Copied(each.ref, each.digest, "copied", None, size_of(source, each)) for each in wanted
        ]
    done: list[Copied] = []
    told = progress_of(wanted, progress)
    with place.draft(ENDING) as draft, draft.open("xb") as stream:
        writer = ArchiveWriter(stream)
        for each in wanted:
            arrival = arriving(source, each, told)
            writer.add(arrival)
            size = sum(file.size for file in arrival.recorded.files)
            done.append(Copied(each.ref, each.digest, "copied", None, size))
        writer.end()
    sync_folder(place.path.absolute().parent)
    return done
