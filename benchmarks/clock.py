"""An extension that records when a run makes its first step, and the cost of its epochs.

It writes one JSON object to the file that MLREG_BENCHMARK_CLOCK names.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlreg import hookimpl

if TYPE_CHECKING:
    import keras

VARIABLE = "MLREG_BENCHMARK_CLOCK"


@hookimpl
def mlreg_callbacks() -> Sequence[keras.callbacks.Callback]:
    return [make_clock()]


def make_clock() -> keras.callbacks.Callback:
    """A callback that records times; it imports Keras.

    The first epoch is not counted in the cost of epochs, because it traces and compiles.
    """
    import keras

    class Clock(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self._noted: dict[str, float] = {}
            self._cpu_began = self._wall_began = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self._noted.setdefault("first_step_at", time.time())
            self._noted.setdefault("first_step_cpu_seconds", time.process_time())

        def on_train_begin(self, logs: Any = None) -> None:
            self._noted["fit_began_cpu_seconds"] = time.process_time()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self._cpu_began, self._wall_began = time.process_time(), time.perf_counter()

        def on_train_end(self, logs: Any = None) -> None:
            began = self._noted["fit_began_cpu_seconds"]
            self._noted["fit_cpu_seconds"] = time.process_time() - began
            self._noted["epochs_cpu_seconds"] = time.process_time() - self._cpu_began
            self._noted["epochs_wall_seconds"] = time.perf_counter() - self._wall_began
            Path(os.environ[VARIABLE]).write_text(json.dumps(self._noted))

    return Clock()


def project(folder: Path) -> tuple[list[str], dict[str, str], Path]:
    """Make a folder in which every run of cifar10 is timed.

    Returns:
        The words before `run` that make mlreg use it, what its environment needs, and the file
        that the clock writes.
    """
    settings = folder / "plugins.toml"
    settings.write_text(
        '[registry]\npath = "registry"\n[plugins]\ncifar10 = "cifar_plugin.plugin"\n'
        '[extensions]\nclock = "benchmarks.clock"\n'
    )
    told = folder / "clock.json"
    root = str(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "registry_core", "--registry", str(folder / "registry")]
    return words, {VARIABLE: str(told), "PYTHONPATH": paths}, told
