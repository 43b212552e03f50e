"""The public interface of a registry: every verb of the command line as one method.

    >>> from registry_core import open_registry
    >>> model = open_registry().load("flowers@production")

The verbs here change what a registry has: aliases, tags, rules, versions. Those that only look,
those that train, and those that copy versions between registries are inherited. What they need is
imported when a method is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Unpack

from registry_core import results
from registry_core.errors import IntegrityError, MlregError, UsageError
from registry_core.places import registry_place
from registry_core.refs import Ref, parse_ref
from registry_core.registry_lists import Reference
from registry_core.registry_transfers import RegistryTransfers
from registry_core.settings import find_settings

if TYPE_CHECKING:
    from registry_core.notify.deliver import DeliveryList
    from registry_core.plugins.manager import PluginSet
    from registry_core.promotion.options import PromotionArguments
    from registry_core.promotion.promote import PromotionResult
    from registry_core.promotion.registry_rules import RuleChanges
    from registry_core.records import PromotionRequest, Version
    from registry_core.types import Observer


def open_registry(path: str | Path | None = None) -> Registry:
    """Open a registry; nothing is read or made until it is used.

    Args:
        path: its folder; None is MLREG_HOME, or what plugins.toml says, or the user's own.

    Raises:
        UsageError: plugins.toml is malformed.
    """
    settings = find_settings()
    place = registry_place(Path(path) if path is not None else None, settings)
    # absolute, because a plugin may change the working directory
    return Registry(replace(place, folder=place.folder.absolute()), settings)


class Registry(RegistryTransfers):
    """Models, versions, aliases and runs of one registry; see `RegistryReader` for references."""

    def promote(
        self,
        reference: Reference,
        alias: str,
        *,
        member: Reference | None = None,
        plugins: PluginSet | None = None,
        observer: Observer | None = None,
        **options: Unpack[PromotionArguments],
    ) -> PromotionResult:
        """Move an alias to a version if its rules are satisfied and no plugin objects.

        Args:
            reference: the version, or any of the group that is to be promoted.
            alias: the alias.
            member: the version of a group that takes the alias; None is the median one by
                validation.
            plugins: whose checks are asked; None is the version's plugin and the extensions.
            observer: is told the progress of a long comparison, and which version of a group is
                chosen.
            options: fields of `PromotionOptions`: `reason`, `force`, `dry_run`, `expected`,
                `verdict`, and `group`, which promotes the version's group.

        Raises:
            PromotionRefusedError: a check failed.
            AliasMovedError: it is not on the `expected` version.
            VerdictChangedError: other checks fail, or other rules apply.
            UsageError: there is no such group, or none of its versions can be chosen.
            IntegrityError: a file of the version is damaged.
        """
        from registry_core.promotion.promote import promote

        return self._ask_gate(promote, reference, alias, member, plugins, observer, options)

    def request_promotion(
        self,
        reference: Reference,
        alias: str,
        *,
        member: Reference | None = None,
        plugins: PluginSet | None = None,
        observer: Observer | None = None,
        **options: Unpack[PromotionArguments],
    ) -> PromotionResult:
        """Ask others to approve the promotion of a version to a protected alias.

        Args:
            reference: as for `promote`, and so are the others.
            alias: the alias.
            member: the version of a group.
            plugins: whose checks are asked.
            observer: is told the progress.
            options: `force` asks for it despite failed checks.

        Returns:
            The decision; its `request` has the number that `approve` and `decline` take.

        Raises:
            UsageError: no rule asks for approval, or this was asked for already.
            MlregError: as from `promote`.
        """
        from registry_core.promotion.requests import request_promotion

        ask = request_promotion
        return self._ask_gate(ask, reference, alias, member, plugins, observer, options)

    def _ask_gate(
        self,
        ask: Callable[..., PromotionResult],
        reference: Reference,
        alias: str,
        member: Reference | None,
        plugins: PluginSet | None,
        observer: Observer | None,
        arguments: PromotionArguments,
    ) -> PromotionResult:
        """Promote or request, with the plugins that are asked about the version."""
        from registry_core.promotion.options import PromotionOptions

        version = self.version(reference)
        chosen = None if member is None else self.version(member)
        options = PromotionOptions(**arguments, member=chosen)
        warnings: list[str] = []
        if plugins is None:
            plugins, warnings = self._plugins_asked(version)
        with self._receivers_told(options.dry_run):
            return ask(
                self.store,
                self.settings,
                version,
                alias,
                options,
                plugins=plugins,
                observer=observer,
                warnings=warnings,
            )

    @contextmanager
    def _receivers_told(self, dry_run: bool = False) -> Iterator[None]:
        """Tell receivers afterwards of what is done inside, also of a refusal."""
        refusal: MlregError | None = None
        try:
            yield
        except MlregError as error:
            refusal = error
        if self.settings.receivers and not dry_run:
            from registry_core.notify.deliver import deliver_afterwards

            deliver_afterwards(self.store, self.settings)
        if refusal is not None:
            raise refusal

    def deliveries(self, limit: int | None = None) -> DeliveryList:
        """What receivers were told of the ledger, of the newest rows first.

        Args:
            limit: the most to return; None is all.
        """
        from registry_core.notify.deliver import list_deliveries

        return list_deliveries(self.store, self.settings, limit)

    def retry_deliveries(self) -> DeliveryList:
        """Try everything again that a receiver was not told; UsageError: there is no receiver."""
        from registry_core.notify.deliver import retry

        return retry(self.store, self.settings)

    def _plugins_asked(self, version: Version) -> tuple[PluginSet, list[str]]:
        """The plugins whose checks are asked, and a warning if the version's is not here."""
        from registry_core.plugins.manager import KnownPlugins

        known = KnownPlugins(self.settings)
        if version.dataset in known.datasets:
            return known.load(version.dataset), []
        return known.load(None), [
            f"The plugin '{version.dataset}' is not installed here: if it checks promotions, "
            "its checks were not asked."
        ]

    def approve(
        self,
        number: int,
        *,
        reason: str = "",
        dry_run: bool = False,
        plugins: PluginSet | None = None,
        observer: Observer | None = None,
        verdict: str | None = None,
    ) -> PromotionResult:
        """Approve a request; the last approval that it needs moves the alias.

        Args:
            number: of the request.
            reason: for the ledger.
            dry_run: decide, and record nothing.
            plugins: whose checks are asked; None is the version's plugin and the extensions.
            observer: is told the progress of a long comparison.
            verdict: of the decision that a person saw; None is any.

        Raises:
            UsageError: there is no such open request.
            RefusedError: this account asked for it or approved it, or the request is outdated.
            PromotionRefusedError: a check fails by now.
            VerdictChangedError: other checks fail, or other rules apply.
            IntegrityError: a file of the version is damaged.
        """
        from registry_core.promotion.requests import approve

        def find_plugins(version: Version) -> tuple[PluginSet, list[str]]:
            return self._plugins_asked(version) if plugins is None else (plugins, [])

        with self._receivers_told(dry_run):
            return approve(
                self.store,
                self.settings,
                number,
                find_plugins,
                reason=reason,
                dry_run=dry_run,
                observer=observer,
                verdict=verdict,
            )

    def decline(self, number: int, *, reason: str) -> PromotionRequest:
        """Decline a request, or withdraw one's own; UsageError: it is not open."""
        from registry_core.promotion.requests import decline

        with self._receivers_told():
            return decline(self.store, number, reason)

    def rollback(
        self,
        model: str,
        alias: str,
        *,
        reason: str = "",
        dry_run: bool = False,
        expected: int | EllipsisType | None = ...,
    ) -> PromotionResult:
        """Move an alias back to the version it was on before; again, and it goes back further.

        No rule is checked: the version had the alias already. Its files are.

        Raises:
            UsageError: the alias was on no version before, or that version was removed.
            AliasMovedError: it is not on the `expected` version.
            IntegrityError: a file of that version is damaged.
        """
        from registry_core.promotion.promote import rollback

        with self._receivers_told(dry_run):
            return rollback(
                self.store,
                self.settings,
                model,
                alias,
                self.version,
                reason=reason,
                dry_run=dry_run,
                expected=expected,
            )

    def release(self, model: str, alias: str, *, reason: str = "") -> results.ReleasedAlias:
        """Delete an alias; a rollback brings it back.

        Raises:
            UsageError: there is no such alias.
        """
        with self._receivers_told():
            return results.ReleasedAlias(alias, self.store.release_alias(model, alias, reason))

    def tag(
        self,
        reference: Reference,
        tags: Mapping[str, str] | None = None,
        *,
        remove: Iterable[str] = (),
        reason: str = "",
    ) -> results.TaggedVersion:
        """Set tags of a version, and delete others; without either, only show them.

        Raises:
            UsageError: a key is malformed or not there, or a value is too long.
        """
        version, gone = self.version(reference), list(remove)
        if tags or gone:
            version = self.store.tag(version, tags or {}, gone, reason)
        return results.TaggedVersion(version)

    def set_rule(
        self,
        alias: str,
        *,
        floor: Mapping[str, float | None] | None = None,
        ceiling: Mapping[str, float | None] | None = None,
        reason: str = "",
        dry_run: bool = False,
        **changes: Any,
    ) -> RuleChanges:
        """Set the registry's rule for an alias, or change parts of it.

        Args:
            alias: the alias.
            floor: metric -> its least value; None requires none.
            ceiling: metric -> its largest value; None requires none.
            reason: kept in the ledger.
            dry_run: return what would be done, and change nothing.
            changes: `versus_incumbent`, `margin`, `alpha`, `requires`, `rollback_days`,
                `approvals`, `signed_by`, `seeds`, as fields of `PromotionRule`; what is left out,
                or None, stays.

        Raises:
            UsageError: a value cannot be part of a rule, or it is a floor for a metric that is
                better when lower, or a ceiling for one that is better when higher.
        """
        from registry_core.promotion.registry_rules import set_rule

        known = {key: value for key, value in changes.items() if value is not None}
        limits = {"floor": floor or {}, "ceiling": ceiling or {}}
        return set_rule(self.store, alias, limits, known, reason, dry_run)

    def remove_rule(self, alias: str, *, reason: str = "", dry_run: bool = False) -> RuleChanges:
        """Remove the registry's rule for an alias; UsageError: it has none."""
        from registry_core.promotion.registry_rules import remove_rule

        return remove_rule(self.store, alias, reason, dry_run)

    def sync_rules(self, *, reason: str = "", dry_run: bool = False) -> RuleChanges:
        """Copy the rules of plugins.toml into the registry; its other rules stay.

        Raises:
            UsageError: there is no plugins.toml, or it has no rules.
        """
        from registry_core.promotion.registry_rules import sync_rules

        return sync_rules(self.store, self.settings, reason, dry_run)

    def remove(
        self, reference: Reference, *, reason: str = "", dry_run: bool = False
    ) -> results.RemovedVersion:
        """Remove a version; it can be restored until it is collected.

        Raises:
            RefusedError: an alias is on it, or was lately, so that a rollback may need it.
        """
        from registry_core.promotion.registry_rules import file_rules

        version = self.version(reference)
        self.store.removals.remove(
            version,
            self.settings.rollback_days,
            reason,
            dry_run,
            file=str(self.settings.file),
            file_rules=file_rules(self.settings, read_keys=False),
        )
        return results.RemovedVersion(version, dry_run)

    def restore(self, reference: str | Ref, *, reason: str = "") -> results.RestoredVersion:
        """Restore a removed version; UsageError: there is none, or its files were deleted."""
        ref = parse_ref(reference) if isinstance(reference, str) else reference
        return results.RestoredVersion(self.store.removals.restore(ref, reason))

    def collect(
        self,
        older_than_days: float = 30,
        keep_last: int = 0,
        *,
        lost: bool = False,
        reason: str = "",
        dry_run: bool = False,
    ) -> results.CollectedFiles:
        """Permanently delete the files of removed versions, and files that no version needs.

        Args:
            older_than_days: keep what was removed later than this.
            keep_last: keep as many of the newest removed versions of each model.
            lost: also delete files whose manifest is lost.
            reason: kept in the ledger.
            dry_run: return what would be deleted, and delete nothing.
        """
        removals = self.store.removals
        found = (
            removals.collectable(older_than_days, keep_last, lost)
            if dry_run
            else removals.collect(older_than_days, keep_last, reason, lost)
        )
        stopped = [run.id for run in self.store.unfinished_runs() if run.process is None]
        return results.CollectedFiles(found, dry_run, stopped)

    def verify(self, *, rebuild: bool = False, dry_run: bool = False) -> results.Verification:
        """Check every file and record for damage; `error` of the result sums it up.

        Args:
            rebuild: make a new index if this one is damaged.
            dry_run: with `rebuild`, return what would be in it, and change nothing.

        Raises:
            IntegrityError: the index cannot be read at all, and `rebuild` is off.
        """
        from registry_core.store.audit import Audit, audit
        from registry_core.store.rebuild import rebuild_if_damaged

        try:
            found = audit(self.store)
            damaged = found.index_damaged or (rebuild and self.store.state() == "missing")
        except IntegrityError:
            if not rebuild:
                raise
            found, damaged = Audit(), True
        if not (rebuild and damaged):
            return results.Verification(found)
        rebuilt = rebuild_if_damaged(self.store, dry_run)
        if not (rebuilt and dry_run):
            return results.Verification(audit(self.store), rebuilt)
        return results.Verification(Audit(), rebuilt, dry_run)

    def set_up(self) -> results.RegistrySetup:
        """Make the registry if it is not there, and bring the tables of an older one up to date.

        The object store of a team's registry is tried first.

        Raises:
            StorageError: it cannot be written, or versions would not be safe in the object store.
            RefusedError: this user may not make tables.
        """
        from registry_core.store.setup import set_up
        from registry_core.urls import without_password

        made, place = set_up(self.store), self.place
        return results.RegistrySetup(place.name, made, without_password(place.index), place.objects)

    def grants(self) -> results.RegistryGrants:
        """The SQL that makes the roles of a team's registry, each with what it may do.

        Raises:
            UsageError: the registry is a folder.
        """
        if not self.place.index:
            raise UsageError(
                f"{self.place.name} is a folder: its permissions say who may do what.",
                "Roles are for a team's registry, which MLREG_INDEX and MLREG_OBJECTS name, or "
                "[registry] in plugins.toml.",
                "export MLREG_INDEX=postgresql://HOST/DATABASE MLREG_OBJECTS=s3://BUCKET/PREFIX",
            )
        from registry_core.store.postgres.grants import ROLES
        from registry_core.store.setup import grants

        return results.RegistryGrants(self.place.name, ROLES, grants(self.place))

    def discard_runs(self, names: Iterable[str]) -> results.DiscardedRuns:
        """Delete the files of stopped runs.

        Args:
            names: their ids, or beginnings or ends of them.

        Raises:
            UsageError: no run has a name, or more than one.
            BusyError: one is still running, in another process.
        """
        ids = list(dict.fromkeys(self.stopped_run(name).run.id for name in names))
        for run_id in ids:
            self.store.discard_run(run_id)
        return results.DiscardedRuns(ids)
