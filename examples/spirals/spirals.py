"""Three interleaved spirals in the plane: a dataset plugin in one file, nothing to download."""

from mlreg import ArraySplit, DataError, DataSplits, Examples, RunConfig, hookimpl


class SpiralsConfig(RunConfig):
    """The host's settings (epochs, batch_size, seed, …), and the plugin's own.

    Args:
        learning_rate: of the first ten epochs.
        units: of each hidden layer.
        noise: standard deviation of the points from their arm.
    """

    learning_rate: float = 0.01
    units: int = 32
    noise: float = 0.12


@hookimpl
def mlreg_presets():
    """The first one is what `mlreg run spirals` does."""
    return {
        "baseline": SpiralsConfig(about="follows the arms", epochs=30),
        "quick": SpiralsConfig(about="to see a run", epochs=3),
    }


@hookimpl
def mlreg_dataset(config):
    """Draw the points: (examples, 2) float32, and the arm each lies on, from 0 to 2."""
    import numpy as np

    def draw(examples, seed):
        generator = np.random.default_rng(seed)
        arm = generator.integers(0, 3, examples)
        turn = generator.uniform(0.2, 1.0, examples)
        angle = 4 * turn + 2 * np.pi * arm / 3
        points = turn[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        points += generator.normal(0, config.noise, points.shape)
        return ArraySplit(points.astype("float32"), arm)

    return DataSplits(
        train=draw(3000, seed=1),
        test=draw(1000, seed=2),
        validation=draw(500, seed=3),
        class_names=("first", "second", "third"),
        source="drawn",
    )


@hookimpl
def mlreg_scheduler(config):
    """Halve the learning rate every ten epochs."""
    return lambda epoch: config.learning_rate * 0.5 ** (epoch // 10)


@hookimpl
def mlreg_model(config, data, learning_rate):
    """Build two hidden layers; TensorFlow loads here, for a run only."""
    import keras

    model = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.Dense(config.units, activation="relu"),
            keras.layers.Dense(config.units, activation="relu"),
            keras.layers.Dense(len(data.class_names)),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@hookimpl
def mlreg_inputs(paths):
    """Read points for `mlreg predict`: a line has x and y, with a comma between them."""
    import numpy as np

    try:
        tables = [np.loadtxt(path, "float32", delimiter=",", ndmin=2) for path in paths]
    except ValueError as error:
        raise DataError(f"A line is not two numbers: {error}.") from None
    return Examples(np.concatenate(tables), counts=[len(table) for table in tables])
