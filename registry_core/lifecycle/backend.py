"""What the lifecycle asks of the library that trains; `registry_core.training` does it with Keras.

A backend is made for one run, by the run's configuration. Models are opaque here: the lifecycle
passes them from one method to the next and looks into none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from registry_core.evaluation.beliefs import OutputScale
from registry_core.process.interrupts import StopRequest
from registry_core.tasks import Task
from registry_core.types import (
    Assembly,
    Checkpoints,
    DataSplits,
    Evaluation,
    History,
    Observer,
    Schedule,
    Split,
    WeightTransfer,
)


class Predictor(Protocol):
    """Predicts batches with one model; `scale` says what the numbers of its output are."""

    scale: OutputScale

    def predict(self, inputs: Any) -> Any:
        """(n, ...) outputs of (n, ...) inputs, both NumPy arrays in any nesting."""


class TrainingBackend(Protocol):
    """Checks, fits, evaluates, saves and loads models.

    Attributes:
        model_type: what `mlreg_model` and `mlreg_inference_model` must return.
        callback_type: what `mlreg_callbacks` must return.
    """

    model_type: type
    callback_type: type

    def environment(self) -> dict[str, Any]:
        """Library versions, device and settings, for the version's record."""

    def precision(self) -> AbstractContextManager[None]:
        """A context in which models are built with the configuration's precision."""

    # --- before training ------------------------------------------------------------------------

    def check_data(self, data: DataSplits, read: bool = True) -> DataSplits:
        """The same splits, checked whenever they are read; `read` reads the streams now."""

    def initial_learning_rate(self, schedule: Schedule | None) -> Any:
        """The learning rate that `mlreg_model` is given."""

    def check_augmentation(self, assembly: Assembly) -> None:
        """Run the augmentation once; raises PluginError if it changes the inputs' shape."""

    def check(self, assembly: Assembly, folder: Path) -> None:
        """Refuse, before the first epoch, what would fail after the last one.

        Args:
            assembly: everything that training needs.
            folder: where a file may be written and read again.
        """

    def take_weights(self, model: Any, split: Split, path: Path) -> WeightTransfer:
        """Give a model the weights of a saved one that fit it.

        Args:
            model: as `mlreg_model` returned it; is changed in place.
            split: whose inputs it takes.
            path: the saved model.
        """

    def metric_names(self, assembly: Assembly) -> Sequence[str]:
        """What is measured after each epoch, without a prefix: such as `loss` and `accuracy`."""

    # --- training and evaluation ----------------------------------------------------------------

    def fit(
        self, assembly: Assembly, observer: Observer, stop: StopRequest, checkpoints: Checkpoints
    ) -> History:
        """Train for the configured epochs, from the last checkpoint if there is one."""

    def evaluate(self, model: Any, trained: Any, split: Split) -> Evaluation:
        """Measure a model; one that is not compiled is compiled as `trained` is."""

    def predictor(self, model: Any, task: Task | None) -> Predictor:
        """What predicts batches of inputs with a model that was loaded."""

    def inputs_at(self, split: Split, places: Sequence[int]) -> Mapping[int, Any]:
        """The inputs of some examples as NumPy arrays: place -> input, nested as the split is.

        Those that would take long, far into a stream, may be left out.
        """

    def digest(self, model: Any) -> str:
        """The digest of a model's weights."""

    # --- files ----------------------------------------------------------------------------------

    def save(self, model: Any, path: Path) -> None:
        """Write a model to a file."""

    def custom_objects(self, path: Path) -> Mapping[str, str]:
        """The registered objects that a saved model names, and the module of each."""

    def check_saved(self, model: Any, path: Path, split: Split) -> None:
        """Load a saved model; raises PluginError if its outputs differ from the model's."""

    # --- models from elsewhere ------------------------------------------------------------------

    def start_threads(self) -> None:
        """Start the library's threads, before a limit counts the memory that they take."""

    def load(self, path: Path, numbers: int) -> Any:
        """Load an inspected file without running its code; it may build `numbers` numbers."""

    def check_compatibility(self, model: Any, data: DataSplits) -> str:
        """Check that a model fits a dataset, and compile it; returns its loss, in words."""
