"""What a run needs beside its specification: one value, made once for each command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from registry_core.config import RunConfig
from registry_core.dataclass import dataclass
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.spec import StartFrom
from registry_core.plugins.manager import PluginSet
from registry_core.process.interrupts import StopRequest
from registry_core.records import Origin
from registry_core.types import Checkpoints, Observer, RunResult

# Draws the host's own figures into a folder, for a dataset whose plugin has no report.
StandardReport = Callable[[RunResult, Path], Sequence[Path]]


def draw_standard_figures(result: RunResult, out_dir: Path) -> Sequence[Path]:
    """The host's own figures."""
    from registry_core.evaluation.figures import standard_figures  # Matplotlib loads here

    return list(standard_figures(result, out_dir))


@dataclass(frozen=True)
class ParentModel:
    """A version that is open for a run to start from.

    Args:
        file: its model, checked.
        manifest: its manifest.
        origin: where it was registered first; None if that is not known.
    """

    file: Path
    manifest: Mapping[str, Any]
    origin: Origin | None = None


# Opens a version for as long as its model is loaded; the code that it needs is imported.
OpenParent = Callable[[StartFrom], AbstractContextManager[ParentModel]]


@dataclass(frozen=True)
class RunContext:
    """What a run needs beside its specification.

    Args:
        plugins: the dataset's plugin and the extensions.
        load_backend: called once the data has been checked; it may import TensorFlow.
        observer: receives progress and warnings.
        interrupts: says whether a signal asked the run to stop.
        project: the folder whose git commit and modules are recorded.
        standard_report: draws the figures of a dataset whose plugin has no report.
        began: when the command began, by `time.monotonic()`; None is when its run begins.
        open_parent: opens the version whose weights a run starts with; None if there is no way to.
        tensorboard: a folder that gets a TensorBoard log of each run; None writes none.
    """

    plugins: PluginSet
    load_backend: Callable[[RunConfig], TrainingBackend]
    observer: Observer
    interrupts: StopRequest
    project: Path
    standard_report: StandardReport = draw_standard_figures
    began: float | None = None
    tensorboard: Path | None = None
    open_parent: OpenParent | None = None


class Workspace(Checkpoints, Protocol):
    """Where a run writes until it is published; the store has one for each run."""

    @property
    def id(self) -> str:
        """What `mlreg resume` is given; empty if the run cannot be resumed."""

    @property
    def path(self) -> Path:
        """A folder for this run's own files."""

    @property
    def record(self) -> Mapping[str, Any] | None:
        """What `begin` recorded; None if nothing was begun here."""

    def begin(self, record: Mapping[str, Any]) -> None:
        """Record durably what is being trained: from now on the run can be resumed."""
