"""Separable filters and resizing; their transposes are gathered: every voxel looks for what it gave to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import triton.language as tl

from bids_nodereg.registration.kernels.cuda.cells import cell, steps, value, voxel_of
from bids_nodereg.registration.kernels.cuda.interpolation import shape_of
from bids_nodereg.registration.kernels.cuda.launch import BLOCK, blocks, kernel, launch

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.kernels.cuda.places import Shape


def separable(image: Tensor, kernel: Tensor) -> Tensor:
    """As :func:`reference.separable`; the taps get no gradient."""
    result: Tensor = _Separable.apply(image, kernel)
    return result


def resize(image: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """As :func:`reference.resize`."""
    result: Tensor = _Resize.apply(image, shape)
    return result


def downsample(image: Tensor, shape: tuple[int, int, int], kernel: Tensor) -> Tensor:
    """As :func:`reference.downsample`."""
    return resize(separable(image, kernel), shape)


class _Separable(torch.autograd.Function):
    """Three passes of one axis each, and their transposes in the opposite order."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, kernel: Tensor) -> Tensor:
        taps = kernel.detach().to(torch.float32).contiguous()
        ctx.save_for_backward(taps)
        values = image.detach().contiguous()
        for axis in (0, 1, 2):
            values = _along(_correlate, values, taps, axis)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (taps,) = ctx.saved_tensors
        values = grad_outputs[0].contiguous()
        for axis in (2, 1, 0):
            values = _along(_transposed, values, taps, axis)
        return values, None


def _along(function: Any, values: Tensor, taps: Tensor, axis: int) -> Tensor:
    shape, out = shape_of(values), torch.empty_like(values)
    stride = math.prod(shape[axis + 1 :])
    arguments = (values, out, taps, values.numel(), shape[axis], stride, taps.numel() // 2)
    launch(function, blocks(values.numel()), *arguments, BLOCK=BLOCK)
    return out


class _Resize(torch.autograd.Function):
    """Trilinear interpolation between lattices of one extent, corner on corner."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, shape: tuple[int, int, int]) -> Tensor:
        values = image.detach().contiguous()
        ctx.shape = shape_of(values)
        out = torch.empty((*image.shape[:2], *shape), dtype=image.dtype, device=image.device)
        arguments = (values, out, out.numel(), *ctx.shape, *shape, *ratios(ctx.shape, shape))
        launch(_resize, blocks(out.numel()), *arguments, BLOCK=BLOCK)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return resize_transposed(grad_outputs[0].contiguous(), ctx.shape), None


def ratios(old: Shape, new: Shape) -> tuple[float, float, float]:
    """Old voxels per new voxel along each axis."""
    i, j, k = ((o - 1) / max(n - 1, 1) for o, n in zip(old, new, strict=True))
    return i, j, k


def resize_transposed(
    gradient: Tensor, shape: Shape, factors: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Tensor:
    """Gradient with respect to what was resized, from that of the result.

    One axis after the other: along each, an old voxel reads the new ones whose cell has it as a corner. So
    even the eight corners of an affine map are many short sums.

    Parameters
    ----------
    gradient
        ``b c i j k``, contiguous.
    shape
        The old lattice.
    factors
        For each channel of three, what the result is multiplied by.
    """
    for axis in (0, 1, 2):
        new = list(gradient.shape)
        size, new[axis + 2] = new[axis + 2], shape[axis]
        out = torch.empty(new, dtype=gradient.dtype, device=gradient.device)
        ratio, stride = (shape[axis] - 1) / max(size - 1, 1), math.prod(new[axis + 3 :])
        arguments = (gradient, out, out.numel(), shape[axis], size, stride, math.prod(new[2:]), ratio)
        last = factors if axis == 2 else (1.0, 1.0, 1.0)
        launch(_resize_transposed, blocks(out.numel()), *arguments, *last, BLOCK=BLOCK)
        gradient = out
    return gradient


@kernel
def _correlate(values, out, taps, points, size, stride, radius, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    x = ((n // stride) % size).to(tl.int32)
    row = values + (n - x.to(tl.int64) * stride)
    result = tl.zeros((BLOCK,), tl.float32)
    for tap in range(-radius, radius + 1):
        at = tl.minimum(tl.maximum(x + tap, 0), size - 1)
        v = tl.load(row + at.to(tl.int64) * stride, mask=live, other=0.0).to(tl.float32)
        result += tl.load(taps + (tap + radius)) * v
    tl.store(out + n, result, mask=live)


@kernel
def _transposed(values, out, taps, points, size, stride, radius, BLOCK: tl.constexpr):
    """Sum over ``x`` and the taps with ``clamp(x + tap) = y``: an edge voxel collects the taps beyond it."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    y = ((n // stride) % size).to(tl.int32)
    row = values + (n - y.to(tl.int64) * stride)
    result = tl.zeros((BLOCK,), tl.float32)
    whole = tl.zeros((), tl.float32)
    for tap in range(-radius, radius + 1):
        x = y - tap
        there = live & (x >= 0) & (x < size) & (y > 0) & (y < size - 1)
        v = tl.load(row + x.to(tl.int64) * stride, mask=there, other=0.0).to(tl.float32)
        share = tl.load(taps + (tap + radius))
        whole += share
        result += share * v
    # Shares of a reader that is ``radius - far`` voxels from the edge.
    before = tl.zeros((), tl.float32)
    after = tl.zeros((), tl.float32)
    for far in range(radius + 1):
        before += tl.load(taps + far)
        after += tl.load(taps + (2 * radius - far))
        x = y + (radius - far)
        v = tl.load(row + x.to(tl.int64) * stride, mask=live & (y == 0) & (x < size), other=0.0)
        result += before * v.to(tl.float32)
        x = y - (radius - far)
        v = tl.load(row + x.to(tl.int64) * stride, mask=live & (y == size - 1) & (x >= 0), other=0.0)
        result += after * v.to(tl.float32)
    alone = tl.load(row, mask=live, other=0.0).to(tl.float32)
    result = tl.where((y == 0) & (y == size - 1), whole * alone, result)
    tl.store(out + n, result, mask=live)


@kernel
def _resize(values, out, points, oi, oj, ok, ni, nj, nk, qi, qj, qk, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    volume = n // nk // nj // ni
    a, b, c = voxel_of(n, nj, nk)
    i, fi, _ = cell((a % ni) * qi, oi)
    j, fj, _ = cell(b * qj, oj)
    k, fk, _ = cell(c * qk, ok)
    di, dj, dk = steps(oi, oj, ok)
    corner = values + (((volume * oi + i) * oj + j) * ok + k)
    tl.store(out + n, value(corner, di, dj, dk, fi, fj, fk, live), mask=live)


@kernel
def _resize_transposed(
    gradient, out, points, old, new, stride, volume, ratio, s0, s1, s2, BLOCK: tl.constexpr
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    a = ((n // stride) % old).to(tl.int32)
    row = gradient + (n // stride // old * new * stride + n % stride)
    # Two cells of the old lattice, and a voxel on either side for the rounding.
    step = tl.maximum(ratio, 1e-6)
    first = tl.minimum(tl.maximum(((a - 1) / step).to(tl.int32), 0), new - 1)
    count = tl.minimum((2.0 / step).to(tl.int32) + 3, new)
    result = tl.zeros((BLOCK,), tl.float32)
    for ahead in range(count):
        x = first + ahead
        low, fraction, _ = cell(x * ratio, old)
        weight = tl.where(low == a, 1.0 - fraction, tl.where(low + 1 == a, fraction, 0.0))
        there = live & (x < new) & (weight > 0.0)
        result += weight * tl.load(row + x.to(tl.int64) * stride, mask=there, other=0.0).to(tl.float32)
    channel = (n // volume) % 3
    result *= tl.where(channel == 0, s0, tl.where(channel == 1, s1, s2))
    tl.store(out + n, result, mask=live)
