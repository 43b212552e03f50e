"""How a model that was made elsewhere becomes a version: copy, inspect, load, measure, register.

What is inspected is this process's own copy, and the same bytes are loaded and registered. The copy
is opened by another process first, which has limits; this one opens it once that went well. Who
loads and measures is handed in, as the lifecycle is handed its trainer; nothing here knows
TensorFlow.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from registry_core.config import RunConfig
from registry_core.data.checks import describe
from registry_core.errors import RefusedError, UsageError
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, outcomes
from registry_core.lifecycle.environment import surroundings
from registry_core.lifecycle.run import (
    Stages,
    StandardReport,
    build_origin,
    build_record,
    draw,
    files_below,
    load_data,
    notify,
)
from registry_core.lifecycle.spec import RunPlan
from registry_core.model_import import Examiner, Limits, bounded_memory
from registry_core.model_import.model_file import ModelFile
from registry_core.plugins.manager import PluginSet
from registry_core.process.interrupts import StopRequest
from registry_core.records import FIGURES_FOLDER, MODEL_FILE, Version
from registry_core.store import Store, translated
from registry_core.types import DataSplits, Evaluation, History, Observer, RunResult, Split

# What stands in place of a preset's name for a model that no preset trained.
PRESET = "imported"

_CHUNK = 1 << 20


class Adopter(Protocol):
    """What the story asks of whoever loads; `registry_core.training` answers with Keras."""

    def environment(self) -> dict[str, Any]: ...

    def check_data(self, data: DataSplits, read: bool = True) -> DataSplits: ...

    def load(self, path: Path, numbers: int) -> Any: ...

    def suit(self, model: Any, data: DataSplits) -> str: ...

    def evaluate(self, model: Any, trained: Any, split: Split) -> Evaluation: ...

    def check_saved(self, model: Any, path: Path, split: Split) -> None: ...


class FirstReader(Protocol):
    """Who opens a file before this process does; `registry_core.model_import` has the one."""

    def inspect(self, file: Path) -> ModelFile: ...

    def rehearse(self, file: Path, config: RunConfig, data: DataSplits | None) -> Limits: ...


def adopt(
    plan: RunPlan,
    file: Path,
    *,
    plugins: PluginSet,
    store: Store,
    load_adopter: Callable[[RunConfig], Adopter],
    standard_report: StandardReport,
    observer: Observer,
    stop: StopRequest,
    project: Path,
    examiner: FirstReader | None = None,
) -> Version:
    """Take in a `.keras` file, measure it on the plugin's test split, and register it.

    Args:
        plan: the name, the plugin, and the preset by which its data is loaded.
        file: the model; it is copied, and not looked at again.
        plugins: the plan's plugins.
        store: where the version goes.
        load_adopter: called once the file was found harmless and the data good; importing
            TensorFlow is its affair.
        standard_report: draws the figures of a dataset whose plugin has no report.
        observer: told what goes on.
        stop: asked whether a signal wants this to end.
        project: the folder whose git commit is recorded.
        examiner: opens the file first; None does so in a process with the usual limits.

    Raises:
        UsageError: there is no such file, or the model does not fit the dataset.
        RefusedError: the file wants to run code, to reach for something outside itself, or more
            memory or time than a file of its size gets.
        IntegrityError: the file is not what a `.keras` file is.
        MlregError: of the kind that is at fault. Whatever is raised, no version was registered.
    """
    stages = Stages(observer)
    stop.outcome = "Nothing was registered."
    examiner = examiner or Examiner(obey=stop.obey, warn=observer.warn)
    with store.start_run(plan.model) as folder:
        observer.say(f"Registry: {store.folder}")
        own = folder.files / MODEL_FILE
        needed_bytes = file.stat().st_size if file.is_file() else 0
        nothing = stop.outcome
        with translated(
            store.folder,
            f"copying {_plain(file.name)}",
            needed_bytes=needed_bytes,
            outcome=nothing,
        ):
            size, sha256 = _copy(file, own)
        with translated(store.folder, "inspecting the file", outcome=nothing):
            found = examiner.inspect(own)

        with stages.timed("data"):
            data = load_data(plan, plugins, observer)
            facts = describe(data)

        with stages.timed("model"):
            with translated(store.folder, "trying the model out", outcome=nothing):
                limits = examiner.rehearse(own, plan.config, data)
            adopter = load_adopter(plan.config)
            with plugins.answerable("mlreg_dataset"):
                data = adopter.check_data(data)
            # what went well there because memory was refused must not take it here
            with bounded_memory(limits.memory_bytes):
                model = adopter.load(own, found.numbers)
                loss = adopter.suit(model, data)

        with stages.timed("evaluate"):
            evaluation = adopter.evaluate(model, model, data.test)
            metrics = {f"test_{name}": value for name, value in evaluation.metrics.items()}

        with (
            stages.timed("save"),
            translated(store.folder, "saving what was measured", outcome=nothing),
        ):
            scores = outcomes(evaluation, data.class_names, facts["splits"]["test"]["fingerprint"])
            (folder.files / OUTCOMES_FILE).write_bytes(scores.to_json())

        history = History({})
        with stages.timed("plot"):
            result = RunResult(
                plan.model, plan.dataset, PRESET, plan.config, history, metrics, evaluation,
                tuple(data.class_names),
            )  # fmt: skip
            missing = draw(
                result, folder.files / FIGURES_FOLDER, plugins, standard_report, observer
            )

        observer.stage_began("register")
        origin = build_origin(
            plan, facts, plugins, {**surroundings(project), **adopter.environment()}, project
        )
        record = build_record(plan, scores, origin, metrics, history, stages, missing)
        # the preset decided which data was loaded, and nothing of how the model came to be
        record |= {
            "preset": PRESET,
            "config": {},
            "imported": {
                "file": _plain(file.name),
                "size": size,
                "sha256": sha256,
                "keras_version": found.keras_version,
                "loss": loss,
                "data_preset": plan.preset,
                "data_config": plan.config.values(),
            },
        }
        files = files_below(folder.files, observer)
        stop.outcome = f"It was being registered: `mlreg list {plan.model}` says whether it was."
        with stop.patience():
            version = store.publish(
                folder,
                record,
                files,
                load_check=lambda staged: adopter.check_saved(model, staged[MODEL_FILE], data.test),
                reason=f"imported from {_plain(file.name)}",
            )
            stop.outcome = f"{version.ref} was registered before."
    notify(plugins, "mlreg_registered", observer, version=version)
    return version


def examine(file: Path, examiner: FirstReader | None = None) -> tuple[int, str]:
    """Try out a copy of a file, and keep nothing; returns its size in bytes and its sha256.

    The model is loaded, and answers inputs that are made by what it says of them.

    Raises:
        UsageError, RefusedError, IntegrityError: as `adopt`.
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
