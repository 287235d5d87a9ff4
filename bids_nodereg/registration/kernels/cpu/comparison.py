"""Squared descriptor difference and its gradient in one pass over the voxels, compiled.

Descriptors are kept as bytes, 256 steps between the bounds: a voxel's sixteen bytes are read and computed
with at once. What that costs in digits, test_comparison.py says.
"""

from __future__ import annotations

import math
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
)
from bids_nodereg.registration.stored import Stored

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]
    Bytes = NDArray[np.uint8]

LANES = 16
"""Channels computed with at once; descriptors are filled up to a multiple of it."""

STEPS = 255
"""Distance of the least and the largest byte."""

# Here the channels of one voxel are summed in whatever order the compiler laid down; it is the same for
# every voxel and every call.
_IN_LANES = {*FAST, "reassoc"}


def stored(descriptor: Tensor, bounds: tuple[float, float]) -> Stored:
    """As :func:`reference.stored`: bytes.

    A descriptor with a value that is no number has a unit that is none: the distance then is none too.
    """
    channels_last = array(descriptor[0].movedim(0, -1))
    channels = channels_last.shape[-1]
    filled = -(-channels // LANES) * LANES
    values = np.empty((*channels_last.shape[:3], filled), np.uint8)
    low, high = bounds
    good = np.empty(values.shape[0], np.bool_)
    _quantise(channels_last, np.float32(low), np.float32(STEPS / (high - low)), values, good)
    unit = (high - low) / STEPS if good.all() else math.nan
    return Stored(torch.from_numpy(values)[None], channels, unit)


def descriptor_distance(fixed: Stored, moving: Stored, displacement: Tensor, weight: Tensor) -> Tensor:
    """As :func:`reference.descriptor_distance`: value and gradient in one pass over the voxels."""
    if fixed.values.dtype != torch.uint8 or fixed.values.shape[-1] % LANES:
        msg = (
            f"descriptor_distance: expected bytes, a multiple of {LANES} channels, as stored() "
            f"makes them of float32; got {fixed.values.dtype} {tuple(fixed.values.shape)}"
        )
        raise ValueError(msg)
    # Asked here: within a Function no gradient is ever enabled.
    has_slope = displacement.requires_grad and torch.is_grad_enabled()
    arguments = (displacement, fixed, moving, weight, has_slope)
    result: Tensor = _DescriptorDistance.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _DescriptorDistance(torch.autograd.Function):
    """Squared descriptor difference, the gradient is made in the forward pass where one is wanted."""

    @staticmethod
    def forward(
        ctx: Any,
        displacement: Tensor,
        fixed: Stored,
        moving: Stored,
        weight: Tensor,
        has_slope: bool,  # noqa: FBT001  # no keywords in apply
    ) -> Tensor:
        coarse = coarse_of(displacement, fixed.shape)
        part = planes_of(coarse, fixed.shape if has_slope else (0,))
        sums = np.empty((fixed.shape[0], 2))
        both = (fixed.values.numpy().reshape(-1), moving.values.numpy().reshape(-1))
        filled = fixed.values.shape[-1]
        _distance_and_gradient(both, filled, coarse, array(weight[0, 0]), part, sums)
        total, amount = sums.sum(0)
        # As 0 / 0 is in the reference where nothing counts.
        scale = fixed.unit * moving.unit / (amount * fixed.channels) if amount else math.nan
        if has_slope:
            ctx.save_for_backward(gradient_of(coarse, part, 2 * scale))
        return displacement.new_tensor(total * scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0], None, None, None, None


@compiled(parallel=True, fastmath=FAST)
def _quantise(values: Array, low: Any, scale: Any, out: Bytes, good: NDArray[np.bool_]) -> None:
    """Nearest byte of ``i j k c``, zero in the channels that fill; whether each plane has only numbers."""
    si, sj, sk, channels = values.shape
    for i in prange(si):
        numbers = True
        for j in range(sj):
            for k in range(sk):
                for c in range(channels):
                    at = (values[i, j, k, c] - low) * scale + np.float32(0.5)
                    numbers &= not math.isnan(at)
                    at = at if at > 0 else np.float32(0)
                    out[i, j, k, c] = np.uint8(at if at < STEPS else np.float32(STEPS))
                for c in range(channels, out.shape[3]):
                    out[i, j, k, c] = 0
        good[i] = numbers


@compiled(fastmath=_IN_LANES)
def _at_voxel(
    fixed: Bytes, moving: Bytes, here: Any, there: Any, steps: Any, fi: Any, fj: Any, fk: Any
) -> tuple[Any, Any, Any, Any]:
    """Squared difference of a voxel and half its derivatives along the three axes, over all channels.

    ``here`` and ``there`` are where the voxel of one and the cell of the other begin, ``steps`` how far the
    next plane, row, voxel and channel block lie apart. Unsigned, so that the loads are plain ones.
    """
    along_i, along_j, along_k = steps
    squared, gi, gj, gk = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for block in range(np.uint64(0), along_k, np.uint64(LANES)):
        at, a00 = here + block, there + block
        a01, a10, a11 = a00 + along_j, a00 + along_i, a00 + along_i + along_j
        for lane in range(LANES):
            c = np.uint64(lane)
            v000, v001 = np.float32(moving[a00 + c]), np.float32(moving[a00 + along_k + c])
            v010, v011 = np.float32(moving[a01 + c]), np.float32(moving[a01 + along_k + c])
            v100, v101 = np.float32(moving[a10 + c]), np.float32(moving[a10 + along_k + c])
            v110, v111 = np.float32(moving[a11 + c]), np.float32(moving[a11 + along_k + c])
            d00, d01, d10, d11 = v001 - v000, v011 - v010, v101 - v100, v111 - v110
            v00, v01, v10, v11 = v000 + fk * d00, v010 + fk * d01, v100 + fk * d10, v110 + fk * d11
            e0, e1 = v01 - v00, v11 - v10
            v0, v1 = v00 + fj * e0, v10 + fj * e1
            d0, d1 = d00 + fj * (d01 - d00), d10 + fj * (d11 - d10)
            slope_i = v1 - v0
            r = v0 + fi * slope_i - np.float32(fixed[at + c])
            squared += r * r
            gi += r * slope_i
            gj += r * (e0 + fi * (e1 - e0))
            gk += r * (d0 + fi * (d1 - d0))
    return squared, gi, gj, gk


@compiled(parallel=True, fastmath=FAST)
def _distance_and_gradient(
    both: tuple[Bytes, Bytes],
    filled: int,
    coarse: Coarse,
    weight: Array,
    part: Array,
    sums: NDArray[np.float64],
) -> None:
    """For each plane: its weighted sum of squares, its weight, and half its gradient on a coarse plane.

    ``part`` has no planes where no gradient is wanted.
    """
    fixed, moving = both
    u, _, lows, fractions = coarse
    si, sj, sk = weight.shape
    steps = (np.uint64(sj * sk * filled), np.uint64(sk * filled), np.uint64(filled))
    has_slope = part.shape[0] > 0
    for x in prange(si):
        if has_slope:
            part[x] = 0
        plane = np.empty((3, u.shape[2], u.shape[3]), np.float32)
        row = np.empty((3, u.shape[3]), np.float32)
        of_row = np.zeros((3, u.shape[3]), np.float32)
        blend_planes(coarse, x, plane)
        total, amount = 0.0, 0.0
        for y in range(sj):
            if not any_counts(weight[x, y]):
                continue
            blend_rows(plane, lows[si + y], fractions[si + y], row)
            for z in range(sk):
                w = weight[x, y, z]
                if w > 0:
                    at, f = lows[si + sj + z], fractions[si + sj + z]
                    i, fi, in_i, j, fj, in_j, k, fk, in_k = moved(row, at, f, (x, y, z), (si, sj, sk))
                    here = np.uint64(((x * sj + y) * sk + z) * filled)
                    there = np.uint64(((i * sj + j) * sk + k) * filled)
                    squared, gi, gj, gk = _at_voxel(fixed, moving, here, there, steps, fi, fj, fk)
                    total += w * squared
                    amount += w
                    if has_slope:
                        # A clamped position does not move with its argument.
                        gi = w * gi if in_i else np.float32(0)
                        gj = w * gj if in_j else np.float32(0)
                        gk = w * gk if in_k else np.float32(0)
                        add_to_row(of_row, at, f, gi, gj, gk)
            if has_slope:
                add_to_plane(of_row, lows[si + y], fractions[si + y], part[x])
        sums[x, 0] = total
        sums[x, 1] = amount
