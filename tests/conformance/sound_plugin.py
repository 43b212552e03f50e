"""A plugin that keeps every rule and has every optional hook. Each broken one changes one thing."""

from mlreg import ArraySplit, DataError, DataSplits, RunConfig, Section, Text, hookimpl


class SoundConfig(RunConfig):
    """Points around three centres.

    Args:
        learning_rate: of the first epoch.
    """

    learning_rate: float = 0.05


@hookimpl
def mlreg_presets():
    return {"baseline": SoundConfig(about="all that is right", epochs=3, batch_size=16)}


def draw(examples, seed):
    import numpy as np

    generator = np.random.default_rng(seed)
    centre = np.arange(examples) % 3
    points = generator.normal(2.0 * centre[:, None], 1.0, (examples, 2))
    return ArraySplit(points.astype("float32"), centre)


def splits(train, test):
    return DataSplits(train, test, draw(24, 3), ("a", "b", "c"), source="drawn")


@hookimpl
def mlreg_dataset():
    return splits(draw(60, 1), draw(30, 2))


@hookimpl
def mlreg_augmentation():
    import tensorflow as tf

    def jitter(inputs, batch):
        return inputs + 0.01 * tf.random.stateless_normal(tf.shape(inputs), batch.seed)

    return jitter


@hookimpl
def mlreg_scheduler(config):
    return lambda epoch: config.learning_rate * 0.5**epoch


def classifier(learning_rate, *layers, units=3):
    import keras

    model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(units)])
    model.compile(
        keras.optimizers.SGD(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@hookimpl
def mlreg_model(learning_rate):
    return classifier(learning_rate)


@hookimpl
def mlreg_input_suffixes():
    return [".csv"]


@hookimpl
def mlreg_inputs(paths):
    import numpy as np

    try:
        rows = [path.read_text().strip().split(",") for path in paths]
        return np.array(rows, "float32").reshape(-1, 2)
    except ValueError as error:
        raise DataError(f"It is no point: {error}.") from None


@hookimpl
def mlreg_report(result, out_dir):
    text, drawing = out_dir / "summary.txt", out_dir / "drawing.svg"
    text.write_text(f"{result.metrics}")
    drawing.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>')
    return [text, drawing]


@hookimpl
def mlreg_report_sections(result):
    return [Section("Metrics", [Text(f"{result.metrics}")])]
