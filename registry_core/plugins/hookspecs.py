"""The contract between the host and its plugins, hook by hook.

A plugin is a module with functions of these names, each marked `@hookimpl`. It may leave out every
argument it does not use, and should import TensorFlow inside the functions that need it: the host
refuses what can be refused before it loads. The examples can be pasted; the tests do it.

What a run has one of is `firstresult`: the first plugin that does not return None provides it.
What everyone may add to is collected. `@hookimpl(wrapper=True)` wraps any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import keras

    from registry_core.config import RunConfig
    from registry_core.records import Objection, Version
    from registry_core.types import (
        Augmentation,
        DataCache,
        DataSplits,
        Progress,
        RunResult,
        Schedule,
    )

PROJECT = "mlreg"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# A dataset plugin must have these; all the others may be left out.
REQUIRED = ("mlreg_presets", "mlreg_dataset", "mlreg_model")


@hookspec(firstresult=True)
def mlreg_presets() -> Mapping[str, RunConfig]:  # type: ignore[empty-body]
    """Name the configurations that the plugin ships. Required; must not import TensorFlow.

    Returns:
        Name -> an instance of the plugin's own `RunConfig` subclass. Its type is the schema that
        `-p key=value` is checked by. The first one is what a run takes when none is named.

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
    """Provide the examples. Required.

    Args:
        config: the run's configuration, of the plugin's own class.
        data_dir: what `--data-dir` said, or None.
        progress: says how a long download or decoding goes on.

    Returns:
        Training, test and perhaps validation split, of raw inputs: what `predict` will be given.

    Raises:
        DataError: the data cannot be had, or is not what it should be.

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
    """Give `mlreg data fetch`, `data verify` and `data path` something to work on.

    Args:
        data_dir: what `--data-dir` said, or None.

    Returns:
        The dataset's files on this machine. A plugin that keeps none leaves this hook out.

    Example:
        from mlreg import FileRecord, cache_folder, hookimpl

        class Flowers:
            path = cache_folder("flowers")

            def fetch(self, progress):
                progress.say("nothing to fetch: the examples are drawn when they are needed")
                return "drawn"

            def verify(self):
                return [FileRecord("flowers.npz", size=0, sha256="0" * 64)]

        @hookimpl
        def mlreg_data():
            return Flowers()
    """


@hookspec(firstresult=True)
def mlreg_augmentation(config: RunConfig, data: DataSplits) -> Augmentation | None:
    """Change the training inputs, batch by batch, inside the tf.data graph.

    Args:
        config: the run's configuration.
        data: what `mlreg_dataset` returned.

    Returns:
        `(inputs, batch) -> inputs`. `inputs` is (n, ...) as the training split has it; `batch` has
        `seed` (2,) int32, `epoch` () int64 and `indices` (n,) int64. Use stateless random
        functions with `batch.seed`: it depends on the run's seed, the epoch and the step alone,
        which is what makes a run repeatable. None, or no hook, trains on the inputs as they are.

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
    """Say how the learning rate goes on.

    Args:
        config: the run's configuration.
        steps_per_epoch: batches in one epoch; the last one may be smaller.

    Returns:
        A function of the epoch (from 0) that gives the learning rate, or a
        `keras.optimizers.schedules.LearningRateSchedule`. None leaves it to the model's optimizer.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_scheduler(config):
            return lambda epoch: 0.001 * 0.5 ** (epoch // 10)
    """


@hookspec(firstresult=True)
def mlreg_model(config: RunConfig, data: DataSplits, learning_rate: Schedule | None) -> keras.Model:
    """Build the model. Required.

    Args:
        config: the run's configuration.
        data: what `mlreg_dataset` returned.
        learning_rate: what the optimizer starts with: the schedule's value for epoch 0, or the
            `LearningRateSchedule` itself; None where there is no `mlreg_scheduler`.

    Returns:
        A compiled `keras.Model` that takes the raw inputs. Where the dataset names its classes,
        the last axis of its output has one value for each.

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
def mlreg_inference_model(config: RunConfig, model: keras.Model) -> keras.Model | None:
    """Say what is evaluated and registered, if not the model as it was trained.

    Args:
        config: the run's configuration.
        model: the trained model.

    Returns:
        A model that takes the dataset's raw inputs: averaged weights, test-time views,
        normalisation belong in it. One that is not compiled is given the trained model's loss and
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
        run_dir: a folder of this run, removed when it has made a version. What callbacks wrote into
            it is kept while the run can be resumed, so a folder in it may be there already.

    Returns:
        The callbacks, in the order in which they are to be called. A hook for batches is called
        once for each batch, unless the model was compiled with another `steps_per_execution`.
        Where a stopped run is resumed, they get back what they remember and what they changed;
        what cannot be kept is told before training. docs/callbacks.md says what that is.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_callbacks():
            import keras

            return [keras.callbacks.EarlyStopping("loss", patience=5)]
    """


@hookspec
def mlreg_report(  # type: ignore[empty-body]
    result: RunResult, out_dir: Path
) -> Sequence[Path]:
    """Draw what is worth seeing of a finished run.

    Where the dataset's plugin leaves this out, the host draws its standard figures. A report that
    fails costs a warning, not the version.

    Args:
        result: configuration, history, metrics, and every test example's output.
        out_dir: where the figures go; they become files of the version.

    Returns:
        The files that were written, all of them inside `out_dir`.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_report(result, out_dir):
            summary = out_dir / "summary.txt"
            summary.write_text(f"{result.model}: {result.metrics}")
            return [summary]
    """


@hookspec
def mlreg_check_promotion(  # type: ignore[empty-body]
    candidate: Version, incumbent: Version | None, alias: str
) -> Sequence[Objection]:
    """Object to a promotion. Must not import TensorFlow.

    Args:
        candidate: the version that is to hold the alias.
        incumbent: the version that holds it now, or None.
        alias: the alias that is to move.

    Returns:
        What speaks against it; nothing where nothing does. Any objection refuses the promotion,
        unless `--force --reason` overrules it. Either way it is kept in the ledger.

    Example:
        from mlreg import Objection, hookimpl

        @hookimpl
        def mlreg_check_promotion(candidate, alias):
            if alias == "production" and candidate.preset == "quick":
                return [Objection("preset", "a quick run is no candidate for production")]
            return []
    """


@hookspec
def mlreg_registered(version: Version) -> None:
    """Take notice of a new version. What is raised here costs a warning: the version stands.

    Args:
        version: the version as it stands in the registry.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_registered(version):
            print("new:", version.ref)
    """


@hookspec
def mlreg_promoted(version: Version, alias: str, previous: Version | None) -> None:
    """Take notice of an alias that moved. What is raised here costs a warning: the alias stays.

    Args:
        version: the version that holds the alias now.
        alias: the alias.
        previous: the version that held it before, or None.

    Example:
        from mlreg import hookimpl

        @hookimpl
        def mlreg_promoted(version, alias, previous):
            print(alias, "is", version.ref, "and was", previous.ref if previous else "nothing")
    """
