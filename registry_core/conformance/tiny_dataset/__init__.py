"""A dataset of a few drawn points, on which extensions are checked."""

from __future__ import annotations

from typing import Any

from registry_core.config import RunConfig
from registry_core.plugins.hookspecs import hookimpl
from registry_core.types import ArraySplit, DataSplits


@hookimpl
def mlreg_presets() -> dict[str, RunConfig]:
    """One preset, of the host's own settings."""
    return {"tiny": RunConfig(epochs=2, batch_size=16)}


@hookimpl
def mlreg_dataset() -> DataSplits:
    """Draw points around two centres: (examples, 2) float32, and the centre's number."""
    import numpy as np

    def draw(examples: int, seed: int) -> ArraySplit:
        generator = np.random.default_rng(seed)
        centre = np.arange(examples) % 2
        points = generator.normal(2.0 * centre[:, None], 1.0, (examples, 2))
        return ArraySplit(points.astype("float32"), centre)

    return DataSplits(draw(64, 1), draw(32, 2), draw(32, 3), ("left", "right"), source="drawn")


@hookimpl
def mlreg_model() -> Any:
    """Build a linear classifier of two units."""
    from registry_core.training.trial import linear_classifier  # TensorFlow loads here

    return linear_classifier(inputs=2, classes=2)
