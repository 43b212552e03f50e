"""How a training ended is told: what stopped it, and whose weights the model has."""

import pytest
from resumed_fits import WITHIN, Fits

pytestmark = [pytest.mark.tensorflow]

EPOCHS = 6


@pytest.fixture
def end(training, tmp_path, monkeypatch):
    """What is told of a fit with these callbacks, never stopped and, if asked for, resumed."""
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 10)

    def make(callbacks, resumed=False, **choices):
        choices.setdefault("settings", {"epochs": EPOCHS})
        fits = Fits(training, tmp_path, callbacks=callbacks, run_eagerly=True, **choices)
        whole = fits.whole()
        if resumed:
            again = fits.resumed(WITHIN)
            assert again.history.end == whole.history.end
            assert again.digest == whole.digest
        return whole.history.end

    return make


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_training_that_runs_to_its_end_has_the_last_epochs_weights(end):
    told = end(lambda run_dir: [])
    assert told.to_json() == {
        "stopped_by": None,
        "weights_from_epoch": EPOCHS,
        "weights_changed_by": None,
        "phases": [],
    }


def worse_each_time(keras):
    """A rate that makes the loss rise from the second epoch on."""
    return keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 if epoch < 2 else 30.0)


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_is_named_with_its_monitor_and_patience(end, keras, restore):
    """The best epoch's weights are put back, or the last epoch's stay."""

    def callbacks(run_dir):
        early = keras.callbacks.EarlyStopping("loss", patience=2, restore_best_weights=restore)
        return [worse_each_time(keras), early]

    told = end(callbacks, resumed=True)
    assert told.stopped_by == "EarlyStopping: loss did not improve for 2 epochs"
    assert told.weights_from_epoch == (2 if restore else 4)
    assert told.weights_changed_by == ("EarlyStopping" if restore else "")


@pytest.mark.exhaustive
@pytest.mark.gate
def test_best_weights_are_put_back_without_an_early_stop_too(end, keras):
    """Keras restores them when training ends, whatever ended it."""

    def callbacks(run_dir):
        early = keras.callbacks.EarlyStopping("loss", patience=50, restore_best_weights=True)
        return [worse_each_time(keras), keras.callbacks.CallbackList([early])]

    told = end(callbacks)
    assert (told.stopped_by, told.weights_from_epoch) == ("", 2)
    assert told.weights_changed_by == "EarlyStopping"


@pytest.mark.exhaustive
@pytest.mark.gate
def test_another_callback_is_named_by_its_class(end, keras):
    """It stopped the training, or put back what a ModelCheckpoint kept."""

    class TimeIsUp(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 20:
                self.model.stop_training = True

    class LoadBest(keras.callbacks.Callback):
        def __init__(self, file):
            super().__init__()
            self.file = file

        def on_train_end(self, logs=None):
            self.model.load_weights(self.file)

    def callbacks(run_dir):
        file = str(run_dir / "best.weights.h5")
        kept = keras.callbacks.ModelCheckpoint(
            file, monitor="loss", save_best_only=True, save_weights_only=True
        )
        return [worse_each_time(keras), kept, TimeIsUp(), LoadBest(file)]

    told = end(callbacks, resumed=True)
    assert told.stopped_by.endswith("TimeIsUp")
    assert told.weights_from_epoch == 2
    assert "LoadBest" in told.weights_changed_by


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("swaps", [True, False])
def test_averaged_weights_are_of_no_epoch(end, keras, swaps):
    """By Keras's callback, or by the optimizer alone."""

    def averaging():
        return keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.8)

    def callbacks(run_dir):
        return [keras.callbacks.SwapEMAWeights()] if swaps else []

    told = end(callbacks, optimizer=averaging, settings={"epochs": 3})
    assert told.weights_from_epoch is None
    assert told.weights_changed_by == "the optimizer's moving average" + (
        " or SwapEMAWeights" if swaps else ""
    )
