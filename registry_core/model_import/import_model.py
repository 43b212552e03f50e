"""How a model that was made elsewhere becomes a version: copy, inspect, load, measure, register.

What is inspected is this process's own copy, and the same bytes are loaded and registered. The copy
is opened by another process first, which has limits; this one opens it once that went well. The
context's backend loads and measures it; nothing here knows TensorFlow.
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
from registry_core.lifecycle.publishing import notify
from registry_core.lifecycle.record import Artifacts, build_origin
from registry_core.lifecycle.run import NOTHING_REGISTERED, publish
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.stages import Stages
from registry_core.model_import import Examiner, Limits, bounded_memory
from registry_core.model_import.model_file import ModelFile
from registry_core.records import MODEL_FILE, Version
from registry_core.store import Store, translate_storage_errors
from registry_core.types import DataSplits, History

# What stands in place of a preset's name for a model that no preset trained.
PRESET = "imported"

_CHUNK = 1 << 20


class FirstReader(Protocol):
    """Who opens a file before this process does; `registry_core.model_import` has the one."""

    def inspect(self, file: Path) -> ModelFile: ...

    def rehearse(self, file: Path, config: RunConfig, data: DataSplits | None) -> Limits: ...


def import_model(
    spec: RunSpec,
    file: Path,
    store: Store,
    context: RunContext,
    examiner: FirstReader | None = None,
) -> Version:
    """Copy a `.keras` file, measure it on the plugin's test split, and register it.

    Args:
        spec: the name, the plugin, and the preset by which its data is loaded.
        file: the model; it is copied, and not looked at again.
        store: where the version goes.
        context: what a run needs; its backend is loaded once the file was found harmless and the
            data good.
        examiner: opens the file first; None does so in a process with the usual limits.

    Raises:
        UsageError: there is no such file, or the model does not fit the dataset.
        RefusedError: the file wants to run code, to reach for something outside itself, or more
            memory or time than a file of its size gets.
        IntegrityError: the file is not what a `.keras` file is.
        MlregError: of the kind that is at fault. Whatever is raised, no version was registered.
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
        observer.say(f"Registry: {store.folder}")
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
            described = describe(data)

        with stages.timed("model"):
            with translate_storage_errors(store.folder, "trying the model out", outcome=nothing):
                limits = examiner.rehearse(own, spec.config, data)
            backend = context.load_backend(spec.config)
            backend.start_threads()
            with plugins.attribute_errors("mlreg_dataset"):
                data = backend.check_data(data)
            # what went well there because memory was refused must not take it here
            with bounded_memory(limits.memory_bytes):
                model = backend.load(own, found.numbers)
                loss = backend.check_compatibility(model, data)

        with stages.timed("evaluate"):
            evaluation = backend.evaluate(model, model, data.test)
        artifacts = Artifacts(
            replace(spec, preset=PRESET),
            backend,
            data,
            build_origin(spec, described, backend, context),
            History({}),
            model,
            evaluation,
            {f"test_{name}": value for name, value in evaluation.metrics.items()},
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


def examine(file: Path, examiner: FirstReader | None = None) -> tuple[int, str]:
    """Try out a copy of a file, and keep nothing; returns its size in bytes and its sha256.

    The model is loaded, and answers inputs that are made by what it says of them.

    Raises:
        UsageError, RefusedError, IntegrityError: as `import_model`.
    """
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / MODEL_FILE
        copied = _copy(file, own)
        (examiner or Examiner()).rehearse(own, RunConfig(), None)
    return copied


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy a regular file as long as it is now; returns its size in bytes and its sha256."""
    if source.is_dir():
        raise RefusedError(
            f"{source} is a folder; a SavedModel runs what is written in it.",
            "Where it is trusted, build the model with Keras, and save it as .keras.",
        )
    try:
        # NONBLOCK, so that a pipe in its place cannot hold us up
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{source} cannot be read: {reason}.", "Name a .keras file.") from error
    with os.fdopen(descriptor, "rb") as stream, target.open("xb") as copy:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{source} is no regular file.", "Name a .keras file.")
        digest, left = hashlib.sha256(), status.st_size
        # whoever writes on while we read does not make the copy grow
        while left and (piece := stream.read(min(_CHUNK, left))):
            digest.update(piece)
            copy.write(piece)
            left -= len(piece)
    return status.st_size - left, digest.hexdigest()


def _plain(name: str) -> str:
    """A file's name as text, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
