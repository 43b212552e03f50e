"""Runs, and how a run's files become a version.

The steps of publishing, and what a crash after each of them leaves:

1. The files are copied into the run's folder (a large one that is in it already is moved), hashed,
   and loaded once. A crash leaves that folder, whose lock is free: the next writer removes it.
2. The run writes its intent: the digests of the files, durably. A crash leaves the intent, too.
3. The files are put into objects/, durably. A crash leaves objects that no version refers to; the
   intent names them to the next writer, which deletes them unless another run intends to use them.
4. The index's write lock is taken and held to the end. What dead runs left is swept, so that no
   orphaned manifest claims the number that is taken next; and the publisher looks once more
   whether its objects are there. Everything that deletes objects does so under this lock and
   respects the intents (see `collection`).
5. The version gets its number. Its manifest, which contains the number, is added to the intent and
   put into objects/ under the lock: it is a few kB, and one lock is simpler than a number that is
   reserved in a transaction of its own and lost in a crash. A crash leaves what step 3 does.
6. The ledger's new head is written beside the objects. Then one commit makes the version, its
   files and the row of the ledger visible. A crash after it leaves the complete version. A commit
   whose last fsync fails has taken place for everyone else, and is undone by another one; only its
   number stays taken.
7. The intent is deleted, and the version is reported. A crash before leaves a run's folder that
   the next writer removes: the manifest in its intent is registered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.errors import MlregError, StorageError
from registry_core.records import FileRecord, LedgerAction, UnfinishedRun, Version
from registry_core.refs import check_model_name
from registry_core.store import lookup
from registry_core.store import manifest as manifests
from registry_core.store.clock import utc_now
from registry_core.store.ledger import Event
from registry_core.store.local.disk import sha256_hex, write_new
from registry_core.store.local.folders import opened
from registry_core.store.local.run_files import STAGED
from registry_core.store.staging import Staged, check_files, stage
from registry_core.store.storage_errors import UnconfirmedError

if TYPE_CHECKING:
    from registry_core.store.interfaces import Objects, RunKey, Workspace, WriteTransaction
    from registry_core.store.transactions import Transactions
    from registry_core.types import Progress

_NOT_REGISTERED = "Nothing was registered; earlier versions are unchanged."


class Publishing:
    """The part of a store that runs write to.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access
        self._blobs: Objects = access.blobs

    def start_run(
        self, model: str, action: LedgerAction = LedgerAction.REGISTERED, doing: str = ""
    ) -> Workspace:
        """A folder for a run to write into. Creates the registry if it is missing.

        Checks permissions and writes a folder first, so that a registry that cannot store the
        result says so before anything is trained.

        Args:
            model: the registered name.
            action: what the ledger will say that the run did.
            doing: what is being done, to follow "while"; empty starts a run.

        Raises:
            UsageError: `model` cannot be a name.
            RefusedError: this user's role does not have it.
            StorageError: the registry cannot be written.
        """
        check_model_name(model)
        doing = doing or f"starting a run of {model}"
        return self._enter(
            doing, True, action, lambda: self._access.runs.create(model, self._leave)
        )

    def reopen_run(self, run_id: str) -> Workspace:
        """The folder of a run that ended without a version, to resume it.

        Raises:
            UsageError: there is no such run.
            BusyError: it is still running in another process.
            StorageError: the registry cannot be written.
        """
        doing = f"reopening {run_id}"
        return self._enter(
            doing,
            False,
            LedgerAction.REGISTERED,
            lambda: self._access.runs.reopen(run_id, self._leave),
        )

    def unfinished_runs(self) -> list[UnfinishedRun]:
        """The runs that have begun and made no version, running or not; oldest first."""
        with self._access.translate_storage_errors("listing runs"):
            return list(self._access.runs.list())

    def newest_unfinished_runs(
        self, limit: int, after: RunKey | None = None
    ) -> list[UnfinishedRun]:
        """The same, at most `limit`: running ones first, and of both the newest first.

        Args:
            limit: the largest number of runs.
            after: the key of the run that the list continues after.
        """
        with self._access.translate_storage_errors("listing runs"):
            return list(self._access.runs.newest(limit, after))

    def unfinished_run(self, run_id: str) -> UnfinishedRun | None:
        """The run that has this id, has begun and made no version; None without one."""
        with self._access.translate_storage_errors(f"looking for run {run_id}"):
            return self._access.runs.find(run_id)

    def run_progress(self, run_id: str) -> tuple[bytes, bytes]:
        """The lines about the epochs of a run, and its present state; empty if it wrote none.

        Raises:
            UsageError: there is no such run.
        """
        with self._access.translate_storage_errors(f"reading the progress of {run_id}"):
            return self._access.runs.progress(run_id)

    def run_log(self, run_id: str) -> bytes:
        """The log of a run that has begun and made no version; empty if it logged nothing.

        Raises:
            UsageError: there is no such run.
        """
        with self._access.translate_storage_errors(f"reading the log of {run_id}"):
            return self._access.runs.log_content(run_id)

    def discard_run(self, run_id: str) -> None:
        """Delete what a run kept that ended without a version.

        Raises:
            UsageError: there is no such run.
            BusyError: it is still running in another process.
        """
        with self._access.writing(f"discarding {run_id}"):
            self._access.runs.discard(run_id)

    def publish(
        self,
        run: Workspace,
        record: Mapping[str, Any],
        files: Mapping[str, Path],
        load_check: Callable[[Mapping[str, Path]], None],
        reason: str = "",
        uploaded: Sequence[FileRecord] = (),
        progress: Progress | None = None,
    ) -> Version:
        """Register what a run made, as the next version of its model.

        Args:
            run: the run's folder, still open.
            record: dataset, preset, seed, metrics, seconds, objective, and whatever else the
                manifest is to have.
            files: path inside the version -> file. They are copied, and stay as they are; large
                ones in the run's own `files` are moved.
            load_check: loads the files once more and raises if that does not work.
            reason: why, for the ledger.
            uploaded: more files of the version, which a worker has uploaded (see `uploads`). One
                whose path is among `files` is left out.
            progress: is told how much was sent, if that takes a while.

        Raises:
            PluginError: the record or a file cannot be registered.
            BusyError, StorageError, IntegrityError: nothing was registered.
        """
        manifests.check_record(record)
        doing = f"publishing {run.model}"
        with self._access.translate_storage_errors(doing, outcome=_NOT_REGISTERED):
            needed_bytes = check_files(files)
        with self._access.translate_storage_errors(doing, needed_bytes, _NOT_REGISTERED):
            staged = stage(files, run.path, self._blobs.moves_files)
        load_check({file.record.path: file.path for file in staged})
        records = {file.path: file for file in uploaded}
        records |= {file.record.path: file.record for file in staged}
        of_version = [records[path] for path in sorted(records)]
        with self._access.translate_storage_errors(doing, needed_bytes, _NOT_REGISTERED):
            run.write_intent(_digests(of_version))
            self._put(staged, progress)
        try:
            with self._access.writing(doing, needed_bytes, outcome=_NOT_REGISTERED) as index:
                version = self._register(index, run, record, of_version, reason)
        except UnconfirmedError as error:
            self._withdraw(run.model, run.id, error)
            raise
        with suppress(OSError):  # the version is registered, and refers to all that was intended
            run.committed()
        return version

    def _put(self, staged: Sequence[Staged], progress: Progress | None) -> None:
        copies = {file.record.sha256: file.path for file in staged}
        stamps = {file.record.sha256: file.stamp for file in staged}
        sent = None if progress is None else partial(progress.step, "uploading")
        self._blobs.put_all(copies, stamps, sent)

    def _enter(
        self, doing: str, create: bool, action: LedgerAction, folder: Callable[[], Workspace]
    ) -> Workspace:
        """Create or reopen a run's folder in a transaction; undone if that is not committed."""
        run = None
        try:
            with self._access.writing(doing, create=create, outcome=_NOT_REGISTERED) as index:
                index.require(action)
                self._access.runs.prepare()
                self._blobs.prepare()
                run = folder()
        except BaseException:
            if run is not None:
                self._leave(run)
            raise
        return run

    def _register(
        self,
        index: WriteTransaction,
        run: Workspace,
        record: Mapping[str, Any],
        files: Sequence[FileRecord],
        reason: str,
    ) -> Version:
        """Insert a version of files that are in objects/ already; the caller commits."""
        version = Version(
            model=run.model,
            version=index.take_number(run.model),
            created=utc_now(),
            dataset=record["dataset"],
            preset=record["preset"],
            seed=record["seed"],
            metrics=record["metrics"],
            seconds=record["seconds"],
            files=tuple(files),
            digest="",
            run=run.id,
            group=record.get("group", ""),
        )
        self.check_present({file.sha256: file.size for file in files})
        content = manifests.build(version, record)
        version = replace(version, digest=sha256_hex(content))
        return self._insert(index, run, version, content, _digests(files), {}, reason)

    def _insert(
        self,
        index: WriteTransaction,
        run: Workspace,
        version: Version,
        content: bytes,
        digests: Sequence[str],
        evidence: Mapping[str, Any],
        reason: str,
    ) -> Version:
        """Put a manifest, and insert its version and the row of the ledger.

        Args:
            index: commits when the caller's transaction ends.
            run: the run's folder.
            version: with its number and the digest of its manifest.
            content: of the manifest.
            digests: of the objects that the version refers to, which are there.
            evidence: for the row, beside the digest.
            reason: why, for the ledger.
        """
        with opened(run.path, STAGED, create=True) as folder:
            write_new(folder, "manifest.json", content, durable=False)
        run.write_intent(digests, version.digest)
        self._blobs.put(version.digest, run.path / STAGED / "manifest.json")
        index.add_version(version, manifests.objective(manifests.read_json(content)))
        event = Event(LedgerAction.REGISTERED, version.model, version.version, reason=reason)
        index.append(replace(event, evidence={"digest": version.digest, **evidence}))
        # as every reader will see it from now on
        return lookup.by_number(index, version.model, version.version)

    def check_present(self, sizes: Mapping[str, int]) -> None:
        """Look once more, under the lock, whether every object of the new version is there.

        Args:
            sizes: digest -> size in bytes.

        Raises:
            StorageError: something deleted one after this run put it, and without regard to its
                intent: an mlreg from before there were intents, or a person. Or a worker uploaded
                it to another place.
        """
        for digest in self._blobs.missing(sizes):
            raise StorageError(
                f"{self._blobs.place(digest)} was deleted before its version was registered.",
                f"{_NOT_REGISTERED} Run no older mlreg on this registry, and publish again.",
                "mlreg runs",
            )

    def expect_uploads(self, run: Workspace) -> Mapping[str, str] | None:
        """Let workers on other machines upload the files that a run makes; see `uploads`.

        Args:
            run: the run's folder, still open.

        Returns:
            The arguments of `uploads.upload` that say where; None if workers have to send the
            files: the registry is a folder, or its database cannot be reached now.
        """
        parts = self._access.parts
        if not parts.index_url:
            return None
        try:
            with self._access.translate_storage_errors("expecting uploads"):
                run.expect_uploads()
        except MlregError:
            return None  # whoever registers the version says so, if it is still true then
        return {"index_url": parts.index_url, "objects_url": parts.objects_place}

    def _withdraw(self, model: str, run: str, error: UnconfirmedError) -> None:
        """Undo a commit that the disk did not confirm, so that no version appears.

        Its objects are deleted when the run's context is left.

        Args:
            model: the registered name.
            run: the run that the version is of.
            error: why the commit is not confirmed.

        Raises:
            StorageError: it was undone. Without an error the version is there, unconfirmed.
        """
        try:
            doing = f"withdrawing a version of {model}"
            with self._access.writing(doing, sweep=False, catch_up=False) as index:
                # a row that is in the second copy was seen by another writer, so it stays
                seen = self._access.ledger_copy.has(index.last_ledger_row())
                withdrawn = not seen and index.withdraw(model, run)
        except MlregError:
            return
        if withdrawn:
            raise StorageError(
                error.what,
                "The version was withdrawn; earlier versions are unchanged. Check the disk, or use "
                "another registry.",
                f"mlreg list {model}",
            ) from error

    def _leave(self, run: Workspace) -> None:
        """Delete what a run that is over left: its objects too, if it did not commit.

        What cannot be deleted now is left, unlocked, to the next writer's sweep.
        """
        try:
            left = run.leftover()
            if left.intended:
                with self._access.writing(f"tidying up after {run.model}", sweep=False) as index:
                    self._access.tidy(index, left)
            else:
                left.remove(True)
        except (MlregError, OSError):
            pass
        finally:
            run.release()


def _digests(files: Sequence[FileRecord]) -> list[str]:
    """The digests of files, each once."""
    return list(dict.fromkeys(file.sha256 for file in files))
