"""What a registry has: models, versions, aliases, and the ledger. Reads the index alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from registry_core.errors import UsageError
from registry_core.refs import Ref, check_model_name, shown
from registry_core.store import lookup
from registry_core.store.aliases import holder_after
from registry_core.version_query import EVERY_VERSION, VersionQuery

if TYPE_CHECKING:
    from registry_core.records import LedgerRow, ModelSummary, Version
    from registry_core.store.interfaces import VersionKey
    from registry_core.store.transactions import Transactions


class Queries:
    """The part of a store that reads the index.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access

    def models(self, limit: int | None = None, after: str = "") -> list[ModelSummary]:
        """Models by name, at most `limit` of those whose names come after `after`."""
        with self._access.reading("listing models") as view:
            return view.models(limit, after)

    def model_names(self) -> list[str]:
        """Every registered name, whether or not it still has versions."""
        with self._access.reading("listing models") as view:
            return view.model_names()

    def aliases(self, model: str) -> dict[str, int]:
        """Each alias of a model, and the number of the version that it is on."""
        with self._access.reading(f"listing the aliases of {model}") as view:
            lookup.check_model(view, model)
            return view.aliases(model)

    def versions(
        self, model: str, limit: int | None = None, query: VersionQuery = EVERY_VERSION
    ) -> list[Version]:
        """Some of a model's versions, newest first unless the query says otherwise.

        Args:
            model: the registered name.
            limit: the largest number of versions; None is all.
            query: which ones, and their order.

        Raises:
            UsageError: there is no such model, none of its versions has a metric of the query, or
                the version that the query continues after never was.
        """
        check_model_name(model)
        with self._access.reading(f"listing {model}") as view:
            lookup.check_query(view, model, query)
            found = view.versions(model, limit, query)
            if not found:
                lookup.check_model(view, model)
            return found

    def metric_names(self, model: str) -> list[str]:
        """The metrics of a model's newest versions; empty if there is no such model."""
        with self._access.reading(f"looking for the metrics of {model}") as view:
            return view.metric_names(model)

    def best(self, model: str) -> tuple[Version, str] | None:
        """The best of a model's versions, and by what: `min test_mae`; None without versions."""
        with self._access.reading(f"looking for the best version of {model}") as view:
            entry = view.best(model)
            return (entry.version, entry.objective) if entry else None

    def newest_versions(self, limit: int, before: VersionKey | None = None) -> list[Version]:
        """The versions that were registered last, of any model, newest first.

        Args:
            limit: the largest number of versions.
            before: only those that were registered before this one.
        """
        with self._access.reading("listing what was registered last") as view:
            return view.newest(limit, before)

    def versions_of_run(self, name: str, limit: int = 10) -> list[Version]:
        """The versions whose run's id is this name, or ends with it, newest first."""
        with self._access.reading(f"looking for the version of run {name}") as view:
            return view.by_run(name, limit)

    def group(self, version: Version) -> list[Version]:
        """The versions of the same group, this one among them, oldest first."""
        return self.groups([version]).get(version.group, [version])

    def groups(self, versions: Iterable[Version]) -> dict[str, list[Version]]:
        """All versions of each group that one of these belongs to, by the group's id.

        Versions that belong to no group are left out. The oldest of a group comes first.
        """
        wanted = {(version.model, version.group) for version in versions if version.group}
        found: dict[str, list[Version]] = {}
        if wanted:
            with self._access.reading("looking for groups of versions") as view:
                for version in view.groups(wanted):
                    found.setdefault(version.group, []).append(version)
        return found

    def group_versions(self, model: str, group: str) -> list[Version]:
        """The versions of a group, oldest first; raises UsageError where there is no such group."""
        with self._access.reading("looking for a group of versions") as view:
            found = list(view.groups({(check_model_name(model), group)}))
            if not found:
                lookup.check_model(view, model)
                raise UsageError(
                    f"{model} has no group {shown(group)}.",
                    "Its versions say which groups there are.",
                    f"mlreg list {model}",
                )
            return found

    def resolve(self, ref: Ref, removed: bool = False) -> Version:
        """The version that a reference names; a name alone means the latest.

        Args:
            ref: the reference.
            removed: also find a removed version by its number.

        Raises:
            UsageError: no version has the reference, or more than one; the message names the
                nearest.
        """
        with self._access.reading(f"looking for {ref}") as view:
            return lookup.resolve(view, ref, removed)

    def ledger(
        self,
        model: str | None = None,
        version: int | None = None,
        alias: str | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[LedgerRow]:
        """What happened to a model, a version, an alias, or to all of them; newest first.

        Args:
            model: the registered name.
            version: a version's number.
            alias: an alias.
            limit: the largest number of rows; None is all.
            before: only rows with a lower number.
        """
        with self._access.reading("reading the ledger") as view:
            return view.ledger(model, version, alias, limit, before)

    def move(self, model: str, alias: str, until: str | None = None) -> LedgerRow | None:
        """The last row that moved or released an alias; None without one.

        Args:
            model: the registered name.
            alias: the alias.
            until: UTC, ISO 8601: the last one that is not later; None is the last of all.
        """
        with self._access.reading(f"looking for what {model}@{alias} was") as view:
            return view.move(model, alias, until)

    def holder_at(self, model: str, alias: str, until: str) -> Version | None:
        """The version that an alias was on at a time, removed since or not; None for no version.

        Args:
            model: the registered name.
            alias: the alias.
            until: UTC, ISO 8601.
        """
        with self._access.reading(f"looking for what {model}@{alias} was") as view:
            number = holder_after(view.move(model, alias, until))
            return lookup.by_number(view, model, number, removed=True) if number else None

    def held(self, model: str, alias: str) -> list[int | None]:
        """The last two places that an alias can roll back through, the present one last.

        A number is a version's; None is a time when it was on no version.
        """
        with self._access.reading(f"looking for the versions that {model}@{alias} was on") as view:
            return view.held(model, alias)

    def has_held(self, version: Version, alias: str) -> bool:
        """Whether an alias is on a version, or ever was."""
        with self._access.reading(f"looking for what {version.ref} was") as view:
            return view.has_held(version, alias)

    def compared_before(self, candidate: Version, incumbent: Version, fingerprint: str) -> int:
        """The number of other candidates compared with an incumbent on one test split."""
        with self._access.reading(f"counting what was compared with {incumbent.ref}") as view:
            return view.compared_before(candidate, incumbent, fingerprint)

    def ledger_head(self) -> tuple[int, str] | None:
        """Number and digest of the ledger's newest row; None if the ledger is empty.

        Kept elsewhere, it shows later whether the ledger up to it was rewritten.
        """
        with self._access.reading("reading the ledger's head") as view:
            return view.last_ledger_row()

    def verify_ledger(self) -> None:
        """Recompute the ledger's chain, and compare the index with its second copy.

        Raises:
            DamagedIndexError: names the first row that was changed.
        """
        with self._access.snapshot("verifying the ledger") as (view, seen):
            self._access.ledger_copy.verify(view, seen)
