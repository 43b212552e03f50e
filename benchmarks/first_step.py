"""The extension of `benchmarks.clock`, which also records when a run has made its first step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.clock import make_clock
from mlreg import hookimpl

if TYPE_CHECKING:
    import keras


@hookimpl
def mlreg_callbacks() -> Sequence[keras.callbacks.Callback]:
    import keras

    clock: Any = make_clock()

    class FirstStep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            clock.noted.setdefault("first_step_at", time.time())
            clock.noted.setdefault("first_step_cpu_seconds", time.process_time())

    return [FirstStep(), clock]
