"""MIND and MIND-SSC and their gradients, compiled.

Both are filtered squared differences of the image read at two places, for each channel; see
:mod:`..reference.self_similarity` for definitions and sources. Blocks of rows march through the planes:
the filter along i needs a few planes of each channel, which stay in the processor's cache, and nothing is
ever made of the size of the channels but the result, channels last. On the way back every block adds to an
image of its own; these are then added in a fixed order, so that the bits do not depend on the threads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numba import prange

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.bands import filter_band
from bids_nodereg.registration.kernels.cpu.rows import FAST, array, band_row, combine
from bids_nodereg.registration.kernels.reference.filters import box_kernel, gaussian_kernel
from bids_nodereg.registration.kernels.reference.self_similarity import (
    FACE_NEIGHBOURS,
    SSC_PAIRS,
    SSC_VARIANCE_BOUNDS,
    dense_search_region,
    floored,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bids_nodereg.registration.settings import DescriptorSettings

    Array = NDArray[np.float32]
    Integers = NDArray[np.int64]

PLANES, ROWS = 32, 16
"""Size of a block: the planes that it marches through, and the rows that it takes along."""


class _Choice(NamedTuple):
    """What tells the two descriptors apart.

    Attributes
    ----------
    pairs
        For each channel the two places that are compared, as voxels along i, j, k: ``c 2 3``.
    taps
        The filter of the squared differences.
    in_variance
        Which channels the variance is the mean of.
    above_least
        Whether the variance is that of the differences less the least of them.
    """

    pairs: Integers
    taps: tuple[float, ...]
    in_variance: NDArray[np.bool_]
    above_least: bool


def mind(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """As :func:`reference.mind`, channels last in memory."""
    region = dense_search_region(settings.search_radius) if settings.search_radius > 0 else FACE_NEIGHBOURS
    pairs = np.array([(offset, (0, 0, 0)) for offset in region], np.int64) * settings.offset
    taps = (1.0,)
    if settings.patch_sigma > 0:
        taps = tuple(gaussian_kernel(settings.patch_sigma, image).tolist())
    faces = np.array([offset in FACE_NEIGHBOURS for offset in region])
    return _describe(image, mask, _Choice(pairs, taps, faces, above_least=False))


def mind_ssc(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """As :func:`reference.mind_ssc`, channels last in memory."""
    pairs = np.array(SSC_PAIRS, np.int64) * settings.offset
    taps = tuple(box_kernel(settings.patch_radius, image).tolist())
    return _describe(image, mask, _Choice(pairs, taps, np.ones(len(pairs), np.bool_), above_least=True))


def _describe(image: Tensor, mask: Tensor | None, choice: _Choice) -> Tensor:
    result: Tensor = _SelfSimilarity.apply(image, mask, choice)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _SelfSimilarity(torch.autograd.Function):
    """The descriptor; what is above the least distance is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, mask: Tensor | None, choice: _Choice) -> Tensor:
        values = array(image[0, 0])
        where = np.ones_like(values) if mask is None else array(mask[0, 0])
        above, variance, sums = _above_least(values, where, choice)
        total, amount = sums.sum(0)
        mean = floored(total / max(amount, 1.0), image.dtype)
        if math.isnan(mean):
            variance[:] = math.nan  # whose bounds are none
        low, high = _limits(mean, choice)
        descriptor = np.empty_like(above) if image.requires_grad else above
        _exponentials(above, variance, low, high, descriptor)
        ctx.save_for_backward(image)
        ctx.kept = (choice, above, descriptor, variance, low, high)
        return torch.from_numpy(descriptor)[None].movedim(-1, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (image,) = ctx.saved_tensors
        choice, above, descriptor, variance, low, high = ctx.kept
        grad = array(grad_outputs[0][0].movedim(0, -1))
        slopes = np.empty_like(above)
        variance_of = (choice.in_variance, choice.above_least)
        _slopes_of_distances(above, descriptor, grad, variance, low, high, variance_of, slopes)
        return torch.from_numpy(_to_image(array(image[0, 0]), slopes, choice))[None, None], None, None


def _limits(mean: float, choice: _Choice) -> tuple[Any, Any]:
    """Between which values the variance is held."""
    if choice.above_least:
        low, high = (bound * mean for bound in SSC_VARIANCE_BOUNDS)
    else:
        low, high = sorted((mean**0.5, mean**2))
    return np.float32(low), np.float32(high)


def _reach(choice: _Choice) -> int:
    return int(np.abs(choice.pairs).max())


def _above_least(values: Array, where: Array, choice: _Choice) -> tuple[Array, Array, NDArray[np.float64]]:
    """Distances less the least of them, ``i j k c``; variance, ``i j k``; its sums over the mask."""
    reach = _reach(choice)
    along = [filter_band(choice.taps, size) for size in values.shape]
    above = np.empty((*values.shape, len(choice.pairs)), np.float32)
    variance = np.empty(values.shape, np.float32)
    blocks = _blocks(values.shape)
    sums = np.empty((len(blocks), 2))
    _distances(
        np.pad(values, reach, mode="edge"),
        choice.pairs + reach,
        along[0][:2],
        along[1][:2],
        along[2],
        (choice.in_variance, choice.above_least),
        where,
        blocks,
        (above, variance, sums),
    )
    return above, variance, sums


def _blocks(shape: tuple[int, ...]) -> Integers:
    """First plane and row of every block, and those behind its last: ``n 4``."""
    return np.array(
        [
            (i, min(i + PLANES, shape[0]), j, min(j + ROWS, shape[1]))
            for i in range(0, shape[0], PLANES)
            for j in range(0, shape[1], ROWS)
        ]
    )


def _to_image(values: Array, slopes: Array, choice: _Choice) -> Array:
    """Gradient of the image, ``i j k``, out of that of every distance, ``i j k c``."""
    reach = _reach(choice)
    along = [filter_band(choice.taps, size, transposed=True) for size in values.shape]
    blocks = _blocks(values.shape)
    window = (min(PLANES, values.shape[0]), min(ROWS, values.shape[1]), values.shape[2])
    own = np.empty((len(blocks), *(size + 2 * reach for size in window)), np.float32)
    _gradients(
        np.pad(values, reach, mode="edge"),
        choice.pairs + reach,
        along[0][:2],
        along[1][:2],
        along[2],
        slopes,
        blocks,
        own,
    )
    padded = np.empty(tuple(size + 2 * reach for size in values.shape), np.float32)
    _add_blocks(own, blocks, padded)
    return _folded(padded, reach)


def _folded(padded: Array, reach: int) -> Array:
    """Add the margin of a padded image to its edge: the transpose of replicating the edge."""
    for axis in range(3):
        lines = np.moveaxis(padded, axis, 0)
        lines[reach] += lines[:reach].sum(0)
        lines[-reach - 1] += lines[-reach:].sum(0)
        padded = np.moveaxis(lines[reach:-reach], 0, axis)
    return np.ascontiguousarray(padded)


@compiled(inline="always", fastmath=FAST)
def _differences(padded: Array, pair: Integers, x: int, y: int, row: Array) -> None:
    """Difference of the image at the two places of a pair, along row ``y`` of plane ``x``."""
    first = padded[x + pair[0, 0], y + pair[0, 1], pair[0, 2] : pair[0, 2] + row.shape[0]]
    second = padded[x + pair[1, 0], y + pair[1, 1], pair[1, 2] : pair[1, 2] + row.shape[0]]
    for z in range(row.shape[0]):
        row[z] = first[z] - second[z]


@compiled(parallel=True, fastmath=FAST)
def _distances(  # noqa: C901, PLR0913, PLR0917  # one march through the planes: its buffers stay here
    padded: Array,
    pairs: Integers,
    along_i: Any,
    along_j: Any,
    along_k: Any,
    variance_of: Any,
    where: Array,
    blocks: Integers,
    outputs: Any,
) -> None:
    """See :func:`_above_least`."""
    starts_i, taps_i = along_i
    starts_j, taps_j = along_j
    above, variance, sums = outputs
    channels, sk = pairs.shape[0], above.shape[2]
    width_i, width_j = taps_i.shape[1], taps_j.shape[1]
    for number in prange(blocks.shape[0]):
        i0, i1, j0, j1 = blocks[number]
        first_j, end_j = starts_j[j0], starts_j[j1 - 1] + width_j
        # For each channel the last planes, filtered along j and k.
        ring = np.empty((channels, j1 - j0, width_i, sk), np.float32)
        rows = np.empty((end_j - first_j, sk), np.float32)
        difference = np.empty(sk, np.float32)
        distances = np.empty((channels, sk), np.float32)
        least, spread = np.empty(sk, np.float32), np.empty(sk, np.float32)
        total, amount = 0.0, 0.0
        done = starts_i[i0]
        for x in range(i0, i1):
            while done < starts_i[x] + width_i:
                for c in range(channels):
                    for y in range(first_j, end_j):
                        _differences(padded, pairs[c], done, y, difference)
                        for z in range(sk):
                            difference[z] *= difference[z]
                        band_row(difference, along_k, rows[y - first_j])
                    for y in range(j0, j1):
                        combine(rows, starts_j[y] - first_j, taps_j[y], ring[c, y - j0, done % width_i])
                done += 1
            for y in range(j0, j1):
                for c in range(channels):
                    combine(ring[c, y - j0], starts_i[x], taps_i[x], distances[c])
                _less_least(distances, variance_of, least, spread)
                for z in range(sk):
                    variance[x, y, z] = spread[z]
                    for c in range(channels):
                        above[x, y, z, c] = distances[c, z]
                    if where[x, y, z] > 0:
                        total += spread[z]
                        amount += 1.0
        sums[number, 0] = total
        sums[number, 1] = amount


@compiled(inline="always", fastmath=FAST)
def _less_least(distances: Array, variance_of: Any, least: Array, spread: Array) -> None:
    """Subtract from the channels of a row, ``c k``, the least of them; the variance goes to ``spread``."""
    chosen, above_least = variance_of
    channels, sk = distances.shape
    least[:] = distances[0]
    spread[:] = 0
    for c in range(1, channels):
        for z in range(sk):
            value = distances[c, z]
            # What is no number becomes the least and stays so, as in torch's amin.
            is_less = (value < least[z]) | (value != value)  # noqa: PLR0124  # true of no number
            least[z] = value if is_less else least[z]
    share = np.float32(1 / chosen.sum())
    for c in range(channels):
        if chosen[c]:
            for z in range(sk):
                spread[z] += distances[c, z] * share
    if above_least:
        for z in range(sk):
            spread[z] -= least[z]
    for c in range(channels):
        for z in range(sk):
            distances[c, z] -= least[z]


@compiled(inline="always", fastmath=FAST)
def _held(value: Any, low: Any, high: Any) -> Any:
    """Hold a number between two others; what is none stays none."""
    value = max(value, low)
    return min(value, high)


@compiled(parallel=True, fastmath=FAST)
def _exponentials(above: Array, variance: Array, low: Any, high: Any, out: Array) -> None:
    """Write ``exp(-a / V)``, perhaps in place.

    ``2^n`` times a polynomial of the rest: so many entries are computed with at once, and the relative
    error is some units of the last digit.
    """
    si, sj, sk, channels = above.shape
    for plane in prange(si * sj):
        values = above[plane // sj, plane % sj].reshape(sk * channels)
        row = out[plane // sj, plane % sj].reshape(sk * channels)
        scale = np.empty(sk * channels, np.float32)
        exponent = np.empty(sk * channels, np.int32)
        for z in range(sk):
            of_voxel = np.float32(-1.4426950408889634) / _held(
                variance[plane // sj, plane % sj, z], low, high
            )
            for c in range(channels):
                scale[z * channels + c] = of_voxel
        for n in range(row.shape[0]):
            power = values[n] * scale[n]
            power = max(power, np.float32(-126))
            whole = np.rint(power)
            x = (power - whole) * np.float32(0.6931471805599453)
            series = np.float32(1 / 720) + x * np.float32(1 / 5040)
            series = np.float32(1 / 120) + x * series
            series = np.float32(1 / 24) + x * series
            series = np.float32(1 / 6) + x * series
            series = np.float32(0.5) + x * series
            row[n] = np.float32(1) + x * (np.float32(1) + x * series)
            exponent[n] = (np.int32(whole) + np.int32(127)) << np.int32(23)
        powers = exponent.view(np.float32)
        for n in range(row.shape[0]):
            row[n] *= powers[n]


@compiled(parallel=True, fastmath=FAST)
def _slopes_of_distances(
    above: Array,
    descriptor: Array,
    grad: Array,
    variance: Array,
    low: Any,
    high: Any,
    variance_of: Any,
    slopes: Array,
) -> None:
    """From the gradient of the descriptor to that of the distances."""
    chosen, above_least = variance_of
    si, sj, sk, channels = slopes.shape
    share = np.float32(1 / chosen.sum())
    for plane in prange(si * sj):
        x, y = plane // sj, plane % sj
        for z in range(sk):
            v = variance[x, y, z]
            held = _held(v, low, high)
            of_variance, of_all, ties = np.float32(0), np.float32(0), np.float32(0)
            for c in range(channels):
                h = grad[x, y, z, c] * descriptor[x, y, z, c] / held
                of_variance += h * above[x, y, z, c] / held
                of_all += h
                ties += np.float32(above[x, y, z, c] == 0)
            of_variance = of_variance if low < v < high else np.float32(0)
            of_least = (of_all - of_variance) / ties if above_least else of_all / ties
            for c in range(channels):
                is_least = above[x, y, z, c] == 0
                slope = -grad[x, y, z, c] * descriptor[x, y, z, c] / held
                if chosen[c]:
                    slope += of_variance * share
                slopes[x, y, z, c] = slope + of_least if is_least else slope


@compiled(parallel=True, fastmath=FAST)
def _gradients(  # noqa: C901  # as above
    padded: Array,
    pairs: Integers,
    along_i: Any,
    along_j: Any,
    along_k: Any,
    slopes: Array,
    blocks: Integers,
    own: Array,
) -> None:
    """What each block's distances mean for the image around it; the bands are the transposed filter."""
    starts_i, taps_i = along_i
    starts_j, taps_j = along_j
    channels, sk = pairs.shape[0], slopes.shape[2]
    width_i, width_j = taps_i.shape[1], taps_j.shape[1]
    for number in prange(blocks.shape[0]):
        i0, i1, j0, j1 = blocks[number]
        first_j, end_j = starts_j[j0], starts_j[j1 - 1] + width_j
        mine = own[number]
        mine[:] = 0
        ring = np.empty((channels, j1 - j0, width_i, sk), np.float32)
        rows = np.empty((channels, end_j - first_j, sk), np.float32)
        row, difference = np.empty(sk, np.float32), np.empty(sk, np.float32)
        done = starts_i[i0]
        for x in range(i0, i1):
            while done < starts_i[x] + width_i:
                for y in range(first_j, end_j):
                    for c in range(channels):
                        for z in range(sk):
                            row[z] = slopes[done, y, z, c]
                        band_row(row, along_k, rows[c, y - first_j])
                for c in range(channels):
                    for y in range(j0, j1):
                        combine(rows[c], starts_j[y] - first_j, taps_j[y], ring[c, y - j0, done % width_i])
                done += 1
            for y in range(j0, j1):
                for c in range(channels):
                    combine(ring[c, y - j0], starts_i[x], taps_i[x], row)
                    pair = pairs[c]
                    _differences(padded, pair, x, y, difference)
                    first = mine[x - i0 + pair[0, 0], y - j0 + pair[0, 1], pair[0, 2] : pair[0, 2] + sk]
                    for z in range(sk):
                        row[z] *= np.float32(2) * difference[z]
                        first[z] += row[z]
                    second = mine[x - i0 + pair[1, 0], y - j0 + pair[1, 1], pair[1, 2] : pair[1, 2] + sk]
                    for z in range(sk):
                        second[z] -= row[z]


@compiled(parallel=True, fastmath=FAST)
def _add_blocks(own: Array, blocks: Integers, padded: Array) -> None:
    """Put the blocks' images together, plane by plane, always in the order of the blocks."""
    margin_i = padded.shape[0] - blocks[-1, 1]
    margin_j = padded.shape[1] - blocks[-1, 3]
    for x in prange(padded.shape[0]):
        padded[x] = 0
        for number in range(blocks.shape[0]):
            i0, i1, j0, j1 = blocks[number]
            if i0 <= x < i1 + margin_i:
                for y in range(j0, j1 + margin_j):
                    for z in range(padded.shape[2]):
                        padded[x, y, z] += own[number, x - i0, y - j0, z]
