"""What has been measured, so that a benchmark of hours can be stopped and continued."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Log:
    """The trainings that ended, one JSON line for each.

    Args:
        file: made by the first training.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> list[dict[str, Any]]:
        """Its lines; one that a kill cut short is left out."""
        if not self.file.exists():
            return []
        whole, _, _ = self.file.read_text("utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.endswith("}")]

    def append(self, training: Mapping[str, Any]) -> None:
        """Add a training; it is on the disk when this returns."""
        with self.file.open("a+", encoding="utf-8") as stream:
            stream.seek(0)
            cut_short = stream.read()[-1:] not in ("", "\n")
            stream.write(("\n" if cut_short else "") + json.dumps(training) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
