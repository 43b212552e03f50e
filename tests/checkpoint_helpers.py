"""Where a fit keeps its checkpoints, for tests that have no store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


class InFolder:
    """Keeps each checkpoint in place of the last one.

    Args:
        folder: must exist.
        refuses: what keeping one raises, if anything.
    """

    def __init__(self, folder: Path, refuses: BaseException | None = None) -> None:
        self._file = folder / "checkpoint.zip"
        self.refuses = refuses
        self.kept = 0

    @property
    def checkpoint(self) -> Path | None:
        return self._file if self._file.is_file() else None

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        if self.refuses is not None:
            raise self.refuses
        with self._file.open("wb") as stream:
            write(stream)
        self.kept += 1


class Nowhere:
    """Keeps nothing."""

    checkpoint: Path | None = None

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        pass
