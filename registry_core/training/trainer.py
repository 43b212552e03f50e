"""What the lifecycle asks of Keras: check, fit, evaluate, save."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.config import RunConfig
from registry_core.data.checks import named_splits
from registry_core.data.nesting import named_parts, parts_of
from registry_core.errors import PluginError, TrainingError
from registry_core.plugins.attribution import why_not_callable
from registry_core.process import keras_environment
from registry_core.process.interrupts import StopRequest
from registry_core.tasks import Task
from registry_core.training.chosen_examples import inputs_at
from registry_core.training.custom_objects import custom_objects
from registry_core.training.evaluation import (
    check_metric_finite,
    check_metrics,
    evaluate_model,
    metric_names,
)
from registry_core.training.fitting import fit, rate_in_epoch
from registry_core.training.model_files import check_saved, load_model, save_model
from registry_core.training.per_example_loss import per_example_loss
from registry_core.training.pipeline import evaluation_batches, first_batch, first_examples
from registry_core.training.precision import PrecisionSettings
from registry_core.training.prediction import Predictor
from registry_core.training.random_draws import preserve_random_states
from registry_core.training.replicas import Replicas, gpu_devices
from registry_core.training.stream_checks import (
    CheckedStream,
    check_repeatable,
    checked_streams,
    record_first_pass,
    stream_errors,
)
from registry_core.training.task_outputs import (
    check_objective,
    loss_identity,
    output_misfit,
    yes_threshold,
)
from registry_core.training.weights_transfer import take_weights
from registry_core.types import (
    Assembly,
    Augmentation,
    Batch,
    Checkpoints,
    DataSplits,
    Evaluation,
    History,
    Observer,
    Schedule,
    Split,
    WeightTransfer,
)

# what TensorFlow says where `enable_op_determinism` leaves no kernel of a GPU
_NOT_DETERMINISTIC = re.compile(r"eterministic GPU implementation of (.+?)(?: is)? not ")


class KerasTrainer:
    """Trains Keras models on this machine. Making one seeds Python, NumPy and TensorFlow.

    Args:
        config: the run's configuration.
        gpus: how many GPUs a fit is spread over; None leaves them to TensorFlow, which uses one.

    Raises:
        UsageError: there are not as many.
    """

    model_type = keras.Model
    callback_type = keras.callbacks.Callback
    _made_before = False

    def __init__(self, config: RunConfig, gpus: int | None = None) -> None:
        self._config = config
        self._gpus = gpus
        devices = () if gpus is None else gpu_devices(gpus)
        self._replicas = Replicas(devices, config.deterministic)
        self._streams: list[CheckedStream] = []
        self._task: Task | None = None
        if KerasTrainer._made_before:
            tf.get_logger().addFilter(_is_not_retracing_warning)
        KerasTrainer._made_before = True
        self._precision = PrecisionSettings(config)
        keras.backend.clear_session()
        keras.utils.set_random_seed(config.seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()

    def precision(self) -> AbstractContextManager[None]:
        """Build models with the configuration's precision in the block."""
        return self._precision.applied()

    def environment(self) -> dict[str, Any]:
        """Libraries and device, for the version's record."""
        overruled = {**keras_environment.overruled, **self._precision.overruled()}
        gpus = [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")
        ]
        return {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "device": ", ".join(gpus) or platform.processor() or platform.machine(),
            **({} if self._gpus is None else {"gpus": self._gpus}),
            "deterministic": self._config.deterministic,
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
            "keras_settings": {
                "floatx": keras.config.floatx(),
                "epsilon": keras.config.epsilon(),
                "image_data_format": keras.config.image_data_format(),
                "dtype_policy": keras.config.dtype_policy().name,
            },
            **({"overruled": overruled} if overruled else {}),
            "threads": {  # 0: TensorFlow decides
                "intra_op": tf.config.threading.get_intra_op_parallelism_threads(),
                "inter_op": tf.config.threading.get_inter_op_parallelism_threads(),
            },
        }

    def initial_learning_rate(self, schedule: Schedule | None) -> Any:
        """The learning rate for `mlreg_model`: a Keras schedule, or the value for epoch 0."""
        if schedule is None or isinstance(
            schedule, keras.optimizers.schedules.LearningRateSchedule
        ):
            return schedule
        if not callable(schedule):
            raise PluginError(
                f"mlreg_scheduler returned {type(schedule).__qualname__} ({schedule!r:.80}).",
                "Expected: a function of the epoch, or a keras LearningRateSchedule.",
            )
        if (why := why_not_callable(schedule, 0)) is not None:
            raise PluginError(
                f"What mlreg_scheduler returned cannot be called with an epoch: {why}.",
                "Expected: a function of the epoch alone, such as lambda epoch: 0.001.",
            )
        return rate_in_epoch(schedule, 0)

    def check_data(self, data: DataSplits, read: bool = True) -> DataSplits:
        """The same splits, with streams that are checked whenever they are read.

        Args:
            data: as the plugin returned it.
            read: read the test and validation streams completely, and the first examples of the
                training stream twice, so that errors show before training.

        Raises:
            DataError: a stream is invalid; names the stream and, if there is one, the example.
        """
        data = checked_streams(data)
        self._task = data.task
        splits = named_splits(data).values()
        self._streams = [split for split in splits if isinstance(split, CheckedStream)]
        with _explain_errors(self._config), stream_errors(self._streams):
            for stream in self._streams if read else ():
                if stream.name == "train":
                    check_repeatable(stream)
                else:
                    record_first_pass(stream, evaluation_batches(stream))
        return data

    def check_augmentation(self, assembly: Assembly) -> None:
        """Run the augmentation once in a graph, as tf.data does.

        Args:
            assembly: everything that training needs.

        Raises:
            PluginError: it changes the shape of an input, or how the inputs are nested.
        """
        if assembly.augmentation is not None:
            inputs, _ = first_examples(assembly.data.train, 2)
            _check_augmentation(assembly.augmentation, inputs)

    def take_weights(self, model: keras.Model, split: Split, path: Path) -> WeightTransfer:
        """Give a model the weights of a saved one that fit it; see `weights_transfer`.

        Args:
            model: is built if it is not, and changed in place.
            split: whose inputs it takes.
            path: the saved model, checked against its digest.

        Raises:
            TrainingError: memory ran out.
        """
        with _explain_errors(self._config):
            if not model.built:
                model(first_examples(split, 2)[0], training=False)
            with preserve_random_states():  # a resumed run does not load it
                return take_weights(model, load_model(path))

    def check(self, assembly: Assembly, folder: Path) -> None:
        """Find errors before the first epoch that would otherwise show after the last.

        Args:
            assembly: everything that training needs.
            folder: where a temporary file may be written.

        Raises:
            PluginError: the model is not compiled, does not fit the data, cannot be saved and
                loaded, or its loss is not one value per example.
            UsageError: the batches cannot be divided among the GPUs, or the optimizer cannot work
                on several.
            TrainingError: memory ran out.
        """
        model, data = assembly.model, assembly.data
        self._replicas.check_batches(len(data.train), self._config.batch_size)
        if not model.compiled or getattr(model, "loss", None) is None:
            raise PluginError(
                "The model that mlreg_model returned is not compiled with a loss.",
                "Call model.compile(optimizer=…, loss=…, metrics=[…]) before returning it.",
            )
        self._replicas.check_optimizer(model.optimizer)
        batch = first_batch(data.train, 2)
        inputs, targets = batch[:2]
        with _explain_errors(self._config):
            _check_outputs(model, batch, data)
            check_metrics(model, inputs, targets)
            check_objective(model, data.task)
            self.check_savable(assembly, folder)

    def metric_names(self, assembly: Assembly) -> list[str]:
        """What is measured after each epoch: the loss, and the metrics of the compiled model."""
        inputs, targets = first_batch(assembly.data.train, 2)[:2]
        with _explain_errors(self._config):
            return ["loss", *metric_names(assembly.model, inputs, targets)]

    def check_savable(self, assembly: Assembly, folder: Path) -> None:
        """Save the model to a temporary file, load it, and compare the outputs.

        Raises:
            PluginError: it cannot be loaded, or its outputs differ.
        """
        inputs, _ = first_examples(assembly.data.train, 2)
        draft = folder / "untrained.keras"
        save_model(assembly.model, draft)
        check_saved(assembly.model, draft, inputs)
        draft.unlink()

    def fit(
        self,
        assembly: Assembly,
        observer: Observer,
        stop: StopRequest,
        checkpoints: Checkpoints,
    ) -> History:
        """Train for the configured epochs, resuming from the last checkpoint if there is one.

        Args:
            assembly: everything that training needs.
            observer: receives every batch and epoch.
            stop: checked after every batch.
            checkpoints: where checkpoints are read and written.

        Raises:
            TrainingError: the loss or a metric is not finite, or memory ran out.
            IntegrityError: the checkpoint does not match this model.
            Interrupted: a signal asked to stop.
        """
        split = assembly.data.train
        if self._replicas.count > 1:
            observer.say(self._replicas.line(self._config.batch_size))
        with _explain_errors(self._config), stream_errors(self._streams):
            return fit(
                self._config,
                assembly,
                observer,
                stop,
                checkpoints,
                lambda: _create_variables(assembly.model, *first_examples(split, 2)),
                self._replicas,
            )

    def evaluate(self, model: keras.Model, trained: keras.Model, split: Split) -> Evaluation:
        """Evaluate a model on a split.

        Args:
            model: the model that is registered; compiled here like `trained` if it is not compiled.
            trained: the model as it was trained.
            split: raw inputs and targets.

        Returns:
            Keras's metrics, and output and loss of each example.

        Raises:
            TrainingError: the loss or a metric is not finite.
        """
        if not model.compiled:
            model.compile_from_config(trained.get_compile_config())
        with _explain_errors(self._config), stream_errors(self._streams):
            evaluation = replace(
                evaluate_model(model, split),
                loss_function=loss_identity(model),
                threshold=yes_threshold(model, self._task),
            )
        mean_loss = float(evaluation.losses.mean())
        for name, value in {"the loss": mean_loss, **evaluation.metrics}.items():
            if "loss" in name and not np.isfinite(value):
                raise TrainingError(
                    f"When the model is evaluated, {name} is {value}.",
                    "Nothing was registered: metrics of a version must be finite.",
                )
        for name, value in evaluation.metrics.items():
            check_metric_finite(name, value, "on the test split, and the loss is fine")
        return evaluation

    def predictor(self, model: keras.Model, task: Task | None) -> Predictor:
        """What predicts batches of inputs with a model that was loaded."""
        return Predictor(model, task)

    def inputs_at(self, split: Split, places: Sequence[int]) -> Mapping[int, Any]:
        """The inputs of some examples; see `chosen_examples`.

        Raises:
            DataError: one of them cannot be read.
        """
        with stream_errors(self._streams):
            return inputs_at(split, places)

    def digest(self, model: keras.Model) -> str:
        """`sha256:` and 64 hex digits over a model's weights, in order: dtypes, shapes, bytes."""
        digest = hashlib.sha256()
        for variable in model.weights:
            array = np.asarray(variable.value)
            digest.update(f"{array.dtype}{array.shape}".encode())
            # no copy, which `tobytes` would make: a table of embeddings can have gigabytes
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return f"sha256:{digest.hexdigest()}"

    def save(self, model: keras.Model, path: Path) -> None:
        """Write the model to `path`, which ends in `.keras`."""
        save_model(model, path)

    def custom_objects(self, path: Path) -> dict[str, str]:
        """The registered objects of a model that was saved, and the module of each."""
        return custom_objects(path)

    def check_saved(self, model: keras.Model, path: Path, split: Split) -> None:
        """Load a saved model; raises PluginError if its outputs differ from the model's."""
        inputs, _ = first_examples(split, 32)
        check_saved(model, path, inputs)


def _is_not_retracing_warning(record: logging.LogRecord) -> bool:
    """Filter out TensorFlow's retracing warning: it counts all runs of a process together."""
    return "triggered tf.function retracing" not in str(record.msg)


def _check_augmentation(augmentation: Augmentation, inputs: Any) -> None:
    before = dict(named_parts(inputs, "inputs"))
    examples = len(parts_of(inputs)[0])
    batch = Batch(
        tf.constant([0, 1], tf.int32),
        tf.constant(0, tf.int64),
        tf.range(examples, dtype=tf.int64),
    )
    changed = tf.function(augmentation)(inputs, batch)
    after = dict(named_parts(changed, "inputs"))
    if before.keys() != after.keys():
        raise PluginError(
            f"The augmentation returned {', '.join(after)} for {', '.join(before)}.",
            "It must return all inputs, nested as it got them: (inputs, batch) -> inputs.",
        )
    for name, part in after.items():
        if not tf.is_tensor(part) or part.shape != before[name].shape:
            returned = part.shape if tf.is_tensor(part) else type(part).__qualname__
            raise PluginError(
                f"The augmentation returned {returned} for {name} of shape {before[name].shape}.",
                "It must return a tensor of the same shape: (inputs, batch) -> inputs.",
            )


def _check_outputs(model: keras.Model, batch: tuple[Any, ...], data: DataSplits) -> None:
    inputs, targets, *_ = batch
    examples = len(parts_of(inputs)[0])
    outputs = model(inputs, training=False)
    for name, part in named_parts(outputs, "outputs"):
        if not tf.is_tensor(part) or part.shape.rank == 0 or part.shape[0] != examples:
            returned = part.shape if tf.is_tensor(part) else type(part).__qualname__
            raise PluginError(
                f"The model's {name} are {returned} for {examples} examples.",
                "Every output must have one row for each example: (n, ...).",
            )
    if wrong := output_misfit(model, outputs, targets, data):
        raise PluginError(*wrong)
    _, losses = per_example_loss(model)(*batch)
    if losses.shape != (examples,):
        raise PluginError(
            f"The model's loss gives {losses.shape} for {examples} examples: {model.loss!r:.80}",
            "A custom loss must return one value per example: (n, ...) -> (n,).",
        )


def _create_variables(model: keras.Model, inputs: Any, targets: Any) -> None:
    """Create all variables before the first step: TensorFlow would trace that step twice."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    model.compute_metrics(inputs, targets, model(inputs, training=False))
    model.reset_metrics()


@contextmanager
def _explain_errors(config: RunConfig) -> Iterator[None]:
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise TrainingError(
            f"Memory ran out at a batch size of {config.batch_size}.",
            "Nothing was registered. Try a smaller batch size.",
            f"-p batch_size={max(1, config.batch_size // 2)}",
        ) from error
    except tf.errors.UnimplementedError as error:
        named = _NOT_DETERMINISTIC.search(error.message)
        if named is None:
            raise
        raise TrainingError(
            f"On a GPU, TensorFlow cannot make {named[1]} repeat to the bit.",
            "Nothing was registered. Train without determinism, or with --gpus 0 on the processor.",
            "-p deterministic=false",
        ) from error
