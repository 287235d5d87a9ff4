"""Squared descriptor difference and its gradient in one pass over the voxels.

What moves: both descriptors once, the weight, and for each voxel the gradient; the gradient is then
gathered onto the displacement's lattice. A program takes a small box of voxels, whose cells overlap, so
that most corners are read from memory once. A box of weight 0 reads nothing but its weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from bids_nodereg.registration.kernels.cuda.cells import (
    cell,
    displaced,
    steps,
    store_vector,
    value_and_slopes,
    voxel_of,
)
from bids_nodereg.registration.kernels.cuda.launch import kernel, launch, partials, total
from bids_nodereg.registration.kernels.cuda.places import moved
from bids_nodereg.registration.kernels.cuda.warped import to_own_lattice
from bids_nodereg.registration.stored import Stored

if TYPE_CHECKING:
    from torch import Tensor

BOX = (4, 4, 8)
"""Voxels of one program along each axis."""

WARPS = 8

ALIGNMENT = 8
"""Channels are filled up to a multiple of it: 16 bytes of float16, what one thread loads at once."""


def stored(descriptor: Tensor, bounds: tuple[float, float]) -> Stored:
    """As :func:`reference.stored`, in float16: 11 bits, and half the bytes."""
    del bounds
    channels = descriptor.shape[1]
    shape = (1, *descriptor.shape[2:], -(-channels // ALIGNMENT) * ALIGNMENT)
    values = torch.zeros(shape, dtype=torch.float16, device=descriptor.device)
    values[..., :channels] = descriptor.detach().movedim(1, -1)
    return Stored(values, channels)


def descriptor_distance(fixed: Stored, moving: Stored, displacement: Tensor, weight: Tensor) -> Tensor:
    """As :func:`reference.descriptor_distance`: value and gradient in one pass over the voxels."""
    arguments = (fixed, moving, displacement, weight)
    result: Tensor = _Distance.apply(*arguments)
    return result


class _Distance(torch.autograd.Function):
    """Squared descriptor difference, the gradient is made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, fixed: Stored, moving: Stored, displacement: Tensor, weight: Tensor) -> Tensor:
        places = moved(fixed.shape, displacement)
        tiles = [-(-size // edge) for size, edge in zip(fixed.shape, BOX, strict=True)]
        programs, pitch = tiles[0] * tiles[1] * tiles[2], fixed.values.shape[-1]
        sums = partials(programs, 2, displacement)
        wanted = ctx.needs_input_grad[2]
        gradient = torch.empty((3, places.points if wanted else 0), dtype=torch.float32, device=sums.device)
        launch(
            _distance, programs, fixed.values, moving.values, weight.detach().contiguous(), gradient, sums,
            programs, tiles[1], tiles[2], pitch, *places.arguments, CHANNELS=triton.next_power_of_2(pitch),
            BI=BOX[0], BJ=BOX[1], BK=BOX[2], GRADIENT=wanted, num_warps=WARPS,
        )  # fmt: skip
        squared, weights = total(sums)
        scale = fixed.unit**2 / fixed.channels / weights
        ctx.places = places
        ctx.save_for_backward(gradient, scale)
        result: Tensor = squared * scale
        return result.to(displacement.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, Tensor, None]:
        gradient, scale = ctx.saved_tensors
        factor = (grad_outputs[0] * scale).to(gradient.dtype)
        return None, None, to_own_lattice(ctx.places, gradient) * factor, None


@kernel
def _distance(
    fixed, moving, weight, gradient, sums, programs, tj, tk, pitch: tl.constexpr,
    u, points, si, sj, sk, ui, uj, uk, qi, qj, qk, mode: tl.constexpr,
    CHANNELS: tl.constexpr, BI: tl.constexpr, BJ: tl.constexpr, BK: tl.constexpr, GRADIENT: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    box_i, box_j, box_k = voxel_of(program, tj, tk)
    lane_i, lane_j, lane_k = voxel_of(tl.arange(0, BI * BJ * BK), BJ, BK)
    i, j, k = box_i * BI + lane_i, box_j * BJ + lane_j, box_k * BK + lane_k
    inside = (i < si) & (j < sj) & (k < sk)
    n = (i.to(tl.int64) * sj + j) * sk + k
    w = tl.load(weight + n, mask=inside, other=0.0).to(tl.float32)
    live = w > 0.0
    squared = tl.zeros((BI * BJ * BK,), tl.float32)
    along_i = tl.zeros((BI * BJ * BK,), tl.float32)
    along_j = tl.zeros((BI * BJ * BK,), tl.float32)
    along_k = tl.zeros((BI * BJ * BK,), tl.float32)
    if tl.max(w, axis=0) > 0.0:
        x, y, z = displaced(u, n, i, j, k, points, ui, uj, uk, qi, qj, qk, live, mode)
        a, fa, in_i = cell(x, si)
        b, fb, in_j = cell(y, sj)
        c, fc, in_k = cell(z, sk)
        di, dj, dk = steps(si, sj, sk)
        channel = tl.arange(0, CHANNELS)[None, :]
        both = live[:, None] & (channel < pitch)
        corner = moving + (((a.to(tl.int64) * sj + b) * sk + c)[:, None] * pitch + channel)
        m, mi, mj, mk = value_and_slopes(
            corner, di * pitch, dj * pitch, dk * pitch, fa[:, None], fb[:, None], fc[:, None], both
        )
        here = tl.load(fixed + (n[:, None] * pitch + channel), mask=both, other=0.0).to(tl.float32)
        residual = m - here
        squared = w * tl.sum(residual * residual, axis=1)
        # A clamped position does not move with its argument.
        along_i = tl.where(in_i & live, 2.0 * w * tl.sum(residual * mi, axis=1), 0.0)
        along_j = tl.where(in_j & live, 2.0 * w * tl.sum(residual * mj, axis=1), 0.0)
        along_k = tl.where(in_k & live, 2.0 * w * tl.sum(residual * mk, axis=1), 0.0)
    tl.store(sums + program, tl.sum(tl.where(live, squared, 0.0), axis=0))
    tl.store(sums + programs + program, tl.sum(w, axis=0))
    if GRADIENT:
        store_vector(gradient, n, points, along_i, along_j, along_k, inside)
