"""A first layer that makes small patches of the training images uncorrelated. Knows only NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PATCH = 2


def whitening_kernel(images: npt.NDArray[np.floating], epsilon: float = 5e-4) -> Floats:
    """The kernel that turns 2 × 2 patches into their principal components, each of variance one.

    Args:
        images: (n, height, width, channels), normalised.
        epsilon: added to the components' variances, so that faint ones are not blown up.

    Returns:
        (2, 2, channels, 8 * channels): the components, faintest first, and then their negatives,
        because a GELU that follows drops what is below zero.

    Source: `init_whiten` of airbench94_muon. The covariance is about zero, not about the mean.
    """
    channels = images.shape[-1]
    corners = [
        images[:, y : images.shape[1] - PATCH + 1 + y, x : images.shape[2] - PATCH + 1 + x]
        for y in range(PATCH)
        for x in range(PATCH)
    ]
    patches = np.concatenate(corners, axis=-1).reshape(-1, PATCH * PATCH * channels)
    covariance = patches.T.astype(np.float64) @ patches / len(patches)
    variances, components = np.linalg.eigh(covariance)
    scaled = components / np.sqrt(variances + epsilon)
    both: Floats = np.concatenate([scaled, -scaled], axis=1)
    return both.reshape(PATCH, PATCH, channels, -1)
