"""The hooks that a plugin can implement, each with an example that can be pasted.

A plugin is a module with functions of these names, each marked `@hookimpl`. A function can leave
out any argument that it does not use. Import TensorFlow and Keras inside the functions that need
them: listing plugins and checking a command line then stay fast.

A hook marked `firstresult` has one value for a run: that of the first plugin that does not return
None; the dataset plugin comes before the extensions. Any other hook collects the values of all
plugins. An extension can change what another plugin returns with `@hookimpl(wrapper=True)`.

An exception in a hook ends the command with exit status 3, and with the plugin, hook, file and line
in the message. To report a problem that is not a bug of the plugin, raise one of mlreg's errors,
such as `mlreg.DataError("What happened.", "What would work.", "the command to type next")`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import keras

    from registry_core.config import RunConfig
    from registry_core.records import Objection, Version
    from registry_core.sections import Section
    from registry_core.types import (
        Augmentation,
        DataCache,
        DataSplits,
        Examples,
        Phase,
        Progress,
        RunResult,
        Schedule,
    )

PROJECT = "mlreg"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# A dataset plugin must implement these; the others are optional.
REQUIRED = ("mlreg_presets", "mlreg_dataset", "mlreg_model")


@hookspec(firstresult=True)
def mlreg_presets() -> Mapping[str, RunConfig]:  # type: ignore[empty-body]
    """Return the presets: named, complete configurations. Required; must not import TensorFlow.

    Returns:
        Name -> an instance of the plugin's own subclass of `RunConfig`. The class is the schema for
        `-p key=value`. The first preset is the default.

    Example:
        from mlreg import RunConfig, hookimpl

        class FlowersConfig(RunConfig):
            learning_rate: float = 0.001

        @hookimpl
        def mlreg_presets():
            return {"baseline": FlowersConfig(epochs=20), "quick": FlowersConfig(epochs=2)}
    """


@hookspec(firstresult=True)
def mlreg_dataset(  # type: ignore[empty-body]
    config: RunConfig, data_dir: Path | None, progress: Progress
) -> DataSplits:
    """Load the dataset. Required.

    Args:
        config: the run's configuration, of the plugin's own class.
        data_dir: the value of `--data-dir`, or None.
        progress: reports the progress of a long download or decoding.

    Returns:
        The training and test splits, and optionally a validation split. Inputs are raw, as they
        will be when the model predicts; normalization belongs in the model. Inputs and targets may
        be dicts or tuples of arrays, for several inputs or outputs; texts are arrays of strings.
        Other hooks get them as NumPy arrays in plain dicts and tuples. `weights` and
        `class_weights` of a split multiply the losses of its examples. What does not fit into
        memory is an `IndexedSplit`, whose examples are read by index, or a `StreamSplit`, a
        tf.data dataset; other hooks find the examples of both in `data.train.dataset`, in order.
        `task` says what the targets mean, and so what versions are compared by:
        `Classification(class_names)`, `MultiLabel(label_names)`, `Regression(target_names, units)`,
        `Segmentation(class_names)`, `Other()`. Without it, class names with class numbers are a
        classification, and a single array of floats is a regression.

    Raises:
        DataError: the data is not available, or is not what it should be.

    Example:
        from mlreg import ArraySplit, DataSplits, hookimpl

        @hookimpl
        def mlreg_dataset(data_dir):
            import numpy as np

            with np.load(data_dir / "flowers.npz") as arrays:
                return DataSplits(
                    train=ArraySplit(arrays["x_train"], arrays["y_train"]),
                    test=ArraySplit(arrays["x_test"], arrays["y_test"]),
                    class_names=("setosa", "versicolor", "virginica"),
                )
    """


@hookspec(firstresult=True)
def mlreg_data(data_dir: Path | None) -> DataCache | None:
    """Return the dataset's cache, for `mlreg data fetch`, `data verify` and `data path`.

    Args:
        data_dir: the value of `--data-dir`, or None.

    Returns:
        The dataset's files on this machine. Leave this hook out if there are no files.

    Example:
        from mlreg import FileRecord, cache_folder, hookimpl

        class Flowers:
            path = cache_folder("flowers")

            def fetch(self, progress):
                progress.say("nothing to download: the examples are generated")
                return "generated"

            def verify(self):
                return [FileRecord("flowers.npz", size=0, sha256="0" * 64)]

        @hookimpl
        def mlreg_data():
            return Flowers()
    """


@hookspec(firstresult=True)
def mlreg_augmentation(config: RunConfig, data: DataSplits) -> Augmentation | None:
    """Return a function that augments the training inputs, batch by batch.

    Args:
        config: the run's configuration.
        data: the splits that `mlreg_dataset` returned.

    Returns:
        A function `(inputs, batch) -> inputs` that runs inside the tf.data graph. `inputs` is
        (n, ...) with the training split's shape and dtype, or the nesting of several inputs; what
        is returned is nested alike and has the same shapes. `batch` has `seed` (2,) int32, `epoch`
        () int64 from 0, and `indices` (n,) int64 into the training split. Use stateless random
        functions with `batch.seed`: it depends on the run's seed, the epoch and the step alone, so
        runs can be resumed and reproduced. None, or no hook, trains on the inputs as they are.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_augmentation():
            import tensorflow as tf

            def jitter(inputs, batch):
                inputs = tf.cast(inputs, tf.float32)
                return inputs + 0.01 * tf.random.stateless_normal(tf.shape(inputs), batch.seed)

            return jitter
    """


@hookspec(firstresult=True)
def mlreg_scheduler(config: RunConfig, steps_per_epoch: int) -> Schedule | None:
    """Return the learning rate's schedule.

    Args:
        config: the run's configuration.
        steps_per_epoch: number of batches in an epoch; the last batch may be smaller.

    Returns:
        A function from the epoch (from 0) to the learning rate, or a
        `keras.optimizers.schedules.LearningRateSchedule`. None, or no hook, does not change the
        learning rate of the model's optimizer.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_scheduler(config):
            return lambda epoch: 0.001 * 0.5 ** (epoch // 10)
    """


@hookspec(firstresult=True)
def mlreg_model(config: RunConfig, data: DataSplits, learning_rate: Schedule | None) -> keras.Model:
    """Build and compile the model. Required.

    Args:
        config: the run's configuration.
        data: the splits that `mlreg_dataset` returned.
        learning_rate: for the optimizer: the schedule's value for epoch 0, or the
            `LearningRateSchedule` itself; None if there is no `mlreg_scheduler`.

    Returns:
        A compiled `keras.Model` that takes the raw inputs, nested as the split has them. If the
        dataset has class names and the model one output, the output's last axis has one value for
        each class. A model of several outputs has a loss, or None, for each.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_model(config, data):
            import keras

            model = keras.Sequential(
                [
                    keras.layers.Input(data.train.inputs.shape[1:]),
                    keras.layers.Dense(16, activation="relu"),
                    keras.layers.Dense(len(data.class_names)),
                ]
            )
            model.compile(
                optimizer=keras.optimizers.Adam(0.001),
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
            )
            return model
    """


@hookspec(firstresult=True)
def mlreg_phases(config: RunConfig, model: keras.Model) -> Sequence[Phase] | None:
    """Divide the training into phases, such as a frozen backbone first and then the whole model.

    Args:
        config: the run's configuration.
        model: the model that `mlreg_model` returned.

    Returns:
        The phases, in order; their epochs add up to `config.epochs`. `prepare(model)` is called
        when a phase begins. It may set which layers are trainable and compile the model again; an
        optimizer knows only the variables that were trainable when it was compiled, so unfreezing
        needs `model.compile`. Callbacks, epoch numbers, the learning rate's schedule and the order
        of batches continue from phase to phase: callbacks see one training. A callback that stops
        training stops all of it. None, or no hook, trains in one phase.

    Example:
        from mlreg import Phase, hookimpl

        @hookimpl
        def mlreg_phases(config, model):
            import keras

            def compile_model(learning_rate):
                loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
                model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])

            def freeze(model):
                for layer in model.layers[:-1]:
                    layer.trainable = False
                compile_model(0.001)

            def unfreeze(model):
                for layer in model.layers:
                    layer.trainable = True
                compile_model(0.0001)

            head = min(3, config.epochs - 1)
            return [Phase("head", head, freeze), Phase("all", config.epochs - head, unfreeze)]
    """


@hookspec(firstresult=True)
def mlreg_inference_model(config: RunConfig, model: keras.Model) -> keras.Model | None:
    """Return the model that is evaluated and registered, if it is not the trained model itself.

    Args:
        config: the run's configuration.
        model: the trained model.

    Returns:
        A model that takes the dataset's raw inputs. Averaged weights, test-time augmentation and
        normalization belong in it. If it is not compiled, it gets the trained model's loss and
        metrics. None, or no hook, registers `model`.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_inference_model(model):
            import keras

            return keras.Sequential([model, keras.layers.Softmax()])
    """


@hookspec
def mlreg_callbacks(  # type: ignore[empty-body]
    config: RunConfig, run_dir: Path
) -> Sequence[keras.callbacks.Callback]:
    """Add Keras callbacks to the training.

    Args:
        config: the run's configuration.
        run_dir: a folder of this run, deleted when the run has made a version. Its files stay while
            the run can be resumed, so a resumed run finds them. Files in `run_dir / "kept"`, a
            folder that exists, become files of the version: logs, but the model is there already.

    Returns:
        The callbacks, in the order in which Keras calls them. Methods for batches are called for
        every batch, unless the model was compiled with `steps_per_execution`. When a stopped run is
        resumed, the state of callbacks is restored; a warning before training names state that
        cannot be. docs/callbacks.md has the details.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_callbacks(run_dir):
            import keras

            log = keras.callbacks.CSVLogger(str(run_dir / "kept" / "log.csv"))
            return [keras.callbacks.EarlyStopping("loss", patience=5), log]
    """


@hookspec
def mlreg_report(  # type: ignore[empty-body]
    result: RunResult, out_dir: Path
) -> Sequence[Path]:
    """Write figures or other files about a finished run.

    If the dataset plugin does not implement this hook, the host draws its standard figures. An
    exception here is a warning: the version is registered all the same.

    Args:
        result: configuration, history, metrics, and the output for every test example; for every
            validation example in `result.validation`, which is measured when it is first read.
        out_dir: an existing folder for the files, which become files of the version.

    Returns:
        The files that were written, all inside `out_dir`.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_report(result, out_dir):
            summary = out_dir / "summary.txt"
            summary.write_text(f"{result.model}: {result.metrics}")
            return [summary]
    """


@hookspec(firstresult=True)
def mlreg_inputs(
    paths: Sequence[Path],
    config: RunConfig,
    signature: Mapping[str, Any] | Sequence[Any] | None,
    progress: Progress,
) -> Examples | Any:
    """Read files that a user gives to `mlreg predict`, as raw inputs of the model.

    Args:
        paths: some of the files; they exist. Standard input is a file here too.
        config: the version's recorded configuration, of the plugin's own class.
        signature: what the version's record says of one example's inputs, such as
            `{"shape": [32, 32, 3], "dtype": "uint8"}`; nested as the inputs are: a table has one of
            these for each column that the model takes. None in the record of an older version.
        progress: `progress.say` tells what was done to the files, such as bringing them to one
            size; the same line is shown once.

    Returns:
        One example for each path, in order: (paths, ...) arrays with the dtype, the shape and the
        nesting of the inputs that `mlreg_dataset` returns. Or `Examples`, if a file may hold
        several, as a table does. What was decided on the training data, such as which columns are
        used, must not be decided again on these files: take it from `signature`.

    Raises:
        DataError: a file cannot be read. After any exception the host calls the hook again with one
            path at a time, names those that fail, and continues with the others.

    Example:
        from mlreg import Examples, hookimpl

        @hookimpl
        def mlreg_inputs(paths):
            import numpy as np

            tables = [np.loadtxt(path, "float32", delimiter=",", ndmin=2) for path in paths]
            return Examples(np.concatenate(tables), counts=[len(table) for table in tables])
    """


@hookspec(firstresult=True)
def mlreg_input_suffixes(config: RunConfig) -> Sequence[str] | None:
    """Name the kinds of files that `mlreg_inputs` reads.

    Args:
        config: the version's recorded configuration, of the plugin's own class.

    Returns:
        What their names end in, in lower case. Of a folder, `mlreg predict` takes these files
        alone; a file that is named itself may end in anything. The first is given to standard
        input. None, or no hook, takes all files of a folder that are not hidden.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_input_suffixes():
            return [".csv", ".txt"]
    """


@hookspec
def mlreg_report_sections(result: RunResult) -> Sequence[Section]:  # type: ignore[empty-body]
    """Add sections of text, tables, charts and pictures to the report of a finished run.

    They are kept with the version as data, and shown in its report, on the page and in comparisons,
    beside the host's own sections. An exception here is a warning: the version is registered all
    the same.

    Args:
        result: as for `mlreg_report`.

    Returns:
        The sections, from top to bottom; an empty list where none fits the task. The blocks of a
        section are `Text`, `Code`, `Facts`, `Table`, `LineChart`, `BarChart`, `Heatmap`, `Scatter`,
        `ParallelCoordinates`, `Histogram`, `Picture` and `Gallery`. Numbers may be Python's or
        NumPy's. All plugins together may add 20 sections of 500 kB.

    Example:
        from mlreg import Bar, BarChart, Section, Text, hookimpl

        @hookimpl
        def mlreg_report_sections(result):
            losses = result.evaluation.losses
            bars = [Bar(f"{share:.0%}", sorted(losses)[int(share * (len(losses) - 1))])
                    for share in (0.5, 0.9, 0.99)]
            words = Text("The loss below which this part of the test examples is.")
            return [Section("How the losses are spread", [words, BarChart("test loss", bars)])]
    """


@hookspec
def mlreg_check_promotion(  # type: ignore[empty-body]
    candidate: Version, incumbent: Version | None, alias: str
) -> Sequence[Objection]:
    """Check a promotion, and object if it should not happen. Must not import TensorFlow.

    Args:
        candidate: the version that is promoted.
        incumbent: the version that holds the alias now, or None.
        alias: the alias.

    Returns:
        The objections; an empty list if there are none. One objection refuses the promotion, unless
        the user overrules it with `--force --reason`. The ledger records objections in both cases.

    Example:
        from mlreg import Objection, hookimpl

        @hookimpl
        def mlreg_check_promotion(candidate, alias):
            if alias == "production" and candidate.preset == "quick":
                return [Objection("preset", "a quick run is not fit for production")]
            return []
    """


@hookspec
def mlreg_registered(version: Version) -> None:
    """Called after a version was registered. An exception here is only a warning.

    Args:
        version: the registered version.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_registered(version):
            import sys

            print("new:", version.ref, file=sys.stderr)
    """


@hookspec
def mlreg_promoted(version: Version, alias: str, previous: Version | None) -> None:
    """Called after an alias was moved. An exception here is only a warning.

    Args:
        version: the version that holds the alias now.
        alias: the alias.
        previous: the version that held it before, or None.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_promoted(version, alias, previous):
            import sys

            before = previous.ref if previous else "nothing"
            print(alias, "is", version.ref, "and was", before, file=sys.stderr)
    """
