"""An extension that records the cost of a run's epochs.

It writes one JSON object to the file that MLREG_BENCHMARK_CLOCK names. It has no batch hook: with
one, mlreg would run each batch in a call of its own.
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
    """A callback that records costs; it imports Keras.

    The first epoch is not counted in the cost of epochs, because it traces and compiles.
    """
    import keras

    class Clock(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.noted: dict[str, float] = {}
            self._cpu_began = self._wall_began = 0.0

        def on_train_begin(self, logs: Any = None) -> None:
            self.noted["fit_began_cpu_seconds"] = time.process_time()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self._cpu_began, self._wall_began = time.process_time(), time.perf_counter()

        def on_train_end(self, logs: Any = None) -> None:
            began = self.noted["fit_began_cpu_seconds"]
            self.noted["fit_cpu_seconds"] = time.process_time() - began
            self.noted["epochs_cpu_seconds"] = time.process_time() - self._cpu_began
            self.noted["epochs_wall_seconds"] = time.perf_counter() - self._wall_began
            Path(os.environ[VARIABLE]).write_text(json.dumps(self.noted))

    return Clock()


def project(folder: Path, extension: str) -> tuple[list[str], dict[str, str], Path]:
    """Make a folder in which every run of cifar10 is timed.

    Args:
        folder: exists.
        extension: the module of this extension, or of one that records more.

    Returns:
        The words before `run` that make mlreg use it, what its environment needs, and the file
        that the clock writes.
    """
    settings = folder / "plugins.toml"
    settings.write_text(
        '[registry]\npath = "registry"\n[plugins]\ncifar10 = "cifar_plugin.plugin"\n'
        f'[extensions]\nclock = "{extension}"\n'
    )
    told = folder / "clock.json"
    root = str(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "registry_core", "--registry", str(folder / "registry")]
    return words, {VARIABLE: str(told), "PYTHONPATH": paths}, told
