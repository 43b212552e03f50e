"""A fault in a stream is a data error that names the split and the example."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from checkpoint_helpers import Nowhere
from fakes import Recorder
from training_helpers import examples

from registry_core.config import RunConfig
from registry_core.errors import DataError, PluginError
from registry_core.process.interrupts import StopRequest
from registry_core.types import ArraySplit, Assembly, DataSplits, StreamSplit

pytestmark = pytest.mark.tensorflow

NAMES = ("setosa", "versicolor", "virginica")


def stream(inputs, targets, says=None) -> StreamSplit:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((inputs, targets))
    return StreamSplit(data, len(inputs) if says is None else says, "drawn")


def spoilt(field: str, place: int, value, count: int = 300) -> StreamSplit:
    """A stream with one example that is not right."""
    inputs, targets = examples(count)
    targets = targets if field == "label" else targets.astype("float32")
    (inputs if field == "inputs" else targets)[place] = value
    return stream(inputs, targets)


def yields(rows, says: int, shape=(2,)) -> StreamSplit:
    """A stream of no known length, from a generator that is called anew for each pass."""
    import tensorflow as tf

    signature = (tf.TensorSpec(shape, tf.float32), tf.TensorSpec((), tf.int64))
    data = tf.data.Dataset.from_generator(rows, output_signature=signature)
    return StreamSplit(data, says, "drawn")


def rows_of(count: int, at: int | None = None, do=None):
    """A generator's function; `do` makes the row of the place `at`, or raises."""

    def rows():
        for place, row in enumerate(zip(*examples(count), strict=True)):
            yield do(*row) if place == at else row

    return rows


def fails(*row):
    raise ValueError("the file of this row is cut")


def run(data: DataSplits, units: int = 3, **settings):
    """Check, train and measure as a run does; which stage was reached, and what stopped it."""
    import keras

    from registry_core.training import KerasTrainer

    trainer, reached = KerasTrainer(RunConfig(batch_size=16, **settings)), ["data"]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if units > 1 else "mse"
    try:
        data = trainer.check_data(data)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
        model.compile("sgd", loss)
        reached.append("fit")
        assembly = Assembly(data, model, None, None, [])
        trainer.fit(assembly, Recorder(), StopRequest(), Nowhere())
        reached.append("evaluate")
        trainer.evaluate(model, model, data.test)
        reached.append("done")
    except DataError as error:
        return reached[-1], error
    return reached[-1], None


def splits(name: str, split) -> DataSplits:
    """Sound ones, but for the one of this name."""
    sound = {n: stream(*examples(40, seed)) for seed, n in enumerate(("train", "test"), 1)}
    return DataSplits(**{**sound, name: split}, class_names=NAMES)


def regression(name: str, split) -> DataSplits:
    sound = [stream(x, y.astype("float32")) for x, y in (examples(40, 1), examples(40, 2))]
    return DataSplits(**{"train": sound[0], "test": sound[1], name: split})


SPLITS = ("train", "test", "validation")


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize(("field", "value"), [("inputs", np.nan), ("targets", np.inf)])
def test_non_finite_numbers_are_reported_with_their_index(name, field, value):
    """In the test split before training, in the training split in the first epoch."""
    reached, error = run(regression(name, spoilt(field, 271, value)), units=1)
    what = "NaN" if np.isnan(value) else "infinity"
    assert error.what == f"The {name} {field} are not all finite: example 271 has {what}."
    assert error.exit_status == 4
    assert reached == ("fit" if name == "train" else "data")


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("label", [3, -1])
def test_invalid_labels_are_reported_with_their_index(name, label):
    """As for arrays."""
    _, error = run(splits(name, spoilt("label", 255, label)))
    assert error.what == f"The {name} targets are out of range: example 255 has label {label}."
    assert "from 0 to 2" in error.remedy


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("found", [0, 138, 199])
def test_a_stream_with_too_few_examples_is_reported_with_both_numbers(name, found):
    """Also if the number of batches is the same."""
    reached, error = run(splits(name, yields(rows_of(found), says=200)))
    assert error.what == f"The {name} stream yields {found} examples but states 200."
    assert reached == ("fit" if name == "train" and found else "data")


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("name", SPLITS)
def test_a_stream_with_too_many_examples_is_reported(name):
    """The rest would never be used."""
    _, error = run(splits(name, yields(rows_of(201), says=200)))
    assert error.what == f"The {name} stream yields more than the 200 examples that it states."
    assert "dataset.take(200)" in error.remedy


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("place", [0, 150])
def test_a_stream_that_raises_is_reported_with_index_and_reason(name, place):
    """A cut file among thousands is found."""
    _, error = run(splits(name, yields(rows_of(200, place, fails), says=200)))
    assert error.what == (
        f"The {name} stream fails at example {place}: ValueError: the file of this row is cut"
    )


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("name", SPLITS)
def test_an_example_of_another_shape_is_reported_with_its_index(name):
    """Such examples cannot be batched."""
    odd = rows_of(200, 150, lambda inputs, label: (inputs[:1], label))
    _, error = run(splits(name, yields(odd, says=200, shape=(None,))))
    assert error.what == (
        f"Example 150 of the {name} stream has inputs of shape (1,), but example 0 has shape (2,)."
    )


@pytest.mark.gate
def test_an_example_of_another_dtype_is_reported_with_its_index():
    """The generator's signature says what it yields."""
    words = rows_of(200, 150, lambda inputs, label: (["a", "b"], label))
    _, error = run(splits("test", yields(words, says=200)))
    assert error.what.startswith("The test stream fails at example 150: TypeError: `generator`")


@pytest.mark.gate
def test_the_element_specification_of_a_stream_is_checked_first():
    """Batches, single values, and labels that are not integers."""
    import tensorflow as tf

    inputs, classes = examples(40)
    for data, said in (
        (tf.data.Dataset.from_tensor_slices((inputs, classes)).batch(8), "shape (None,)"),
        (tf.data.Dataset.from_tensor_slices(inputs), "yields TensorSpec"),
        (tf.data.Dataset.from_tensor_slices((inputs, classes * 1.0)), "dtype float64"),
        (tf.data.Dataset.from_tensor_slices((inputs, np.eye(4)[classes])), "shape (4,)"),
    ):
        reached, error = run(splits("test", StreamSplit(data, 40, "drawn")))
        assert error.what.startswith("The test stream yields ")
        assert said in error.what
        assert reached == "data"


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("after", ["", "prefetch", "map", "unbatch"])
def test_a_batched_stream_is_told_to_unbatch(after):
    """Also where targets are quantities; rows of a series that were cut by `batch` are examples."""
    import tensorflow as tf

    inputs, classes = examples(40)
    data = tf.data.Dataset.from_tensor_slices((inputs, classes * 1.0)).batch(8)
    data = {
        "": data,
        "prefetch": data.prefetch(1),
        "map": data.map(lambda rows, label: (rows, label + 1)),
        "unbatch": data.unbatch(),
    }[after]
    reached, error = run(regression("train", StreamSplit(data, 40, "drawn")), units=1)
    if after == "unbatch":
        assert reached == "done"
    else:
        assert error.what == "The train stream yields batches: targets of shape (None,)."
        assert "dataset.unbatch()" in error.remedy


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_series_that_is_cut_into_rows_by_batch_has_single_examples():
    """An example is a row of inputs and the number that follows it."""
    import tensorflow as tf

    series = tf.data.Dataset.from_tensor_slices(np.arange(120, dtype="float32"))
    rows = series.batch(3, drop_remainder=True).map(lambda row: (row[:2], row[2]))
    assert run(regression("train", StreamSplit(rows, 40, "drawn")), units=1) == ("done", None)


# --- another order -------------------------------------------------------------------------------


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("name", SPLITS)
def test_a_stream_with_a_changing_order_is_reported(name):
    """Training would not repeat, and results would be paired wrongly."""
    shuffled = stream(*examples(300)).dataset.shuffle(300)
    reached, error = run(splits(name, StreamSplit(shuffled, 300, "drawn")))
    if name == "validation":  # only means are taken of it
        assert error is None
        return
    assert error.what.startswith(f"The {name} stream changes: example ")
    assert "mlreg_augmentation" in error.remedy
    assert reached == ("data" if name == "train" else "evaluate")


@pytest.mark.gate
def test_the_index_of_the_first_change_is_reported():
    """Here the last two of 300 are swapped from the second pass on."""
    passes = itertools.count()

    def rows():
        inputs, targets = examples(300)
        order = [*range(298), 299, 298] if next(passes) else range(300)
        yield from zip(inputs[order], targets[order], strict=True)

    _, error = run(splits("test", yields(rows, says=300)))
    assert error.what.startswith("The test stream changes: example 298 ")


def test_a_stream_with_random_changes_is_reported():
    """Random changes belong in the augmentation, which a resumed run repeats."""
    generator = np.random.default_rng(1)
    noisy = rows_of(60, 0, lambda inputs, label: (inputs + generator.normal(size=2), label))
    reached, error = run(splits("train", yields(noisy, says=60)))
    assert error.what.startswith("The train stream changes: example 0 ")
    assert reached == "data"


# --- what is sound -------------------------------------------------------------------------------


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("kind", ["endless", "plain", "of unknown length", "shuffled"])
def test_streams_give_the_same_results_as_arrays(kind):
    """Endless ones are cut; a validation split may be the test split itself."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(examples(60))
    train = {
        "endless": data.repeat(),
        "plain": data,
        "of unknown length": data.filter(lambda *example: True),
        "shuffled": data.shuffle(9, seed=1, reshuffle_each_iteration=False),
    }[kind]
    test = stream(*examples(300, 5))
    parts = DataSplits(StreamSplit(train, 60, "drawn"), test, test, NAMES)
    assert run(parts, epochs=2) == ("done", None)
    mixed = DataSplits(StreamSplit(train, 60, "drawn"), ArraySplit(*examples(9)), None, NAMES)
    assert run(mixed) == ("done", None)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_an_error_of_the_augmentation_is_not_blamed_on_the_stream():
    """The stream is read again without a fault, and TensorFlow's error is raised as it is."""
    import keras
    import tensorflow as tf

    from registry_core.training import KerasTrainer

    trainer = KerasTrainer(RunConfig(batch_size=16))
    data = trainer.check_data(splits("train", stream(*examples(60))))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def augment(inputs, batch):
        return tf.debugging.check_numerics(inputs / tf.zeros_like(inputs), "augmented")

    with pytest.raises(tf.errors.InvalidArgumentError, match="augmented"):
        trainer.fit(Assembly(data, model, augment, None, []), Recorder(), StopRequest(), Nowhere())


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_run_with_an_invalid_stream_is_a_data_error(tmp_path):
    """Nothing is registered, and the plugin's model is not blamed."""
    from fakes import run_context, write_project

    from registry_core.lifecycle.run import run as whole_run
    from registry_core.lifecycle.spec import spec_from_preset
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.store import Store
    from registry_core.training import KerasBackend

    plugins = KnownPlugins(write_project(tmp_path, PLUGIN)).load("flowers")
    store = Store(tmp_path / "registry")

    def go(case: str):
        return whole_run(
            spec_from_preset(plugins, overrides={"case": case}),
            store,
            run_context(plugins, tmp_path, KerasBackend),
        )

    for case, said in (("short", "train stream yields 30 examples but states 40"),
                       ("nan", "train inputs are not all finite: example 33 has NaN")):  # fmt: skip
        with pytest.raises(DataError, match=said):
            go(case)
    with pytest.raises(PluginError, match="model: ValueError: 'out put' is not a valid scope name"):
        go("name")
    assert go("sound").ref == "flowers@1"


PLUGIN = """
from registry_core import DataSplits, RunConfig, StreamSplit, hookimpl


class Config(RunConfig):
    case: str = "sound"


@hookimpl
def mlreg_presets():
    return {"tiny": Config()}


@hookimpl
def mlreg_dataset(config):
    import numpy as np
    import tensorflow as tf

    def split(count, seed, case=""):
        inputs = np.random.default_rng(seed).normal(size=(count, 2)).astype("float32")
        if case == "nan":
            inputs[33] = np.nan
        data = tf.data.Dataset.from_tensor_slices((inputs, np.arange(count) % 3))
        if case == "short":
            data = data.enumerate().filter(lambda n, _: n < 30).map(lambda n, example: example)
        return StreamSplit(data, count, f"drawn {seed}")

    return DataSplits(split(40, 1, config.case), split(20, 2), split(10, 3), ("a", "b", "c"))


@hookimpl
def mlreg_model(config, data):
    import keras

    name = "out put" if config.case == "name" else "output"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name=name)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model
"""
