"""One job, in the process of its worker: the plugins by name, the training, what is sent back."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from registry_core.config import RunConfig
from registry_core.errors import MlregError, PluginError
from registry_core.evaluation.per_example_results import OUTCOMES_FILE
from registry_core.executors.interface import CHECKPOINT, PARENT_FOLDER, Job
from registry_core.executors.messages import (
    Send,
    SendingObserver,
    digests_of,
    error_to_json,
    files_in,
)
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.context import RunContext, draw_standard_figures
from registry_core.lifecycle.parents import parents_below
from registry_core.lifecycle.publishing import MadeVersion, files_below, kept_files
from registry_core.lifecycle.record import Artifacts
from registry_core.lifecycle.reproduce import retrained
from registry_core.lifecycle.run import execute, make_version
from registry_core.lifecycle.spec import RunSpec, spec_from_json
from registry_core.plugins.manager import KnownPlugins, PluginSet
from registry_core.process.guard import warnings_to
from registry_core.process.interrupts import StopRequest
from registry_core.process.variables import prepared_environment
from registry_core.records import KEPT_FOLDER, MODEL_FILE
from registry_core.settings import SETTINGS_FILE, Settings, current_folder
from registry_core.store import stage, translate_storage_errors
from registry_core.store.uploads import upload
from registry_core.types import Observer

# What the host writes in a run's folder; everything else there is of the plugins' callbacks.
HOSTS_OWN = frozenset({CHECKPOINT, f"{CHECKPOINT}.new", "files", "untrained.keras", PARENT_FOLDER})
_SHOWN_DIGITS = 12


def load_backend(config: RunConfig, gpus: int | None = None) -> TrainingBackend:
    """The Keras backend for a run's configuration, on this many GPUs."""
    from registry_core.training import KerasBackend  # TensorFlow loads here

    return KerasBackend(config, gpus)


# Draws the figures of a dataset whose plugin has no report; tests draw none.
standard_report = draw_standard_figures


class WorkerWorkspace:
    """A run's folder in a worker; what is kept in it is sent to who asked.

    Args:
        job: the run's id.
        folder: an empty folder, or one with what was kept of an earlier attempt in `run`.
        record: what `begin` recorded in an earlier attempt; None for a new run.
        send: takes what is to be kept.
    """

    def __init__(
        self, job: str, folder: Path, record: Mapping[str, Any] | None, send: Send
    ) -> None:
        self.id = job
        self.path = folder / "run"
        self.files = self.path / "files"
        self.record = record
        self._out = folder / "out"
        self._send = send
        self._number = 0
        self._sent: dict[str, tuple[int, int]] = {}
        for each in (self.path, self.files, self._out):
            each.mkdir(exist_ok=True)

    @property
    def checkpoint(self) -> Path | None:
        file = self.path / CHECKPOINT
        return file if file.is_file() else None

    def begin(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self._send("began", {"record": record}, {})

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        """Send a checkpoint, and what the callbacks wrote since the last one.

        Copies are sent: the callbacks write on before who asked has read them.
        """
        draft = self.path / f"{CHECKPOINT}.new"
        with draft.open("wb") as stream:
            write(stream)
        draft.replace(self.path / CHECKPOINT)
        self._number += 1
        out = self._out / str(self._number)
        out.mkdir()
        present = files_in(self.path, HOSTS_OWN)
        changed = {CHECKPOINT: self.path / CHECKPOINT}
        for path, file in present.items():
            status = file.stat()
            if self._sent.get(path) != (state := (status.st_size, status.st_mtime_ns)):
                self._sent[path] = state
                changed[path] = file
        copies: dict[str, Path] = {}
        for path, file in changed.items():
            copies[path] = out / path
            copies[path].parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copies[path])
        data = {"digests": digests_of(copies), "present": [*present]}
        self._send("checkpoint", data, copies)


def run_job(
    job: Job,
    folder: Path,
    record: Mapping[str, Any] | None,
    send: Send,
    interrupts: StopRequest,
) -> None:
    """Do a job, and send what it made: `finished` with its result.

    Args:
        job: what to do.
        folder: as for `WorkerWorkspace`.
        record: the same.
        send: takes events.
        interrupts: says whether who asked wants it to stop.

    Raises:
        MlregError: of the kind that is at fault.
        Interrupted: who asked wanted it to stop; a checkpoint was sent if training had begun.
    """
    began = time.monotonic()
    observer = SendingObserver(send)
    settings = settings_from(job.options)
    with prepared_environment(), warnings_to(observer.warn):
        plugins = load_plugins(settings, job.spec)
        spec = spec_from_json(plugins, job.spec)
        logs = job.options.get("tensorboard")
        gpus = (job.options.get("resources") or {}).get("gpus")
        context = RunContext(
            plugins,
            load_backend if gpus is None else partial(load_backend, gpus=gpus),
            observer,
            interrupts,
            settings.folder,
            standard_report,
            began,
            Path(logs) if logs else None,
            open_parent=parents_below(folder / "run" / PARENT_FOLDER, settings),
        )
        workspace = WorkerWorkspace(job.id, folder, record, send)
        if job.kind == "trial":
            _trial(job, spec, workspace, context, send)
            return
        artifacts = execute(spec, workspace, context)
        if job.kind == "reproduce":
            _send_retrained(artifacts, workspace, send)
            return
        made = make_version(artifacts, workspace, folder, context)
        files = files_below(workspace.files, observer)
        files |= kept_files(workspace.path / KEPT_FOLDER, observer)
        _send_version(job, made, files, workspace, observer, send)


def _send_version(
    job: Job,
    made: MadeVersion,
    files: Mapping[str, Path],
    workspace: WorkerWorkspace,
    observer: Observer,
    send: Send,
) -> None:
    """Send a version; its files go to the registry directly if the job names a team's."""
    result: dict[str, Any] = {"record": made.record}
    registry = job.options.get("registry")
    if registry is None:
        made.load_check({MODEL_FILE: workspace.files / MODEL_FILE})
        send("finished", {**result, "digests": digests_of(files)}, files)
        return
    with translate_storage_errors(workspace.path, "copying the files of the version"):
        staged = stage(files, workspace.path)
    copies = {file.record.path: file.path for file in staged}
    made.load_check(copies)
    try:
        upload(job.id, staged, workspace.path, observer, **registry)
    except MlregError as error:
        result["not_uploaded"] = {"node": platform.node(), "error": error_to_json(error)}
        result["digests"] = {file.record.path: file.record.sha256 for file in staged}
        send("finished", result, copies)
    else:
        send("finished", {**result, "uploaded": [vars(file.record) for file in staged]}, {})


def _trial(
    job: Job, spec: RunSpec, workspace: WorkerWorkspace, context: RunContext, send: Send
) -> None:
    from registry_core.lifecycle.trial import TrialOptions, run_trial

    options = TrialOptions.from_json(job.options["trial"])
    result = run_trial(spec, workspace, context, options)
    send("finished", {"result": result.to_json()}, {})


def _send_retrained(artifacts: Artifacts, workspace: WorkerWorkspace, send: Send) -> None:
    """Send what `compare_retrained` compares with a version's record."""
    found = retrained(artifacts)
    file = workspace.files / OUTCOMES_FILE
    file.write_bytes(found.results.to_json())
    files = {OUTCOMES_FILE: file}
    facts = {name: value for name, value in vars(found).items() if name != "results"}
    send("finished", {"retrained": facts, "digests": digests_of(files)}, files)


# --- plugins -------------------------------------------------------------------------------------


def options_from(settings: Settings) -> dict[str, Any]:
    """What a worker has to know of plugins.toml."""
    return {
        "plugins": dict(settings.plugins),
        "extensions": dict(settings.extensions),
        "folder": str(settings.folder),
    }


def settings_from(options: Mapping[str, Any]) -> Settings:
    """The settings of who asked, as far as plugins are concerned.

    Its folder is used where the worker has the same; elsewhere the worker's current folder is.
    """
    folder = Path(options["folder"])
    if not folder.is_dir():
        folder = current_folder()
    return Settings(
        file=folder / SETTINGS_FILE, plugins=options["plugins"], extensions=options["extensions"]
    )


def load_plugins(settings: Settings, spec: Mapping[str, Any]) -> PluginSet:
    """The plugins of a job, which have to be those of who asked.

    Raises:
        PluginError: one is missing here, is here alone, or has other code.
    """
    wanted: Mapping[str, str] = spec["code"]
    try:
        plugins = KnownPlugins(settings).load(spec["dataset"])
    except MlregError as error:
        names = ", ".join(f"'{name}' {_short(digest)}" for name, digest in wanted.items())
        raise PluginError(
            f"A worker on {platform.node()} cannot load the plugins: {error.what}",
            f"Install the same ones on every worker: {names}. {error.remedy}".strip(),
            error.command,
        ) from error
    found = plugins.code_digests()
    for name in sorted({*wanted, *found}):
        here, there = found.get(name), wanted.get(name)
        if here == there:
            continue
        if here is None or there is None:
            where = "is missing on" if here is None else "is only on"
            what = f"The plugin '{name}' ({_short(here or there or '')}) {where} the worker"
        else:
            what = (
                f"The plugin '{name}' is {_short(here)} on the worker and {_short(there)} where "
                "the run was started, on"
            )
        raise PluginError(
            f"{what} {platform.node()}.",
            "Install the same plugins, in the same versions, on every worker; mlreg too.",
            f"mlreg plugins show {name}",
        )
    return plugins


def _short(digest: str) -> str:
    return f"sha256:{digest.removeprefix('sha256:')[:_SHOWN_DIGITS]}"
