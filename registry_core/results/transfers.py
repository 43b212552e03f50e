"""Versions that were copied between registries, or written into an archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError, MlregError

if TYPE_CHECKING:
    from registry_core.transfer.copying import Copied

# An error names this many versions.
_NAMED = 3


@dataclass(frozen=True)
class TransferredVersions:
    """What became of each version, in the order of their registration.

    Args:
        source: the registry or the archive that they come from.
        target: the registry or the archive that they go to.
        versions: each of them.
        dry_run: nothing was copied.
    """

    source: str
    target: str
    versions: Sequence[Copied]
    dry_run: bool = False

    def count(self, *states: str) -> int:
        """How many versions have one of these states."""
        return sum(1 for each in self.versions if each.state in states)

    @property
    def error(self) -> MlregError | None:
        """The error that sums up what was refused; None where nothing was."""
        errors = [each.error for each in self.versions if each.error is not None]
        if len(errors) < 2:
            return errors[0] if errors else None
        kind = next((type(each) for each in errors if isinstance(each, IntegrityError)), None)
        refused = [each.source for each in self.versions if each.error is not None]
        named = ", ".join(refused[:_NAMED]) + (", …" if len(refused) > _NAMED else "")
        return (kind or type(errors[0]))(
            f"{len(refused)} versions were not copied: {named}.",
            f"{'The others were' if self.count('refused') < len(self.versions) else 'None was'}. "
            "The reason of each is above.",
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "from": self.source,
            "to": self.target,
            "versions": [_json(each) for each in self.versions],
            "dry_run": self.dry_run,
        }


def _json(copied: Copied) -> dict[str, Any]:
    return {
        "source": copied.source,
        "digest": copied.digest,
        "state": copied.state,
        "version": copied.version.to_json() if copied.version else None,
        "bytes": copied.size,
        "mended": list(copied.mended),
        "error": copied.error.to_json() if copied.error else None,
    }
