"""The folding barrier with its gradient, and the test for folds.

A determinant belongs to a voxel and three directions, one along each axis (see
:mod:`bids_nodereg.registration.determinants`). A voxel is in 32 of them: the eight of its own, and four of
each of its six neighbours. It visits them all, so its gradient is gathered in the pass that adds up the
barrier.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from bids_nodereg.registration.kernels.cuda.cells import load_vector, store_vector, voxel_of
from bids_nodereg.registration.kernels.cuda.interpolation import shape_of
from bids_nodereg.registration.kernels.cuda.launch import blocks, kernel, launch, partials, total

if TYPE_CHECKING:
    from torch import Tensor


BLOCK = 128
"""Voxels of one program: with more, it would need more registers than there are."""


def folding_barrier(displacement: Tensor, epsilon: float) -> Tensor:
    """As :func:`reference.folding_barrier`: value and gradient in one pass."""
    result: Tensor = _Barrier.apply(displacement, epsilon)
    return result


def folded_cells(displacement: Tensor) -> Tensor:
    """As :func:`reference.folded_cells`, in one pass."""
    u = displacement.detach().contiguous()
    i, j, k = shape_of(u)
    out = torch.empty((1, 1, i - 1, j - 1, k - 1), dtype=torch.bool, device=u.device)
    launch(_folds, blocks(out.numel(), BLOCK), u, out, out.numel(), i, j, k, BLOCK=BLOCK)
    return out


class _Barrier(torch.autograd.Function):
    """Mean over all determinants of ``relu(epsilon - det)^2``, the gradient made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, displacement: Tensor, epsilon: float) -> Tensor:
        u = displacement.detach().contiguous()
        shape = shape_of(u)
        points = math.prod(shape)
        sums, gradient = partials(blocks(points, BLOCK), 1, u), torch.empty_like(u)
        ctx.determinants = 8 * math.prod(size - 1 for size in shape)
        launch(_barrier, blocks(points, BLOCK), u, gradient, sums, points, *shape, epsilon, BLOCK=BLOCK)
        ctx.save_for_backward(gradient)
        result: Tensor = total(sums)[0] / ctx.determinants
        return result.to(u.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (grad_outputs[0] / ctx.determinants), None


@triton.jit
def _neighbour(i, j, k, axis: tl.constexpr, step):
    """The index moved by ``step`` along an axis."""
    if axis == 0:
        i += step
    elif axis == 1:
        j += step
    else:
        k += step
    return i, j, k


@triton.jit
def _at(u, i, j, k, points, si, sj, sk):
    """The displacement of a voxel, and whether the voxel is there."""
    there = (i >= 0) & (i < si) & (j >= 0) & (j < sj) & (k >= 0) & (k < sk)
    x, y, z = load_vector(u, (i.to(tl.int64) * sj + j) * sk + k, points, there)
    return x, y, z, there


@triton.jit
def _edge(u, i, j, k, x, y, z, points, si, sj, sk, axis: tl.constexpr, sign: tl.constexpr):
    """Edge from a voxel, displaced by ``x y z``, to its neighbour, counted along the axis for both signs."""
    a, b, c = _neighbour(i, j, k, axis, sign)
    p, q, r, there = _at(u, a, b, c, points, si, sj, sk)
    p, q, r = sign * (p - x), sign * (q - y), sign * (r - z)
    if axis == 0:
        p += 1.0
    elif axis == 1:
        q += 1.0
    else:
        r += 1.0
    return p, q, r, there


@triton.jit
def _cross(bx, by, bz, cx, cy, cz):
    return by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx


@triton.jit
def _corner(ax, ay, az, bx, by, bz, cx, cy, cz, epsilon, there):
    """``relu(epsilon - a . (b x c))`` and ``b x c``."""
    x, y, z = _cross(bx, by, bz, cx, cy, cz)
    lack = epsilon - (ax * x + ay * y + az * z)
    # Written so that a NaN stays one.
    lack = tl.where(lack <= 0.0, 0.0, lack)
    return tl.where(there, lack, 0.0), x, y, z


@kernel
def _barrier(u, gradient, sums, points, si, sj, sk, epsilon, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    i, j, k = voxel_of(n, sj, sk)
    ux, uy, uz = load_vector(u, n, points, live)
    gx = tl.zeros((BLOCK,), tl.float32)
    gy = tl.zeros((BLOCK,), tl.float32)
    gz = tl.zeros((BLOCK,), tl.float32)
    barrier = tl.zeros((BLOCK,), tl.float32)
    for s in tl.static_range(-1, 2, 2):
        ax, ay, az, in_a = _edge(u, i, j, k, ux, uy, uz, points, si, sj, sk, 0, s)
        for t in tl.static_range(-1, 2, 2):
            bx, by, bz, in_b = _edge(u, i, j, k, ux, uy, uz, points, si, sj, sk, 1, t)
            for v in tl.static_range(-1, 2, 2):
                cx, cy, cz, in_c = _edge(u, i, j, k, ux, uy, uz, points, si, sj, sk, 2, v)
                there = live & in_a & in_b & in_c
                lack, px, py, pz = _corner(ax, ay, az, bx, by, bz, cx, cy, cz, epsilon, there)
                qx, qy, qz = _cross(cx, cy, cz, ax, ay, az)
                rx, ry, rz = _cross(ax, ay, az, bx, by, bz)
                barrier += lack * lack
                # The voxel is the near end of all three edges.
                gx += 2.0 * lack * (s * px + t * qx + v * rx)
                gy += 2.0 * lack * (s * py + t * qy + v * ry)
                gz += 2.0 * lack * (s * pz + t * qz + v * rz)
    for axis in tl.static_range(3):
        for s in tl.static_range(-1, 2, 2):
            # The neighbour from which a step s along the axis leads here: the far end of its edge.
            a, b, c = _neighbour(i, j, k, axis, -s)
            x, y, z, in_n = _at(u, a, b, c, points, si, sj, sk)
            ax, ay, az, in_a = _edge(u, a, b, c, x, y, z, points, si, sj, sk, axis, s)
            for t in tl.static_range(-1, 2, 2):
                bx, by, bz, in_b = _edge(u, a, b, c, x, y, z, points, si, sj, sk, (axis + 1) % 3, t)
                for v in tl.static_range(-1, 2, 2):
                    cx, cy, cz, in_c = _edge(u, a, b, c, x, y, z, points, si, sj, sk, (axis + 2) % 3, v)
                    there = live & in_n & in_a & in_b & in_c
                    lack, px, py, pz = _corner(ax, ay, az, bx, by, bz, cx, cy, cz, epsilon, there)
                    gx -= 2.0 * s * lack * px
                    gy -= 2.0 * s * lack * py
                    gz -= 2.0 * s * lack * pz
    tl.store(sums + tl.program_id(0), tl.sum(barrier, axis=0))
    store_vector(gradient, n, points, gx, gy, gz, live)


@triton.jit
def _place_of(u, i, j, k, points, si, sj, sk, di: tl.constexpr, dj: tl.constexpr, dk: tl.constexpr):
    """Where a corner of a cell goes, relative to the cell's first voxel."""
    x, y, z, _ = _at(u, i + di, j + dj, k + dk, points, si, sj, sk)
    return x + di, y + dj, z + dk


@triton.jit
def _volume(ox, oy, oz, ax, ay, az, bx, by, bz, cx, cy, cz):
    """Determinant of the edges from ``o`` to ``a``, ``b`` and ``c``."""
    x, y, z = _cross(bx - ox, by - oy, bz - oz, cx - ox, cy - oy, cz - oz)
    return (ax - ox) * x + (ay - oy) * y + (az - oz) * z


@kernel
def _folds(u, out, cells, si, sj, sk, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    i, j, k = voxel_of(n, sj - 1, sk - 1)
    points = tl.full((), 1, tl.int64) * si * sj * sk
    good = n < cells
    for di in tl.static_range(2):
        for dj in tl.static_range(2):
            for dk in tl.static_range(2):
                ox, oy, oz = _place_of(u, i, j, k, points, si, sj, sk, di, dj, dk)
                ax, ay, az = _place_of(u, i, j, k, points, si, sj, sk, 1 - di, dj, dk)
                bx, by, bz = _place_of(u, i, j, k, points, si, sj, sk, di, 1 - dj, dk)
                cx, cy, cz = _place_of(u, i, j, k, points, si, sj, sk, di, dj, 1 - dk)
                volume = _volume(ox, oy, oz, ax, ay, az, bx, by, bz, cx, cy, cz)
                # Each edge that runs backwards turns the sign over.
                good = good & (volume * ((1 - 2 * di) * (1 - 2 * dj) * (1 - 2 * dk)) > 0.0)
    for odd in tl.static_range(2):
        # The inner tetrahedron of the corners with an even, or an odd, number of steps.
        ox, oy, oz = _place_of(u, i, j, k, points, si, sj, sk, odd, odd, odd)
        ax, ay, az = _place_of(u, i, j, k, points, si, sj, sk, 1 - odd, odd, 1 - odd)
        bx, by, bz = _place_of(u, i, j, k, points, si, sj, sk, 1 - odd, 1 - odd, odd)
        cx, cy, cz = _place_of(u, i, j, k, points, si, sj, sk, odd, 1 - odd, 1 - odd)
        volume = _volume(ox, oy, oz, ax, ay, az, bx, by, bz, cx, cy, cz)
        good = good & (volume * (1 - 2 * odd) > 0.0)
    # Asked this way, a number that is none counts as folded.
    tl.store(out + n, tl.where(good, 0, 1), mask=n < cells)
