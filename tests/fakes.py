"""A training backend without TensorFlow, an observer that remembers, and plugins as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from registry_core.config import RunConfig
from registry_core.data.checks import steps
from registry_core.data.nesting import map_parts
from registry_core.errors import PluginError, TrainingError
from registry_core.evaluation.beliefs import OutputScale
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.context import RunContext, StandardReport
from registry_core.plugins.manager import PluginSet
from registry_core.process.interrupts import StopRequest
from registry_core.settings import SETTINGS_FILE, Settings, read_settings
from registry_core.store.checkpoint import read_state, write_checkpoint
from registry_core.types import (
    ArraySplit,
    Assembly,
    Checkpoints,
    DataSplits,
    Evaluation,
    History,
    Observer,
    RunResult,
    Schedule,
    Split,
    WeightTransfer,
)

# Three classes of flowers, two measurements each: 30 examples to learn from, 12 to test on.
TABLE_PLUGIN = """
from registry_core import ArraySplit, DataSplits, RunConfig, hookimpl


class TableConfig(RunConfig):
    batch_size: int = 10
    learning_rate: float = 0.1
    units: int = 8


@hookimpl
def mlreg_presets():
    return {
        "baseline": TableConfig(about="three passes", epochs=3),
        "quick": TableConfig(about="one pass", epochs=1),
    }


@hookimpl
def mlreg_dataset(config, data_dir, progress):
    import numpy as np

    random = np.random.default_rng(7)
    progress.say("drawn")

    def split(examples):
        classes = np.arange(examples) % 3
        inputs = random.normal(classes[:, None], 0.1, (examples, 2)).astype("float32")
        return ArraySplit(inputs, classes)

    return DataSplits(
        split(30), split(12), split(6), ("setosa", "versicolor", "virginica"), source="drawn"
    )


@hookimpl
def mlreg_model(config, data, learning_rate):
    return {"units": config.units, "learning_rate": learning_rate}
"""

# Appended to TABLE_PLUGIN, it reads files for `mlreg predict`: a line has two measurements.
READS_FILES = """

@hookimpl
def mlreg_input_suffixes():
    return [".csv"]


@hookimpl
def mlreg_inputs(paths, progress):
    import numpy as np
    from registry_core import Examples

    tables = []
    for path in paths:
        lines = path.read_text().split()
        tables.append(np.array([line.split(",") for line in lines], "float32").reshape(-1, 2))
    progress.say("lines are flowers")
    return Examples(np.concatenate(tables), counts=[len(table) for table in tables])
"""

# The least that an extension can be.
COUNTING_EXTENSION = """
from registry_core import hookimpl

seen = []


@hookimpl
def mlreg_registered(version):
    seen.append(version.ref)
"""

# An extension that turns every training input upside down, by wrapping a stage.
WRAPPING_EXTENSION = """
from dataclasses import replace

from registry_core import ArraySplit, hookimpl


@hookimpl(wrapper=True)
def mlreg_dataset(config):
    data = yield
    return replace(data, train=ArraySplit(-data.train.inputs, data.train.targets))
"""


class Recorder:
    """An observer that keeps every call, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[tuple[str, int, int | None]] = []
        self.warnings: list[str] = []
        self.stages: list[str] = []
        self.resumptions: list[tuple[int, int]] = []
        self.started: list[tuple[int, int, int]] = []
        self.batches: list[tuple[int, dict[str, float]]] = []
        self.epochs: list[tuple[int, dict[str, float], float]] = []
        self.rounds: list[tuple[str, int, int]] = []
        self.heard: list[str] = []  # the kinds of all calls, in order

    def say(self, text: str) -> None:
        self.said.append(text)
        self.heard.append("say")

    def step(self, what: str, done: int, total: int | None = None) -> None:
        self.steps.append((what, done, total))
        self.heard.append("step")

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.heard.append("warn")

    def stage_began(self, name: str) -> None:
        self.stages.append(name)
        self.heard.append(name)

    def resumed(self, epoch: int, step: int) -> None:
        self.resumptions.append((epoch, step))

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        self.started.append((epochs, steps_per_epoch, examples))
        self.heard.append("started")

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        self.batches.append((step, dict(metrics)))
        self.heard.append("batch")

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        self.epochs.append((epoch, dict(metrics), seconds))
        self.heard.append("epoch")

    def calculated(self, what: str, done: int, total: int) -> None:
        self.rounds.append((what, done, total))
        self.heard.append("calculated")


class FakeBackend:
    """Trains anything at once: it predicts the class of all test examples but each fifth.

    Args:
        config: the run's configuration.
        diverge_at: (epoch, batch), from 0, at which the loss becomes NaN.
        interrupt_at: (epoch, batch), from 0, at which a signal comes.
        signum: which signal.
        raises: name of a method -> what it raises instead of doing its work.
        reread: give other outputs once loaded, as a model does that keeps state outside its file.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        diverge_at: tuple[int, int] | None = None,
        interrupt_at: tuple[int, int] | None = None,
        signum: int = 2,
        raises: Mapping[str, BaseException] | None = None,
        reread: bool = False,
    ) -> None:
        self.config = config
        self.calls: list[str] = []
        self.assembly: Assembly | None = None
        self._diverge_at = diverge_at
        self._interrupt_at = interrupt_at
        self._signum = signum
        self._raises = raises or {}
        self._reread = reread

    def environment(self) -> dict[str, Any]:
        self._called("environment")
        return {"fake": "1.0", "device": "none"}

    def initial_learning_rate(self, schedule: Schedule | None) -> Any:
        self._called("initial_learning_rate")
        return None if schedule is None else float(schedule(0))

    def precision(self):
        return nullcontext()

    model_type = object
    callback_type = object

    def check_data(self, data: DataSplits, read: bool = True) -> DataSplits:
        self._called("check_data")
        return data

    def check_augmentation(self, assembly: Assembly) -> None:
        self._called("check_augmentation")

    def check(self, assembly: Assembly, folder: Path) -> None:
        self._called("check")
        assert folder.is_dir()
        self.assembly = assembly

    def take_weights(self, model: Any, split: Split, path: Path) -> WeightTransfer:
        """A model's layers are its numbers: `units` fits an equal one, all others of that name."""
        self._called("take_weights")
        saved = self._read(path) or {}
        names = [name for name in model if name != "from"]
        taken = [
            name
            for name in names
            if name in saved and (name != "units" or saved[name] == model[name])
        ]
        if taken:
            model["from"] = sha256(path.read_bytes()).hexdigest()
        return WeightTransfer(
            taken,
            {
                name: f"({saved[name]}) there, ({model[name]}) here"
                if name in saved
                else "not there"
                for name in names
                if name not in taken
            },
            [name for name in saved if name not in taken and name != "from"],
            *(len(taken), len(names), 10 * len(taken), 10 * len(names)),
        )

    def metric_names(self, assembly: Assembly) -> Sequence[str]:
        self._called("metric_names")
        return ["loss", "accuracy"]

    def fit(
        self, assembly: Assembly, observer: Observer, stop: StopRequest, checkpoints: Checkpoints
    ) -> History:
        self._called("fit")
        examples = len(assembly.data.train)
        batches = steps(examples, self.config.batch_size)
        observer.training_started(self.config.epochs, batches, examples)
        state = {"epoch": 0, "step": 0, "losses": []}
        if file := checkpoints.checkpoint:
            state = read_state(file)
        losses = state["losses"]
        for epoch in range(state["epoch"], self.config.epochs):
            loss = 1.0 / (epoch + 1)
            for batch in range(batches):
                if (epoch, batch) == self._diverge_at:
                    raise TrainingError(f"The loss is nan in epoch {epoch + 1}, batch {batch + 1}.")
                if (epoch, batch) == self._interrupt_at:
                    stop.receive(self._signum)
                observer.batch_done(batch + 1, {"loss": loss})
                stop.raise_if_requested()
            losses.append(loss)
            observer.epoch_done(epoch, {"loss": loss}, 0.25)
            state = {"epoch": epoch + 1, "step": 0, "losses": losses}
            checkpoints.keep(partial(write_checkpoint, state=state, tensors=[]))
        resumed = int(file is not None)
        return History({"loss": losses}, [0.25] * self.config.epochs, resumed)

    def evaluate(self, model: Any, trained: Any, split: Split) -> Evaluation:
        self._called("evaluate")
        assert isinstance(split, ArraySplit)
        return evaluation(split.targets)

    def predictor(self, model: Any, task: Any) -> FakePredictor:
        self._called("predictor")
        return FakePredictor()

    def inputs_at(self, split: Split, places: Sequence[int]) -> Mapping[int, Any]:
        self._called("inputs_at")
        assert isinstance(split, ArraySplit)
        return {place: map_parts(itemgetter(place), split.inputs) for place in places}

    def digest(self, model: Any) -> str:
        self._called("digest")
        return json.dumps(model)

    def save(self, model: Any, path: Path) -> None:
        self._called("save")
        path.write_text(json.dumps(model))

    def custom_objects(self, path: Path) -> Mapping[str, str]:
        return {}

    def check_saved(self, model: Any, path: Path, split: Split) -> None:
        self._called("check_saved")
        saved = {"file": sha256(path.read_bytes()).hexdigest()}
        if self._reread or model not in (saved, self._read(path)):
            raise PluginError("The saved model has different outputs after loading.")

    def start_threads(self) -> None:
        self._called("start_threads")

    def load(self, path: Path, numbers: int) -> Any:
        """Any file is a model: its digest."""
        self._called("load")
        return {"file": sha256(path.read_bytes()).hexdigest()}

    def check_compatibility(self, model: Any, data: DataSplits) -> str:
        self._called("check_compatibility")
        return "a loss"

    @staticmethod
    def _read(path: Path) -> Any:
        try:
            return json.loads(path.read_bytes())
        except ValueError:
            return None

    def _called(self, method: str) -> None:
        self.calls.append(method)
        if method in self._raises:
            raise self._raises[method]


class FakePredictor:
    """Predicts the class that the mean of an example's inputs is nearest to, of three."""

    scale = OutputScale("", 0.5)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, inputs: Any) -> np.ndarray:
        self.batches.append(len(inputs))
        means = np.asarray(inputs).reshape(len(inputs), -1).mean(axis=1)
        nearest = np.clip(np.rint(means), 0, 2).astype(int)
        return (0.1 + 0.7 * np.eye(3))[nearest].astype("float32")


def evaluation(targets: np.ndarray, classes: int = 3) -> Evaluation:
    """Every class answered right, but for each fifth example, which gets the class above."""
    if targets.dtype.kind == "f":  # no classes: every answer is 0
        losses = np.square(targets.reshape(len(targets), -1)).mean(axis=1).astype("float32")
        return Evaluation({"loss": float(losses.mean())}, 0 * targets, losses, targets)
    answered = np.where(np.arange(len(targets)) % 5 == 4, (targets + 1) % classes, targets)
    outputs = np.eye(classes, dtype="float32")[answered]
    losses = np.where(answered == targets, 0.25, 2.0).astype("float32")
    metrics = {"loss": float(losses.mean()), "accuracy": float((answered == targets).mean())}
    return Evaluation(metrics, outputs, losses, targets)


def run_context(
    plugins: PluginSet,
    folder: Path,
    backend: Callable[[RunConfig], TrainingBackend] = FakeBackend,
    observer: Observer | None = None,
    interrupts: StopRequest | None = None,
    report: StandardReport | None = None,
) -> RunContext:
    """What a run needs beside its specification, with fakes for what is left out.

    Args:
        plugins: the run's plugins.
        folder: the project.
        backend: makes the training backend.
        observer: None takes a new `Recorder`.
        interrupts: None takes a new request, which no signal makes.
        report: None takes `standard_report`.
    """
    return RunContext(
        plugins,
        backend,
        observer or Recorder(),
        interrupts or StopRequest(),
        folder,
        report or standard_report,
    )


def standard_report(result: RunResult, out_dir: Path) -> Sequence[Path]:
    """The host's own figures, without drawing any."""
    figure = out_dir / "history.png"
    figure.write_bytes(b"\x89PNG of " + result.preset.encode())
    return [figure]


def write_plugin(folder: Path, module: str, text: str) -> Path:
    """Write a plugin's module, dots in its name making folders."""
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def write_settings(
    folder: Path,
    plugins: Mapping[str, str] | None = None,
    extensions: Mapping[str, str] | None = None,
    registry: str | None = None,
) -> Settings:
    """Write a plugins.toml, name -> module, and read it back as mlreg does."""

    def section(name: str, values: Mapping[str, str]) -> str:
        return "\n".join([f"[{name}]", *(f'"{k}" = "{v}"' for k, v in values.items()), ""])

    text = section("plugins", plugins or {}) + section("extensions", extensions or {})
    if registry is not None:
        text += section("registry", {"path": registry})
    (folder / SETTINGS_FILE).write_text(text)
    return read_settings(folder / SETTINGS_FILE)


def write_project(
    folder: Path, plugin: str = TABLE_PLUGIN, extensions: Mapping[str, str] | None = None
) -> Settings:
    """A folder with the dataset plugin `flowers`, and extensions by name -> text."""
    write_plugin(folder, "flowers_plugin", plugin)
    for name, text in (extensions or {}).items():
        write_plugin(folder, f"{name}_extension", text)
    return write_settings(
        folder,
        {"flowers": "flowers_plugin"},
        {name: f"{name}_extension" for name in extensions or {}},
    )


def write_distribution(
    folder: Path, name: str, entry_points: Mapping[str, Mapping[str, str]], version: str = "1.0"
) -> None:
    """Make `folder` look like site-packages with a distribution installed in it.

    Args:
        folder: is to be on sys.path.
        name: the distribution's.
        entry_points: group -> entry's name -> module.
        version: the distribution's.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, entries in entry_points.items():
        lines += [f"[{group}]", *(f"{entry} = {module}" for entry, module in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
