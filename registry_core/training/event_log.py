"""The TensorBoard log of a run: what Keras's callback writes, each point once, resumed or not.

A checkpoint has the sizes that the log's files had. A resumed run cuts the files to these sizes and
adds a file of its own, so that what an earlier process wrote after the checkpoint is not there
twice. A log that cannot be written is a warning: the run is worth more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from registry_core.errors import one_line
from registry_core.types import Observer

# Keras's folders of training and validation, and the beginning of TensorFlow's file names.
_FOLDERS = ("train", "validation")
_FILES = "events.out.tfevents.*"


class EventLog(keras.callbacks.TensorBoard):
    """Writes the log of one run, with the settings that Keras's callback has by default.

    Args:
        folder: of the run; it gets a folder for training and one for validation.
        observer: hears a warning if the log cannot be written or is incomplete.
        earlier: the result of `sizes` when the run was stopped; None for a new run.
    """

    def __init__(self, folder: Path, observer: Observer, earlier: Mapping[str, int] | None) -> None:
        self._folder = folder
        self._observer = observer
        self._is_broken = False
        has_graph = self._attempt(_cut, folder, earlier or {}, observer)
        super().__init__(str(folder), write_graph=not has_graph, profile_batch=0)

    def sizes(self) -> dict[str, int]:
        """Path in the folder -> bytes of each file, with everything up to now in it."""
        for writer in self._writers.values():
            self._attempt(writer.flush)
        found = self._attempt(
            lambda: {_name(f, self._folder): f.stat().st_size for f in _files(self._folder)}
        )
        return found or {}

    def close(self) -> None:
        """Write what is left, also if the training was stopped."""
        self._attempt(self._close_writers)

    def _attempt(self, act: Any, *arguments: Any) -> Any:
        """Do a part of the log; the first failure is a warning, and ends the log."""
        if self._is_broken:
            return None
        try:
            return act(*arguments)
        except (OSError, tf.errors.OpError) as error:
            self._is_broken = True
            self._observer.warn(
                f"The TensorBoard log in {self._folder} cannot be written: {one_line(error)} The "
                "run continues without it."
            )
            return None

    # --- as in Keras, where a failure stops nothing ----------------------------------------------

    def set_model(self, model: keras.Model) -> None:
        self._attempt(super().set_model, model)

    def on_train_begin(self, logs: Any = None) -> None:
        self._attempt(super().on_train_begin, logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._attempt(super().on_train_end, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self._attempt(super().on_test_begin, logs)

    def on_test_end(self, logs: Any = None) -> None:
        self._attempt(super().on_test_end, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._attempt(super().on_train_batch_end, batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._attempt(super().on_epoch_end, epoch, logs)


def _cut(folder: Path, sizes: Mapping[str, int], observer: Observer) -> bool:
    """Cut the files to these sizes, and remove others; returns whether any is left."""
    found = {_name(file, folder): file for file in _files(folder)}
    for name, file in found.items():
        if name not in sizes:
            file.unlink()
        elif file.stat().st_size > sizes[name]:
            os.truncate(file, sizes[name])
    short = [n for n, size in sizes.items() if n not in found or found[n].stat().st_size < size]
    if short:
        observer.warn(
            f"The TensorBoard log in {folder} lacks epochs: {', '.join(short)} was removed or cut "
            "since the run was stopped. It continues with the next epoch."
        )
    return len(short) < len(sizes)


def _files(folder: Path) -> Iterator[Path]:
    for name in _FOLDERS:
        yield from sorted((folder / name).glob(_FILES))


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
