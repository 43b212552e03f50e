"""How Keras calls the plugins' callbacks: once a batch where one looks at batches.

The host lets Keras run several batches in one call, which costs less Python. Keras then calls the
batch hooks once for all of them, which is right only where nobody uses these hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

from registry_core.training.pipeline import TrainingBatches

# Batches that Keras runs in one call. More of them cost less Python, and make Ctrl-C and the
# live view wait longer: this many examples are some tenths of a second on two cores.
EXAMPLES_A_CALL = 1_000

# What a callback may override, each called once for every call of Keras's.
BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)


def each_of(callbacks: Iterable[keras.callbacks.Callback]) -> Iterator[keras.callbacks.Callback]:
    """The callbacks, those inside a `CallbackList` one by one."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.CallbackList):
            yield from each_of(callback.callbacks)
        else:
            yield callback


def batches_a_call(
    model: keras.Model, callbacks: Sequence[keras.callbacks.Callback], batch_size: int, steps: int
) -> int:
    """How many batches Keras should run in one call.

    Args:
        model: compiled; a `steps_per_execution` of its own other than 1 is kept.
        callbacks: the plugins'.
        batch_size: examples in a batch.
        steps: batches in an epoch.
    """
    own = int(model.steps_per_execution)
    if own != 1:
        return own
    if any(map(looks_at_batches, each_of(callbacks))):
        return 1
    return max(1, min(EXAMPLES_A_CALL // batch_size, steps))


def looks_at_batches(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback has a batch hook that does something as the callback is configured."""
    return any(_acts(callback, hook) for hook in BATCH_HOOKS)


def _acts(callback: keras.callbacks.Callback, hook: str) -> bool:
    # LambdaCallback has its hooks as attributes, which are plain functions
    method = getattr(callback, hook)
    function = getattr(method, "__func__", method)
    if function is getattr(keras.callbacks.Callback, hook):
        return False
    for shipped, acts in _KERAS.items():
        if function is vars(shipped).get(hook):
            return acts(callback)
    return True


def _by_batch(callback: Any) -> bool:
    return bool(callback.save_freq != "epoch")


def _logs_batches(callback: Any) -> bool:
    by_epoch = callback.update_freq == "epoch" and not callback.write_steps_per_second
    return not by_epoch or bool(callback._should_trace)


def _never(callback: Any) -> bool:
    return False


# Callbacks of Keras's that have batch hooks whether they use them or not. A progress bar shows the
# same; the host itself stops at a loss that is not finite.
_KERAS: dict[type, Callable[[Any], bool]] = {
    keras.callbacks.BackupAndRestore: _by_batch,
    keras.callbacks.ModelCheckpoint: _by_batch,
    keras.callbacks.OrbaxCheckpoint: _by_batch,
    keras.callbacks.TensorBoard: _logs_batches,
    keras.callbacks.ProgbarLogger: _never,
    keras.callbacks.TerminateOnNaN: _never,
}


class NumberedCallbacks(keras.callbacks.CallbackList):
    """Gives the batch hooks the true number of each batch.

    Keras numbers the batches of an epoch that was half done from 0, and would begin one more than
    there are left.

    Args:
        callbacks: in the order of calling.
        batches: knows with which batch an epoch begins.
        model: what is trained.
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
        super().__init__(
            list(callbacks),
            add_history=True,
            model=model,
            verbose=0,
            epochs=epochs,
            steps=batches.steps,
        )

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        number = self._batches.first_step + batch
        if number >= self._batches.steps:
            # ends the epoch as the data's end would, which would draw for one more batch first
            raise StopIteration
        super().on_train_batch_begin(number, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_end(self._batches.first_step + batch, logs)
