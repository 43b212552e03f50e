"""What adopting a model asks of Keras: load it within bounds, hold it against a dataset.

Knows models that were made elsewhere, and nothing of where they are kept.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.errors import IntegrityError, MlregError, RefusedError, UsageError
from registry_core.plugins.custom_code import why
from registry_core.training.evaluation import measure
from registry_core.training.examples import example_batches
from registry_core.training.models import load_model
from registry_core.training.pipeline import EVALUATION_BATCH, first_examples
from registry_core.training.trainer import KerasTrainer
from registry_core.types import ArraySplit, DataSplits

# A model may build so many more numbers than its file holds: one that was saved before it was
# built, and seeds. It is 64 MB.
_SPARE_NUMBERS = 1 << 24

# how a configuration names a quantised layer's type, by a policy's name or as a policy
_QUANTISED = re.compile(
    r'"(int\d|float8|gptq|awq)[\w/-]*_from_\w+"|"mode": "(int\d|float8|gptq|awq)[\w/-]*"'
)

# never taken for a model that merely does not fit
_OUT_OF_MEMORY = (MemoryError, tf.errors.ResourceExhaustedError)

# How many test examples are shown to a model before it is measured.
_EXAMPLES = 32


class KerasBackend(KerasTrainer):
    """Trains Keras models, as `KerasTrainer` does, and takes those that were made elsewhere.

    Args:
        config: the run's configuration, or what the data was loaded by.
    """

    def start_threads(self) -> None:
        """Have TensorFlow start its threads, whose stacks are memory."""
        tf.reduce_sum(tf.ones((64, 64)) @ tf.ones((64, 64)))

    def load(self, path: Path, numbers: int) -> keras.Model:
        """Load a file that was inspected, without running code of its own.

        Args:
            path: the file, ending in `.keras`.
            numbers: how many numbers it holds; the model builds no more than that.

        Raises:
            IntegrityError: Keras cannot make a model of it, or would make one that is larger.
        """
        try:
            wanted = _numbers_to_build(path)
            if wanted > numbers + _SPARE_NUMBERS:
                raise IntegrityError(
                    f"The file describes a model of {wanted:,} numbers, and holds {numbers:,}.",
                    "Nothing of it was built.",
                )
            model = load_model(path)
        except IntegrityError:
            raise
        except Exception as error:
            raise _not_loaded(path, error) from error
        if not isinstance(model, keras.Model):
            raise IntegrityError(
                f"The file holds {type(model).__qualname__} alone, and no model.",
                "A model is saved with model.save('model.keras').",
            )
        return model

    def rehearse(self, model: keras.Model, examples: Path | None) -> None:
        """Let a model answer and be measured as it will be, on one batch.

        Args:
            model: as it was loaded.
            examples: an `.npz` file of `inputs`, `targets` and class `names`; None makes inputs by
                what the model says of them, and measures nothing.

        Raises:
            UsageError: it does not fit the examples.
        """
        if examples is None:
            _answer_anything(model)
            return
        data = _stored(examples)
        self.check_compatibility(model, data)
        try:
            measure(model, data.test)
        except Exception as error:
            raise _unfit(
                f"The model cannot be measured on the dataset's examples: {_said(error)}"
            ) from error

    def answer(self, model: keras.Model, examples: Path) -> None:
        """Let a model answer the examples of such a file, once it was measured on them."""
        inputs, _ = first_examples(_stored(examples).test, EVALUATION_BATCH)
        model(inputs, training=False)

    def check_compatibility(self, model: keras.Model, data: DataSplits) -> str:
        """Hold a model against a dataset; compile it, where its own loss says nothing of that.

        Args:
            model: as it was loaded.
            data: takes its inputs and its targets.

        Returns:
            Which loss it is measured with, in words.

        Raises:
            UsageError: it does not take the inputs, or its output does not fit the targets.
        """
        inputs, targets = first_examples(data.test, _EXAMPLES)
        _check_inputs(model, inputs)
        try:
            outputs = model.predict_on_batch(inputs)
        except Exception as error:
            raise _unfit(
                f"The model cannot answer the dataset's examples: {_said(error)}"
            ) from error
        if not isinstance(outputs, np.ndarray):
            raise _unfit(f"The model has {len(outputs)} outputs, and a registered model has one.")
        classes = len(data.class_names)
        if classes and outputs.shape != (len(inputs), classes):
            raise _unfit(
                f"The model's output has shape {outputs.shape[1:]}, and there are {classes} "
                "classes."
            )
        if _own_loss_fits(model, inputs, targets, outputs, classes):
            return f"its own {_name(model.loss)}"
        loss, how = _natural_loss(outputs, targets, classes)
        model.compile(loss=loss, metrics=["accuracy"] if classes else [])
        return f"{_name(loss)} {how}"


def _stored(examples: Path) -> DataSplits:
    with np.load(examples, allow_pickle=False) as stored:
        split = ArraySplit(stored["inputs"], stored["targets"])
        return DataSplits(split, split, class_names=[str(name) for name in stored["names"]])


def _answer_anything(model: keras.Model) -> None:
    """Let a model answer inputs that it takes: a few, where nothing says how large examples are."""
    for batches in example_batches(model):
        answered = 0
        for inputs in batches:
            try:
                model(*inputs, training=False)
            except _OUT_OF_MEMORY:
                raise
            except Exception:  # noqa: S112 - it takes other values or sizes
                continue
            answered += 1
        if answered:
            return


def _not_loaded(path: Path, error: Exception) -> MlregError:
    """What it means that Keras cannot load a file, going by the Keras that wrote it."""
    with zipfile.ZipFile(path) as archive:
        written = json.loads(archive.read("metadata.json"))["keras_version"]
        modes = _QUANTISED.findall(archive.read("config.json").decode("utf-8", "replace"))
    here, what = keras.__version__, f"Keras cannot load the file: {why(error)}"
    if _release(written) > _release(here):
        return IntegrityError(
            what, f"Keras {written} wrote it, which is newer than the {here} here.",
            "pip install --upgrade keras",
        )  # fmt: skip
    if modes and _release(written) < _release(here):
        mode = next(filter(None, modes[0]))
        return RefusedError(
            f"Keras {written} wrote the file, quantised to {mode}; Keras {here} keeps such "
            "weights in another form.",
            "Save the model as it was before it was quantised, and import that.",
        )
    return IntegrityError(
        what, f"It may be damaged: Keras {written} wrote it, and {here} reads it."
    )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _numbers_to_build(path: Path) -> int:
    """How many numbers the model's variables would have, without making any of them."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    config["compile_config"] = None
    # variables know their shapes here and get no values, so that no layer can fill the memory
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return sum(math.prod(each.shape) for each in model.variables)


def _check_inputs(model: keras.Model, inputs: Any) -> None:
    wanted = getattr(model, "inputs", None)
    if not wanted:
        return  # it was never built; its answers tell
    if len(wanted) != 1:
        raise _unfit(f"The model takes {len(wanted)} inputs, and the dataset has one.")
    shape, given = tuple(wanted[0].shape[1:]), tuple(inputs.shape[1:])
    # Keras adds and drops a last axis of one place by itself
    sides = [_without_last_ones(shape), _without_last_ones(given)]
    same = len(sides[0]) == len(sides[1]) and all(
        a is None or a == b for a, b in zip(*sides, strict=True)
    )
    texts = wanted[0].dtype == "string", inputs.dtype.name == "string"
    if not same or texts[0] != texts[1]:
        raise _unfit(
            f"The model takes {wanted[0].dtype} of shape {shape}, and the dataset's examples "
            f"are {inputs.dtype.name} of shape {given}."
        )


def _without_last_ones(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    while shape[-1:] == (1,):
        shape = shape[:-1]
    return shape


def _own_loss_fits(
    model: keras.Model, inputs: Any, targets: Any, outputs: np.ndarray, classes: int
) -> bool:
    """Whether the model is compiled with what the dataset's targets ask for."""
    if not model.compiled or isinstance(getattr(model, "loss", None), list | dict | None):
        return False
    if (
        not _one_output_a_number(targets, outputs)
        and _name(model.loss) != "sparse_categorical_crossentropy"
    ):
        return False  # others take class numbers for quantities, and do not say so
    try:
        measured = model.test_on_batch(inputs, targets, return_dict=True)
    except _OUT_OF_MEMORY:
        raise
    except Exception:
        return False
    return not classes or "accuracy" in measured


def _natural_loss(outputs: np.ndarray, targets: Any, classes: int) -> tuple[keras.losses.Loss, str]:
    """The loss that the targets ask for, and what it takes the outputs for."""
    if not classes:
        if not _one_output_a_number(targets, outputs):
            raise _unfit(
                f"The model's output has shape {outputs.shape[1:]}, and the targets have "
                f"{tuple(targets.shape[1:])}."
            )
        return keras.losses.MeanSquaredError(), "of its outputs"
    answers = np.asarray(outputs, "float32")
    # half precision keeps three digits
    probable = (answers >= 0).all() and np.allclose(answers.sum(axis=-1), 1, atol=1e-2)
    kind = (
        keras.losses.CategoricalCrossentropy
        if _one_output_a_number(targets, outputs)
        else keras.losses.SparseCategoricalCrossentropy
    )
    how = "of its outputs as probabilities" if probable else "of its outputs as logits"
    return kind(from_logits=not probable), how


def _one_output_a_number(targets: Any, outputs: np.ndarray) -> bool:
    """Whether every target has its own output; else the targets are the numbers of classes."""
    shapes = (tuple(targets.shape), outputs.shape)
    return _without_last_ones(shapes[0]) == _without_last_ones(shapes[1])


def _name(loss: Any) -> str:
    """`sparse_categorical_crossentropy`, whether a text, a function or a loss says so."""
    found = keras.losses.get(loss)
    return str(getattr(found, "name", None) or getattr(found, "__name__", "a loss of its own"))


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__qualname__).partition("\n")[0][:300]


def _unfit(what: str) -> UsageError:
    return UsageError(what, "A model is taken in for the dataset that it was made for.")
