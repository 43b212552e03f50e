"""Every kind of split can be checked, trained on, evaluated and saved."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoint_helpers import Nowhere
from fakes import Recorder

from registry_core.config import RunConfig
from registry_core.data.targets import resolve_task
from registry_core.evaluation.packing import pack_results
from registry_core.process.interrupts import StopRequest
from registry_core.tasks import MultiLabel
from registry_core.types import (
    ArraySplit,
    Assembly,
    DataSplits,
    IndexedSplit,
    Split,
    StreamSplit,
)

pytestmark = pytest.mark.tensorflow

NAMES = ("setosa", "versicolor", "virginica")
WORDS = np.array(["red", "green", "blue"])

# the default one, its neighbour, the largest, and one whose remainder by 2**31 - 1 is not 0
SEEDS = (0, 1, 2**31 - 2, 2**31 - 1)

# What the targets are -> class names, units, loss. All are drawn from the class numbers.
TARGETS = {
    "class numbers": (NAMES, 3, "sparse"),
    "class numbers in a column": (NAMES, 3, "sparse"),
    "one column for each class": (NAMES, 3, "categorical"),
    "class numbers without names": ((), 3, "sparse"),
    "yes or no": ((), 1, "binary"),
    "several labels": (NAMES, 3, "binary"),
    "one number": ((), 1, "mse"),
    "a row of numbers": ((), 2, "mse"),
}


def targets_of(kind: str, classes: np.ndarray) -> np.ndarray:
    if kind == "one column for each class":
        return np.eye(3, dtype="float32")[classes]
    if kind == "several labels":
        return (classes[:, None] >= np.arange(3)).astype("float32")
    return {
        "class numbers in a column": classes[:, None],
        "yes or no": (classes > 0).astype("int64"),
        "one number": classes.astype("float32") / 2,
        "a row of numbers": np.stack([classes, -classes], axis=1).astype("float32"),
    }.get(kind, classes)


def split_of(container: str, inputs: str, targets: str, examples: int, first: int = 0) -> Split:
    """Examples whose class follows from their place; `first` lets splits differ."""
    classes = (first + np.arange(examples)) % 3
    if inputs == "texts":
        values = np.char.add(WORDS[classes], [f" {first + n}" for n in range(examples)])[:, None]
    elif inputs == "bytes":
        values = np.random.default_rng(first).integers(0, 256, (examples, 2)).astype("uint8")
    else:
        values = np.random.default_rng(first).normal(classes[:, None], 0.3, (examples, 2))
        values = values.astype("float32")
    expected = targets_of(targets, classes)
    if container == "arrays":
        return ArraySplit(values, expected)
    if container == "indexed":
        return IndexedSplit(list(zip(values, expected, strict=True)))
    import tensorflow as tf

    if container == "indexed function":
        return IndexedSplit(
            lambda index: (tf.gather(values, index), tf.gather(expected, index)), examples, "drawn"
        )
    stream = tf.data.Dataset.from_tensor_slices((values, expected))
    if container == "endless stream":
        stream = stream.repeat()
    elif container == "stream of no known length":
        stream = stream.filter(lambda *example: True)
    elif container == "generator":
        stream = tf.data.Dataset.from_generator(
            lambda: zip(values, expected, strict=True), output_signature=stream.element_spec
        )
    return StreamSplit(stream, examples, f"drawn from {first}")


def model_of(inputs: str, units: int, loss: str, texts):
    import keras

    losses = {
        "sparse": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "categorical": keras.losses.CategoricalCrossentropy(from_logits=True),
        "binary": keras.losses.BinaryCrossentropy(from_logits=True),
        "mse": "mse",
    }
    if inputs == "texts":
        look_up = keras.layers.TextVectorization(output_mode="multi_hot")
        look_up.adapt(texts)
        layers = [keras.Input((1,), dtype="string"), look_up]
    else:
        layers = [keras.Input((2,))]
    model = keras.Sequential([*layers, keras.layers.Dense(units)])
    metrics = [] if loss == "mse" else ["accuracy"]
    model.compile(keras.optimizers.SGD(0.01), losses[loss], metrics=metrics)
    return model


def train(data: DataSplits, inputs: str, kind: str, folder, seed: int = 0):
    """All that a run does with its splits, in the order of a run; returns what was measured."""
    from registry_core.training import KerasTrainer

    _, units, loss = TARGETS[kind]
    trainer = KerasTrainer(RunConfig(seed=seed))
    data = trainer.check_data(resolve_task(data))
    texts = data.train.inputs if isinstance(data.train, ArraySplit) else WORDS
    model = model_of(inputs, units, loss, texts)
    assembly = Assembly(data, model, None, None, [])
    trainer.check(assembly, folder)
    history = trainer.fit(assembly, Recorder(), StopRequest(), Nowhere())
    evaluation = trainer.evaluate(model, model, data.test)
    assert history.epochs == 1
    assert len(evaluation.losses) == len(data.test)
    assert pack_results(evaluation, data.task, "drawn").examples == len(data.test)
    trainer.save(model, folder / "model.keras")
    trainer.check_saved(model, folder / "model.keras", data.test)
    return evaluation


CONTAINERS = (
    "arrays",
    "stream",
    "endless stream",
    "stream of no known length",
    "generator",
    "indexed",
    "indexed function",
)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_trains_every_container(container, seed, tmp_path):
    """The smallest and the largest seed that a configuration takes, and those beside them."""
    splits = [split_of(container, "numbers", "class numbers", n, n) for n in (70, 20, 9)]
    train(DataSplits(*splits, class_names=NAMES), "numbers", "class numbers", tmp_path, seed)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("container", ["arrays", "stream"])
@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_target_trains_with_the_default_configuration(container, kind, tmp_path):
    """With a validation split and without one."""
    names = TARGETS[kind][0]
    parts = [split_of(container, "numbers", kind, n, n) for n in (70, 20, 9)]
    task = None
    if (container, kind) == ("stream", "several labels"):
        task = MultiLabel(names)  # of arrays it is seen
    train(DataSplits(*parts, class_names=names, task=task), "numbers", kind, tmp_path)
    train(DataSplits(*parts[:2], class_names=names, task=task), "numbers", kind, tmp_path)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("inputs", ["texts", "bytes"])
def test_every_kind_of_input_trains_with_the_default_configuration(container, inputs, tmp_path):
    """Texts and bytes, which no check of finite numbers may stumble over."""
    parts = [split_of(container, inputs, "class numbers", n, n) for n in (70, 20, 9)]
    train(DataSplits(*parts, class_names=NAMES), inputs, "class numbers", tmp_path)
