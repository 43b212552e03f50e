"""CIFAR-10, downloaded from the first source that has it, checked and split.

A run calls `load`; `mlreg data` uses `CifarCache`.
"""

from __future__ import annotations

from pathlib import Path

from cifar_plugin.data.arrays import Arrays as Arrays
from cifar_plugin.data.cache import CifarCache as CifarCache
from cifar_plugin.data.splits import SplitConfig as SplitConfig
from cifar_plugin.data.splits import split
from mlreg import DataSplits, Progress

__all__ = ["Arrays", "CifarCache", "SplitConfig", "load"]


def load(config: SplitConfig, data_dir: Path | None, progress: Progress) -> DataSplits:
    """Load CIFAR-10, downloading it if needed, and split it for a run.

    Returns:
        Splits with inputs (n, 32, 32, 3) uint8 and targets (n,) uint8, 0 to 9.

    Raises:
        DataError: no source has it, or the configuration needs more images than there are.
        StorageError: the cache cannot be written, and the data is not on this machine.
        BusyError: another process was downloading it for too long.
    """
    return split(CifarCache(data_dir).arrays(progress), config)
