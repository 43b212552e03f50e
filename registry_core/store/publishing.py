"""Runs and publishing.

Publishing, with what a crash leaves at each step:

1. The files are copied, hashed, made durable and loaded once, in the run's folder. A crash leaves
   that folder, whose lock is free: the next writer removes it.
2. The index's write lock is taken, and held to the end. All that moves blobs, publishing and
   sweeping alike, happens under it. So no sweep can remove a blob that a publisher has just found
   or put in its place, and no number is given twice.
3. What dead runs left is swept, so that no orphan manifest claims the number that is taken next.
4. The blobs are announced in the run's folder, moved into objects/, and their folders fsynced. A
   crash leaves blobs that no version refers to; the announcement tells the next writer which.
5. The ledger's new head is written down beside the objects. Then one commit makes the version, its
   files and the ledger's row visible. A crash after it leaves the whole version. A commit whose
   last fsync fails has taken place for everyone else, and is taken back by another one; only its
   number stays taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry_core.errors import MlregError, StorageError
from registry_core.records import UnfinishedRun, Version
from registry_core.refs import check_model_name
from registry_core.store import lookup
from registry_core.store import manifest as manifests
from registry_core.store.clock import utc_now
from registry_core.store.ledger import Event
from registry_core.store.local.disk import sha256_hex, write_new
from registry_core.store.local.folders import opened
from registry_core.store.local.workspaces import RUNS, RunFolder, remove_folder, resumable, strip
from registry_core.store.sqlite.index import WriteTransaction
from registry_core.store.staging import STAGED, Staged, check_files, stage
from registry_core.store.storage_errors import UnconfirmedError
from registry_core.store.transactions import Transactions

_NOT_REGISTERED = "Nothing was registered; earlier versions are whole."


class Publishing:
    """The part of a store that runs write to.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access
        self._blobs = access.blobs

    def start_run(self, model: str) -> RunFolder:
        """A folder for a run to write into; the registry is made if it is not there.

        Writes a transaction and a file first, so that a registry that cannot take the result says
        so before anything is trained.

        Raises:
            UsageError: `model` cannot be a name.
            StorageError: the registry cannot be written.
        """
        check_model_name(model)
        doing, create = f"starting a run of {model}", True
        return self._enter(doing, create, lambda: self._access.runs.create(model, self._leave))

    def take_up_run(self, run_id: str) -> RunFolder:
        """The folder of a run that ended without a version, to go on in.

        Raises:
            UsageError: there is no such run.
            BusyError: it goes on in another process.
            StorageError: the registry cannot be written.
        """
        doing = f"taking up {run_id}"
        return self._enter(doing, False, lambda: self._access.runs.take_up(run_id, self._leave))

    def unfinished_runs(self) -> list[UnfinishedRun]:
        """The runs that have begun and made no version, oldest first, whether or not they go on."""
        with self._access.translate_storage_errors("listing runs"):
            return self._access.runs.unfinished()

    def run_log(self, run_id: str) -> bytes:
        """The log of a run that has begun and made no version; empty where none was written.

        Raises:
            UsageError: there is no such run.
        """
        with self._access.translate_storage_errors(f"reading the log of {run_id}"):
            return self._access.runs.log_content(run_id)

    def discard_run(self, run_id: str) -> None:
        """Give up what a run kept that ended without a version.

        Raises:
            UsageError: there is no such run.
            BusyError: it goes on in another process.
        """
        with self._access.writing(f"discarding {run_id}"):
            self._access.runs.discard(run_id)

    def publish(
        self,
        run: RunFolder,
        record: Mapping[str, Any],
        files: Mapping[str, Path],
        load_check: Callable[[Mapping[str, Path]], None],
        reason: str = "",
    ) -> Version:
        """Register what a run made, as the next version of its model.

        Args:
            run: the run's folder, still open.
            record: dataset, preset, seed, metrics, seconds, objective, and whatever else is to be
                kept in the manifest.
            files: path inside the version -> file. They are copied, and stay as they are.
            load_check: loads the files once more and raises if that does not work.
            reason: why, for the ledger.

        Raises:
            PluginError: the record or a file cannot be registered.
            BusyError, StorageError, IntegrityError: nothing was registered.
        """
        manifests.check_record(record)
        doing = f"publishing {run.model}"
        with self._access.translate_storage_errors(doing, outcome=_NOT_REGISTERED):
            needed_bytes = check_files(files)
        with self._access.translate_storage_errors(doing, needed_bytes, _NOT_REGISTERED):
            staged = stage(files, run.path)
        load_check({file.record.path: file.path for file in staged})
        try:
            with self._access.writing(doing, needed_bytes, outcome=_NOT_REGISTERED) as index:
                version = self._register(index, run, record, staged, reason)
        except UnconfirmedError as error:
            self._withdraw(run, error)
            raise
        with suppress(OSError):  # the version stands; all that was announced is referred to
            run.committed()
        return version

    def _enter(self, doing: str, create: bool, folder: Callable[[], RunFolder]) -> RunFolder:
        """A run's folder, made or taken up in a transaction that is committed, or left again."""
        run = None
        try:
            with self._access.writing(doing, create=create, outcome=_NOT_REGISTERED):
                self._blobs.prepare(RUNS)
                run = folder()
        except BaseException:
            if run is not None:
                self._leave(run)
            raise
        return run

    def _register(
        self,
        index: WriteTransaction,
        run: RunFolder,
        record: Mapping[str, Any],
        staged: Sequence[Staged],
        reason: str,
    ) -> Version:
        """Give a run's files a number and move them into objects/; the caller commits."""
        version = Version(
            model=run.model,
            version=index.take_number(run.model),
            created=utc_now(),
            dataset=record["dataset"],
            preset=record["preset"],
            seed=record["seed"],
            metrics=record["metrics"],
            seconds=record["seconds"],
            files=tuple(file.record for file in staged),
            digest="",
            run=run.id,
            group=record.get("group", ""),
        )
        content = manifests.build(version, record)
        version = replace(version, digest=sha256_hex(content))
        with opened(run.path, STAGED, create=True) as folder:
            write_new(folder, "manifest.json", content)
        moves = {file.record.sha256: file.path.name for file in staged}
        moves[version.digest] = "manifest.json"
        run.announce(list(moves))
        self._blobs.put(run.path / STAGED, moves)
        index.add_version(version, manifests.check_record(record))
        evidence = {"digest": version.digest}
        index.append(
            Event("registered", run.model, version.version, reason=reason, evidence=evidence)
        )
        # as everyone will read it from now on
        return lookup.by_number(index, run.model, version.version)

    def _withdraw(self, run: RunFolder, error: UnconfirmedError) -> None:
        """Take back what was committed and not confirmed, so that it never shows as registered.

        Its blobs are removed when the run's folder is left.

        Raises:
            StorageError: it was taken back. Without an error it still stands, unconfirmed.
        """
        try:
            doing = f"taking back a version of {run.model}"
            with self._access.writing(doing, sweep=False, catch_up=False) as index:
                # a row that is in ledger.jsonl was seen by another writer, and stays
                seen = self._access.ledger_file.has(index.last_ledger_row())
                withdrawn = not seen and index.withdraw(run.model, run.id)
        except MlregError:
            return
        if withdrawn:
            raise StorageError(
                error.what,
                "The version was withdrawn; earlier versions are whole. Check the disk, or use "
                "another registry.",
                f"mlreg list {run.model}",
            ) from error

    def _leave(self, run: RunFolder) -> None:
        """Remove a run's folder, and the blobs it moved if it did not come to a commit.

        What cannot be removed now is left, unlocked, to the next writer's sweep.
        """
        try:
            if announced := run.announced():
                with self._access.writing(f"tidying up after {run.model}", sweep=False) as index:
                    self._access.tidy(index, run.path, announced)
            elif resumable(run.path):
                strip(run.path)
            else:
                remove_folder(run.path)
        except (MlregError, OSError):
            pass
        finally:
            run.release()
