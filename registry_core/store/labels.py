"""Aliases and tags: what can be changed about a version. Each change is a row of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from registry_core.errors import AliasMovedError, RuleChangedError, UsageError
from registry_core.records import LedgerAction, LedgerRow, Promotion, Version
from registry_core.refs import Ref, check_alias_name, check_model_name, shown
from registry_core.store import lookup, rules
from registry_core.store import manifest as manifests
from registry_core.store.confirm import CheckedVersion
from registry_core.store.files import VersionFiles
from registry_core.store.ledger import Event
from registry_core.store.storage_errors import contradicted

if TYPE_CHECKING:
    from registry_core.store.interfaces import WriteTransaction


class Labels(VersionFiles):
    """The part of a store that moves aliases and sets tags."""

    def move_alias(
        self,
        version: Version | CheckedVersion,
        alias: str,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
        action: LedgerAction = LedgerAction.PROMOTED,
        holder: Version | EllipsisType | None = ...,
        rule: int | EllipsisType | None = ...,
    ) -> Promotion:
        """Point an alias at a version, all of whose files were read and are not damaged.

        Args:
            version: which is to have the alias. What `check` returned is not read again, except
                for files that were written or replaced since.
            alias: the alias.
            reason: why, for the ledger.
            evidence: what the decision was based on, for the ledger.
            action: PROMOTED or ROLLED_BACK.
            holder: the version that the decision took for the present holder, None for no holder;
                `...` accepts any.
            rule: the row of the ledger that set the rule of the decision, None for no rule; `...`
                accepts any.

        Raises:
            AliasMovedError: the alias is on another version by now; it was not moved.
            RuleChangedError: the alias has another rule by now; it was not moved.
            UsageError: `alias` cannot be one, or the version was removed.
            IntegrityError: the version is damaged; the alias was not moved.
        """
        check_alias_name(alias)
        manifests.check_json(evidence or {}, "evidence")
        checked = version if isinstance(version, CheckedVersion) else self.check(version)
        with self._access.writing(f"moving {alias} to {checked.version.ref}") as index:
            move = self._check_move(index, checked, alias, holder, rule)
            return set_alias(index, move, action, reason, evidence)

    def _check_move(
        self,
        index: WriteTransaction,
        checked: CheckedVersion,
        alias: str,
        holder: Version | EllipsisType | None,
        rule: int | EllipsisType | None,
    ) -> Promotion:
        """The move of an alias that is to follow, if a decision about it is still valid.

        Raises:
            AliasMovedError: the alias is on another version by now.
            RuleChangedError: the alias has another rule by now.
            UsageError: the version was removed.
            IntegrityError: a file was damaged meanwhile.
        """
        model, number = checked.version.model, checked.version.version
        present = lookup.by_number(index, model, number)
        if present.digest != checked.version.digest:
            raise contradicted(present.ref, "its manifest")
        self.check_again(index, checked)
        before = lookup.holder(index, model, alias)
        if holder is not ... and _number(before) != _number(holder):
            raise AliasMovedError(
                f"{model}@{alias} was moved to version {_number(before)} in the meantime.",
                "It was not moved again: the decision was about another holder.",
                f"mlreg history {model}@{alias}",
            )
        if rule is not ... and rules.row_of(index, alias) != rule:
            raise RuleChangedError(
                f"The rule for {alias} was changed in the meantime.",
                "The alias was not moved: the decision was made by another rule.",
                "mlreg rules",
            )
        return Promotion(alias, present, before)

    def release_alias(self, model: str, alias: str, reason: str = "") -> Version:
        """Delete an alias.

        Returns:
            The version that it was on.

        Raises:
            UsageError: there is no such alias.
        """
        ref = Ref(model, "alias", check_alias_name(alias))
        with self._access.writing(f"releasing {ref}") as index:
            holder = lookup.resolve(index, ref)
            index.release_alias(model, alias)
            number = holder.version
            index.append(Event(LedgerAction.RELEASED, model, number, alias, number, reason))
            return holder

    def tag(
        self,
        version: Version,
        tags: Mapping[str, str],
        removed: Iterable[str] = (),
        reason: str = "",
    ) -> Version:
        """Set tags of a version and delete others.

        Args:
            version: the version.
            tags: key -> value; a key that exists gets the new value.
            removed: the keys to delete.
            reason: why, for the ledger.

        Raises:
            UsageError: a key is malformed, a key to delete does not exist, or a value is too long.
        """
        changes = manifests.check_tags(tags)
        gone = sorted(set(removed))
        with self._access.writing(f"tagging {version.ref}") as index:
            present = lookup.by_number(index, version.model, version.version)
            for key in gone:
                if key not in present.tags:
                    raise UsageError(
                        f"{version.ref} has no tag {shown(key)}.",
                        lookup.choices("Its tags", present.tags, key) if present.tags else "",
                        f"mlreg show {version.ref}",
                    )
            index.tag(present, changes, gone)
            evidence = {"set": changes, "removed": gone}
            event = Event(LedgerAction.TAGGED, version.model, version.version)
            index.append(replace(event, reason=reason, evidence=evidence))
            return lookup.by_number(index, version.model, version.version)

    def note(
        self,
        action: LedgerAction,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
        needs: LedgerAction | None = None,
    ) -> LedgerRow:
        """Record an event that changes nothing else: a promotion that was refused.

        `needs` is what was asked for: who may not do that is told so.
        """
        check_model_name(model)
        manifests.check_json(evidence or {}, "evidence")
        what = f"{model}@{version}" if version else model
        with self._access.writing(f"recording that {what} was {action}") as index:
            if needs:
                index.require(needs)
            return index.append(
                Event(action, model, version, alias, reason=reason, evidence=evidence)
            )


def set_alias(
    index: WriteTransaction,
    move: Promotion,
    action: LedgerAction,
    reason: str,
    evidence: Mapping[str, Any] | None,
) -> Promotion:
    """Move an alias as was decided, with its row of the ledger."""
    version, before, alias = move.version, move.previous, move.alias
    index.set_alias(version.model, alias, version.version)
    index.append(
        Event(action, version.model, version.version, alias, _number(before), reason, evidence)
    )
    if before and before.version != version.version:
        before = _without(before, alias)
    return Promotion(alias, _with(version, alias), before)


def _number(version: Version | None) -> int | None:
    return version.version if version else None


def _with(version: Version, alias: str) -> Version:
    return replace(version, aliases=tuple(sorted({*version.aliases, alias})))


def _without(version: Version, alias: str) -> Version:
    return replace(version, aliases=tuple(each for each in version.aliases if each != alias))
