"""How many batches Keras runs per call, and the batch numbers that callbacks see.

Running several batches in one call saves Python overhead. Keras then calls the batch hooks once for
all of them, so this is done only if no callback uses these hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

from registry_core.training.pipeline import TrainingBatches

# Examples that Keras trains on in one call. More save Python overhead, but delay Ctrl-C and the
# live view: this many take some tenths of a second on two cores.
EXAMPLES_PER_CALL = 1_000

# The batch hooks of a callback; Keras calls each once per call, not once per batch.
BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)


def flatten_callbacks(
    callbacks: Iterable[keras.callbacks.Callback],
) -> Iterator[keras.callbacks.Callback]:
    """The callbacks, those inside a `CallbackList` one by one."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.CallbackList):
            yield from flatten_callbacks(callback.callbacks)
        else:
            yield callback


def steps_per_call(
    model: keras.Model, callbacks: Sequence[keras.callbacks.Callback], batch_size: int, steps: int
) -> int:
    """The number of batches that Keras should run per call (`steps_per_execution`).

    Args:
        model: compiled; a `steps_per_execution` other than 1 is kept.
        callbacks: of the plugins.
        batch_size: examples per batch.
        steps: batches per epoch.
    """
    own = int(model.steps_per_execution)
    if own != 1:
        return own
    if any(map(uses_batch_hooks, flatten_callbacks(callbacks))):
        return 1
    return max(1, min(EXAMPLES_PER_CALL // batch_size, steps))


def uses_batch_hooks(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback, as configured, does something in a batch hook."""
    return any(_uses_hook(callback, hook) for hook in BATCH_HOOKS)


def _uses_hook(callback: keras.callbacks.Callback, hook: str) -> bool:
    # the hooks of a LambdaCallback are attributes that hold plain functions
    method = getattr(callback, hook)
    function = getattr(method, "__func__", method)
    if function is getattr(keras.callbacks.Callback, hook):
        return False
    for keras_class, uses_hook in _KERAS.items():
        if function is vars(keras_class).get(hook):
            return uses_hook(callback)
    return True


def _by_batch(callback: Any) -> bool:
    return bool(callback.save_freq != "epoch")


def _logs_batches(callback: Any) -> bool:
    by_epoch = callback.update_freq == "epoch" and not callback.write_steps_per_second
    return not by_epoch or bool(callback._should_trace)


def _never(callback: Any) -> bool:
    return False


# Keras callbacks that define batch hooks even if they do not use them. The host replaces the last
# two: it shows progress, and stops at a loss that is not finite.
_KERAS: dict[type, Callable[[Any], bool]] = {
    keras.callbacks.BackupAndRestore: _by_batch,
    keras.callbacks.ModelCheckpoint: _by_batch,
    keras.callbacks.OrbaxCheckpoint: _by_batch,
    keras.callbacks.TensorBoard: _logs_batches,
    keras.callbacks.ProgbarLogger: _never,
    keras.callbacks.TerminateOnNaN: _never,
}


class NumberedCallbacks(keras.callbacks.CallbackList):
    """Passes the correct batch number to batch hooks in a resumed epoch, and joins several fits.

    Keras numbers the batches of a resumed epoch from 0, and would start one batch too many. Each
    phase is a fit of its own; for the callbacks, training begins with the first and ends with the
    last, or with the one that a callback stops.

    Args:
        callbacks: in the order in which they are called.
        batches: knows the first batch of the epoch.
        model: the model that is trained.
        epochs: of the whole run.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        batches: TrainingBatches,
        model: keras.Model,
        epochs: int,
    ) -> None:
        self._batches = batches
        self._began = False
        self.is_last_fit = True
        super().__init__(
            list(callbacks),
            add_history=True,
            model=model,
            verbose=0,
            epochs=epochs,
            steps=batches.steps,
        )

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._began:
            self._began = True
            super().on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        if self.is_last_fit or self.model.stop_training:
            super().on_train_end(logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        number = self._batches.first_step + batch
        if number >= self._batches.steps:
            # ends the epoch like the end of the data, without drawing random numbers for a batch
            raise StopIteration
        super().on_train_batch_begin(number, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_end(self._batches.first_step + batch, logs)
