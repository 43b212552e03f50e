"""The kernel of a first layer that decorrelates small patches of the images. Uses NumPy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PATCH = 2


def whitening_kernel(images: npt.NDArray[np.floating], epsilon: float = 5e-4) -> Floats:
    """The kernel that maps 2 × 2 patches to their principal components, each with variance 1.

    Args:
        images: (n, height, width, channels), standardized.
        epsilon: added to the components' variances, so that small ones are not amplified.

    Returns:
        (2, 2, channels, 8 * channels): the components by ascending variance, then their negatives,
        because the GELU that follows suppresses negative values.

    Source: `init_whiten` of airbench94_muon. The covariance is about zero, not about the mean.
    """
    channels = images.shape[-1]
    corners = [
        images[:, y : images.shape[1] - PATCH + 1 + y, x : images.shape[2] - PATCH + 1 + x]
        for y in range(PATCH)
        for x in range(PATCH)
    ]
    patches = np.concatenate(corners, axis=-1, dtype=np.float64)
    patches = patches.reshape(-1, PATCH * PATCH * channels)
    covariance = patches.T @ patches / len(patches)
    variances, components = np.linalg.eigh(covariance)
    scaled = components / np.sqrt(variances + epsilon)
    both: Floats = np.concatenate([scaled, -scaled], axis=1)
    return both.reshape(PATCH, PATCH, channels, -1)
