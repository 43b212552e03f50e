"""CIFAR-10, from the first source that has it, checked and split.

`load` is all a run needs; `CifarCache` is behind `mlreg data`.
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
    """Fetch CIFAR-10 if it is not here, and lay it out for a run.

    Returns:
        Splits with inputs (n, 32, 32, 3) uint8 and targets (n,) uint8, 0 to 9.

    Raises:
        DataError: it cannot be had, or the configuration asks for more images than there are.
        StorageError: it cannot be kept, and is not on this machine.
        BusyError: another process fetched it for too long.
    """
    return split(CifarCache(data_dir).arrays(progress), config)
