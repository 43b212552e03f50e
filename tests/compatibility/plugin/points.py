"""A dataset plugin for the compatibility tests: 2-D points in three groups.

Never change this file or `points_layers.py`: the registries that were made with them record their
digests. Add another plugin instead.

The points come from integer arithmetic, so they are the same on every machine and in every version
of NumPy.
"""

import os
import signal

from registry_core import ArraySplit, DataSplits, Objection, RunConfig, hookimpl


class PointsConfig(RunConfig):
    """The host's settings and those of this plugin."""

    learning_rate: float = 0.02
    units: int = 6
    custom_layer: bool = False


@hookimpl
def mlreg_presets():
    """Three, five and one epochs, and a model with a custom layer."""
    return {
        "baseline": PointsConfig(epochs=3, batch_size=16),
        "long": PointsConfig(epochs=5, batch_size=16),
        "short": PointsConfig(epochs=1, batch_size=16),
        "custom": PointsConfig(epochs=2, batch_size=16, custom_layer=True),
    }


@hookimpl
def mlreg_dataset():
    """Draw (examples, 2) float32 points and the group of each, 0 to 2."""
    return DataSplits(
        train=draw(120, first=1),
        test=draw(60, first=2),
        validation=draw(30, first=3),
        class_names=("left", "middle", "right"),
        source="computed",
    )


def draw(examples, first):
    """Draw points around (-1, 0), (0, 1) and (1, 0), by a linear congruential generator."""
    import numpy as np

    state, points, groups = first, [], []
    for number in range(examples):
        noise = []
        for _ in range(2):
            state = (1103515245 * state + 12345) % 2**31
            noise.append((state >> 16) % 1024 - 512)
        group = number % 3
        points.append((1024 * (group - 1) + noise[0] * 2, 1024 * (group == 1) + noise[1] * 2))
        groups.append(group)
    return ArraySplit(np.array(points, "float32") / 1024, np.array(groups, "int64"))


@hookimpl
def mlreg_scheduler(config):
    """Lower the learning rate by 10 % after each epoch."""
    return lambda epoch: config.learning_rate * 0.9**epoch


@hookimpl
def mlreg_model(config, data, learning_rate):
    """Build one hidden layer with dropout, whose random state a resumed run has to restore."""
    import keras

    layers = [keras.layers.Input((2,)), keras.layers.Dense(config.units, activation="relu")]
    if config.custom_layer:
        from points_layers import Scale

        layers.append(Scale(0.5))
    layers += [keras.layers.Dropout(0.1), keras.layers.Dense(len(data.class_names))]
    model = keras.Sequential(layers)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@hookimpl
def mlreg_callbacks():
    """Count batches, and send SIGTERM after as many as POINTS_STOP_AFTER says."""
    import keras

    class Batches(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if self.done == int(os.environ.get("POINTS_STOP_AFTER", "0")):
                os.kill(os.getpid(), signal.SIGTERM)

    return [Batches()]


@hookimpl
def mlreg_report(result, out_dir):
    """Write one small text file instead of figures, to keep the registry small."""
    summary = out_dir / "summary.txt"
    lines = [f"{name} = {value:.4f}\n" for name, value in sorted(result.metrics.items())]
    summary.write_text("".join(lines))
    return [summary]


@hookimpl
def mlreg_check_promotion(candidate, alias):
    """Object to versions that were trained for one epoch."""
    if alias == "production" and candidate.preset == "short":
        return [Objection("epochs", "one epoch is not enough for production")]
    return []
