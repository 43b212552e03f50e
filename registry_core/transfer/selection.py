"""Which versions of a source are to be copied, and how: the arguments that all copying shares."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.records import Version
from registry_core.refs import Ref, parse_ref, shown

if TYPE_CHECKING:
    from registry_core.transfer.sources import Source, Wanted


class TransferArguments(TypedDict, total=False):
    """Keywords of `Registry.push` and `pull`."""

    everything: bool
    since: datetime | None
    name: str
    reason: str
    dry_run: bool


@dataclass(frozen=True)
class Selection:
    """Versions that are named, or all versions of models.

    Args:
        refs: of versions; with `everything`, of models, and none means all models.
        everything: all versions of these models.
        since: only those that were registered since then; it has a time zone.
    """

    refs: tuple[Ref, ...] = ()
    everything: bool = False
    since: datetime | None = None

    @classmethod
    def of(
        cls, references: Iterable[str | Ref | Version], everything: bool, since: datetime | None
    ) -> Selection:
        """The selection that a caller's arguments mean.

        Raises:
            UsageError: one is not a reference.
        """
        texts = [each.ref if isinstance(each, Version) else each for each in references]
        refs = [parse_ref(each) if isinstance(each, str) else each for each in texts]
        return cls(tuple(refs), everything, since)

    @property
    def words(self) -> str:
        """As it is typed after a command's name: ` --all MODEL`."""
        words = ["--all"] if self.everything else []
        words += map(str, self.refs)
        words += ["--since", self.since.isoformat()] if self.since else []
        return "".join(f" {shlex.quote(word)}" for word in words)

    def among(self, source: Source) -> list[Wanted]:
        """The versions of a source, each once.

        Raises:
            UsageError: a reference names no version; or without `everything`, it is a name alone.
        """
        if not self.everything:
            if self.since is not None:
                raise UsageError("--since is for --all.", "Leave one of the two out.")
            for ref in self.refs:
                if ref.selector is None:
                    raise UsageError(
                        f"Which version of {ref.model}?",
                        f"Name one, such as {ref.model}@latest, or add --all for all of them.",
                    )
            return list(dict.fromkeys(map(source.find, self.refs)))
        models = source.model_names()
        for ref in self.refs:
            if ref.selector is not None:
                raise UsageError(
                    f"{ref} is one version, and --all means every version.",
                    "Leave one of the two out.",
                )
            if ref.model not in models:
                raise UsageError(
                    f"There is no model {shown(ref.model)} in {source.place}.",
                    f"Models: {', '.join(models[:10]) or 'none'}.",
                )
        named = {ref.model for ref in self.refs}
        moment = self.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if self.since else ""
        return [each for each in source.every(moment) if not named or each.model in named]
