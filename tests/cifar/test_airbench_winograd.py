"""Convolutions with few multiplications give what convolutions give."""

import numpy as np
import pytest

from cifar_plugin.airbench.winograd import LARGEST_TILE, transforms


def convolved(values, taps, outputs):
    """NumPy's own, of values with zeros around them."""
    return np.correlate(np.pad(values, 1), taps, "valid")[:outputs]


@pytest.mark.gate(keep=12)
@pytest.mark.parametrize("largest_tile", range(1, LARGEST_TILE + 1))
@pytest.mark.parametrize(("size", "outputs"), [(1, 1), (3, 3), (7, 6), (7, 7), (15, 14), (31, 30)])
def test_one_axis_matches_numpys_correlation(size, outputs, largest_tile):
    """For every tile, with and without a dropped last result."""
    random = np.random.default_rng(0)
    values, taps = random.normal(size=size), random.normal(size=3)
    there, kernel, part, repeats = transforms(size, outputs, largest_tile)
    found = np.kron(np.eye(repeats), part) @ ((kernel @ taps) * (there @ values))
    np.testing.assert_allclose(found, convolved(values, taps, outputs), atol=1e-10)


@pytest.mark.parametrize(
    ("outputs", "largest_tile", "points"),
    [
        (6, 6, 8),
        (7, 6, 4 + 3 + 2 * 2),
        (30, 5, 6 * 7),
        # five tiles of 6; 8 + 8 + 7 + 7 would take 38
        (30, 8, 5 * 8),
        # not three tiles of 5, which would take 21
        (15, 8, 8 + 7 + 2 * 2),
    ],
)
def test_a_tile_of_m_results_takes_m_plus_two_multiplications(outputs, largest_tile, points):
    """Tiles are nearly equal, or equal where that takes little more; none above the largest."""
    assert transforms(31, outputs, largest_tile).input.shape == (points, 31)


@pytest.mark.parametrize(
    ("size", "outputs", "largest_tile", "named"),
    [(3, 4, 2, "outputs"), (3, 0, 2, "outputs"), (3, 3, 0, "tile"), (3, 3, 9, "tile")],
)
def test_arguments_out_of_range_are_refused(size, outputs, largest_tile, named):
    """More results than values, or tiles without enough points."""
    with pytest.raises(ValueError, match=named):
        transforms(size, outputs, largest_tile)
