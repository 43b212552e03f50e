"""Phases: a training that is frozen first and whole later, and that resumes from each place."""

import pytest
from checkpoint_helpers import InFolder
from resumed_fits import STEPS, Fits

from registry_core.errors import IntegrityError, Interrupted, PluginError
from registry_core.types import Phase

pytestmark = pytest.mark.tensorflow

# within and after the first phase, at its end, within and after an epoch of the second
EVERYWHERE = [(0, 2), (1, 0), (1, 4), (2, 0), (2, 2), (2, STEPS), (3, 0)]


def compiled(model, rate, metrics=("accuracy",)):
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=list(metrics))


def freeze(model):
    for layer in model.layers[:-1]:
        layer.trainable = False
    compiled(model, 0.01)


def unfreeze(model):
    for layer in model.layers:
        layer.trainable = True
    compiled(model, 0.001)


def two_phases(head=2, rest=2):
    return [Phase("head", head, freeze), Phase("all", rest, unfreeze)]


@pytest.fixture
def two_steps_a_call(monkeypatch, training):
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 10)


@pytest.fixture
def fits(training, tmp_path):
    def make(phases=two_phases, epochs=4, **choices):
        settings = {"epochs": epochs, **choices.pop("settings", {})}
        return Fits(training, tmp_path, phases=phases, settings=settings, **choices)

    return make


class Seen:
    """A callback that writes down when it is called, and a class for each fit."""

    def __init__(self):
        self.calls = []

    def __call__(self, run_dir):
        import keras

        calls = self.calls

        class Notes(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                calls.append("begin")

            def on_epoch_begin(self, epoch, logs=None):
                calls.append(epoch)

            def on_train_end(self, logs=None):
                calls.append("end")

        return [Notes()]


@pytest.mark.exhaustive
@pytest.mark.gate
def test_callbacks_see_one_training(fits):
    """It begins once and ends once, with the epochs of all phases; the head alone learns first."""
    seen = Seen()
    whole = fits(callbacks=seen, epochs=4).whole()
    assert seen.calls == ["begin", 0, 1, 2, 3, "end"]
    assert [len(values) for values in whole.history.metrics.values()] == [4] * 5
    assert whole.history.metrics["learning_rate"] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert whole.history.end.phases == tuple(two_phases())
    assert whole.history.end.weights_from_epoch == 4
    assert whole.warnings == []


@pytest.mark.gate
def test_the_frozen_layers_keep_their_weights_until_they_are_unfrozen(fits):
    """In the second phase every layer moves."""
    first = {}

    def unfreezing(model):
        first["kernels"] = [layer.get_weights()[0] for layer in (model.layers[0], model.layers[-1])]
        unfreeze(model)

    begun = {}

    def freezing(model):
        begun["kernels"] = [layer.get_weights()[0] for layer in (model.layers[0], model.layers[-1])]
        freeze(model)

    whole = fits(lambda: [Phase("head", 1, freezing), Phase("all", 1, unfreezing)], 2).whole()
    assert (begun["kernels"][0] == first["kernels"][0]).all()
    assert (begun["kernels"][1] != first["kernels"][1]).any()
    assert (whole.model.layers[0].get_weights()[0] != first["kernels"][0]).any()


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.usefixtures("two_steps_a_call")
def test_stopped_in_each_phase_and_between_them_it_ends_in_the_same_weights(fits):
    """Within an epoch, at its last batch, at the end of a phase, and with nothing left to train."""
    fit = fits()
    whole, resumed = fit.whole(), fit.resumed(*EVERYWHERE)
    assert resumed.digest == whole.digest
    assert resumed.history.metrics == whole.history.metrics
    assert resumed.history.end == whole.history.end
    assert resumed.warnings == []


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.usefixtures("two_steps_a_call")
@pytest.mark.parametrize("place", EVERYWHERE, ids=str)
@pytest.mark.parametrize(
    "kind", ["draws", "same optimizer", "callbacks", "mixed_float16", "averaged"]
)
def test_each_place_alone_and_each_way_to_prepare(fits, keras, tf, kind, place):
    """A prepare that draws or adds, one that compiles nothing, callbacks, another precision."""
    import random

    import numpy as np

    def drawing(model):
        unfreeze(model)
        model.optimizer.learning_rate = 0.001 * (1 + random.random() + np.random.random())
        model.layers[0].kernel.assign_add(0.1 * keras.random.normal(model.layers[0].kernel.shape))
        model.layers[0].kernel.assign_add(0.1 * tf.random.normal(model.layers[0].kernel.shape))

    class Noisy(keras.layers.Layer):
        def call(self, inputs, training=False):
            noise = keras.random.normal(keras.ops.shape(inputs))
            return inputs + 0.1 * noise if training else inputs

    choices = {}
    phases = two_phases
    if kind == "draws":
        phases = lambda: [Phase("one", 2), Phase("two", 2, drawing)]  # noqa: E731
        choices["layers"] = lambda: [Noisy()]
    elif kind == "same optimizer":
        phases = lambda: [Phase("one", 2, None), Phase("two", 2, lambda model: None)]  # noqa: E731
    elif kind == "callbacks":
        choices["callbacks"] = lambda run_dir: [
            keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=10.0),
        ]
    elif kind == "averaged":

        def averaging(model):
            unfreeze(model)
            adam = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.8)
            model.compile(adam, model.loss, metrics=["accuracy"])

        phases = lambda: [Phase("one", 2, averaging), Phase("two", 2, averaging)]  # noqa: E731
    else:
        choices["settings"] = {"precision": "mixed_float16"}
    fit = fits(phases, **choices)
    whole, resumed = fit.whole(), fit.resumed(place)
    assert resumed.digest == whole.digest
    assert resumed.history.metrics == whole.history.metrics
    assert resumed.history.end.to_json() == whole.history.end.to_json()


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_phase_without_changes_is_no_phase(fits):
    """Two phases that prepare nothing end in the weights of one."""
    plain = fits(lambda: ()).whole()
    parted = fits(lambda: [Phase("one", 1), Phase("two", 3)])
    parted._folder = parted._folder / "parted"
    parted._folder.mkdir()
    ended = parted.whole()
    assert (ended.digest, ended.history.metrics) == (plain.digest, plain.history.metrics)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_callback_that_stops_ends_every_phase(fits, keras):
    """Training ends once; resumed, nothing is left to train."""
    seen = Seen()

    def callbacks(run_dir):
        early = keras.callbacks.EarlyStopping(
            "loss", patience=1, min_delta=1e9, restore_best_weights=True
        )
        return [early, *seen(run_dir)]

    fit = fits(callbacks=callbacks)
    whole = fit.whole()
    assert seen.calls == ["begin", 0, 1, "end"]
    assert whole.history.end.stopped_by == "EarlyStopping: loss did not improve for 1 epoch"
    resumed = fit.resumed((1, 0))
    assert resumed.digest == whole.digest
    assert resumed.history.end == whole.history.end


def refused(fits, prepare) -> PluginError:
    with pytest.raises(PluginError) as caught:
        fits(lambda: [Phase("first", 1, freeze), Phase("second", 1, prepare)], 2).whole()
    assert "'second'" in caught.value.what
    return caught.value


@pytest.mark.exhaustive
@pytest.mark.gate
def test_unfreezing_without_compiling_is_refused(fits):
    """Keras's optimizer would fail in the step, by the name of a variable."""

    def unfreeze_only(model):
        for layer in model.layers:
            layer.trainable = True

    error = refused(fits, unfreeze_only)
    assert "does not know" in error.what
    assert "kernel" in error.what
    assert "model.compile" in error.remedy


@pytest.mark.gate
def test_a_phase_that_trains_nothing_is_refused(fits):
    def freeze_all(model):
        for layer in model.layers:
            layer.trainable = False
        compiled(model, 0.01)

    assert "nothing to train" in refused(fits, freeze_all).what


@pytest.mark.exhaustive
@pytest.mark.gate
def test_phases_with_other_metrics_are_refused(fits):
    """A history has one value of each metric for each epoch."""

    def prepare(model):
        compiled(model, 0.01, metrics=())

    error = refused(fits, prepare)
    assert "accuracy" in error.what
    assert "same metrics" in error.remedy


@pytest.mark.exhaustive
@pytest.mark.gate
def test_other_phases_than_those_of_the_checkpoint_are_refused(fits, tmp_path):
    """The variables of the checkpoint belong to a phase."""
    (tmp_path / "kept").mkdir()
    kept, phases = InFolder(tmp_path / "kept"), [two_phases()]
    fit = fits(lambda: phases[0])
    with pytest.raises(Interrupted):
        fit._fit(kept, tmp_path, (1, 0))
    phases[0] = two_phases(1, 3)
    with pytest.raises(IntegrityError, match=r"head \(1 epoch\), all \(3 epochs\); they were head"):
        fit._fit(kept, tmp_path, None)


# --- callbacks that do it themselves -------------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_callback_can_freeze_layers_before_the_first_batch(fits, keras):
    """The step is not traced yet; that worked before there were phases."""

    class Freezes(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.layers[0].trainable = False
            self.before = self.model.layers[0].get_weights()[0]

    ended = fits(lambda: (), epochs=2, callbacks=lambda run_dir: [Freezes()]).whole()
    assert (ended.model.layers[0].get_weights()[0] == ended.callbacks[0].before).all()


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    ("hook", "does", "said"),
    [
        ("on_train_begin", unfreeze, "compiled the model again"),
        ("on_epoch_begin", unfreeze, "compiled the model again"),
        ("on_epoch_end", unfreeze, "compiled the model again"),
        ("on_train_batch_end", unfreeze, "compiled the model again"),
        ("on_epoch_begin", lambda model: setattr(model.layers[0], "trainable", False), "trainable"),
        ("on_epoch_end", lambda model: setattr(model.layers[0], "trainable", False), "trainable"),
    ],
)
def test_a_callback_that_changes_what_is_trained_is_refused(fits, keras, hook, does, said):
    """By its name, with the way to write it, and before an epoch is trained in another way."""

    class Unfreezes(keras.callbacks.Callback):
        pass

    def act(self, number, logs=None):
        if number == 1 or hook == "on_train_begin":
            does(self.model)

    setattr(Unfreezes, hook, act)
    last = keras.callbacks.EarlyStopping("loss", patience=9)
    with pytest.raises(PluginError) as caught:
        fits(lambda: (), callbacks=lambda run_dir: [Unfreezes(), last]).whole()
    assert caught.value.what.startswith("The callback test_a_callback_that_changes")
    assert f"Unfreezes {said}" in caught.value.what or f"changed which layers are {said}" in (
        caught.value.what
    )
    assert "mlreg_phases" in caught.value.remedy
