"""Verified and exported files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError
from registry_core.store.storage_errors import REBUILD

if TYPE_CHECKING:
    from registry_core.evaluation.export_check import ExportCheck
    from registry_core.store.audit import Audit
    from registry_core.store.rebuild import Rebuilt


# An error names this many lost versions.
_NAMED = 3


@dataclass(frozen=True)
class Verification:
    """What a check of every file and record found.

    Args:
        audit: what was read and what is wrong with it; empty where a new index is only planned.
        rebuilt: the new index; None where none was made.
        dry_run: the new index was planned and not made.
    """

    audit: Audit
    rebuilt: Rebuilt | None = None
    dry_run: bool = False

    @property
    def planned(self) -> bool:
        """Whether a new index was planned only, so that nothing was read again."""
        return self.rebuilt is not None and self.dry_run

    @property
    def error(self) -> IntegrityError | None:
        """The error that sums up the damage; None where there is none."""
        problems, lost = self.audit.problems, self.rebuilt.lost if self.rebuilt else {}
        if problems:
            return IntegrityError(
                f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found.",
                "Damaged files are never used. Restore the files named above from a backup.",
                REBUILD if self.audit.index_damaged else "",
            )
        if lost:
            named = ", ".join([*lost][:_NAMED]) + (", …" if len(lost) > _NAMED else "")
            return IntegrityError(
                f"Lost, and not in the new index: {named}.",
                "Restore the lost files under objects/ from a backup, and rebuild again.",
                REBUILD,
            )
        return None

    def to_json(self) -> dict[str, Any]:
        rebuilt = self.rebuilt.to_json() if self.rebuilt else None
        return {**self.audit.to_json(), "rebuilt": rebuilt}


@dataclass(frozen=True)
class ExportedFiles:
    """What was written for use elsewhere.

    Args:
        version: the reference of the version.
        format: one of `registry_core.exports.FORMATS`.
        path: the file or folder.
        check: what running the export found; None for copies of registered files.
    """

    version: str
    format: str
    path: Path
    check: ExportCheck | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "format": self.format,
            "path": str(self.path),
            "check": self.check.to_json() if self.check else None,
        }
