"""The learning rate by epoch. Uses no framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifar_plugin.baseline.config import BaselineConfig


def decay(config: BaselineConfig) -> Callable[[int], float]:
    """A step decay: multiplied by `decay_factor` after every `decay_epochs` epochs.

    Returns:
        A function of the epoch, from 0.
    """

    def learning_rate(epoch: int) -> float:
        steps = epoch // config.decay_epochs
        return float(config.learning_rate * config.decay_factor**steps)

    return learning_rate
