"""How often the plugins' callbacks are called, and with which batch numbers."""

import pytest
from resumed_fits import STEPS, WITHIN, Fits

pytestmark = pytest.mark.tensorflow

EPOCHS = 2


@pytest.fixture
def called(training, tmp_path, monkeypatch):
    """Whole and resumed fits with callbacks of this kind, two steps a call if nobody minds."""
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 10)
    choices = {"optimizer": lambda: "sgd", "settings": {"epochs": EPOCHS}}
    return lambda callbacks, **compiled: Fits(
        training,
        tmp_path,
        callbacks=lambda run_dir: callbacks(),
        run_eagerly=True,  # graphs take long to make
        **choices,
        **compiled,
    )


def counting(keras, hook, numbers):
    return keras.callbacks.LambdaCallback(**{hook: lambda batch, logs: numbers.append(batch)})


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    ("hook", "batches"),
    [
        ("on_train_batch_begin", [*range(STEPS)] * EPOCHS),
        ("on_train_batch_end", [*range(STEPS)] * EPOCHS),
        ("on_test_batch_end", [0] * EPOCHS),
    ],
)
def test_a_batch_hook_is_called_once_for_each_batch(called, keras, hook, batches):
    """As `model.fit` does."""
    numbers = []
    called(lambda: [counting(keras, hook, numbers)]).whole()
    assert numbers == batches


@pytest.mark.gate
def test_legacy_batch_hooks_count_too(called, keras):
    """`on_batch_end` is called by `on_train_batch_end`; lists of callbacks are searched."""

    class Old(keras.callbacks.Callback):
        calls = 0

        def on_batch_end(self, batch, logs=None):
            self.calls += 1

    old, hidden = Old(), Old()
    called(lambda: [old, keras.callbacks.CallbackList([hidden])]).whole()
    assert old.calls == hidden.calls == STEPS * EPOCHS


@pytest.mark.gate
def test_a_model_that_was_compiled_with_steps_per_execution_keeps_it(called, keras):
    """Its author chose how often batch hooks are called."""
    numbers = []
    called(
        lambda: [counting(keras, "on_train_batch_begin", numbers)], steps_per_execution=3
    ).whole()
    assert numbers == [0, 3] * EPOCHS


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_warm_up_by_batch_is_where_it_should_be(called, keras):
    """The rate of each batch, and of the last one, as it was set."""

    class WarmUp(keras.callbacks.Callback):
        done = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.done += 1
            self.model.optimizer.learning_rate = 0.001 * self.done

    ended = called(lambda: [WarmUp()]).whole()
    assert ended.history.metrics["learning_rate"] == pytest.approx([0.006, 0.012])


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_resumed_epoch_keeps_its_batch_numbers(called, keras):
    """Whoever acts at a batch of a number acts there."""
    numbers = []
    fits = called(lambda: [counting(keras, "on_train_batch_begin", numbers)])
    fits.resumed(WITHIN)
    assert numbers == [*range(STEPS)] * EPOCHS


def test_callbacks_without_batch_hooks_allow_several_batches_per_call(keras, tmp_path, monkeypatch):
    """Keras's own define the hooks even if they do not use them; a subclass may use them."""
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 1_000)
    from registry_core.training.callback_batching import steps_per_call

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    kept, logs = str(tmp_path / "kept.keras"), str(tmp_path / "logs")

    class Mine(keras.callbacks.ModelCheckpoint):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)

    def calls(*callbacks):
        return steps_per_call(model, callbacks, 100, 50)

    own = keras.callbacks
    for callback in (
        own.EarlyStopping(),
        own.ModelCheckpoint(kept),
        own.BackupAndRestore(str(tmp_path)),
        own.TerminateOnNaN(),
        own.ProgbarLogger(),
        own.TensorBoard(logs),
        own.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
        own.CallbackList([own.EarlyStopping()]),
    ):
        assert calls(callback) == 10, type(callback)
    for callback in (
        Mine(kept),
        own.ModelCheckpoint(kept, save_freq=3),
        own.BackupAndRestore(str(tmp_path), save_freq=3),
        own.TensorBoard(logs, update_freq="batch"),
        own.TensorBoard(logs, write_steps_per_second=True),
        own.LambdaCallback(on_train_batch_end=lambda batch, logs: None),
        own.CallbackList([own.ModelCheckpoint(kept, save_freq=3)]),
    ):
        assert calls(own.EarlyStopping(), callback) == 1, type(callback)
