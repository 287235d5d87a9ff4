"""Joint histograms of patches with the moving image read through a displacement, compiled.

One thread counts a patch, so the bits do not depend on the threads. The way back reads the voxels again
and goes plane by plane, as all gradients on a coarser lattice do (see :mod:`.rows`).

The Parzen window is the cubic B-spline, as in :mod:`..reference.histograms`, where its sources stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import prange

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.rows import (
    FAST,
    Coarse,
    add_to_plane,
    add_to_row,
    any_counts,
    array,
    blend_planes,
    blend_rows,
    coarse_of,
    gradient_of,
    moved,
    planes_of,
    value_and_slopes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bids_nodereg.registration.tiling import Tiling

    Array = NDArray[np.float32]
    Integers = NDArray[np.int64]


def warped_histograms(
    fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor, bins: int, tiles: Tiling
) -> Tensor:
    """As :func:`reference.warped_histograms`."""
    arguments = (displacement, fixed, moving, weight, bins, tiles)
    result: Tensor = _WarpedHistograms.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _WarpedHistograms(torch.autograd.Function):
    """The histograms; the way back reads the voxels again instead of keeping their windows."""

    @staticmethod
    def forward(
        ctx: Any,
        displacement: Tensor,
        fixed: Tensor,
        moving: Tensor,
        weight: Tensor,
        bins: int,
        tiles: Tiling,
    ) -> Tensor:
        ctx.save_for_backward(displacement, fixed, moving, weight)
        ctx.tiles = tiles
        images = tuple(array(image[0, 0]) for image in (fixed, moving, weight))
        joint = np.empty((tiles.patches, bins, bins), np.float32)
        _count(images, coarse_of(displacement, fixed.shape[2:]), tiles.boxes, joint)
        return torch.from_numpy(joint)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        displacement, *tensors = ctx.saved_tensors
        images = tuple(array(image[0, 0]) for image in tensors)
        coarse = coarse_of(displacement, images[0].shape)
        part = planes_of(coarse, images[0].shape)
        slope = array(grad_outputs[0])
        _gradient(images, coarse, _patch_numbers(ctx.tiles), slope, part)
        # [0, 1] spans ``bins - 3`` bins.
        return gradient_of(coarse, part, slope.shape[-1] - 3), None, None, None, None, None


def _patch_numbers(tiles: Tiling) -> Integers:
    """What the voxels along i, then j, then k add to the number of their patch."""
    strides = (tiles.counts[1] * tiles.counts[2], tiles.counts[2], 1)
    parts = zip(tiles.shape, tiles.lead, strides, strict=True)
    return np.concatenate([(np.arange(size) + lead) // tiles.patch * step for size, lead, step in parts])


@compiled(inline="always", fastmath=FAST)
def _windows(t: Any) -> tuple[Any, Any, Any, Any]:
    """Cubic B-spline at ``1 + t, t, 1 - t, 2 - t`` for ``t`` in [0, 1]; they sum to 1."""
    sixth, half, two_thirds = np.float32(1 / 6), np.float32(0.5), np.float32(2 / 3)
    s = np.float32(1) - t
    return (
        s * s * s * sixth,
        (half * t - np.float32(1)) * t * t + two_thirds,
        (half * s - np.float32(1)) * s * s + two_thirds,
        t * t * t * sixth,
    )


@compiled(inline="always", fastmath=FAST)
def _slopes(t: Any) -> tuple[Any, Any, Any, Any]:
    """Derivatives of :func:`_windows` with respect to ``t``; they sum to 0."""
    half, two = np.float32(0.5), np.float32(2)
    s = np.float32(1) - t
    return -s * s * half, (np.float32(1.5) * t - two) * t, (two - np.float32(1.5) * s) * s, t * t * half


@compiled(inline="always", fastmath=FAST)
def _position(value: Any, bins: int) -> tuple[int, Any, bool]:
    """First of the four bins, place between the middle two, and whether there is a slope.

    Every comparison is false for a NaN: it keeps a valid bin and goes on in the place.
    """
    spanned = np.float32(bins - 3)
    if value > 0:
        position = min(value * spanned, spanned)
        first = min(int(position), bins - 4)
        return first, position - np.float32(first), value <= 1
    return 0, value * np.float32(0), value == 0


@compiled(inline="always", fastmath=FAST)
def _blend_four(coarse: Coarse, x: int, at_y: int, first: int, end: int, row: Array) -> None:
    """Displacement of a row of the image, in its voxels, at the coarse points along k from first to end."""
    u, ratio, lows, fractions = coarse
    i, fi, j, fj = lows[x], fractions[x], lows[at_y], fractions[at_y]
    for axis in range(3):
        for k in range(first, end):
            v0 = u[axis, i, j, k] + fj * (u[axis, i, j + 1, k] - u[axis, i, j, k])
            v1 = u[axis, i + 1, j, k] + fj * (u[axis, i + 1, j + 1, k] - u[axis, i + 1, j, k])
            row[axis, k] = (v0 + fi * (v1 - v0)) * ratio[axis]


@compiled(parallel=True, fastmath=FAST)
def _count(images: tuple[Array, Array, Array], coarse: Coarse, boxes: Integers, joint: Array) -> None:
    """Add the voxels of each box (``patches 6``: start and end along i, j, k) to its bins."""
    fixed, moving, weight = images
    si, sj, sk = fixed.shape
    lows, fractions = coarse[2], coarse[3]
    bins = joint.shape[-1]
    for number in prange(joint.shape[0]):
        joint[number] = 0
        row = np.empty((3, coarse[0].shape[3]), np.float32)
        i0, i1, j0, j1, k0, k1 = boxes[number]
        first, end = lows[si + sj + k0], lows[si + sj + k1 - 1] + 2
        for x in range(i0, i1):
            for y in range(j0, j1):
                if not any_counts(weight[x, y, k0:k1]):
                    continue
                _blend_four(coarse, x, si + y, first, end, row)
                for z in range(k0, k1):
                    w = weight[x, y, z]
                    if w > 0:
                        at, f = lows[si + sj + z], fractions[si + sj + z]
                        i, fi, _, j, fj, _, k, fk, _ = moved(row, at, f, (x, y, z), (si, sj, sk))
                        value = value_and_slopes(moving, i, j, k, fi, fj, fk)[0]
                        _add_to_bins(joint[number], fixed[x, y, z], value, w, bins)


@compiled(inline="always", fastmath=FAST)
def _add_to_bins(joint: Array, fixed: Any, moving: Any, w: Any, bins: int) -> None:
    """Share a voxel of weight ``w`` between the sixteen bins around both intensities."""
    a, t, _ = _position(fixed, bins)
    b, s, _ = _position(moving, bins)
    of_fixed, (m0, m1, m2, m3) = _windows(t), _windows(s)
    for n in range(4):
        share, bin_row = w * of_fixed[n], joint[a + n]
        bin_row[b] += share * m0
        bin_row[b + 1] += share * m1
        bin_row[b + 2] += share * m2
        bin_row[b + 3] += share * m3


@compiled(inline="always", fastmath=FAST)
def _slope_of_bins(slope: Array, fixed: Any, moving: Any, bins: int) -> Any:
    """What the slopes of the bins mean for the moving intensity, but for the width of a bin."""
    a, t, _ = _position(fixed, bins)
    b, s, has_slope = _position(moving, bins)
    of_fixed, (m0, m1, m2, m3) = _windows(t), _slopes(s)
    total = np.float32(0)
    for n in range(4):
        row = slope[a + n]
        total += of_fixed[n] * (row[b] * m0 + row[b + 1] * m1 + row[b + 2] * m2 + row[b + 3] * m3)
    return total if has_slope else np.float32(0)


@compiled(parallel=True, fastmath=FAST)
def _gradient(
    images: tuple[Array, Array, Array], coarse: Coarse, numbers: Integers, slope: Array, part: Array
) -> None:
    """For each plane the gradient of the displacement on a coarse plane, but for the width of a bin."""
    fixed, moving, weight = images
    u, _, lows, fractions = coarse
    si, sj, sk = fixed.shape
    bins = slope.shape[-1]
    for x in prange(si):
        part[x] = 0
        plane = np.empty((3, u.shape[2], u.shape[3]), np.float32)
        row = np.empty((3, u.shape[3]), np.float32)
        of_row = np.zeros((3, u.shape[3]), np.float32)
        blend_planes(coarse, x, plane)
        for y in range(sj):
            if not any_counts(weight[x, y]):
                continue
            blend_rows(plane, lows[si + y], fractions[si + y], row)
            for z in range(sk):
                w = weight[x, y, z]
                if w > 0:
                    at, f = lows[si + sj + z], fractions[si + sj + z]
                    i, fi, in_i, j, fj, in_j, k, fk, in_k = moved(row, at, f, (x, y, z), (si, sj, sk))
                    value, along_i, along_j, along_k = value_and_slopes(moving, i, j, k, fi, fj, fk)
                    of_patch = slope[numbers[x] + numbers[si + y] + numbers[si + sj + z]]
                    g = w * _slope_of_bins(of_patch, fixed[x, y, z], value, bins)
                    # A clamped position does not move with its argument.
                    gi = g * along_i if in_i else np.float32(0)
                    gj = g * along_j if in_j else np.float32(0)
                    gk = g * along_k if in_k else np.float32(0)
                    add_to_row(of_row, at, f, gi, gj, gk)
            add_to_plane(of_row, lows[si + y], fractions[si + y], part[x])
