"""The registry as people and programs use it: by reference, with gates, as Keras models.

    >>> from registry_core import open_registry
    >>> model = open_registry().load("cifar10@production")

Knows the store, the plugins and, where a model is wanted, Keras; nothing of how it was trained.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core import rules
from registry_core.errors import AliasMovedError, BusyError, RuleChangedError, UsageError
from registry_core.records import (
    MODEL_FILE,
    LedgerAction,
    LedgerRow,
    Promotion,
    RunLog,
    UnfinishedRun,
    Version,
)
from registry_core.refs import Ref, check_alias_name, parse_ref, shown
from registry_core.rules import RuleChange, SetRule
from registry_core.settings import RegistryPlace, Settings, find_settings, registry_place
from registry_core.store import CheckedVersion, Store

if TYPE_CHECKING:
    import keras

    from registry_core.evaluation.comparison import SideBySide
    from registry_core.evaluation.groups import Group
    from registry_core.evaluation.per_example_results import PerExampleResults
    from registry_core.plugins.manager import PluginSet
    from registry_core.promotion.gates import Decision
    from registry_core.types import Observer

# How often a promotion is decided anew where others move the alias at the same time.
_DECISIONS = 10


def open_registry(path: str | Path | None = None) -> Registry:
    """Open a registry; nothing is read or made until it is used.

    Args:
        path: its folder; None takes MLREG_HOME, what plugins.toml says, or the user's own.

    Raises:
        UsageError: plugins.toml is malformed.
    """
    settings = find_settings()
    place = registry_place(Path(path) if path is not None else None, settings)
    # absolute, because a plugin may change the working directory
    return Registry(place.folder.absolute(), settings, place.named_by)


class Registry:
    """Models, versions and aliases in one folder.

    Args:
        folder: where the registry is.
        settings: what plugins.toml says, for the plugins that check promotions.
        named_by: what names the folder, as `RegistryPlace` has it.
    """

    def __init__(self, folder: Path, settings: Settings, named_by: str = "") -> None:
        self.folder = folder
        self.settings = settings
        self.place = RegistryPlace(folder, named_by)

    @cached_property
    def store(self) -> Store:
        """What is in the folder."""
        return Store(self.folder)

    def version(self, reference: str | Ref) -> Version:
        """The version that a reference names; a name alone means its latest.

        Raises:
            UsageError: the reference is malformed, or nothing has it.
        """
        ref = parse_ref(reference) if isinstance(reference, str) else reference
        return self.store.resolve(ref)

    def load(self, reference: str | Ref) -> keras.Model:
        """The Keras model of a version, compiled, taking the dataset's raw inputs.

        The modules that register its layers and functions of its own are imported first.

        Raises:
            UsageError: nothing has the reference, or it needs another Keras.
            PluginError: it has a layer or a function of its own, whose code is not here.
            IntegrityError: its file is not what its digest says; nothing of it was parsed.
        """
        from registry_core.plugins import custom_code

        version = self.version(reference)
        manifest = self.store.manifest(version)
        with tempfile.TemporaryDirectory() as folder:
            file = self.store.copy_out(version, MODEL_FILE, Path(folder) / MODEL_FILE)
            code = custom_code.find_code(version, manifest, file, self.settings)
            from registry_core.training import load_model  # TensorFlow loads here

            with code.imported():
                return load_model(file)

    def promote(
        self,
        reference: str | Ref,
        alias: str,
        *,
        plugins: PluginSet,
        reason: str = "",
        force: bool = False,
        dry_run: bool = False,
        observer: Observer | None = None,
        warnings: Sequence[str] = (),
    ) -> tuple[Promotion, Decision]:
        """Move an alias to a version, if its rules hold and no plugin objects.

        The registry's rule for the alias applies wherever this is called; one of plugins.toml that
        differs from it applies as well. They are those of the moment at which the alias moves.

        Args:
            reference: the version that is to hold the alias.
            alias: the alias.
            plugins: whose checks are asked.
            reason: kept in the ledger.
            force: overrule what fails; needs a reason.
            dry_run: decide, and move nothing.
            observer: told how far a long comparison is.
            warnings: kept with the decision, before those about rules.

        Returns:
            The promotion, and the decision that it rests on. Where the version holds the alias
            already, nothing is asked and nothing is done.

        Raises:
            PromotionRefusedError: a check fails; the ledger says so, the alias has not moved.
            IntegrityError: a file of the version is damaged; the alias has not moved.
        """
        from registry_core.evaluation.per_example_results import OUTCOMES_FILE
        from registry_core.promotion import gates

        gates.check_force(force, reason)
        check_alias_name(alias)
        candidate = self.version(reference)
        if alias in candidate.aliases:
            holder = self._holder(candidate.model, alias)  # checked against the ledger
            if holder and holder.version == candidate.version:
                return Promotion(alias, holder, holder), gates.Decision(holder, holder, alias, ())
        checked = self.store.check(candidate, keep=[OUTCOMES_FILE])
        for _ in range(_DECISIONS):
            decision = self._decide(checked, alias, plugins, observer, warnings)
            grounds = decision.evidence(force)
            if decision.failed and not force:
                if not dry_run:
                    self.store.note(
                        LedgerAction.REFUSED,
                        candidate.model,
                        candidate.version,
                        alias,
                        reason,
                        grounds,
                    )
                raise gates.PromotionRefusedError(decision)
            if dry_run:
                return Promotion(alias, candidate, decision.incumbent), decision
            try:
                promotion = self.store.move_alias(
                    checked,
                    alias,
                    reason,
                    grounds,
                    holder=decision.incumbent,
                    rule=decision.rule_row,
                )
            except (AliasMovedError, RuleChangedError) as error:
                outdated = error  # decided about another holder, or by another rule: decide again
            else:
                return promotion, decision
        raise outdated

    def rollback(
        self, model: str, alias: str, *, reason: str = "", dry_run: bool = False
    ) -> Promotion:
        """Give an alias back to the version that held it before, as a new row of the ledger.

        A second rollback goes back one further. Nothing is asked of that version again, except
        that its files are whole: it held the alias already.

        Args:
            model: the registered name.
            alias: the alias.
            reason: kept in the ledger.
            dry_run: say what would be done, and move nothing.

        Raises:
            UsageError: nothing held the alias before, or what did was removed.
            IntegrityError: a file of the earlier version is damaged; the alias has not moved.
        """
        held = self.store.held(model, check_alias_name(alias))
        if not held:
            self.version(Ref(model, "alias", alias))  # nothing ever had it: says what is near
        holder = self._holder(model, alias)
        if len(held) < 2 or held[-2] is None:
            raise self._nothing_before(model, alias, holder)
        earlier = self.version(Ref(model, "number", str(held[-2])))
        checked = self.store.check(earlier)
        if dry_run:
            return Promotion(alias, earlier, holder)
        evidence = {"rolled_back_from": holder.ref if holder else None}
        return self.store.move_alias(
            checked, alias, reason, evidence, action=LedgerAction.ROLLED_BACK, holder=holder
        )

    def _nothing_before(self, model: str, alias: str, holder: Version | None) -> UsageError:
        """What to say where an alias cannot go back: it may go forward again."""
        what = (
            f"{holder.ref} was the first to hold {alias}: there is nothing to go back to."
            if holder
            else f"No version held {model}@{alias} before: there is nothing to go back to."
        )
        row = self.store.move(model, alias)
        if row is None or row.action != LedgerAction.ROLLED_BACK or row.previous is None:
            return UsageError(what, "Another version can be promoted.", f"mlreg list {model}")
        return UsageError(
            what,
            f"To return to {model}@{row.previous}, promote it.",
            f"mlreg promote {model}@{row.previous} {alias}",
        )

    def rules(self) -> list[SetRule]:
        """The rules that apply from this folder, by alias; of one alias the registry's first.

        A rule of plugins.toml that the registry has too is the registry's.

        Raises:
            DamagedIndexError: a rule of the registry is not as it was written.
        """
        kept, file = self.store.rules.current(), self._file_rules()
        return [
            each for alias in sorted({*kept, *file}) for each in rules.applying(alias, kept, file)
        ]

    def sync_rules(self, reason: str = "", dry_run: bool = False) -> list[RuleChange]:
        """Take the rules of plugins.toml into the registry; its other rules stay.

        Args:
            reason: kept in the ledger.
            dry_run: say what would be done, and do nothing.

        Raises:
            UsageError: there is no plugins.toml, or it has no rules.
        """
        file = self.settings.file
        if file is None or not self.settings.promotion:
            raise UsageError(
                f"{file} has no [promotion.ALIAS]."
                if file
                else f"There is no plugins.toml in {Path.cwd()} or above it.",
                "A rule can be set in the registry itself.",
                "mlreg rules set production",
            )
        wanted = dict(self.settings.promotion)
        return self.store.rules.change(lambda before: wanted, reason, str(file), dry_run)

    def _file_rules(self) -> dict[str, SetRule]:
        file = str(self.settings.file)
        return {
            alias: SetRule(alias, rule, "plugins.toml", file)
            for alias, rule in self.settings.promotion.items()
        }

    def stopped_run(self, name: str | None = None) -> UnfinishedRun:
        """A run that ended without a version, to be resumed or discarded.

        Args:
            name: its id, or how that begins or ends; None takes the one that can be resumed.

        Raises:
            UsageError: no run has that name, or more than one.
            BusyError: it is still running, in another process.
        """
        runs = self.store.unfinished_runs()
        if name is None:
            found = [run for run in runs if run.process is None and run.record]
        else:
            found = [run for run in runs if name and run.is_called(name)]
        if len(found) == 1:
            run = found[0]
            if run.process is not None:
                raise BusyError(
                    f"Run {run.id} is still running, in process {run.process}.",
                    "It can be resumed once it has stopped.",
                    "mlreg runs",
                )
            return run
        stopped = [run.id for run in runs if run.process is None]
        if not found and name is None:
            raise UsageError("Nothing to resume.", "No run was stopped.", "mlreg runs")
        if not found:
            raise UsageError(
                f"No stopped run {shown(name or '')}.",
                f"Stopped runs: {', '.join(stopped) or 'none'}.",
                "mlreg runs",
            )
        raise UsageError(
            f"{len(found)} runs were stopped; which one?",
            f"Stopped runs: {', '.join(run.id for run in found)}. The last characters are enough.",
            f"mlreg resume {found[-1].id[-8:]}",
        )

    def run_log(self, words: Sequence[str]) -> RunLog:
        """What the log of a run says.

        Args:
            words: a reference to a version, in one or two words; or a run's id, or its end.

        Raises:
            UsageError: there is no such version or run, or nothing was logged.
            IntegrityError: the log is damaged.
        """
        from registry_core.lifecycle.run_log import find_log

        return find_log(self.store, words)

    def holders(self, model: str, alias: str | None = None) -> list[LedgerRow]:
        """The row of the ledger that gave each of a model's aliases its version, by alias.

        Args:
            model: the registered name.
            alias: only this one; None is all.

        Raises:
            UsageError: there is no such model, or alias.
        """
        if alias is not None:
            self.version(Ref(model, "alias", check_alias_name(alias)))  # says what is near
        held = [each for each in self.store.aliases(model) if alias in (None, each)]
        return [row for each in held if (row := self.store.move(model, each))]

    def remove(self, reference: str | Ref, *, reason: str = "", dry_run: bool = False) -> Version:
        """Let no reference lead to a version any more; it can be restored until it is collected.

        Args:
            reference: the version.
            reason: kept in the ledger.
            dry_run: refuse what would be refused, and do nothing.

        Raises:
            RefusedError: an alias holds it, or did within the days that a rollback may want it.
        """
        version = self.version(reference)
        self.store.removals.remove(
            version,
            self.settings.rollback_days,
            reason,
            dry_run,
            file=str(self.settings.file),
            file_rules=self._file_rules(),
        )
        return version

    def holder_at(self, model: str, alias: str, moment: datetime) -> Version | None:
        """The version that held an alias at a moment; None where none did.

        Args:
            model: the registered name.
            alias: the alias.
            moment: with a time zone.
        """
        until = moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return self.store.holder_at(model, alias, until)

    def _decide(
        self,
        checked: CheckedVersion,
        alias: str,
        plugins: PluginSet,
        observer: Observer | None,
        warnings: Sequence[str],
    ) -> Decision:
        from registry_core.promotion import gates

        candidate = checked.version
        sources = self.store.rules.current(), self._file_rules()
        return gates.evaluate_gates(
            candidate,
            self._holder(candidate.model, alias),
            alias,
            rules=rules.applying(alias, *sources),
            plugins=plugins,
            past=self.store,
            per_example_results=partial(self.per_example_results, checked=checked),
            observer=observer,
            warnings=[
                *warnings,
                *self._missing_plugins(candidate.model, alias, plugins),
                *self._lost_rules(alias),
                *rules.rule_warnings(alias, *sources, holders=self.store.rules.holders),
            ],
        )

    def _lost_rules(self, alias: str) -> list[str]:
        if not self.store.rules.may_be_lost(alias):
            return []
        return [
            f"Rows of the ledger are lost, and one of them may have set a rule for '{alias}'. "
            f"To set it again: mlreg rules set {alias}"
        ]

    def _missing_plugins(self, model: str, alias: str, plugins: PluginSet) -> list[str]:
        """What to say of plugins that were asked when the alias moved last, and are not here."""
        row = self.store.move(model, alias)
        asked = row.evidence.get("plugins", []) if row else []
        here = plugins.providers("mlreg_check_promotion")
        return [
            f"The plugin '{name}' was asked at the last promotion to {alias}, and cannot be asked "
            "here: it is not installed, or no plugins.toml names it."
            for name in asked
            if name not in here
        ]

    def compare(
        self, references: Iterable[str | Ref], observer: Observer | None = None
    ) -> SideBySide:
        """Versions side by side, and the groups they belong to; the first is the measure.

        Args:
            references: two or more.
            observer: told how far a long comparison is.

        Raises:
            UsageError: fewer than two are named, or nothing has a reference.
            IntegrityError: a record is not what its digest says.
        """
        from registry_core.evaluation.comparison import side_by_side

        versions = [self.version(reference) for reference in references]
        manifests = [self.store.manifest(version) for version in versions]
        per_example_results = [self.per_example_results(version) for version in versions]
        return side_by_side(
            versions, manifests, per_example_results, self._groups(versions), observer
        )

    def _groups(self, versions: Iterable[Version]) -> list[Group]:
        """The groups that versions belong to, each once; none where all were made alone."""
        from registry_core.evaluation.groups import group_of

        together = [self.store.group(version) for version in versions]
        if all(len(members) == 1 for members in together):
            return []
        once = {members[0].ref: members for members in together}
        return [
            group_of(members, [self.store.manifest(member) for member in members])
            for members in once.values()
        ]

    def per_example_results(
        self, version: Version, checked: CheckedVersion | None = None
    ) -> PerExampleResults | None:
        """What a version answered on its test split, example by example; None without a record.

        Args:
            version: the version.
            checked: a version that was read already; the content that it kept is not read again.

        Raises:
            IntegrityError: the record is not what its digest says.
        """
        from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults

        if version.file(OUTCOMES_FILE) is None:
            return None
        if checked and checked.version.ref == version.ref and OUTCOMES_FILE in checked.contents:
            return PerExampleResults.from_json(checked.contents[OUTCOMES_FILE])
        return PerExampleResults.from_json(self.store.read(version, OUTCOMES_FILE))

    def history(
        self, reference: str | Ref | None = None, limit: int | None = None
    ) -> list[LedgerRow]:
        """What happened, newest first.

        Args:
            reference: a model; `model@3` for one version; `model@production` for what held the
                alias, and what became of its rule. None is the whole registry.
            limit: at most so many rows; None is all.

        Raises:
            UsageError: nothing has, or ever had, the reference.
        """
        if reference is None:
            return self.store.ledger(limit=limit)
        ref = parse_ref(reference) if isinstance(reference, str) else reference
        if ref.kind in ("alias", "none"):
            rows = self.store.ledger(ref.model, alias=ref.selector, limit=limit)
            if not rows:
                self.version(ref)  # nothing ever had this name: says what is near
            if ref.kind == "alias":
                rows += self.store.ledger("", alias=ref.selector, limit=limit)  # about its rule
                rows.sort(key=lambda row: row.number, reverse=True)
            return rows[:limit]
        version = self.store.resolve(ref, removed=True)
        return self.store.ledger(ref.model, version=version.version, limit=limit)

    def export(
        self,
        reference: str | Ref,
        form: str | None = None,
        output: Path | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write a version's model, or its figures, for use elsewhere.

        Args:
            reference: the version.
            form: `keras` and `h5` write one file; `savedmodel` and `figures` a folder. None is
                what the output's name ends in.
            output: where to; None makes a name from the model and its number here.
            overwrite: replace a regular file that is there; a folder that is not empty never is.

        Returns:
            What was written.

        Raises:
            UsageError: the format is not known, contradicts the output's name, or cannot hold the
                model; or the output exists.
            IntegrityError: a file is not what its digest says; nothing was written.
            StorageError: the place cannot be written.
        """
        from registry_core.exports import export

        version = self.version(reference)
        return export(self.store, version, form, output, overwrite, self.settings)

    def _holder(self, model: str, alias: str) -> Version | None:
        try:
            return self.store.resolve(Ref(model, "alias", alias))
        except UsageError:
            return None
