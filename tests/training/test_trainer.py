"""Fit, evaluate, save, load and export with Keras, on models that train in a second."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from checkpoint_helpers import Nowhere
from fakes import Recorder, run_context, write_project
from training_helpers import NAMES, flowers, jitter

from registry_core.config import RunConfig
from registry_core.errors import Interrupted, PluginError, TrainingError, UsageError
from registry_core.process.interrupts import StopRequest
from registry_core.types import ArraySplit, Assembly, DataSplits

pytestmark = pytest.mark.tensorflow


DATA = DataSplits(flowers(22), flowers(12, 1), flowers(7, 2), NAMES)


def small(keras, outputs=3, loss=None, metrics=("accuracy",), optimizer=None, layers=()):
    """A compiled model with dropout, of two inputs."""
    model = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.Dense(8, activation="tanh"),  # relu makes 0 of NaN
            keras.layers.Dropout(0.3),
            *layers,
            keras.layers.Dense(outputs),
        ]
    )
    model.compile(
        optimizer=optimizer or keras.optimizers.SGD(0.01),
        loss=loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=list(metrics),
    )
    return model


class Run:
    """One fit, and what came of it."""

    def __init__(
        self,
        training,
        keras,
        *,
        data=DATA,
        augmentation=None,
        schedule=None,
        callbacks=(),
        observer=None,
        stop=None,
        model=small,
        eagerly=False,
        **settings,
    ) -> None:
        self.config = RunConfig(**{"epochs": 2, "batch_size": 5, **settings})
        self.observer = observer or Recorder()
        self.trainer = training.KerasTrainer(self.config)
        self.learning_rate = self.trainer.initial_learning_rate(schedule)
        self.model = model(keras)
        self.model.run_eagerly = eagerly
        assembly = Assembly(data, self.model, augmentation, schedule, list(callbacks))
        self.history = self.trainer.fit(assembly, self.observer, stop or StopRequest(), Nowhere())

    @property
    def weights(self) -> list[bytes]:
        return [np.asarray(weight).tobytes() for weight in self.model.get_weights()]


@pytest.fixture
def fitted(training, keras):
    return lambda **choices: Run(training, keras, **choices)


@pytest.fixture
def fitted_eagerly(training, keras):
    """The same without a graph, which takes most of a second to make."""
    return lambda **choices: Run(training, keras, eagerly=True, **choices)


@pytest.fixture(scope="module")
def trained(training, keras):
    """A fit with all that draws, and how often its training step was traced."""
    traced = []
    drop = keras.layers.Dropout.call

    def call(layer, inputs, training=False):
        if training:
            traced.append(type(inputs).__name__)
        return drop(layer, inputs, training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.layers.Dropout, "call", call)
        return Run(training, keras, **DRAWING), len(traced)


def with_adam(keras):
    return small(keras, optimizer=keras.optimizers.Adam(0.01))


DRAWING = {"augmentation": jitter, "model": with_adam, "seed": 3}


# --- fit -----------------------------------------------------------------------------------------


@pytest.mark.gate
def test_one_seed_gives_one_model_and_another_seed_another(trained, fitted):
    """With augmentation and dropout, weights are equal to the bit; so is the history."""
    (first, _), again = trained, fitted(**DRAWING)
    other = fitted(**{**DRAWING, "seed": 4, "epochs": 1})
    assert first.weights == again.weights
    assert first.history.metrics == again.history.metrics
    assert first.weights != other.weights


@pytest.mark.exhaustive
@pytest.mark.gate
def test_steps_per_call_do_not_change_the_result(fitted, monkeypatch):
    """Five steps per epoch, by one, two or all per call: the same model."""
    runs, heard = [], []
    for steps_a_call in (1, 2, 200):
        monkeypatch.setattr(
            "registry_core.training.callback_batching.EXAMPLES_PER_CALL", 5 * steps_a_call
        )
        runs.append(fitted(augmentation=jitter))
        heard.append([step for step, _ in runs[-1].observer.batches])
    for run in runs[1:]:
        assert run.weights == runs[0].weights
        assert run.history.metrics == runs[0].history.metrics
    assert heard == [[1, 2, 3, 4, 5] * 2, [2, 4, 5] * 2, [5] * 2]


@pytest.mark.gate
def test_an_observer_receives_every_epoch_with_its_metrics(fitted_eagerly):
    """Training, validation, learning rate and seconds, as in the history."""
    run = fitted_eagerly()
    observer, history = run.observer, run.history
    assert observer.started == [(2, 5, 22)]
    assert [epoch for epoch, *_ in observer.epochs] == [0, 1]
    assert set(history.metrics) == {
        *("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"),
    }
    for epoch, measured, seconds in observer.epochs:
        assert measured == {name: values[epoch] for name, values in history.metrics.items()}
        assert seconds == history.epoch_seconds[epoch] > 0
    assert history.epochs == 2
    assert all(type(v) is float for values in history.metrics.values() for v in values)
    assert json.dumps(dict(history.metrics), allow_nan=False)
    assert all("loss" in measured for _, measured in observer.batches)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_without_validation_there_are_training_metrics_only(fitted_eagerly):
    """Only what was measured on training."""
    run = fitted_eagerly(data=DataSplits(DATA.train, DATA.test, class_names=NAMES), epochs=1)
    assert set(run.history.metrics) == {"loss", "accuracy", "learning_rate"}


@pytest.mark.gate
def test_a_training_step_is_traced_once(trained):
    """Tracing is most of what comes before the first step."""
    _, traced = trained
    assert traced == 1


@pytest.mark.gate
def test_a_schedule_sets_each_epochs_rate_and_is_recorded(fitted_eagerly):
    """First, turning and last epoch; from the first batch of each on."""
    run = fitted_eagerly(
        schedule=lambda epoch: 0.01 if epoch < 2 else 0.001, epochs=3, batch_size=11
    )
    assert run.learning_rate == 0.01
    assert run.history.metrics["learning_rate"] == pytest.approx([0.01, 0.01, 0.001])
    rates = [measured["learning_rate"] for _, measured in run.observer.batches]
    assert rates == pytest.approx([0.01] * 4 + [0.001] * 2)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_rate_of_zero_trains_nothing(fitted_eagerly):
    """The recorded rate is the one that is used."""
    untouched = []

    def model(keras):
        made = small(keras)
        untouched.extend(np.asarray(weight).tobytes() for weight in made.get_weights())
        return made

    assert fitted_eagerly(schedule=lambda epoch: 0.0, model=model, epochs=1).weights == untouched


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("schedule", [lambda: 0.1, lambda epoch, rate: rate, lambda *, rate: 0.1])
def test_a_schedule_with_other_arguments_is_the_plugins_fault(training, schedule):
    """With the argument that it gets, before anything is built."""
    with pytest.raises(PluginError) as caught:
        training.KerasTrainer(RunConfig()).initial_learning_rate(schedule)
    assert "mlreg_scheduler returned cannot be called with an epoch" in caught.value.what
    assert "lambda epoch: 0.001" in caught.value.remedy


def test_a_keras_schedule_passes_through(fitted_eagerly, keras, training):
    """It counts steps itself; the rate at each epoch's end is recorded."""
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5, staircase=True)
    trainer = training.KerasTrainer(RunConfig())
    assert trainer.initial_learning_rate(schedule) is schedule
    assert trainer.initial_learning_rate(None) is None

    def model(keras):
        return small(keras, optimizer=keras.optimizers.SGD(schedule))

    run = fitted_eagerly(schedule=schedule, model=model, batch_size=11)
    assert run.history.metrics["learning_rate"] == pytest.approx([0.005, 0.0025])


@pytest.mark.parametrize("schedule", ["0.1", 0.1, {"epoch": 1}])
def test_an_invalid_schedule_is_an_error_of_the_plugin(training, schedule):
    """A number is not a function of the epoch."""
    with pytest.raises(PluginError, match="mlreg_scheduler returned"):
        training.KerasTrainer(RunConfig()).initial_learning_rate(schedule)


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), None, "fast", [0.1]])
def test_an_invalid_learning_rate_is_an_error_of_the_plugin(training, rate):
    """NumPy numbers are valid."""
    trainer = training.KerasTrainer(RunConfig())
    with pytest.raises(PluginError, match="epoch 0"):
        trainer.initial_learning_rate(lambda epoch: rate)
    assert trainer.initial_learning_rate(lambda epoch: np.float32(0.5)) == 0.5


@pytest.mark.gate
def test_a_rate_that_goes_wrong_later_stops_the_run(fitted_eagerly):
    """The epoch is named."""
    with pytest.raises(PluginError, match="epoch 1"):
        fitted_eagerly(schedule=lambda epoch: 0.1 if epoch == 0 else float("nan"), batch_size=22)


@pytest.mark.gate
def test_a_plugins_callbacks_can_stop_training(fitted_eagerly, keras):
    """Early stopping shortens the history."""
    stopping = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9)
    run = fitted_eagerly(callbacks=[stopping], epochs=5, batch_size=22)
    assert run.history.epochs == 2
    assert len(run.history.metrics["loss"]) == 2


@pytest.mark.gate
def test_a_loss_that_is_nan_stops_the_run_and_names_epoch_and_batch(fitted_eagerly, tf):
    """At the batch where it happens."""

    def poison(inputs, batch):
        bad = (batch.epoch == 1) & tf.reduce_any(batch.indices == 21)
        return tf.where(bad, float("nan"), inputs)

    observer = Recorder()
    with pytest.raises(TrainingError) as caught:
        fitted_eagerly(augmentation=poison, observer=observer, batch_size=11)
    reached = len(observer.batches) - 2 + 1
    assert caught.value.exit_status == 5
    assert f"loss is nan in epoch 2, batch {reached}." in caught.value.what
    assert "Nothing was registered" in caught.value.remedy
    assert len(observer.epochs) == 1


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_loss_that_becomes_infinite_stops_the_run(fitted_eagerly, tf):
    """Infinity is no better than NaN."""

    def model(keras):
        return small(keras, outputs=1, loss="mse", metrics=(), optimizer=keras.optimizers.SGD(1e30))

    with pytest.raises(TrainingError, match=r"loss is (inf|nan) in epoch"):
        fitted_eagerly(model=model, epochs=5)


@pytest.mark.gate
def test_a_validation_loss_that_is_nan_stops_the_run(fitted_eagerly):
    """What is watched must be finite too."""
    lost = ArraySplit(np.full((3, 2), np.nan, "float32"), np.arange(3))
    with pytest.raises(TrainingError, match="val_loss is nan in epoch 1"):
        fitted_eagerly(data=DataSplits(DATA.train, DATA.test, lost, NAMES), batch_size=22)


class Stopping(Recorder):
    """Sends the first signal after so many batches."""

    def __init__(self, stop: StopRequest, after: int, signum: int = 15) -> None:
        super().__init__()
        self._stop, self._after, self._signum = stop, after, signum

    def batch_done(self, step, metrics) -> None:
        super().batch_done(step, metrics)
        if len(self.batches) == self._after:
            self._stop.receive(self._signum)


@pytest.mark.gate
def test_a_stop_request_ends_training_after_the_batch(fitted_eagerly):
    """The batch is finished, the next one is not begun."""
    stop = StopRequest()
    observer = Stopping(stop, after=3)
    with pytest.raises(Interrupted) as caught, stop.defer_interrupts():
        fitted_eagerly(observer=observer, stop=stop, batch_size=11)
    assert caught.value.exit_status == 143
    assert len(observer.batches) == 3
    assert len(observer.epochs) == 1


@pytest.mark.gate
def test_a_stop_request_ends_validation(fitted_eagerly, keras):
    """A large validation split does not delay Ctrl-C."""
    stop = StopRequest()

    class Signal(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            stop.receive(2)

    observer = Recorder()
    with pytest.raises(Interrupted), stop.defer_interrupts():
        fitted_eagerly(observer=observer, stop=stop, callbacks=[Signal()], batch_size=22)
    assert observer.epochs == []


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(("batch_size", "suggested"), [(5, 2), (1, 1)])
def test_running_out_of_memory_suggests_a_smaller_batch(
    fitted_eagerly, keras, tf, batch_size, suggested
):
    """Exit status 5 with an option to type."""

    class Full(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(TrainingError) as caught:
        fitted_eagerly(callbacks=[Full()], batch_size=batch_size)
    assert caught.value.exit_status == 5
    assert f"batch size of {batch_size}" in caught.value.what
    assert f"-p batch_size={suggested}" in str(caught.value)
    assert isinstance(caught.value.__cause__, tf.errors.ResourceExhaustedError)


@pytest.mark.parametrize(
    ("message", "operation"),
    [
        (
            "Graph execution error:\n\nDetected at node:\n\nA deterministic GPU implementation "
            "of ResizeNearestNeighborGrad is not currently available.\n\t [[node]]",
            "ResizeNearestNeighborGrad",
        ),
        (
            "A deterministic GPU implementation of fused batch-norm backprop, when training is "
            "disabled, is not currently available.",
            "fused batch-norm backprop, when training is disabled,",
        ),
        (
            "Deterministic GPU implementation of CropAndResizeBackpropBoxes not available.",
            "CropAndResizeBackpropBoxes",
        ),
    ],
)
def test_an_operation_that_no_gpu_repeats_is_named_with_the_setting_that_works(
    fitted_eagerly, keras, tf, message, operation
):
    """TensorFlow's own words for it, in its three forms."""

    class OnGpu(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise tf.errors.UnimplementedError(None, None, message)

    with pytest.raises(TrainingError) as caught:
        fitted_eagerly(callbacks=[OnGpu()])
    assert f"cannot make {operation} repeat to the bit" in caught.value.what
    assert str(caught.value).endswith("-p deterministic=false")


def test_another_operation_that_is_not_implemented_is_not_blamed_on_determinism(
    fitted_eagerly, keras, tf
):
    """The error stays TensorFlow's."""

    class Unknown(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise tf.errors.UnimplementedError(None, None, "Fill method not supported")

    with pytest.raises(tf.errors.UnimplementedError):
        fitted_eagerly(callbacks=[Unknown()])


# --- check ---------------------------------------------------------------------------------------


def assembled(model, augmentation=None, data=DATA, callbacks=()) -> Assembly:
    return Assembly(data, model, augmentation, None, list(callbacks))


@pytest.fixture
def check(training, tmp_path):
    """Checks an assembly; what it wrote for that is gone afterwards."""

    def check(*parts, **named) -> None:
        trainer, assembly = training.KerasTrainer(RunConfig()), assembled(*parts, **named)
        trainer.check_augmentation(assembly)
        trainer.check(assembly, tmp_path)
        assert list(tmp_path.iterdir()) == []

    return check


def test_a_valid_assembly_passes_unchanged(check, keras):
    """Checking trains nothing."""
    model = small(keras)
    before = [weight.tobytes() for weight in model.get_weights()]
    check(model, jitter)
    assert [weight.tobytes() for weight in model.get_weights()] == before
    assert int(model.optimizer.iterations) == 0


def test_a_model_that_is_not_compiled_is_refused(check, keras):
    """Neither without compile, nor compiled without a loss."""
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(3)])
    with pytest.raises(PluginError, match="not compiled"):
        check(model)
    model.compile(optimizer="adam")
    with pytest.raises(PluginError, match="not compiled with a loss"):
        check(model)


@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_an_output_that_does_not_fit_the_classes_is_refused(check, keras, outputs):
    """Both widths are named."""
    with pytest.raises(PluginError) as caught:
        check(small(keras, outputs=outputs))
    assert f"({outputs},)" in caught.value.what
    assert "3 classes" in caught.value.what


def test_without_classes_any_output_width_is_accepted(check, keras):
    """A regression says itself what it answers."""
    split = ArraySplit(DATA.train.inputs, np.zeros((22, 4), "float32"))
    check(small(keras, outputs=4, loss="mse"), data=DataSplits(split, split))


def test_an_output_without_a_row_for_each_example_is_refused(check, keras):
    """With the name of the output."""
    inputs = keras.layers.Input((2,))
    mean = keras.ops.mean(inputs)
    model = keras.Model(inputs, {"class": keras.layers.Dense(3)(inputs), "mean": mean})
    model.compile(loss={"class": "sparse_categorical_crossentropy", "mean": None})
    with pytest.raises(PluginError, match=r"outputs\['mean'\] are \(\) for 2 examples"):
        check(model)


def test_a_loss_that_gives_one_value_for_a_batch_is_refused(check, keras):
    """Before training: versions are compared example by example."""
    model = small(keras, loss=lambda expected, answered: keras.ops.sum(answered))
    with pytest.raises(PluginError, match=r"loss gives \(\) for 2 examples"):
        check(model)


def test_an_augmentation_that_changes_the_shape_is_refused(check, keras, tf):
    """Rows, columns, or no tensor at all; the message has both shapes."""
    model = small(keras)
    for augmentation in (
        lambda inputs, batch: inputs[:, :1],
        lambda inputs, batch: tf.stack([inputs, inputs]),
        lambda inputs, batch: (inputs, batch.seed),
        lambda inputs, batch: None,
    ):
        with pytest.raises(PluginError, match="augmentation"):
            check(model, augmentation)


def test_a_model_with_a_lambda_layer_is_refused(check, keras):
    """Its file could not be loaded again."""
    layer = keras.layers.Lambda(lambda inputs: inputs * 2)
    with pytest.raises(PluginError, match="cannot be loaded again") as caught:
        check(small(keras, layers=[layer]))
    assert "Lambda" in caught.value.remedy


def test_an_unregistered_layer_is_refused(check, keras):
    """A registered one passes."""

    class Doubling(keras.layers.Layer):
        def call(self, inputs):
            return inputs * 2

    with pytest.raises(PluginError, match="cannot be loaded again") as caught:
        check(small(keras, layers=[Doubling()]))
    assert "register_keras_serializable" in caught.value.remedy
    assert caught.value.__cause__ is not None
    check(small(keras, layers=[keras.saving.register_keras_serializable("tests")(Doubling)()]))


def test_a_model_that_keeps_state_outside_its_file_is_refused(check, keras):
    """It loads with different outputs."""

    @keras.saving.register_keras_serializable("tests")
    class Scaling(keras.layers.Layer):
        factor = 1.0

        def call(self, inputs):
            return inputs * self.factor

    layer = Scaling()
    layer.factor = 3.0
    with pytest.raises(PluginError, match="different outputs after loading"):
        check(small(keras, layers=[layer]))


# --- evaluate ------------------------------------------------------------------------------------


def evaluated(training, keras, model, split, trained=None):
    trainer = training.KerasTrainer(RunConfig())
    found = trainer.evaluate(model, trained or model, split)
    model.run_eagerly = True  # what Keras itself says of few batches needs no graph
    return found


SPARSE, CATEGORICAL, BINARY = "SparseCategorical", "Categorical", "Binary"


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", [SPARSE, CATEGORICAL, BINARY, "regression", "two targets"])
def test_the_mean_of_the_example_losses_equals_kerass_loss(training, keras, kind, named):
    """The outputs give Keras's accuracy too, also with a partial last batch."""
    split = flowers(260)
    classes = split.targets
    one_hot = np.eye(3, dtype="float32")[classes]
    settings = {
        SPARSE: (3, classes),
        CATEGORICAL: (3, one_hot),
        BINARY: (1, (classes > 0).astype("float32")),
        "regression": (1, classes / 3),
        "two targets": (2, one_hot[:, :2]),
    }
    outputs, targets = settings[kind]
    if kind in (SPARSE, CATEGORICAL, BINARY):
        loss = getattr(keras.losses, f"{kind}Crossentropy")(from_logits=True)
        named_loss = {SPARSE: "sparse_categorical", CATEGORICAL: "categorical", BINARY: "binary"}
        if named:  # by name the loss takes probabilities
            loss = f"{named_loss[kind]}_crossentropy"
    else:
        loss = "mse" if named else keras.losses.MeanSquaredError()
    metrics = () if kind in ("regression", "two targets") else ("accuracy",)
    model = small(keras, outputs=outputs, loss=loss, metrics=metrics)
    if named and metrics:
        model.layers[-1].activation = {BINARY: keras.activations.sigmoid}.get(
            kind, keras.activations.softmax
        )
    data = ArraySplit(split.inputs, targets)
    found = evaluated(training, keras, model, data)
    expected = model.evaluate(split.inputs, targets, batch_size=260, verbose=0, return_dict=True)

    assert found.metrics == pytest.approx(expected, rel=1e-5)
    assert found.losses.shape == (260,)
    assert found.losses.mean() == pytest.approx(expected["loss"], rel=1e-5)
    assert found.outputs.shape == (260, outputs)
    assert found.outputs == pytest.approx(model.predict(split.inputs, verbose=0), abs=1e-5)
    assert (found.targets == targets).all()
    if kind in (SPARSE, CATEGORICAL):
        right = found.outputs.argmax(axis=1) == classes
        assert right.mean() == pytest.approx(found.metrics["accuracy"])
    if kind == BINARY and named:
        right = (found.outputs[:, 0] > 0.5) == (classes > 0)
        assert right.mean() == pytest.approx(found.metrics["accuracy"])


@pytest.mark.gate
def test_regularisation_is_part_of_the_loss_but_not_of_the_example_losses(training, keras):
    """As Keras counts them: once a batch, whatever its size."""
    penalised = keras.layers.Dense(4, kernel_regularizer="l2")
    model, split = small(keras, layers=[penalised]), flowers(260)
    found = evaluated(training, keras, model, split)
    expected = model.evaluate(split.inputs, split.targets, batch_size=250, verbose=0)
    assert found.metrics == pytest.approx(
        dict(zip(("loss", "accuracy"), expected, strict=True)), rel=1e-6
    )
    penalty = float(keras.ops.sum(model.losses))
    assert penalty > 0.01
    assert found.metrics["loss"] == pytest.approx(found.losses.mean() + penalty, rel=1e-5)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("own", [False, True])
def test_every_example_is_predicted_once_without_a_custom_test_step(training, keras, tf, own):
    """A custom test step gets a second pass, and its metrics are recorded."""
    answered = []

    class Model(keras.Model):
        def call(self, inputs, training=None):
            tf.py_function(lambda each: answered.extend(each), [inputs], [])
            return super().call(inputs, training=training)

    class Own(Model):
        def test_step(self, data):
            return {**super().test_step(data), "odd": tf.constant(0.25)}

    inner = small(keras)
    model = (Own if own else Model)(inner.inputs, inner.outputs)
    model.compile(loss=inner.loss, metrics=["accuracy"])
    split = flowers(260)
    found = evaluated(training, keras, model, split)
    assert len(answered) == (520 if own else 260)
    expected = model.evaluate(
        split.inputs, split.targets, batch_size=250, verbose=0, return_dict=True
    )
    assert found.metrics == pytest.approx(expected, rel=1e-6)
    assert ("odd" in found.metrics) == own


def test_losses_are_those_of_an_independent_reference(training, keras):
    """Cross-entropy by hand, example by example."""
    model, split = small(keras), flowers(9)
    found = evaluated(training, keras, model, split)
    shifted = found.outputs - found.outputs.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    assert found.losses == pytest.approx(log_sum - shifted[np.arange(9), split.targets], rel=1e-4)


@pytest.mark.gate
def test_losses_in_a_stream_are_those_in_arrays(training, keras, tf):
    """Both kinds of split are evaluated alike."""
    from registry_core.types import StreamSplit

    model, split = small(keras), flowers(260)
    dataset = tf.data.Dataset.from_tensor_slices((split.inputs, split.targets))
    streamed = evaluated(training, keras, model, StreamSplit(dataset, 260, "flowers"))
    stored = evaluated(training, keras, model, split)
    assert (streamed.losses == stored.losses).all()
    assert (streamed.targets == stored.targets).all()
    assert streamed.metrics == stored.metrics


def test_a_metric_that_is_not_finite_is_not_registered(training, keras):
    """NaN in the evaluation only: exit status 5, naming the metric."""
    model = small(keras)
    weights = model.get_weights()
    weights[-1][:] = np.nan
    model.set_weights(weights)
    with pytest.raises(TrainingError, match="loss is nan") as caught:
        evaluated(training, keras, model, flowers(6))
    assert caught.value.exit_status == 5


@pytest.mark.gate
def test_an_uncompiled_inference_model_gets_the_trained_models_loss(training, keras):
    """Averaged weights in a model of their own need not be compiled again."""
    trained = small(keras)
    inference = keras.Sequential.from_config(trained.get_config())
    inference.set_weights(trained.get_weights())
    assert not inference.compiled
    found = evaluated(training, keras, inference, flowers(12), trained)
    assert found.metrics == pytest.approx(
        evaluated(training, keras, trained, flowers(12)).metrics, rel=1e-6
    )
    assert inference.compiled


@pytest.mark.gate
def test_example_losses_and_metric_agree_behind_a_softmax(training, keras):
    """Keras reads logits through a softmax if it can; the example losses do the same."""
    trained = small(keras)
    inference = keras.Sequential([trained, keras.layers.Softmax()])
    found = evaluated(training, keras, inference, flowers(300), trained)
    assert found.losses.mean() == pytest.approx(found.metrics["loss"], rel=1e-5)


def test_an_inference_model_with_a_loss_of_its_own_keeps_it(training, keras):
    """What the plugin compiled is not compiled over."""
    inference = small(keras, outputs=3, loss="sparse_categorical_crossentropy", metrics=())
    found = evaluated(training, keras, inference, flowers(12), small(keras))
    assert set(found.metrics) == {"loss"}


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    """A trained model, its file, and inputs to ask it about."""
    run, _ = trained
    file = tmp_path_factory.mktemp("saved") / "model.keras"
    run.trainer.save(run.model, file)
    inputs = flowers(5, 9).inputs
    return run.model, file, inputs, run.model.predict(inputs, verbose=0)


@pytest.mark.gate
def test_a_saved_model_loads_in_plain_keras_with_the_same_outputs(keras, training, saved):
    """It is compiled, and can be trained on."""
    model, file, inputs, answers = saved
    for loaded in (keras.saving.load_model(file), training.load_model(file)):
        loaded.run_eagerly = True
        assert loaded.predict(inputs, verbose=0) == pytest.approx(answers, abs=1e-6)
        assert loaded.compiled
        assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations) == 10


@pytest.mark.gate
def test_a_saved_model_passes_its_check_and_another_does_not(training, keras, saved):
    """The file is compared with the model in memory."""
    model, file, _, _ = saved
    trainer = training.KerasTrainer(RunConfig())
    trainer.check_saved(model, file, DATA.test)
    with pytest.raises(PluginError, match="different outputs"):
        trainer.check_saved(small(keras), file, DATA.test)


@pytest.mark.gate
@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_file_that_is_not_a_model_cannot_be_loaded(training, saved, tmp_path, damage):
    """Empty, garbage, truncated."""
    model, file, _, _ = saved
    broken = tmp_path / "model.keras"
    broken.write_bytes(file.read_bytes()[:2000] if damage is None else damage)
    with pytest.raises(PluginError, match="cannot be loaded again"):
        training.check_saved(model, broken, DATA.test.inputs)


@pytest.mark.gate
def test_an_exported_file_loads_with_the_same_outputs(training, keras, saved, tmp_path):
    """In Keras's legacy format; in its own one, an export is a copy."""
    _, file, inputs, answers = saved
    training.export_model(file, "h5", tmp_path / "model.h5")
    loaded = keras.saving.load_model(tmp_path / "model.h5")
    loaded.run_eagerly = True
    assert loaded.predict(inputs, verbose=0) == pytest.approx(answers, abs=1e-6)


@pytest.mark.gate
def test_an_exported_savedmodel_loads_without_keras_with_the_same_outputs(
    training, tf, saved, tmp_path, capfd
):
    """As in TensorFlow Serving; nothing is printed."""
    _, file, inputs, answers = saved
    training.export_model(file, "savedmodel", tmp_path / "served")
    assert capfd.readouterr().out == ""
    served = tf.saved_model.load(str(tmp_path / "served"))
    assert served.serve(tf.constant(inputs)).numpy() == pytest.approx(answers, abs=1e-6)


def test_a_format_that_cannot_hold_a_model_is_refused(training, saved, tmp_path):
    """The formats are named."""
    _, file, _, _ = saved
    with pytest.raises(UsageError, match="cannot be exported as") as caught:
        training.export_model(file, "keras", tmp_path / "model.zip")
    assert "savedmodel" in caught.value.remedy


def test_the_environment_is_json_and_names_versions_and_device(training, keras, tf):
    """What a version's record keeps of the libraries."""
    found = training.KerasTrainer(RunConfig(deterministic=True)).environment()
    assert json.loads(json.dumps(found)) == found
    assert (found["keras"], found["tensorflow"]) == (keras.__version__, tf.__version__)
    assert found["device"]
    assert found["deterministic"] is True
    assert found["onednn"] == os.environ.get("TF_ENABLE_ONEDNN_OPTS")


# --- all of it -----------------------------------------------------------------------------------

KERAS_PLUGIN = """
from registry_core import ArraySplit, DataSplits, RunConfig, hookimpl


@hookimpl
def mlreg_presets():
    return {"quick": RunConfig(epochs=2, batch_size=8, seed=1)}


@hookimpl
def mlreg_dataset():
    import numpy as np

    random = np.random.default_rng(7)

    def split(examples):
        classes = np.arange(examples) % 3
        inputs = random.normal(classes[:, None], 0.1, (examples, 2)).astype("float32")
        return ArraySplit(inputs, classes)

    return DataSplits(split(30), split(12), None, ("a", "b", "c"))


@hookimpl
def mlreg_model(data):
    import keras

    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(3)])
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@hookimpl
def mlreg_inference_model(model):
    import keras

    return keras.models.clone_model(model)
"""


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("broken", [False, True])
def test_a_run_with_keras_becomes_a_version_that_loads(training, tmp_path, broken):
    """A whole run with the real backend; a plugin's line is named for an error of Keras."""
    from registry_core.lifecycle.run import run
    from registry_core.lifecycle.spec import spec_from_preset
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.store import Store

    plugin = KERAS_PLUGIN
    if broken:
        plugin += (
            "\n\n@hookimpl\ndef mlreg_callbacks():\n    import keras\n\n"
            "    class Odd(keras.callbacks.Callback):\n"
            "        def on_epoch_end(self, epoch, logs=None):\n            {}['petal']\n\n"
            "    return [Odd()]\n"
        )
    plugins = KnownPlugins(write_project(tmp_path, plugin)).load("flowers")
    store, observer = Store(tmp_path / "registry"), Recorder()

    def start():
        return run(
            spec_from_preset(plugins),
            store,
            run_context(plugins, tmp_path, training.KerasBackend, observer),
        )

    if broken:
        with pytest.raises(PluginError, match=r"'flowers' failed in .*KeyError") as caught:
            start()
        assert str(tmp_path / "flowers_plugin.py") in str(caught.value)
        assert store.models() == []
        return
    version = start()
    file = store.copy_out(version, "model.keras", Path(tmp_path / "copy.keras"))
    assert training.load_model(file).input_shape == (None, 2)
    assert set(version.metrics) == {"test_loss", "test_accuracy"}
    assert store.manifest(version)["environment"]["keras"]


def test_the_digest_of_weights_makes_no_copy_of_them(keras):
    """A table of embeddings can have gigabytes. Every dtype counts by its bytes, in C order."""
    import hashlib
    import tracemalloc
    from types import SimpleNamespace

    from registry_core.training.trainer import KerasTrainer

    arrays = [
        np.zeros((1000, 2000), "float32"),
        np.arange(12).reshape(3, 4).T,
        np.float32(3),
        np.zeros((0, 3), "bool"),
        keras.ops.convert_to_tensor([1.5, 2.5], "bfloat16"),
    ]
    model = SimpleNamespace(weights=[SimpleNamespace(value=array) for array in arrays])
    expected = hashlib.sha256()
    for array in map(np.asarray, arrays):
        expected.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    trainer = KerasTrainer.__new__(KerasTrainer)
    tracemalloc.start()
    try:
        assert trainer.digest(model) == f"sha256:{expected.hexdigest()}"
        assert tracemalloc.get_traced_memory()[1] < arrays[0].nbytes / 2
    finally:
        tracemalloc.stop()
