"""Keras's EarlyStopping, which finds out what a run measures, and puts the best weights back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from mlreg import UsageError
from mlreg_early_stopping.settings import PREFIX, Settings


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Stops when the monitored metric no longer improves.

    All its state is in numbers and arrays, which mlreg restores in a resumed run.

    Args:
        settings: when to stop.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            monitor=settings.monitor,
            mode=settings.mode,
            patience=settings.patience,
            min_delta=settings.min_delta,
            start_from_epoch=settings.start_from_epoch,
            restore_best_weights=True,
        )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Compare this epoch with the best; the first one says what a run measures."""
        measured = dict(logs or {})
        if self.monitor == "auto":
            self.monitor = "val_loss" if "val_loss" in measured else "loss"
        if self.monitor not in measured:
            raise UsageError(
                f"Early stopping monitors {self.monitor!r}, which this run does not measure.",
                f"It measures {', '.join(sorted(measured))}.",
                f"export {PREFIX}MONITOR={'val_loss' if 'val_loss' in measured else 'loss'}",
            )
        super().on_epoch_end(epoch, measured)
