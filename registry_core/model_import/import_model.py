"""Import a model that was trained elsewhere as a version: copy, check, load, evaluate, register.

The file is copied first, and the same bytes are checked, loaded and registered. A separate process
with limits opens the copy first; this process opens it once that succeeded. The context's backend
loads and evaluates the model; nothing here knows TensorFlow.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from registry_core.config import RunConfig
from registry_core.data.checks import describe
from registry_core.errors import RefusedError, UsageError
from registry_core.lifecycle.assembly import load_data
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.fitting import NOTHING_REGISTERED
from registry_core.lifecycle.publishing import notify
from registry_core.lifecycle.record import Artifacts, build_origin, measure
from registry_core.lifecycle.run import publish
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.stages import Stages
from registry_core.model_import import Examiner, Limits, bounded_memory
from registry_core.model_import.model_file import ModelFile
from registry_core.records import MODEL_FILE, Version
from registry_core.store import Store, translate_storage_errors
from registry_core.types import DataSplits, History

# The preset's name in the record of an imported model, which no preset trained.
PRESET = "imported"

_CHUNK = 1 << 20


class FileExaminer(Protocol):
    """Opens a file before this process does; `examiner.Examiner` or a fake."""

    def inspect(self, file: Path) -> ModelFile: ...

    def trial_run(self, file: Path, config: RunConfig, data: DataSplits | None) -> Limits: ...


def import_model(
    spec: RunSpec,
    file: Path,
    store: Store,
    context: RunContext,
    examiner: FileExaminer | None = None,
) -> Version:
    """Copy a `.keras` file, evaluate it on the plugin's test split, and register it.

    Args:
        spec: the name, the plugin, and the preset by which its data is loaded.
        file: the model; it is copied, and not read again.
        store: where the version goes.
        context: what a run needs; its backend is loaded once the file and the data were checked.
        examiner: opens the file first; None starts a process with the default limits.

    Raises:
        UsageError: there is no such file, or the model does not fit the dataset.
        RefusedError: the file contains code, refers to something outside itself, or exceeds the
            limits on memory or time.
        IntegrityError: the file is not a `.keras` file, or it is damaged.
        MlregError: of the class that matches the fault. After any error, nothing was registered.
    """
    began = time.monotonic() if context.began is None else context.began
    context = replace(context, began=began)
    plugins, observer, interrupts = context.plugins, context.observer, context.interrupts
    stages = Stages(observer)
    interrupts.outcome = nothing = NOTHING_REGISTERED
    examiner = examiner or Examiner(
        raise_if_requested=interrupts.raise_if_requested, warn=observer.warn
    )
    with store.start_run(spec.model) as folder:
        observer.say(f"Registry: {store.place}")
        own = folder.files / MODEL_FILE
        needed_bytes = file.stat().st_size if file.is_file() else 0
        with translate_storage_errors(
            store.folder,
            f"copying {_plain(file.name)}",
            needed_bytes=needed_bytes,
            outcome=nothing,
        ):
            size, sha256 = _copy(file, own)
        with translate_storage_errors(store.folder, "inspecting the file", outcome=nothing):
            found = examiner.inspect(own)

        with stages.timed("data"):
            data = load_data(spec, context)
            described = describe(data, context.observer)

        with stages.timed("model"):
            with translate_storage_errors(store.folder, "trying the model out", outcome=nothing):
                limits = examiner.trial_run(own, spec.config, data)
            backend = context.load_backend(spec.config)
            backend.start_threads()
            with plugins.attribute_errors("mlreg_dataset"):
                data = backend.check_data(data)
            # a file may behave well under limits only: the same memory limit applies here
            with bounded_memory(limits.memory_bytes):
                model = backend.load(own, found.numbers)
                loss = backend.check_compatibility(model, data)

        with stages.timed("evaluate"):
            evaluation = backend.evaluate(model, model, data.test)
        results, metrics = measure(evaluation, data, described, context)
        artifacts = Artifacts(
            replace(spec, preset=PRESET),
            backend,
            data,
            build_origin(spec, described, backend, context),
            History({}),
            model,
            evaluation,
            results,
            metrics,
            stages.seconds,
            imported={
                "file": _plain(file.name),
                "size": size,
                "sha256": sha256,
                "keras_version": found.keras_version,
                "loss": loss,
                "data_preset": spec.preset,
                "data_config": spec.config.values(),
            },
        )
        version = publish(artifacts, store, folder, context)
    notify(plugins, "mlreg_registered", observer, version=version)
    return version


def examine(file: Path, examiner: FileExaminer | None = None) -> tuple[int, str]:
    """Try out a copy of a file without registering it; returns its size in bytes and its sha256.

    The model is loaded, and predicts inputs that are made from its input shapes.

    Raises:
        UsageError: as `import_model`.
        RefusedError: as `import_model`.
        IntegrityError: as `import_model`.
    """
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / MODEL_FILE
        copied = _copy(file, own)
        (examiner or Examiner()).trial_run(own, RunConfig(), None)
    return copied


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy a regular file at its present length; returns its size in bytes and its sha256."""
    if source.is_dir():
        raise RefusedError(
            f"{source} is a folder; a SavedModel can run any code.",
            "If you trust it, build the model with Keras and save it as .keras.",
        )
    try:
        # NONBLOCK, so that opening a pipe does not block
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{source} cannot be read: {reason}.", "Name a .keras file.") from error
    with os.fdopen(descriptor, "rb") as stream, target.open("xb") as copy:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{source} is not a regular file.", "Name a .keras file.")
        digest, left = hashlib.sha256(), status.st_size
        # a file that grows meanwhile does not make the copy grow
        while left and (piece := stream.read(min(_CHUNK, left))):
            digest.update(piece)
            copy.write(piece)
            left -= len(piece)
    return status.st_size - left, digest.hexdigest()


def _plain(name: str) -> str:
    """A file's name as text, also if its bytes are not valid text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
