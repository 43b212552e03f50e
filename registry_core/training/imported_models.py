"""The Keras side of importing a model: load it within limits, check that it fits a dataset.

Knows nothing of where models are stored.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute

from registry_core.data.model_fit import misfit, single_output
from registry_core.data.nesting import is_nested, map_parts, named_parts, parts_of
from registry_core.data.targets import resolve_task
from registry_core.errors import IntegrityError, MlregError, RefusedError, UsageError
from registry_core.plugins.custom_code import why
from registry_core.tasks import MultiLabel, Segmentation, Task, task_from_json
from registry_core.training.evaluation import evaluate_model
from registry_core.training.example_inputs import example_batches
from registry_core.training.model_files import load_model
from registry_core.training.pipeline import EVALUATION_BATCH, first_examples
from registry_core.training.task_outputs import ends_in_sigmoid
from registry_core.training.trainer import KerasTrainer
from registry_core.types import ArraySplit, DataSplits

# A model may build this many more values than its file holds (64 MB): seeds, and weights of a model
# that was saved before it was built.
_SPARE_NUMBERS = 1 << 24

# the quantisation mode of a layer in a configuration, by a policy's name or as a policy
_QUANTISED = re.compile(
    r'"(int\d|float8|gptq|awq)[\w/-]*_from_\w+"|"mode": "(int\d|float8|gptq|awq)[\w/-]*"'
)

# raised as they are, rather than as a model that does not fit
_OUT_OF_MEMORY = (MemoryError, tf.errors.ResourceExhaustedError)

# Keras's own list of the variables that have no values yet.
_PENDING = "uninitialized_variables"

# Number of test examples that a model predicts before it is evaluated.
_EXAMPLES = 32


class KerasBackend(KerasTrainer):
    """Trains Keras models like `KerasTrainer`, and also loads models that were made elsewhere.

    Args:
        config: the configuration of the run, or the one that the data was loaded with.
    """

    def start_threads(self) -> None:
        """Make TensorFlow start its threads, before a limit counts the memory of their stacks."""
        tf.reduce_sum(tf.ones((64, 64)) @ tf.ones((64, 64)))

    def load(self, path: Path, numbers: int) -> keras.Model:
        """Load a file that was inspected, without running code from it.

        Args:
            path: the file, ending in `.keras`.
            numbers: number of values in the file; the model may not build more.

        Raises:
            IntegrityError: Keras cannot load it, or the model would be larger than the file.
            RefusedError: another version of Keras wrote it in a form that this one cannot read.
        """
        try:
            wanted = _count_values(path)
            if wanted > numbers + _SPARE_NUMBERS:
                raise IntegrityError(
                    f"The file describes a model of {wanted:,} numbers, but holds {numbers:,}.",
                    "The model was not built.",
                )
            model = load_model(path)
        except IntegrityError:
            raise
        except Exception as error:
            raise _not_loaded(path, error) from error
        if not isinstance(model, keras.Model):
            raise IntegrityError(
                f"The file holds a {type(model).__qualname__} rather than a model.",
                "Save the model with model.save('model.keras').",
            )
        return model

    def trial_run(self, model: keras.Model, examples: Path | None) -> None:
        """Predict and evaluate one batch, as the import will.

        Args:
            model: as it was loaded.
            examples: an `.npz` file of inputs, targets and class `names`; None makes inputs from
                the model's input shapes, and evaluates nothing.

        Raises:
            UsageError: the model does not fit the examples.
        """
        if examples is None:
            _predict_example_inputs(model)
            return
        data = _stored(examples)
        self.check_compatibility(model, data)
        try:
            evaluate_model(model, data.test)
        except Exception as error:
            raise _does_not_fit(
                f"The model cannot be evaluated on the dataset's examples: {_first_line(error)}"
            ) from error

    def predict_examples(self, model: keras.Model, examples: Path) -> None:
        """Predict the examples of such a file, after `trial_run`."""
        inputs, _ = first_examples(_stored(examples).test, EVALUATION_BATCH)
        model(inputs, training=False)

    def check_compatibility(self, model: keras.Model, data: DataSplits) -> str:
        """Check that a model fits a dataset; compile it if its own loss does not fit.

        Args:
            model: as it was loaded.
            data: the dataset.

        Returns:
            The loss that it is evaluated with, in words.

        Raises:
            UsageError: the model does not accept the inputs, or its output does not fit the
                targets.
        """
        inputs, targets = first_examples(data.test, _EXAMPLES)
        _check_inputs(model, inputs)
        try:
            outputs = model.predict_on_batch(inputs)
        except Exception as error:
            raise _does_not_fit(
                f"The model cannot predict the dataset's examples: {_first_line(error)}"
            ) from error
        if is_nested(outputs) or is_nested(targets):
            return _own_losses(model, inputs, targets, outputs)
        task = data.task or resolve_task(data).task
        assert task is not None  # noqa: S101 - resolved
        if wrong := misfit(task, outputs.shape, tuple(targets.shape), data.class_names):
            raise _does_not_fit(wrong[0])
        classes = len(data.class_names)
        if _own_loss_fits(model, inputs, targets, outputs, classes, task):
            return f"its own {_name(model.loss)}"
        loss, how = _standard_loss(model, outputs, targets, classes, task)
        model.compile(loss=loss, metrics=["accuracy"] if classes else [])
        return f"{_name(loss)} {how}"


def _stored(examples: Path) -> DataSplits:
    with np.load(examples, allow_pickle=False) as stored:
        nesting = json.loads(str(stored["nesting"]))
        inputs, targets = map_parts(lambda number: stored[str(number)], nesting)
        split = ArraySplit(inputs, targets)
        names = [str(name) for name in stored["names"]]
        task = json.loads(str(stored["task"]))
        data = DataSplits(split, split, class_names=names)
        return replace(data, task=task_from_json(task)) if task else resolve_task(data)


def _predict_example_inputs(model: keras.Model) -> None:
    """Predict generated inputs that the model accepts, of several sizes if that is open."""
    for batches in example_batches(model):
        accepted = 0
        for inputs in batches:
            try:
                model(*inputs, training=False)
            except _OUT_OF_MEMORY:
                raise
            except Exception:  # noqa: S112 - it needs other values or sizes
                continue
            accepted += 1
        if accepted:
            return


def _not_loaded(path: Path, error: Exception) -> MlregError:
    """The error for a file that Keras cannot load, depending on the version that wrote it."""
    with zipfile.ZipFile(path) as archive:
        written = json.loads(archive.read("metadata.json"))["keras_version"]
        modes = _QUANTISED.findall(archive.read("config.json").decode("utf-8", "replace"))
    here, what = keras.__version__, f"Keras cannot load the file: {why(error)}"
    if _release(written) > _release(here):
        return IntegrityError(
            what, f"Keras {written} wrote it, which is newer than {here}, which is installed.",
            "pip install --upgrade keras",
        )  # fmt: skip
    if modes and _release(written) < _release(here):
        mode = next(filter(None, modes[0]))
        return RefusedError(
            f"Keras {written} wrote the file, quantised to {mode}; Keras {here} stores such "
            "weights in another form.",
            "Import the model as it was before it was quantised.",
        )
    return IntegrityError(
        what, f"It may be damaged: Keras {written} wrote it, and Keras {here} can read that."
    )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _count_values(path: Path) -> int:
    """The number of values in the model's variables, without allocating any of them."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    config["compile_config"] = None
    pending = list(get_global_attribute(_PENDING, []))
    try:
        # in this scope variables have shapes but no values, so no layer can fill the memory
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            return sum(math.prod(each.shape) for each in model.variables)
    finally:
        # otherwise Keras would give them values together with those of the next model
        set_global_attribute(_PENDING, pending)


def _check_inputs(model: keras.Model, inputs: Any) -> None:
    wanted = getattr(model, "inputs", None)
    if not wanted:
        return  # not built: predicting shows whether the inputs fit
    given = list(named_parts(inputs, "inputs"))
    if len(wanted) != len(given):
        counts = (
            "one input" if len(each) == 1 else f"{len(each)} inputs" for each in (wanted, given)
        )
        raise _does_not_fit("The model takes {}, but the dataset has {}.".format(*counts))
    if len(given) == 1:
        _check_input(wanted[0], given[0][1])
    elif isinstance(model.input, dict) and isinstance(inputs, dict):
        for key, tensor in model.input.items():
            if key not in inputs:
                raise _does_not_fit(
                    f"The model takes an input {key!r}, but the dataset has {', '.join(inputs)}."
                )
            _check_input(tensor, inputs[key])


def _check_input(wanted: Any, inputs: Any) -> None:
    shape, given = tuple(wanted.shape[1:]), tuple(inputs.shape[1:])
    # Keras adds and drops a last axis of size 1 by itself
    sides = [_without_last_ones(shape), _without_last_ones(given)]
    same = len(sides[0]) == len(sides[1]) and all(
        a is None or a == b for a, b in zip(*sides, strict=True)
    )
    texts = wanted.dtype == "string", inputs.dtype.name == "string"
    if not same or texts[0] != texts[1]:
        raise _does_not_fit(
            f"The model takes {wanted.dtype} of shape {shape}, but the dataset's examples "
            f"are {inputs.dtype.name} of shape {given}."
        )


def _without_last_ones(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    while shape[-1:] == (1,):
        shape = shape[:-1]
    return shape


def _own_losses(model: keras.Model, inputs: Any, targets: Any, outputs: Any) -> str:
    """Check that the losses that the model is compiled with fit several outputs or targets."""
    count = len(parts_of(outputs))
    if not model.compiled:
        raise _does_not_fit(
            f"The model has {count} outputs and was saved without losses for them: compile it, "
            "and save it again."
        )
    try:
        model.test_on_batch(inputs, targets, return_dict=True)
    except _OUT_OF_MEMORY:
        raise
    except Exception as error:
        raise _does_not_fit(
            f"The model's {count} outputs and the dataset's targets do not fit: "
            f"{_first_line(error)}"
        ) from error
    return "its own losses"


def _own_loss_fits(
    model: keras.Model, inputs: Any, targets: Any, outputs: np.ndarray, classes: int, task: Task
) -> bool:
    """Whether the loss that the model is compiled with fits the dataset's targets."""
    if model.compiled and getattr(model, "loss", None) is not None:
        single = single_output(task, outputs.shape)
        if single and _name(model.loss).endswith("categorical_crossentropy"):
            return False  # it needs an output for each class
    if not model.compiled or isinstance(getattr(model, "loss", None), list | dict | None):
        return False
    if (
        not _one_output_a_number(targets, outputs)
        and _name(model.loss) != "sparse_categorical_crossentropy"
    ):
        return False  # other losses would treat class numbers as quantities
    try:
        measured = model.test_on_batch(inputs, targets, return_dict=True)
    except _OUT_OF_MEMORY:
        raise
    except Exception:
        return False
    return not classes or "accuracy" in measured


def _standard_loss(
    model: keras.Model, outputs: np.ndarray, targets: Any, classes: int, task: Task
) -> tuple[keras.losses.Loss, str]:
    """The standard loss for the targets, and how it interprets the outputs, in words."""
    if isinstance(task, MultiLabel) or single_output(task, outputs.shape):
        answers = np.asarray(outputs, "float32")
        between = ((answers > 0) & (answers < 1)).all()
        logits = not (ends_in_sigmoid(model, task) or between)
        how = "of its outputs as logits" if logits else "of its outputs as probabilities"
        return keras.losses.BinaryCrossentropy(from_logits=logits), how
    if not classes:
        if not _one_output_a_number(targets, outputs):
            raise _does_not_fit(
                f"The model's output has shape {outputs.shape[1:]}, but the targets have "
                f"{tuple(targets.shape[1:])}."
            )
        return keras.losses.MeanSquaredError(), "of its outputs"
    answers = np.asarray(outputs, "float32")
    # half precision has three digits
    probable = (answers >= 0).all() and np.allclose(answers.sum(axis=-1), 1, atol=1e-2)
    how = "of its outputs as probabilities" if probable else "of its outputs as logits"
    if _one_output_a_number(targets, outputs):
        return keras.losses.CategoricalCrossentropy(from_logits=not probable), how
    ignored = task.ignore if isinstance(task, Segmentation) else None
    return keras.losses.SparseCategoricalCrossentropy(not probable, ignore_class=ignored), how


def _one_output_a_number(targets: Any, outputs: np.ndarray) -> bool:
    """Whether targets and outputs have the same shape; else the targets are class numbers."""
    shapes = (tuple(targets.shape), outputs.shape)
    return _without_last_ones(shapes[0]) == _without_last_ones(shapes[1])


def _name(loss: Any) -> str:
    """The name of a loss that is given as a text, a function or an object."""
    found = keras.losses.get(loss)
    return str(getattr(found, "name", None) or getattr(found, "__name__", "a loss of its own"))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__qualname__).partition("\n")[0][:300]


def _does_not_fit(what: str) -> UsageError:
    return UsageError(what, "Import the model for the dataset that it was trained on.")
