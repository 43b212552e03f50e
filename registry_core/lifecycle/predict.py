"""Predicts files with a registered version: read, check, predict, put into words.

Files are read and predicted batch by batch, so that memory stays bounded. What cannot be read is
named, and the others are predicted. Nothing is registered or changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from registry_core.config import RunConfig
from registry_core.data.input_files import InputSource, Unreadable, batches, find_files
from registry_core.data.nesting import map_parts
from registry_core.dataclass import dataclass
from registry_core.errors import DataError, UsageError
from registry_core.evaluation.beliefs import Prediction, ScoreKind, describe_outputs
from registry_core.formatting import counted
from registry_core.lifecycle.backend import Predictor
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.read_inputs import HOOK, InputReader, ReadExamples, lacks_hook
from registry_core.records import Version
from registry_core.tasks import Classification, Task, task_from_json

# Examples in a batch; as many as evaluation takes, so that the same sums are made.
BATCH_SIZE = 250

# What the files and the inputs of a batch may take in memory.
MAX_BATCH_BYTES = 256 << 20


@dataclass(frozen=True)
class Predictions:
    """What a version says of some examples, in the order of the files.

    Args:
        version: the version.
        task: what its outputs mean; None if its record does not say.
        score: what the numbers beside classes are: `probability`, or `score` where the model's
            loss does not say that its outputs are logits or probabilities; `share` of places for a
            segmentation; empty without classes.
        predictions: one for each example.
        unreadable: what could not be read, and why.
        inputs: (examples, ...) the raw inputs of a batch; None where batches were joined.
    """

    version: Version
    task: Task | None
    score: ScoreKind
    predictions: Sequence[Prediction]
    unreadable: Sequence[Unreadable] = ()
    inputs: Any = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    @property
    def error(self) -> DataError | None:
        """The error that sums up what could not be read; None if all was."""
        lost, found = len(self.unreadable), len(self.predictions)
        if not lost:
            return None
        if not found:
            what = self.unreadable[0].name if lost == 1 else f"all {lost:,} inputs"
            predicted = f"Nothing was predicted: {what} could not be read."
        else:
            predicted = (
                f"{counted(lost, 'input')} could not be read; {counted(found, 'example')} "
                f"{'was' if found == 1 else 'were'} predicted."
            )
        command = next((each.command for each in self.unreadable if each.command), "")
        return DataError(
            predicted,
            self.unreadable[0].why if lost == 1 else "The reasons are above.",
            command or "mlreg predict --help",
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version.to_json(),
            "task": None if self.task is None else self.task.to_json(),
            "score": self.score or None,
            "predictions": [each.to_json() for each in self.predictions],
            "unreadable": [each.to_json() for each in self.unreadable],
        }


def joined(parts: Iterable[Predictions]) -> Predictions:
    """The predictions of one version's batches, as one value without inputs."""
    of_all = list(parts)
    return replace(
        of_all[0],
        score=_weakest({each.score for each in of_all}),
        predictions=[each for part in of_all for each in part.predictions],
        unreadable=[each for part in of_all for each in part.unreadable],
        inputs=None,
    )


def _weakest(kinds: Set[ScoreKind]) -> ScoreKind:
    """What can be said of numbers of which each is of one of these kinds."""
    order: Sequence[ScoreKind] = ("score", "probability", "share", "")
    return next(kind for kind in order if kind in kinds)


@dataclass(frozen=True)
class Choices:
    """How to predict.

    Args:
        top: how many classes to name.
        batch_size: examples in a batch.

    Raises:
        UsageError: one of them is below 1.
    """

    top: int = 3
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        for name, value in (("top", self.top), ("batch_size", self.batch_size)):
            if value < 1:
                raise UsageError(f"{name} is {value}.", "It must be 1 or more.")


def predict(
    version: Version,
    manifest: Mapping[str, Any],
    config: RunConfig,
    source: InputSource,
    choices: Choices,
    load_model: Callable[[Version], Any],
    context: RunContext,
) -> Iterator[Predictions]:
    """Predict what files hold, batch by batch; the first value may have no predictions.

    Args:
        version: the version.
        manifest: its manifest.
        config: its recorded configuration.
        source: what the user named.
        choices: how to predict.
        load_model: reads the version's model, checked.
        context: what a run needs; its backend is loaded once there is a file to read, since the
            plugin may read it with TensorFlow.

    Raises:
        PluginError: the plugin cannot read files, or its code fails.
        IntegrityError: the version's file is damaged.
        TrainingError: memory ran out.
    """
    plugins, observer, interrupts = context.plugins, context.observer, context.interrupts
    interrupts.outcome = "Nothing was changed."
    if not plugins.providers(HOOK):
        raise lacks_hook(plugins.dataset_name)
    reader = InputReader(plugins, config, manifest, observer)
    task = _task_of(manifest)
    nothing = Predictions(version, task, "", ())
    predictor: Predictor | None = None
    with tempfile.TemporaryDirectory() as folder:
        check = interrupts.raise_if_requested
        files, lost = find_files(source, reader.suffixes(), Path(folder), check)
        yield replace(nothing, unreadable=_told(lost, context))
        if not files:
            return
        observer.stage_began("model")
        backend = context.load_backend(config)
        done = 0
        for group in batches(files, choices.batch_size, reader.example_bytes, MAX_BATCH_BYTES):
            interrupts.raise_if_requested()
            found = reader.read(group)
            if found.unreadable:
                yield replace(nothing, unreadable=_told(found.unreadable, context))
            if found.names and predictor is None:
                predictor = backend.predictor(load_model(version), task)
                observer.calculated("Predicting", 0, len(files))
            done += len(group)
            if predictor is None:
                continue
            for part in _slices(found, choices.batch_size):
                interrupts.raise_if_requested()
                # the plugin's own layers run in the model; an imported model has none
                with _attributed(context, "imported" not in manifest):
                    outputs = predictor.predict(part.inputs)
                told, score = describe_outputs(
                    outputs, task, predictor.scale, part.names, choices.top
                )
                yield replace(nothing, score=score, predictions=told, inputs=part.inputs)
            observer.calculated("Predicting", done, len(files))


def _attributed(context: RunContext, theirs: bool) -> AbstractContextManager[None]:
    return context.plugins.attribute_errors("mlreg_model") if theirs else nullcontext()


def _task_of(manifest: Mapping[str, Any]) -> Task | None:
    """The recorded task; earlier versions recorded class names alone."""
    data = manifest.get("data", {})
    if (record := data.get("task")) is not None:
        return task_from_json(record)
    names = data.get("class_names")
    return Classification(names, inferred=True) if names else None


def _told(lost: Sequence[Unreadable], context: RunContext) -> Sequence[Unreadable]:
    """Warn of what cannot be read."""
    for each in lost:
        context.observer.warn(f"{each.name} was not predicted: {each.why}")
    return lost


def _slices(found: ReadExamples, size: int) -> Iterator[ReadExamples]:
    """The examples of a few files, at most so many at a time."""
    for first in range(0, len(found.names), size):
        part = slice(first, first + size)
        yield ReadExamples(
            found.names[part], map_parts(lambda array, part=part: array[part], found.inputs), ()
        )
