"""The transpose of interpolation: many points add to one voxel, and the order must not matter.

Sums of floating point numbers depend on their order, and a GPU's atomic additions come in any order. Sums
of integers do not. Every addend is rounded to a multiple of one power of two, which is chosen on the
device from the largest addend and the number of points such that no sum of 64 bit can overflow. What is
lost is less than 2^-34 of the largest addend for 2^27 points, and less for fewer: below float32's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton.language as tl

from bids_nodereg.registration.kernels.cuda.cells import cell, position, steps
from bids_nodereg.registration.kernels.cuda.launch import BLOCK, blocks, kernel, launch

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.kernels.cuda.places import Places


def scatter(places: Places, addends: Tensor, channels: int) -> Tensor:
    """Add to the eight voxels around every point what trilinear interpolation took from them.

    Parameters
    ----------
    places
        Where the points are.
    addends
        ``c n``, contiguous: for each channel and point the gradient of what was read there.
    channels
        ``c``.

    Returns
    -------
    Tensor
        ``1 c i j k``. Not a number everywhere if one addend is not finite.
    """
    lattice = places.lattice
    sums = torch.zeros((1, channels, *lattice), dtype=torch.int64, device=addends.device)
    scale = torch.empty(2, dtype=torch.float32, device=addends.device)
    least, most = torch.aminmax(addends)
    launch(_choose_scale, 1, least, most, scale, 62 - places.points.bit_length())
    launch(_add, blocks(places.points), addends, sums, scale, channels, *places.arguments, BLOCK=BLOCK)
    gradient = torch.empty((1, channels, *lattice), dtype=torch.float32, device=addends.device)
    launch(_as_float, blocks(gradient.numel()), sums, gradient, scale, gradient.numel(), BLOCK=BLOCK)
    return gradient


@kernel
def _choose_scale(least, most, scale, headroom):
    """Largest power of two that cannot overflow, and its inverse: written as their bits."""
    largest = tl.maximum(tl.abs(tl.load(least).to(tl.float32)), tl.abs(tl.load(most).to(tl.float32)))
    finite = (tl.load(least) - tl.load(most)) * 0.0 == 0.0
    field = (largest.to(tl.int32, bitcast=True) >> 23) & 255
    shift = tl.minimum(headroom - (field - 126), 126)
    power = ((127 + shift) << 23).to(tl.float32, bitcast=True)
    inverse = ((127 - shift) << 23).to(tl.float32, bitcast=True)
    tl.store(scale, power)
    tl.store(scale + 1, tl.where(finite, inverse, float("nan")))


@kernel
def _add(
    addends, sums, scale, channels, at, points, si, sj, sk, ui, uj, uk, qi, qj, qk,
    mode: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    a, b, c = position(at, n, points, sj, sk, ui, uj, uk, qi, qj, qk, live, mode)
    i, fi, _ = cell(a, si)
    j, fj, _ = cell(b, sj)
    k, fk, _ = cell(c, sk)
    di, dj, dk = steps(si, sj, sk)
    corner = sums + ((i.to(tl.int64) * sj + j) * sk + k)
    plane = tl.full((), 1, tl.int64) * si * sj * sk
    power = tl.load(scale)
    for channel in range(channels):
        g = tl.load(addends + (channel * tl.full((), 1, tl.int64) * points + n), mask=live, other=0.0)
        g = g.to(tl.float32) * power
        here = corner + channel * plane
        for ci in tl.static_range(2):
            gi = g * (fi if ci == 1 else 1.0 - fi)
            for cj in tl.static_range(2):
                gj = gi * (fj if cj == 1 else 1.0 - fj)
                for ck in tl.static_range(2):
                    share = gj * (fk if ck == 1 else 1.0 - fk)
                    whole = tl.floor(share + 0.5).to(tl.int64)
                    tl.atomic_add(here + (ci * di + cj * dj + ck * dk), whole, mask=live, sem="relaxed")


@kernel
def _as_float(sums, gradient, scale, size, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < size
    whole = tl.load(sums + n, mask=live, other=0)
    tl.store(gradient + n, whole.to(tl.float32) * tl.load(scale + 1), mask=live)
