"""Versions and aliases of trained models.

A version appears whole or not at all. Nothing here knows how a model was trained, so
`mlreg list` starts at once.

Using a version goes by its manifest, whose digest is in the row of the ledger that registered it.
The index is for finding: where it tells otherwise, nothing of the version is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal

from registry_core.errors import (
    AliasMovedError,
    IntegrityError,
    RuleChangedError,
    UsageError,
)
from registry_core.records import (
    FileRecord,
    LedgerRow,
    ModelSummary,
    Promotion,
    Version,
)
from registry_core.refs import Ref, check_alias_name, check_model_name, shown
from registry_core.store import lookup, rules
from registry_core.store import manifest as manifests
from registry_core.store.confirm import check_registration, read_manifest
from registry_core.store.ledger import Event
from registry_core.store.ledger_file import LEDGER_FILE
from registry_core.store.local.objects import OBJECTS
from registry_core.store.local.workspaces import RUNS
from registry_core.store.publishing import Publishing
from registry_core.store.removals import Removals
from registry_core.store.rules import Rules
from registry_core.store.storage_errors import DATABASE, translate_storage_errors
from registry_core.store.transactions import Transactions


class Store(Publishing):
    """The registry in a folder. Opens nothing until it is asked something.

    Args:
        folder: the registry; need not exist. No absolute path is kept in it.
        busy_seconds: how long another process's lock is waited for.
    """

    def __init__(self, folder: Path, busy_seconds: float = 30.0) -> None:
        self.folder = folder
        self.busy_seconds = busy_seconds
        super().__init__(Transactions(folder, busy_seconds))
        self.removals = Removals(self._access)
        self.rules = Rules(self._access)

    # --- reading --------------------------------------------------------------------------------

    def state(self) -> Literal["ready", "empty", "missing", "file", "foreign"]:
        """What lies in the registry's place; `foreign` is a folder with other files.

        A registry that is damaged, or that may not be looked at, is `ready`: using it says why not.
        """
        try:
            names = {path.name for path in self.folder.iterdir()}
        except FileNotFoundError:
            return "missing"
        except NotADirectoryError:
            return "file" if os.path.lexists(self.folder) else "missing"
        except OSError:
            return "ready"
        if not names:
            return "empty"
        return "ready" if {DATABASE, LEDGER_FILE, OBJECTS, RUNS} & names else "foreign"

    def models(self) -> list[ModelSummary]:
        """Every model, by name."""
        with self._access.reading("listing models") as view:
            return view.models()

    def model_names(self) -> list[str]:
        """Every registered name, whether or not it still has versions."""
        with self._access.reading("listing models") as view:
            return view.model_names()

    def aliases(self, model: str) -> dict[str, int]:
        """Each alias of a model, and the number of the version that holds it."""
        with self._access.reading(f"listing the aliases of {model}") as view:
            lookup.check_model(view, model)
            return view.aliases(model)

    def versions(
        self, model: str, limit: int | None = None, tag: tuple[str, str | None] | None = None
    ) -> list[Version]:
        """A model's versions, newest first.

        Args:
            model: the registered name.
            limit: at most so many; None is all.
            tag: only those that have this tag, with this value if it is not None.

        Raises:
            UsageError: there is no such model.
        """
        check_model_name(model)
        with self._access.reading(f"listing {model}") as view:
            found = view.versions(model, limit, tag)
            if not found:
                lookup.check_model(view, model)
            return found

    def newest_versions(self, limit: int) -> list[Version]:
        """The versions that were registered last, of any model, newest first."""
        with self._access.reading("listing what was registered last") as view:
            return view.newest(limit)

    def group(self, version: Version) -> list[Version]:
        """The versions that were made together with this one, itself among them; oldest first."""
        with self._access.reading(f"looking for the group of {version.ref}") as view:
            return view.group(version.model, version.group) if version.group else [version]

    def resolve(self, ref: Ref, removed: bool = False) -> Version:
        """The version that a reference leads to; a name alone leads to the latest.

        Args:
            ref: the reference.
            removed: let a number lead to a version that was removed, too.

        Raises:
            UsageError: it leads nowhere, or to more than one; the message names what is near.
        """
        with self._access.reading(f"looking for {ref}") as view:
            return lookup.resolve(view, ref, removed)

    def manifest(self, version: Version) -> dict[str, Any]:
        """The version's own record, held against its digest, the ledger and the index.

        Raises:
            IntegrityError: the manifest, the ledger's row or the index is not as it was written.
        """
        doing = f"reading {version.ref}"
        with self._access.reading(doing) as view:
            check_registration(view, version)
            rank = view.rank(version)
        with self._access.translate_storage_errors(doing):
            return read_manifest(self._blobs, version, rank)

    def read(self, version: Version, path: str) -> bytes:
        """The content of one file of a version, checked.

        Raises:
            UsageError: the version has no such file.
            IntegrityError: the file is not what its digest says, or the version's manifest says
                otherwise.
        """
        self.manifest(version)
        record = _file(version, path)
        with self._access.translate_storage_errors(f"reading {version.ref}"):
            return self._blobs.read(record.sha256, _named(version, record), record.size)

    def copy_out(self, version: Version, path: str, destination: Path) -> Path:
        """Copy one file of a version to `destination`, which appears whole and checked or not.

        Raises:
            UsageError: the version has no such file.
            IntegrityError: the file is not what its digest says, or the version's manifest says
                otherwise.
            StorageError: the destination cannot be written.
        """
        self.manifest(version)
        record = _file(version, path)
        # beside the destination, for a rename within one file system
        draft = destination.with_name(f".mlreg-{os.urandom(8).hex()}")
        with translate_storage_errors(
            destination.parent,
            f"copying {version.ref}",
            needed_bytes=record.size,
            outcome="Nothing was written.",
        ):
            try:
                with draft.open("xb") as stream:
                    what = _named(version, record)
                    self._blobs.verify(record.sha256, what, stream.write, record.size)
                    stream.flush()
                    os.fsync(stream.fileno())
                draft.replace(destination)
            except BaseException:
                with suppress(OSError):
                    draft.unlink()
                raise
        return destination

    def damaged(self, version: Version) -> list[str]:
        """What a look at names and sizes tells of a version's damage; empty is no proof of health.

        The manifest, which is small, is read. What the user may not read is left out.
        """
        problems = []
        for record in version.files:
            try:
                size = self._blobs.size(record.sha256)
            except PermissionError:
                continue
            except (OSError, IntegrityError) as error:
                problems.append(f"{record.path} cannot be read ({_reason(error)})")
                continue
            if size is None:
                problems.append(f"{record.path} is missing")
            elif size != record.size:
                problems.append(f"{record.path} has {size} bytes instead of {record.size}")
        try:
            self._blobs.verify(version.digest, "the manifest", limit_bytes=manifests.LIMIT_BYTES)
        except IntegrityError:
            problems.append("the manifest is damaged")
        except PermissionError:
            pass
        except OSError as error:
            problems.append(f"the manifest cannot be read ({_reason(error)})")
        return problems

    def unreadable(self, version: Version) -> Path | None:
        """A file of a version that the user has no permission to read; None if all can be read."""
        for digest in (version.digest, *(record.sha256 for record in version.files)):
            place = self.folder / self._blobs.place(digest)
            try:
                if not os.access(place, os.R_OK) and place.lstat():
                    return place
            except PermissionError:
                return place
            except OSError:
                continue
        return None

    def check(self, version: Version, files: Sequence[FileRecord] | None = None) -> None:
        """Read the manifest of a version and its files.

        Args:
            version: the version.
            files: which of its files; None is all.

        Raises:
            IntegrityError: names the file that is not what its digest says, and both digests.
        """
        self.manifest(version)
        with self._access.translate_storage_errors(f"checking {version.ref}"):
            for record in version.files if files is None else files:
                self._blobs.verify(record.sha256, _named(version, record), limit_bytes=record.size)

    def ledger(
        self,
        model: str | None = None,
        version: int | None = None,
        alias: str | None = None,
        limit: int | None = None,
    ) -> list[LedgerRow]:
        """What happened to a model, a version, an alias, or to all of them; newest first."""
        with self._access.reading("reading the ledger") as view:
            return view.ledger(model, version, alias, limit)

    def move(self, model: str, alias: str, until: str | None = None) -> LedgerRow | None:
        """The last row by which an alias got or lost its holder; None without one.

        Args:
            model: the registered name.
            alias: the alias.
            until: UTC, ISO 8601: the last one that is not later; None is the last of all.
        """
        with self._access.reading(f"looking for what {model}@{alias} was") as view:
            return view.move(model, alias, until)

    def held(self, model: str, alias: str) -> list[int | None]:
        """The last two places that an alias can go back through, the present one last.

        A number is a version's; None is a time when nothing held it.
        """
        with self._access.reading(f"looking for what held {model}@{alias}") as view:
            return view.held(model, alias)

    def has_held(self, version: Version, alias: str) -> bool:
        """Whether a version holds an alias, or ever did."""
        with self._access.reading(f"looking for what {version.ref} was") as view:
            return view.has_held(version, alias)

    def compared_before(self, candidate: Version, incumbent: Version, fingerprint: str) -> int:
        """How many other candidates a test split was asked about, against an incumbent."""
        with self._access.reading(f"counting what was held against {incumbent.ref}") as view:
            return view.compared_before(candidate, incumbent, fingerprint)

    def ledger_head(self) -> tuple[int, str] | None:
        """Number and digest of the ledger's newest row; None where nothing has happened.

        Kept elsewhere, it shows later whether the ledger up to it was rewritten.
        """
        with self._access.reading("reading the ledger's head") as view:
            return view.last_ledger_row()

    def verify_ledger(self) -> None:
        """Recompute the ledger's chain, and hold the index against ledger.jsonl.

        Raises:
            DamagedIndexError: names the first row that is not as it was written.
        """
        with self._access.snapshot("verifying the ledger") as (view, seen):
            self._access.ledger_file.verify(view, seen)

    # --- writing --------------------------------------------------------------------------------

    def move_alias(
        self,
        version: Version,
        alias: str,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
        action: str = "promoted",
        holder: Version | EllipsisType | None = ...,
        rule: int | EllipsisType | None = ...,
    ) -> Promotion:
        """Point an alias at a version, once every blob of it has been read and found whole.

        Args:
            version: what is to hold the alias.
            alias: the alias.
            reason: why, for the ledger.
            evidence: what the decision rested on, for the ledger.
            action: `promoted`, or `rolled back`.
            holder: the version that held the alias when this was decided; `...` asks for none in
                particular.
            rule: the row of the ledger that set the rule by which this was decided, None where
                there was none; `...` asks for none in particular.

        Raises:
            AliasMovedError: another version holds the alias by now; the alias was not moved.
            RuleChangedError: the alias has another rule by now; the alias was not moved.
            UsageError: `alias` cannot be one, or the version is not there.
            IntegrityError: the version is damaged; the alias was not moved.
        """
        check_alias_name(alias)
        manifests.check_json(evidence or {}, "evidence")
        self.check(version)
        with self._access.writing(f"moving {alias} to {version.ref}") as index:
            lookup.by_number(index, version.model, version.version)
            lookup.check_holder(index, version.model, alias)
            before = index.set_alias(version.model, alias, version.version)
            if holder is not ... and before != (holder.version if holder else None):
                raise AliasMovedError(  # which takes the move back with the transaction
                    f"{version.model}@{alias} was moved to version {before} in the meantime.",
                    "It was not moved again: the decision was about another holder.",
                    f"mlreg history {version.model}@{alias}",
                )
            if rule is not ... and rules.row_of(index, alias) != rule:
                raise RuleChangedError(
                    f"The rule for {alias} was changed in the meantime.",
                    "The alias was not moved: the decision was made by another rule.",
                    "mlreg rules",
                )
            event = Event(action, version.model, version.version, alias, before, reason, evidence)
            index.append(event)
            previous = None if before is None else index.version(version.model, before)
            return Promotion(
                alias, lookup.by_number(index, version.model, version.version), previous
            )

    def release_alias(self, model: str, alias: str, reason: str = "") -> Version:
        """Take an alias from the version that holds it; nothing holds it then.

        Returns:
            The version that held it.

        Raises:
            UsageError: there is no such alias.
        """
        ref = Ref(model, "alias", check_alias_name(alias))
        with self._access.writing(f"releasing {ref}") as index:
            holder = lookup.resolve(index, ref)
            index.release_alias(model, alias)
            number = holder.version
            index.append(Event("released", model, number, alias, number, reason))
            return holder

    def tag(
        self,
        version: Version,
        tags: Mapping[str, str],
        removed: Iterable[str] = (),
        reason: str = "",
    ) -> Version:
        """Set tags of a version, and take others away.

        Args:
            version: the version.
            tags: key -> value; a key that is there already gets the value.
            removed: keys that are to go.
            reason: why, for the ledger.

        Raises:
            UsageError: a key cannot be one, or is to go and is not there, or a value is too long.
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
            index.append(
                Event("tagged", version.model, version.version, reason=reason, evidence=evidence)
            )
            return lookup.by_number(index, version.model, version.version)

    def note(
        self,
        action: str,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> LedgerRow:
        """Record in the ledger what moved nothing: a promotion that was refused."""
        check_model_name(model)
        manifests.check_json(evidence or {}, "evidence")
        with self._access.writing(f"noting {action}") as index:
            return index.append(
                Event(action, model, version, alias, reason=reason, evidence=evidence)
            )


def _file(version: Version, path: str) -> FileRecord:
    record = version.file(path)
    if record is None:
        raise UsageError(
            f"{version.ref} has no file {shown(path)}.",
            lookup.choices("Its files", [file.path for file in version.files], path),
            f"mlreg show {version.ref}",
        )
    return record


def _named(version: Version, record: FileRecord) -> str:
    return f"{record.path} of {version.ref}"


def _reason(error: OSError | IntegrityError) -> str:
    return error.what if isinstance(error, IntegrityError) else error.strerror or str(error)
