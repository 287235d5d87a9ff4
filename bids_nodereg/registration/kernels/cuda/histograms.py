"""Joint histograms of patches: one program per patch adds up a small matrix product.

The windows of a chunk of voxels are a matrix ``voxels bins`` for each image; the histogram is the product
of the one, weighted, with the other. Nothing is added to shared memory by many, so the order is fixed. The
way back is gathered: each voxel reads its sixteen bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from bids_nodereg.registration.kernels.cuda.cells import voxel_of
from bids_nodereg.registration.kernels.cuda.launch import BLOCK, blocks, kernel, launch
from bids_nodereg.registration.kernels.cuda.warped import warp

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.tiling import Tiling

CHUNK = 64
"""Voxels of a patch that are multiplied at once."""


def warped_histograms(
    fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor, bins: int, tiles: Tiling
) -> Tensor:
    """As :func:`reference.warped_histograms`."""
    return joint_histograms(fixed.detach(), warp(moving, displacement), weight, bins, tiles)


def joint_histograms(fixed: Tensor, moving: Tensor, weight: Tensor, bins: int, tiles: Tiling) -> Tensor:
    """As :func:`reference.histograms.joint_histograms`, with a gradient for the second image alone."""
    arguments = (fixed, moving, weight, bins, tiles)
    result: Tensor = _JointHistograms.apply(*arguments)
    return result


class _JointHistograms(torch.autograd.Function):
    """The histograms; the way back visits the voxels again instead of keeping their windows."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor, weight: Tensor, bins: int, tiles: Tiling) -> Tensor:
        images = [image.detach().contiguous() for image in (fixed, moving, weight)]
        ctx.save_for_backward(*images)
        ctx.tiles = tiles
        joint = torch.empty((tiles.patches, bins, bins), dtype=torch.float32, device=fixed.device)
        padded = max(16, triton.next_power_of_2(bins))
        launch(_count, tiles.patches, *images, joint, *_numbers(tiles), bins, BINS=padded, CHUNK=CHUNK)
        return joint.to(fixed.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor, None, None, None]:
        fixed, moving, weight = ctx.saved_tensors
        slope, out = grad_outputs[0].contiguous(), torch.empty_like(moving)
        arguments = (fixed, moving, weight, slope, out, out.numel(), *_numbers(ctx.tiles), slope.shape[-1])
        launch(_gather, blocks(out.numel()), *arguments, BLOCK=BLOCK)
        return None, out, None, None, None


def _numbers(tiles: Tiling) -> tuple[int, ...]:
    return (*tiles.shape, *tiles.lead, tiles.counts[1], tiles.counts[2], tiles.patch)


@triton.jit
def _place(value, bins):
    """First of the four bins, and the place between the middle two; see :func:`.cells.cell` about a NaN."""
    at = tl.where(value < 0.0, 0.0, tl.where(value > 1.0, 1.0, value)) * (bins - 3)
    first = tl.maximum(tl.minimum(at.to(tl.int32), bins - 4), 0)
    return first, at - first


@triton.jit
def _windows(t):
    """Cubic B-spline at ``1 + t, t, 1 - t, 2 - t`` for ``t`` in [0, 1]; they sum to 1."""
    s = 1.0 - t
    near, far = (3.0 * t - 6.0) * t * t / 6.0 + 2.0 / 3.0, (3.0 * s - 6.0) * s * s / 6.0 + 2.0 / 3.0
    return s * s * s / 6.0, near, far, t * t * t / 6.0


@triton.jit
def _slopes(t):
    """Derivatives of :func:`_windows` with respect to ``t``; they sum to 0."""
    s = 1.0 - t
    return -s * s / 2.0, (3.0 * t - 4.0) * t / 2.0, (4.0 - 3.0 * s) * s / 2.0, t * t / 2.0


@triton.jit
def _window_matrix(value, bins, BINS: tl.constexpr):
    """Windows of each voxel over all bins: ``voxels bins``."""
    first, t = _place(value, bins)
    a, b, c, d = _windows(t)
    place = tl.arange(0, BINS)[None, :] - first[:, None]
    inner = tl.where(place == 1, b[:, None], tl.where(place == 2, c[:, None], 0.0))
    return tl.where(place == 0, a[:, None], tl.where(place == 3, d[:, None], inner))


@kernel
def _count(
    fixed, moving, weight, joint, si, sj, sk, li, lj, lk, cj, ck, patch, bins,
    BINS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    number = tl.program_id(0)
    pi, pj, pk = voxel_of(number, cj, ck)
    i0, j0, k0 = pi * patch - li, pj * patch - lj, pk * patch - lk
    counts = tl.zeros((BINS, BINS), tl.float32)
    for chunk in range(0, patch * patch * patch, CHUNK):
        a, b, c = voxel_of(chunk + tl.arange(0, CHUNK), patch, patch)
        i, j, k = i0 + a, j0 + b, k0 + c
        inside = (a < patch) & (i >= 0) & (i < si) & (j >= 0) & (j < sj) & (k >= 0) & (k < sk)
        n = (i.to(tl.int64) * sj + j) * sk + k
        w = tl.load(weight + n, mask=inside, other=0.0).to(tl.float32)
        if tl.max(w, axis=0) > 0.0:
            live = w > 0.0
            f = _window_matrix(tl.load(fixed + n, mask=live, other=0.0).to(tl.float32), bins, BINS)
            m = _window_matrix(tl.load(moving + n, mask=live, other=0.0).to(tl.float32), bins, BINS)
            counts += tl.dot(tl.trans(f * w[:, None]), m, input_precision="ieee")
    row, column = tl.arange(0, BINS)[:, None], tl.arange(0, BINS)[None, :]
    at = joint + (number.to(tl.int64) * bins * bins + row * bins + column)
    tl.store(at, counts, mask=(row < bins) & (column < bins))


@kernel
def _gather(
    fixed, moving, weight, slope, out, points, si, sj, sk, li, lj, lk, cj, ck, patch, bins,
    BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    w = tl.load(weight + n, mask=n < points, other=0.0).to(tl.float32)
    live = w > 0.0
    i, j, k = voxel_of(n, sj, sk)
    number = ((i + li) // patch * cj + (j + lj) // patch) * ck + (k + lk) // patch
    a, t = _place(tl.load(fixed + n, mask=live, other=0.0).to(tl.float32), bins)
    value = tl.load(moving + n, mask=live, other=0.0).to(tl.float32)
    b, s = _place(value, bins)
    f0, f1, f2, f3 = _windows(t)
    d0, d1, d2, d3 = _slopes(s)
    first = slope + ((number * bins + a) * bins + b)
    result = tl.zeros((BLOCK,), tl.float32)
    for row in tl.static_range(4):
        f = f0 if row == 0 else (f1 if row == 1 else (f2 if row == 2 else f3))
        for column in tl.static_range(4):
            d = d0 if column == 0 else (d1 if column == 1 else (d2 if column == 2 else d3))
            v = tl.load(first + (row * bins + column), mask=live, other=0.0).to(tl.float32)
            result += v * (f * d)
    # Clamped intensities have no slope.
    result = tl.where(live & (value >= 0.0) & (value <= 1.0), result * w * (bins - 3), 0.0)
    tl.store(out + n, result, mask=n < points)
