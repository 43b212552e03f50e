"""Dataset plugins with several inputs and outputs, texts and weights, as files; and real runs."""

from __future__ import annotations

from functools import partial
from typing import Any

from lifecycle_helpers import Project

_HEAD = """
import numpy as np

from registry_core import ArraySplit, Classification, DataSplits, RunConfig, StreamSplit, hookimpl

COLOURS = np.array(["red", "green", "blue"])


class Config(RunConfig):
    batch_size: int = 8
    epochs: int = 2


@hookimpl
def mlreg_presets():
    return {"tiny": Config()}


def drawn(examples, seed):
    random = np.random.default_rng(seed)
    classes = np.arange(examples) % 3
    points = random.normal(classes[:, None] - 1, 0.3, (examples, 2)).astype("float32")
    sizes = random.normal(classes[:, None] / 2, 0.1, (examples, 1)).astype("float32")
    return classes, points, sizes


def stream(*parts):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(parts)
    return StreamSplit(dataset, len(dataset), "drawn")


def splits(made, output=None):
    parts = [made(*drawn(examples, seed)) for seed, examples in enumerate((30, 12, 9))]
    return DataSplits(*parts, task=Classification(("a", "b", "c"), output=output))


def compiled(model, loss=None, metrics=("accuracy",), **more):
    import keras

    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=list(metrics), **more)
    return model


def two_inputs(structure):
    import keras

    points, sizes = keras.Input((2,), name="points"), keras.Input((1,), name="sizes")
    joined = keras.layers.Concatenate()([points, sizes])
    joined = keras.layers.Dropout(0.2)(keras.layers.Dense(6, activation="tanh")(joined))
    return keras.Model(structure(points, sizes), keras.layers.Dense(3)(joined))

"""

_AUGMENTED = """

@hookimpl
def mlreg_augmentation():
    import tensorflow as tf

    def jitter(inputs, batch):
        points = inputs["points"]
        noise = tf.random.stateless_normal(tf.shape(points), batch.seed)
        return {**inputs, "points": points + 0.1 * noise}

    return jitter
"""

DICT = (
    _HEAD
    + """
@hookimpl
def mlreg_dataset():
    return splits(lambda y, points, sizes: ArraySplit({"points": points, "sizes": sizes}, y))


@hookimpl
def mlreg_model():
    return compiled(two_inputs(lambda points, sizes: {"sizes": sizes, "points": points}))
"""
    + _AUGMENTED
)

TUPLE = (
    _HEAD
    + """
@hookimpl
def mlreg_dataset():
    return splits(lambda y, points, sizes: ArraySplit([points, sizes], y))


@hookimpl
def mlreg_model():
    return compiled(two_inputs(lambda points, sizes: [points, sizes]))
"""
)

STREAM = (
    _HEAD
    + """
@hookimpl
def mlreg_dataset():
    return splits(lambda y, points, sizes: stream({"points": points, "sizes": sizes}, y))


@hookimpl
def mlreg_model():
    return compiled(two_inputs(lambda points, sizes: {"sizes": sizes, "points": points}))
"""
    + _AUGMENTED
)

OUTPUTS = (
    _HEAD
    + """
@hookimpl
def mlreg_dataset():
    return splits(lambda y, points, sizes: ArraySplit(points, {"kind": y, "size": sizes}), "kind")


@hookimpl
def mlreg_model():
    import keras

    points = keras.Input((2,))
    shared = keras.layers.Dense(6, activation="tanh")(points)
    outputs = {"kind": keras.layers.Dense(3)(shared), "size": keras.layers.Dense(1)(shared)}
    losses = {
        "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "size": keras.losses.MeanSquaredError(),
    }
    metrics = {"kind": ["accuracy"], "size": [keras.metrics.MeanAbsoluteError(name="mae")]}
    model = keras.Model(points, outputs)
    model.compile("adam", losses, metrics=metrics, loss_weights={"kind": 1.0, "size": 0.5})
    return model
"""
)

TEXTS = (
    _HEAD
    + """
@hookimpl
def mlreg_dataset():
    def made(y, points, sizes):
        texts = [f"{COLOURS[each]} {number} of {len(y)}" for number, each in enumerate(y)]
        return ArraySplit(np.array(texts, object), y)

    return splits(made)


@hookimpl
def mlreg_model(data):
    import keras

    look_up = keras.layers.TextVectorization(output_mode="multi_hot")
    look_up.adapt(data.train.inputs)
    layers = [keras.Input((), dtype="string"), look_up, keras.layers.Dense(3)]
    return compiled(keras.Sequential(layers))
"""
)

_ONE_INPUT = """

@hookimpl
def mlreg_model():
    import keras

    layers = [keras.Input((2,)), keras.layers.Dense(3)]
    return compiled(keras.Sequential(layers), weighted_metrics=["accuracy"])
"""

WEIGHTS = (
    _HEAD
    + """
@hookimpl
def mlreg_dataset():
    return splits(lambda y, points, sizes: ArraySplit(points, y, weights=1.0 + y))
"""
    + _ONE_INPUT
)

WEIGHTED_STREAM = (
    _HEAD
    + """
@hookimpl
def mlreg_dataset():
    return splits(lambda y, points, sizes: stream(points, y, 1.0 + y))
"""
    + _ONE_INPUT
)

CLASS_WEIGHTS = (
    _HEAD
    + """
@hookimpl
def mlreg_dataset():
    return splits(lambda y, points, sizes: ArraySplit(points, y, class_weights={"a": 3.0, 1: 0.5}))
"""
    + _ONE_INPUT
)

PLUGINS = {
    "inputs in a dict": DICT,
    "inputs in a tuple": TUPLE,
    "a stream of dicts": STREAM,
    "two outputs": OUTPUTS,
    "texts": TEXTS,
    "weights": WEIGHTS,
    "a stream with weights": WEIGHTED_STREAM,
    "class weights": CLASS_WEIGHTS,
}


def stopping_backend(epoch: int, step: int) -> Any:
    """Keras's backend, whose fit gets a signal after `step` batches of `epoch`, both from 1."""
    from registry_core.training import KerasBackend

    class Stopping(KerasBackend):
        def fit(self, assembly, observer, stop, checkpoints):
            heard = partial(_stop_at, observer, stop, epoch, step)
            return super().fit(assembly, heard(), stop, checkpoints)

    return Stopping


def _stop_at(observer, stop, epoch, step):
    class Watching:
        epochs = 0

        def __getattr__(self, name):
            return getattr(observer, name)

        def batch_done(self, done, metrics):
            observer.batch_done(done, metrics)
            if (self.epochs + 1, done) == (epoch, step):
                stop.receive(15)

        def epoch_done(self, number, metrics, seconds):
            observer.epoch_done(number, metrics, seconds)
            self.epochs = number + 1

    return Watching()


def project(folder, name: str) -> Project:
    return Project(folder, PLUGINS[name])
