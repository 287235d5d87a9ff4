"""Filters and interpolation along an axis as matrices with few neighbouring entries in each row.

A filter with replicated edges, interpolation onto another lattice, both one after the other, and the
transposes of all of them, which bring gradients back: each is such a matrix. So one loop serves all, and it
only gathers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Band(NamedTuple):
    """The rows of a matrix: ``out[o] = sum_t taps[o, t] * values[starts[o] + t]``.

    Attributes
    ----------
    starts
        First entry of each row; ``starts + taps.shape[1]`` stays within the columns.
    taps
        Entries of each row, float32.
    same_from, same_to
        From which row to which the taps are the same and the starts follow one another.
    """

    starts: NDArray[np.int64]
    taps: NDArray[np.float32]
    same_from: int
    same_to: int


@lru_cache(maxsize=256)
def filter_band(taps: tuple[float, ...], size: int, *, transposed: bool = False) -> Band:
    """Correlation with an odd number of taps, edges replicated."""
    matrix = _filter(taps, size)
    return _band(matrix.T if transposed else matrix)


@lru_cache(maxsize=256)
def resize_band(size: int, to: int, *, transposed: bool = False) -> Band:
    """Linear interpolation onto ``to`` points over the same extent, corner on corner."""
    matrix = _resize(size, to)
    return _band(matrix.T if transposed else matrix)


@lru_cache(maxsize=256)
def downsample_band(taps: tuple[float, ...], size: int, to: int, *, transposed: bool = False) -> Band:
    """:func:`filter_band`, then :func:`resize_band`."""
    matrix = _resize(size, to) @ _filter(taps, size)
    return _band(matrix.T if transposed else matrix)


def _filter(taps: tuple[float, ...], size: int) -> NDArray[np.float64]:
    radius = (len(taps) - 1) // 2
    matrix = np.zeros((size, size))
    rows = np.arange(size)
    for offset, tap in enumerate(taps):
        np.add.at(matrix, (rows, np.clip(rows + offset - radius, 0, size - 1)), tap)
    return matrix


def _resize(size: int, to: int) -> NDArray[np.float64]:
    matrix = np.zeros((to, size))
    if size == 1:
        matrix[:] = 1
        return matrix
    at = np.arange(to) * ((size - 1) / max(to - 1, 1))
    low = np.minimum(at.astype(int), size - 2)
    rows = np.arange(to)
    matrix[rows, low] = 1 - (at - low)
    matrix[rows, low + 1] = at - low
    return matrix


def _band(matrix: NDArray[np.float64]) -> Band:
    """Keep the columns between the first and the last entry of each row that is not zero."""
    columns = matrix.shape[1]
    used = matrix != 0
    first = used.argmax(1)
    last = columns - 1 - used[:, ::-1].argmax(1)
    width = int((last - first).max()) + 1
    starts = np.minimum(first, columns - width).astype(np.int64)
    taps = np.take_along_axis(matrix, starts[:, None] + np.arange(width), 1).astype(np.float32)
    follows = (np.diff(starts) == 1) & (taps[1:] == taps[:-1]).all(1)
    same_from, same_to = _longest_run(follows)
    return Band(starts, taps, same_from, same_to)


def _longest_run(follows: NDArray[np.bool_]) -> tuple[int, int]:
    """The longest stretch in which every row follows the one before: its first row, and the one behind it."""
    best_from, best_to, start = 0, 0, 0
    for row, goes_on in enumerate([*follows, False]):
        if not goes_on:
            if row + 1 - start > max(best_to - best_from, 1):
                best_from, best_to = start, row + 1
            start = row + 1
    return best_from, best_to
