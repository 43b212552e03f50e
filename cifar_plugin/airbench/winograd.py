"""Matrices of Winograd's algorithm, for convolutions with few multiplications. Uses NumPy only.

A convolution is a product of polynomials, and n values determine a polynomial of degree n - 1:
evaluate both factors at n points, multiply the values, interpolate. A tile of m outputs of a 3-tap
convolution then takes m + 2 multiplications instead of 3 m; in two dimensions (m + 2)² instead of
9 m², which is 100 instead of 576 for a tile of 8.

Source: Lavin and Gray, arXiv:1509.09308; the matrices are those of Toom and Cook's algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

TAPS = 3

# Small numbers and their inverses, so that powers stay small; infinity is added after them.
POINTS = tuple(map(Fraction, ("0", "1", "-1", "1/2", "-1/2", "2", "-2", "4/3", "-3/4")))

# Rounding errors grow with the tile; this is the largest one for which `POINTS` suffice.
LARGEST_TILE = len(POINTS) + 2 - TAPS


# Tiles of one size are preferred where they take at most this many times the multiplications of
# the fewest tiles, along one axis: their results are one product of matrices for all of them.
EQUAL_TILES = 1.06


class Transforms(NamedTuple):
    """One axis of a convolution: `outputs = back @ ((kernel @ taps) * (input @ values))`.

    `back` has the matrix `output` along its diagonal, `repeats` times, and zeros elsewhere.

    input: (points, values), applied to the values along the axis.
    kernel: (points, 3), applied to the taps.
    output: (outputs / repeats, points / repeats), applied to each part of the products; gives the
        convolution's results.
    repeats: the number of tiles if they have one size, otherwise 1.
    """

    input: Matrix
    kernel: Matrix
    output: Matrix
    repeats: int


def transforms(size: int, outputs: int, largest_tile: int = LARGEST_TILE) -> Transforms:
    """The matrices that convolve `size` values with three taps, with zero padding.

    Args:
        size: number of values along the axis.
        outputs: number of results, from 1 to `size`. Result i is
            taps[0] * value[i - 1] + taps[1] * value[i] + taps[2] * value[i + 1].
        largest_tile: results that share multiplications, 1 to `LARGEST_TILE`. A larger tile needs
            fewer multiplications and rounds more. In float32, the root mean square of the errors
            is about 3e-6 of the results' standard deviation for 6, and 3e-5 for 8.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not 1 <= outputs <= size:
        raise ValueError(f"outputs is {outputs}; it must be from 1 to the size, {size}.")
    if not 1 <= largest_tile <= LARGEST_TILE:
        raise ValueError(f"largest_tile is {largest_tile}; it must be from 1 to {LARGEST_TILE}.")
    tiles = _tiles(outputs, largest_tile)
    points = sum(map(_points, tiles))
    whole = Transforms(
        np.zeros((points, size)), np.zeros((points, TAPS)), np.zeros((outputs, points)), 1
    )
    point = first = 0
    for tile in tiles:
        part = _tile(tile)
        here = slice(point, point + _points(tile))
        begin = max(0, first - 1)
        end = min(size, first + tile + 1)
        whole.input[here, begin:end] = part.input[:, begin - first + 1 : end - first + 1]
        whole.kernel[here] = part.kernel
        whole.output[first : first + tile, here] = part.output
        point, first = here.stop, first + tile
    if len(set(tiles)) == 1:
        return whole._replace(output=part.output, repeats=len(tiles))
    return whole


def _tiles(outputs: int, largest: int) -> list[int]:
    """How many results each tile has: few tiles, of one size where that costs little."""
    fewest = -(-outputs // largest)
    nearly_equal = _nearly_equal(outputs, fewest)
    most = EQUAL_TILES * sum(map(_points, nearly_equal))
    equal = ([outputs // parts] * parts for parts in range(fewest, outputs + 1))
    return next(
        (each for each in equal if sum(each) == outputs and sum(map(_points, each)) <= most),
        nearly_equal,
    )


def _points(tile: int) -> int:
    """How many multiplications a tile of so many results takes."""
    return tile + TAPS - 1


def _tile(outputs: int) -> Transforms:
    """The matrices for `outputs` results of three taps on `outputs` + 2 values, without padding.

    They are the transposed matrices of a product of polynomials: multiplying polynomials with
    `outputs` and 3 coefficients is the transpose of convolving `outputs` + 2 values with 3 taps.
    """
    points = _points(outputs)
    interpolation = _inverse(_evaluation(points, points))
    return Transforms(
        input=_floats(interpolation).T,
        kernel=_floats(_evaluation(points, TAPS)),
        output=_floats(_evaluation(points, outputs)).T,
        repeats=1,
    )


def _evaluation(points: int, coefficients: int) -> list[list[Fraction]]:
    """(points, coefficients): evaluates a polynomial; at infinity, its leading coefficient."""
    finite = [[point**power for power in range(coefficients)] for point in POINTS[: points - 1]]
    return [*finite, [Fraction(power == coefficients - 1) for power in range(coefficients)]]


def _inverse(matrix: Sequence[Sequence[Fraction]]) -> list[list[Fraction]]:
    """The exact inverse, by Gauss-Jordan elimination."""
    size = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(row for row in range(column, size) if rows[row][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for row in range(size):
            factor = rows[row][column]
            if row != column and factor:
                pairs = zip(rows[row], rows[column], strict=True)
                rows[row] = [value - factor * other for value, other in pairs]
    return [row[size:] for row in rows]


def _floats(matrix: Sequence[Sequence[Fraction]]) -> Matrix:
    return np.array([[float(value) for value in row] for row in matrix])


def _nearly_equal(total: int, parts: int) -> list[int]:
    """`total` as a sum of `parts` numbers that differ by one at most, larger ones first."""
    least, larger = divmod(total, parts)
    return [least + 1] * larger + [least] * (parts - larger)
