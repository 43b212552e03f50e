"""What the plugins' callbacks do to a training: which one stopped it, or put weights back.

A watcher stands behind each callback in the list and looks at the model after each of its hooks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from registry_core.errors import PluginError
from registry_core.training.callback_batching import flatten_callbacks
from registry_core.types import History, Phase, TrainingEnd


class CallbackWatch:
    """Watches the callbacks of one training.

    Args:
        model: is trained.
        callbacks: of the plugins.
        earlier: the result of `state` when the run was stopped; None for a new run.
    """

    def __init__(
        self,
        model: keras.Model,
        callbacks: Sequence[keras.callbacks.Callback],
        earlier: Mapping[str, Any] | None = None,
    ) -> None:
        self._model = model
        self._callbacks = callbacks
        self._changers = [
            each for each in flatten_callbacks(callbacks) if _may_change_weights(each)
        ]
        self._stopped_by = str(earlier["stopped_by"]) if earlier else ""
        # epoch, from 1 -> checksum of the weights that its batches ended with
        self._checksums: dict[str, int] = dict(earlier["checksums"]) if earlier else {}
        self._variables: Sequence[keras.Variable] = ()
        self._setup: tuple[Any, ...] = ()

    def watched(self) -> list[keras.callbacks.Callback]:
        """The plugins' callbacks, with a watcher before the first and behind each."""
        if not self._callbacks:
            return []
        found: list[keras.callbacks.Callback] = [_Watcher(self._before_hook, self._epoch_done)]
        for callback in self._callbacks:
            found += [callback, _Watcher(self._after_hook(callback))]
        return found

    def begin_phase(self) -> None:
        """The model was prepared for a phase, and is trained as it is now until the next."""
        self._variables = list(self._model.variables)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to know, as JSON for a checkpoint."""
        return {"stopped_by": self._stopped_by, "checksums": self._checksums}

    def end(self, history: History, phases: Sequence[Phase]) -> TrainingEnd:
        """How the training ended; call it when the last hook was called."""
        epoch, changed_by = history.epochs or None, ""
        if self._changers:
            now = _checksum(self._model)
            same = [int(each) for each, then in self._checksums.items() if then == now]
            epoch = max(same, default=None)
        elif _averages(self._model):
            epoch = None
        if epoch != history.epochs:
            changed_by = self._changed_by(epoch)
        return TrainingEnd(self._stopped_by, epoch, changed_by, tuple(phases))

    def _changed_by(self, epoch: int | None) -> str:
        """Which callback left weights that are not those of the last epoch."""
        for each in self._changers:
            if epoch is not None and getattr(each, "best_epoch", None) == epoch - 1:
                return type(each).__qualname__
        names = dict.fromkeys(type(each).__qualname__ for each in self._changers)
        if epoch is None and _averages(self._model):
            names = dict.fromkeys(["the optimizer's moving average", *names])
        return " or ".join(names)

    # --- after each hook -------------------------------------------------------------------------

    def _before_hook(self, in_training: bool) -> None:
        self._setup = self._current_setup()

    def _epoch_done(self, epoch: int) -> None:
        if self._changers:
            self._checksums[str(epoch + 1)] = _checksum(self._model)

    def _after_hook(self, callback: keras.callbacks.Callback) -> Callable[[bool], None]:
        def look(in_training: bool) -> None:
            if self._model.stop_training and not self._stopped_by:
                self._stopped_by = _why_stopped(callback)
            now = self._current_setup()
            is_compiled = now[:-1] != self._setup[:-1]
            # before the first batch, no step is traced, so that layers can still be frozen
            if is_compiled or (in_training and now != self._setup):
                raise _changes_training(callback, is_compiled)

        return look

    def _current_setup(self) -> tuple[Any, ...]:
        """What the training step was traced with."""
        model = self._model
        return (
            model.optimizer,
            getattr(model, "_compile_loss", None),
            getattr(model, "_compile_metrics", None),
            [each.trainable for each in self._variables],
        )


class _Watcher(keras.callbacks.Callback):
    """Looks at the model when the callback before it in the list has run.

    Args:
        look: called after the hooks of epochs and batches with True, and with False when training
            begins.
        epoch_done: called with the epoch, from 0, when its batches are done.
    """

    def __init__(
        self, look: Callable[[bool], None], epoch_done: Callable[[int], None] | None = None
    ) -> None:
        super().__init__()
        self._look, self._epoch_done = look, epoch_done

    def on_train_begin(self, logs: Any = None) -> None:
        self._look(False)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._look(True)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._look(True)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._look(True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._epoch_done is not None:
            self._epoch_done(epoch)
        self._look(True)


def _changes_training(callback: keras.callbacks.Callback, compiled: bool) -> PluginError:
    did = "compiled the model again" if compiled else "changed which layers are trainable"
    return PluginError(
        f"The callback {type(callback).__qualname__} {did} during training. Keras goes on with the "
        "step that it has traced, and a resumed run could not repeat it.",
        'Train in phases: mlreg_phases returns [Phase("head", 3), Phase("all", 7, unfreeze)], and '
        "unfreeze(model) sets trainable and compiles (docs/plugins_training.md).",
    )


def _why_stopped(callback: keras.callbacks.Callback) -> str:
    """`EarlyStopping: val_loss did not improve for 5 epochs`; other callbacks by their class."""
    inner = list(flatten_callbacks([callback]))
    for each in inner:
        if isinstance(each, keras.callbacks.EarlyStopping) and each.wait >= each.patience:
            epochs = max(1, each.patience)
            beyond = "" if each.baseline is None else f" beyond {each.baseline:g}"
            return (
                f"{type(each).__qualname__}: {each.monitor} did not improve{beyond} for "
                f"{epochs:,} epoch{'' if epochs == 1 else 's'}"
            )
    return " or ".join(dict.fromkeys(type(each).__qualname__ for each in inner))


def _may_change_weights(callback: keras.callbacks.Callback) -> bool:
    """Whether the weights after training may be other ones than the last batch left."""
    if type(callback).__module__.partition(".")[0] != "keras":
        return True
    if isinstance(callback, keras.callbacks.EarlyStopping):
        return bool(callback.restore_best_weights)
    return isinstance(callback, keras.callbacks.SwapEMAWeights | keras.callbacks.LambdaCallback)


def _averages(model: keras.Model) -> bool:
    """Whether the optimizer puts a moving average into the weights when a fit ends."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return bool(getattr(optimizer, "use_ema", False))


def _checksum(model: keras.Model) -> int:
    """A number that says whether weights are the same; not a digest that anyone relies on."""
    total = 0
    for each in model.weights:
        array = np.ascontiguousarray(np.asarray(each.value))
        if not array.dtype.hasobject:
            total = zlib.crc32(array.view(np.uint8).data, total)
    return total
