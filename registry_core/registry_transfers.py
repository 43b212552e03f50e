"""What a registry does with other registries and with archives: versions are copied by digest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core import results
from registry_core.errors import UsageError
from registry_core.records import Version
from registry_core.refs import Ref, check_new_model_name, parse_ref
from registry_core.registry_lists import Reference, RegistryLists
from registry_core.registry_runs import RegistryRunner

if TYPE_CHECKING:
    from registry_core.store import Store
    from registry_core.transfer.examination import ModelExaminer
    from registry_core.transfer.sources import Source, Wanted
    from registry_core.types import Progress


class RegistryTransfers(RegistryRunner):
    """Copies versions to and from other registries."""

    def push(
        self,
        references: Iterable[Reference],
        to: str | Path | RegistryLists,
        *,
        everything: bool = False,
        since: datetime | None = None,
        name: str = "",
        reason: str = "",
        dry_run: bool = False,
        progress: Progress | None = None,
        examine: ModelExaminer | None = None,
    ) -> results.TransferredVersions:
        """Copy versions to another registry.

        A copy keeps its digest and gets the next number there. A version that is there already is
        left, and its missing or damaged files are put again.

        Args:
            references: the versions; with `everything`, models, and none means all models.
            to: a remote of plugins.toml, a folder, or a registry.
            everything: copy every version.
            since: only versions that were registered then or later; has a time zone.
            name: the model to register them under; empty is the name that each has.
            reason: for the ledger of the other registry.
            dry_run: return what would be done, and change nothing.
            progress: is told what is copied.
            examine: checks the file of each model; None is what `import_model` does.

        Raises:
            UsageError: a reference names no version, or there is no such remote.
            StorageError: a registry cannot be read or written; what was copied by then stays.
        """
        from registry_core.transfer.sources import RegistrySource

        other = self._other(to)
        return self._copied(
            RegistrySource(self.store),
            other.store,
            references,
            everything,
            since,
            name,
            reason,
            dry_run,
            progress,
            examine,
        )
