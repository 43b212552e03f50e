"""What a registry lists: models, versions, the ledger, aliases, runs, by pages.

It reads the index, and of runs their records; nothing here compares or loads a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from registry_core import results
from registry_core.formatting import better_when
from registry_core.places import RegistryPlace
from registry_core.records import LedgerRow, PromotionRequest, RunLog, UnfinishedRun, Version
from registry_core.refs import Ref, check_alias_name, parse_ref
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.parts import parts_at
from registry_core.version_query import format_cursor, parse_query

if TYPE_CHECKING:
    from registry_core.lifecycle.run_curves import RunCurves
    from registry_core.lifecycle.run_list import RunList, RunProgress
    from registry_core.promotion.registry_rules import RuleList
    from registry_core.promotion.requests import RequestList
    from registry_core.sweeps.record import Sweep

Reference = str | Ref | Version

# The largest number of rows that can be asked for.
_ALL = 2**63 - 1


def _one_more(limit: int | None) -> int | None:
    """A limit that shows whether there is more."""
    return None if limit is None else min(limit + 1, _ALL)


class RegistryLists:
    """Models, versions, aliases and runs of one registry, to list.

    Args:
        place: where the registry is; a path is its folder.
        settings: the content of plugins.toml.
    """

    def __init__(self, place: Path | RegistryPlace, settings: Settings) -> None:
        self.place = place if isinstance(place, RegistryPlace) else RegistryPlace(place)
        self.folder = self.place.folder
        self.settings = settings
        self._check: Callable[[RegistryPlace, str], None] | None = None

    @cached_property
    def store(self) -> Store:
        """What the registry is kept in."""
        store = Store(parts_at(self.place), receivers=self.settings.receivers)
        if self._check is not None:
            self._check(self.place, store.state())
        return store

    def require(self, check: Callable[[RegistryPlace, str], None]) -> Self:
        """Check the place when it is first used, not now.

        Args:
            check: takes the place and `Store.state()`; raises where no registry is there.
        """
        self._check = check
        return self

    def version(self, reference: Reference) -> Version:
        """The version of a reference.

        Raises:
            UsageError: the reference is malformed, or nothing has it.
        """
        if isinstance(reference, Version):
            return reference
        ref = parse_ref(reference) if isinstance(reference, str) else reference
        return self.store.resolve(ref)

    def models(self, limit: int | None = None, *, after: str = "") -> results.ModelList:
        """Models, by name.

        Args:
            limit: the most models to return; None is all.
            after: `next` of the page before: only models whose names come after it.
        """
        more = self.store.models(_one_more(limit), after)
        found = more[:limit]
        next_page = found[-1].name if found and len(more) > len(found) else None
        return results.ModelList(self.place.name, found, next_page)

    def model_names(self) -> list[str]:
        """Every registered name, also of models that have no version left."""
        return self.store.model_names()

    def versions(
        self,
        model: str,
        limit: int | None = None,
        tag: tuple[str, str | None] | None = None,
        *,
        where: Sequence[str] = (),
        sort: str | None = None,
        after: str | None = None,
        check_files: bool = False,
    ) -> results.VersionList:
        """A model's versions, newest first unless they are sorted otherwise.

        Args:
            model: the registered name.
            limit: the most versions to return; None is all.
            tag: only versions with this key, and this value if it is not None.
            where: conditions that each version meets: `test_accuracy>0.9`, `preset=quick`,
                `seed>=3`, `created>=2026-01-01`, `tag:reviewed=yes`, `tag:reviewed`; keys are
                metrics, preset, dataset, group, seed, version, created.
            sort: version, created, seed, preset, dataset or a metric; with a `-` in front, the
                largest comes first. Versions without the metric come last.
            after: `next` of the page before, sorted in the same way; or a version's number.
            check_files: find groups, and damage that names and sizes of files in a folder show.

        Raises:
            UsageError: there is no such model or metric, or one of the texts cannot be read.
        """
        query = parse_query(model, where, sort, after, tag)
        more = self.store.versions(model, _one_more(limit), query)
        found = more[:limit]
        next_page = None
        if found and len(more) > len(found):
            next_page = format_cursor(model, query.order, found[-1].version)
        if not check_files:
            return results.VersionList(self.place.name, found, next_page)
        one_of_each = {version.group: version for version in found if version.group}
        near = found if self.store.parts.in_folder else []  # each file would be a request
        damaged = {version.ref: self.store.damaged(version) for version in near}
        unreadable = {version.ref: self.store.unreadable(version) for version in near}
        best, best_by = self.best(model)
        return results.VersionList(
            self.place.name,
            found,
            next_page,
            {group: self.store.group(version) for group, version in one_of_each.items()},
            {ref: problems for ref, problems in damaged.items() if problems},
            {ref: place for ref, place in unreadable.items() if place},
            best,
            best_by,
        )

    def best(self, model: str) -> tuple[Version | None, str]:
        """The version that `model@best` means, and by what; None and "" if nothing ranks them."""
        best, objective = self.store.best(model) or (None, "")
        direction, _, metric = objective.partition(" ")
        return best, better_when(metric, direction) if best else ""

    def metric_names(self, model: str) -> list[str]:
        """The metrics of a model's newest versions, which a list can be sorted by."""
        return self.store.metric_names(model)

    def newest_versions(self, limit: int) -> list[Version]:
        """The versions that were registered last, of any model, newest first."""
        return self.store.newest_versions(limit)

    def removed(self, model: str) -> results.RemovedVersions:
        """A model's removed versions; raises UsageError where there is no such model."""
        return results.RemovedVersions(self.store.removals.of(model))

    def history(
        self,
        reference: Reference | None = None,
        limit: int | None = None,
        *,
        before: int | None = None,
    ) -> results.History:
        """What happened, newest first.

        Args:
            reference: a model; `model@3` for one version; `model@production` for the versions that
                the alias was on, and its rule. None is the whole registry.
            limit: the most rows to return; None is all.
            before: only rows below this number: `next` of the page before.

        Raises:
            UsageError: nothing has, or ever had, the reference.
        """
        if before is not None:
            before = max(0, min(before, _ALL))
        rows = self._rows(reference, _one_more(limit), before)
        found = rows[:limit]
        return results.History(
            found, found[-1].number if found and len(rows) > len(found) else None
        )

    def _rows(
        self, reference: Reference | None, limit: int | None, before: int | None
    ) -> list[LedgerRow]:
        if reference is None:
            return self.store.ledger(limit=limit, before=before)
        if isinstance(reference, Version):
            reference = reference.ref
        ref = parse_ref(reference) if isinstance(reference, str) else reference
        if ref.kind not in ("alias", "none"):
            version = self.store.resolve(ref, removed=True)
            return self.store.ledger(ref.model, version.version, limit=limit, before=before)
        rows = self.store.ledger(ref.model, alias=ref.selector, limit=limit, before=before)
        if not rows and before is None:
            self.version(ref)  # nothing ever had this name: the error names near ones
        if ref.kind == "alias":
            # about its rule
            rows += self.store.ledger("", alias=ref.selector, limit=limit, before=before)
            rows.sort(key=lambda row: row.number, reverse=True)
        return rows

    def aliases(self, model: str) -> dict[str, int]:
        """Each alias of a model, and the number of its version; UsageError: no such model."""
        return self.store.aliases(model)

    def holders(self, model: str, alias: str | None = None) -> results.AliasHolders:
        """Which version each alias of a model is on, since when and why.

        Raises:
            UsageError: there is no such model, or alias.
        """
        if alias is not None:
            self.version(Ref(model, "alias", check_alias_name(alias)))  # the error names near ones
        held = [each for each in self.store.aliases(model) if alias in (None, each)]
        rows = [row for each in held if (row := self.store.move(model, each))]
        return results.AliasHolders(rows)

    def holder_at(self, model: str, alias: str, moment: datetime) -> results.HolderAt:
        """Which version an alias was on at a moment, which has a time zone."""
        until = moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        version = self.store.holder_at(model, alias, until)
        return results.HolderAt(str(Ref(model, "alias", alias)), moment, version)

    def rules(self) -> RuleList:
        """The promotion rules that apply from this folder, by alias.

        Raises:
            DamagedIndexError: a rule of the registry is damaged.
        """
        from registry_core.promotion.registry_rules import list_rules

        return list_rules(self.store, self.settings)

    def requests(self) -> RequestList:
        """The promotions that were asked for and wait for approval, oldest first.

        Raises:
            DamagedIndexError: the index and the ledger differ on a request.
        """
        from registry_core.promotion.requests import list_requests

        return list_requests(self.store)

    def request(self, number: int) -> PromotionRequest:
        """An open request; UsageError: there is none of that number."""
        from registry_core.promotion.requests import find_request

        return find_request(self.store, number)

    def account(self) -> str:
        """The account that a row of the ledger written now would name."""
        return self.store.account()

    def runs(
        self, limit: int = 10, *, after: str | None = None, all_unfinished: bool = False
    ) -> RunList:
        """The newest runs without a version, running ones first, and the newest finished ones.

        Args:
            limit: the most, of both together.
            after: `next` of the page before.
            all_unfinished: list every run without a version, and `limit` finished ones.

        Raises:
            UsageError: `after` cannot be read.
        """
        from registry_core.lifecycle.run_list import list_runs

        return list_runs(self.store, limit, after, all_unfinished)

    def unfinished_runs(self) -> list[UnfinishedRun]:
        """Every run without a version, oldest first; reads no checkpoint."""
        return self.store.unfinished_runs()

    def sweeps(self, limit: int | None = None, *, after: str | None = None) -> results.SweepList:
        """Sweeps with their trials, newest first.

        Args:
            limit: the most; None is all.
            after: only those before this one: `next` of the page before, or the end of an id.

        Raises:
            UsageError: no sweep is called `after`, or more than one.
        """
        from registry_core.sweeps.listing import list_sweeps

        found, damaged, place = list_sweeps(self.store, limit, after)
        return results.SweepList(found, damaged, place)

    def sweep_ids(self) -> list[str]:
        """The ids of all sweeps, newest first; reads no trial."""
        from registry_core.sweeps.state import sweep_ids

        return sweep_ids(self.store)

    def find_sweep(self, name: str) -> Sweep | None:
        """A sweep and its trials, by its id, or the beginning or end of it; None without one.

        Raises:
            UsageError: more than one has that name.
            IntegrityError: a record of it is damaged.
        """
        from registry_core.sweeps.state import find_sweep_id, read_sweep

        found = find_sweep_id(self.store, name)
        return None if found is None else read_sweep(self.store, found)

    def run_progress(self, run_id: str) -> RunCurves:
        """How far a run is, or was when it ended, and its metrics after each epoch.

        Args:
            run_id: the run's whole id.

        Raises:
            UsageError: there is no such run.
        """
        from registry_core.lifecycle.run_curves import read_curves

        return read_curves(self.store, run_id)

    def curves(self, versions: Sequence[Version]) -> Mapping[str, Sequence[float]]:
        """A small curve of each version: what its objective measures, after each epoch.

        That is the validation metric, or else the training metric. Versions that
        were imported, or whose record is damaged, have no curve.

        Args:
            versions: the versions; only the first 200 are read.

        Returns:
            Reference -> at most 60 values.
        """
        from registry_core.lifecycle.run_curves import version_curves

        return version_curves(self.store, versions)

    def stopped_run(self, name: str | None = None) -> RunProgress:
        """A run that stopped without a version, to be resumed or discarded.

        Args:
            name: its id, or the beginning or end of it; None is the only one that can be resumed.

        Raises:
            UsageError: no run has that name, or more than one.
            BusyError: it is still running, in another process.
        """
        from registry_core.lifecycle.run_list import find_stopped_run, progress

        return progress(find_stopped_run(self.store, name), self.store)

    def run_log(self, words: Sequence[str]) -> RunLog:
        """The log of a run.

        Args:
            words: a reference to a version, in one or two words; or a run's id, or its end.

        Raises:
            UsageError: there is no such version or run, or nothing was logged.
            IntegrityError: the log is damaged.
        """
        from registry_core.lifecycle.run_log import find_log

        return find_log(self.store, words)
