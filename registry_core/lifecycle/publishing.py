"""What a run leaves for its version: the model, the figures, the log; and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from registry_core.data.recorded import validation_split
from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError, MlregError, PluginError, one_line
from registry_core.evaluation.per_example_results import OUTCOMES_FILE
from registry_core.formatting import size
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.record import Artifacts
from registry_core.plugins import custom_code
from registry_core.plugins.manager import PluginSet
from registry_core.process.guard import ClosedFilesError
from registry_core.records import (
    FIGURES_FOLDER,
    KEPT_FOLDER,
    LOG_FILE,
    MODEL_FILE,
    FileRecord,
)
from registry_core.store import Workspace, check_files
from registry_core.types import Evaluation, Observer, RunResult

# The line about kept files names the largest ones.
_NAMED = 3


class VersionFolder(Protocol):
    """Where a run writes the files of its version."""

    @property
    def id(self) -> str:
        """The run's id."""

    @property
    def files(self) -> Path:
        """The folder for them."""


@dataclass(frozen=True)
class MadeVersion:
    """A version whose files are written, and which is not registered yet.

    Args:
        record: what its manifest says beside the files.
        load_check: loads the files once more, given path -> file; raises if that does not work.
        reason: why it is registered, for the ledger.
        uploaded: files that a worker has uploaded; all but the log, where there are any.
    """

    record: Mapping[str, Any]
    load_check: Callable[[Mapping[str, Path]], None]
    reason: str = ""
    uploaded: Sequence[FileRecord] = ()


def save_model(artifacts: Artifacts, files: Path, context: RunContext) -> list[dict[str, Any]]:
    """Write the model's file; returns what the manifest says of its custom objects."""
    artifacts.backend.save(artifacts.model, files / MODEL_FILE)
    objects = artifacts.backend.custom_objects(files / MODEL_FILE)
    for name in (name for name, module in objects.items() if not module):
        context.observer.warn(
            f"'{name}' is not registered when a module is imported, but in a function: other "
            "processes cannot load this version. Register it at the top of a module."
        )
    return custom_code.describe(objects, context.project)


def save_results(artifacts: Artifacts, files: Path) -> None:
    """Write the results for each test example."""
    (files / OUTCOMES_FILE).write_bytes(artifacts.results.to_json())


def run_result(artifacts: Artifacts) -> RunResult:
    """The finished run as `mlreg_report` and `mlreg_report_sections` get it."""
    spec = artifacts.spec
    return RunResult(
        spec.model,
        spec.dataset,
        spec.preset,
        spec.config,
        artifacts.history,
        artifacts.metrics,
        artifacts.evaluation,
        tuple(artifacts.data.class_names),
        artifacts.imported is None
        and validation_split(artifacts.origin["data"]["splits"]) == "test",
        artifacts.data.task,
        _validation_of(artifacts),
    )


@dataclass(frozen=True)
class Figures:
    """What was drawn of a run.

    Args:
        from_plugins: the files that plugins wrote.
        missing: why figures are missing; None if they are there. A version needs no figures.
    """

    from_plugins: Sequence[Path]
    missing: str | None


def draw_figures(result: RunResult, files: Path, context: RunContext) -> Figures:
    """Draw the figures: the host's own if the dataset's plugin draws none, and the plugins'."""
    plugins = context.plugins
    out_dir = files / FIGURES_FOLDER
    out_dir.mkdir()
    drawn: list[Path] = []
    try:
        if not plugins.provides("mlreg_report"):
            context.standard_report(result, out_dir)
        for figure in plugins.collect("mlreg_report", Path, result=result, out_dir=out_dir):
            inside = figure.resolve().is_relative_to(out_dir.resolve())
            if not inside or not figure.is_file() or figure.is_symlink():
                raise PluginError(
                    f"mlreg_report returned {figure}, which is no file in its out_dir.",
                    "Write figures into out_dir and return their paths.",
                )
            drawn.append(out_dir / figure.resolve().relative_to(out_dir.resolve()))
    except ClosedFilesError:
        raise  # files of this run may be among them
    except Exception as error:  # the host's own drawing may fail too, whatever it raises
        reason = getattr(error, "what", "") or one_line(error) or type(error).__qualname__
        context.observer.warn(
            f"Figures are missing: {reason} The version is registered without them."
        )
        return Figures(drawn, reason)
    return Figures(drawn, None)


def _validation_of(artifacts: Artifacts) -> Callable[[], Evaluation] | None:
    """What measures the model on the validation split, if a report asks for it."""
    model, split = artifacts.model, artifacts.data.validation
    return None if split is None else lambda: artifacts.backend.evaluate(model, model, split)


def save_log(folder: Workspace, observer: Observer) -> None:
    """Make the log so far a file of the version; a damaged log is left out."""
    try:
        content = folder.log_content
    except IntegrityError as error:
        observer.warn(f"The run's log is left out: {error.what}")
        return
    if content:
        (folder.files / LOG_FILE).write_bytes(content)


def files_below(folder: Path, observer: Observer, under: str = "") -> dict[str, Path]:
    """The version's files; links, and names that no version can have, are left out.

    Args:
        folder: holds them.
        observer: receives warnings.
        under: the folder inside the version that they are in.
    """
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.is_symlink():
            continue
        path = (PurePosixPath(under) / file.relative_to(folder).as_posix()).as_posix()
        try:
            check_files({path: file})
        except PluginError as error:
            observer.warn(f"A file of a plugin is left out: {error.what}")
        else:
            files[path] = file
    return files


def kept_files(folder: Path, observer: Observer) -> dict[str, Path]:
    """What callbacks wrote into the folder whose files the version keeps; says how much it is.

    Args:
        folder: `kept` in the run's folder; it may be missing.
        observer: receives warnings, and the sizes.
    """
    if folder.is_symlink() or not folder.is_dir():
        return {}
    files = files_below(folder, observer, KEPT_FOLDER)
    if files:
        sizes = {path: file.stat().st_size for path, file in files.items()}
        largest = sorted(sizes, key=lambda path: -sizes[path])[:_NAMED]
        named = ", ".join(f"{path} {size(sizes[path])}" for path in largest)
        more = f" and {len(sizes) - _NAMED:,} more" if len(sizes) > _NAMED else ""
        observer.say(f"Kept from the callbacks, {size(sum(sizes.values()))}: {named}{more}")
    return files


def notify(plugins: PluginSet, hook: str, observer: Observer, **known: Any) -> None:
    """Tell the plugins of something that is done; what they raise is a warning."""
    try:
        plugins.call(hook, **known)
    except MlregError as error:
        observer.warn(f"{error.what} It is done all the same.")
