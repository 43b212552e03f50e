"""The pictures of a CIFAR-10 run. What they look like is the host's plotting to decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.evaluation import figures as plotting

if TYPE_CHECKING:
    from registry_core.types import RunResult


def draw(result: RunResult, out_dir: Path) -> Sequence[Path]:
    """Write accuracy.png, loss.png, learning_rate.png and confusion_matrix.png.

    Args:
        result: the finished run; what it did not measure is not drawn.
        out_dir: an existing folder.

    Returns:
        The files written.
    """
    return plotting.standard_figures(result, out_dir)
