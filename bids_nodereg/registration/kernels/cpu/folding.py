"""The folding barrier with its gradient, and the test for folds, each in one pass over the cells, compiled.

Nearly every cell is far from folding. A first look at a row of cells only asks whether one of them needs more
than that, which a processor does for several cells at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import prange

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.cells import FAST
from bids_nodereg.registration.kernels.cpu.tiles import lattice_tiles
from bids_nodereg.registration.kernels.cpu.vectors import number, rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.floating[Any]]
    Integers = NDArray[np.int64]
    Vector = tuple[Any, Any, Any]


def folding_barrier(displacement: Tensor, epsilon: float) -> Tensor:
    """As :func:`reference.folding_barrier`, for batch size 1."""
    result: Tensor = _Barrier.apply(displacement, epsilon)  # type: ignore[no-untyped-call]  # torch leaves it so
    return result


class _Barrier(torch.autograd.Function):
    """Mean of the squared shortfalls; the gradient is made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, displacement: Tensor, epsilon: float) -> Tensor:
        u = displacement.detach().contiguous()
        gradient = torch.zeros_like(u)
        cells = [size - 1 for size in u.shape[2:]]
        total = 0.0
        for boxes in lattice_tiles(cells, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)):
            sums = np.zeros(len(boxes))
            limit = u.numpy().dtype.type(epsilon)
            _barrier(u[0].numpy(), limit, boxes, gradient.view(3, -1).numpy(), sums)
            total += float(sums.sum())
        scale = 1 / (8 * cells[0] * cells[1] * cells[2])
        ctx.save_for_backward(gradient)
        ctx.scale = scale
        return displacement.new_tensor(total * scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (grad_outputs[0] * ctx.scale), None


def folded_cells(displacement: Tensor) -> Tensor:
    """As :func:`reference.folded_cells`, for batch size 1."""
    u = displacement.detach().contiguous()
    folds = torch.zeros((1, 1, *(size - 1 for size in u.shape[2:])), dtype=torch.bool)
    _folds(u[0].numpy(), folds[0, 0].numpy())
    return folds


@compiled(forceinline=True, fastmath=FAST)
def _difference(u: Any, near: int, far: int, volume: int) -> Vector:
    """Difference of the displacements of two voxels."""
    return (
        number(u, far) - number(u, near),
        number(u, volume + far) - number(u, volume + near),
        number(u, 2 * volume + far) - number(u, 2 * volume + near),
    )


@compiled(forceinline=True, fastmath=FAST)
def _cross(b: Vector, c: Vector) -> Vector:
    return b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]


@compiled(forceinline=True, fastmath=FAST)
def _dot(a: Vector, b: Vector) -> Any:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled(forceinline=True, fastmath=FAST)
def _along_i(u: Any, near: int, plane: int, volume: int, one: Any) -> Vector:
    d = _difference(u, near, near + plane, volume)
    return d[0] + one, d[1], d[2]


@compiled(forceinline=True, fastmath=FAST)
def _along_j(u: Any, near: int, line: int, volume: int, one: Any) -> Vector:
    d = _difference(u, near, near + line, volume)
    return d[0], d[1] + one, d[2]


@compiled(forceinline=True, fastmath=FAST)
def _along_k(u: Any, near: int, volume: int, one: Any) -> Vector:
    d = _difference(u, near, near + 1, volume)
    return d[0], d[1], d[2] + one


@compiled(forceinline=True, fastmath=FAST)
def _corners_above(u: Any, at: int, plane: int, line: int, volume: int, one: Any, limit: Any) -> Any:
    """Whether all eight corner determinants of a cell reach a limit; not for a number that is none."""
    i00, i01 = _along_i(u, at, plane, volume, one), _along_i(u, at + 1, plane, volume, one)
    i10, i11 = _along_i(u, at + line, plane, volume, one), _along_i(u, at + line + 1, plane, volume, one)
    j00, j01 = _along_j(u, at, line, volume, one), _along_j(u, at + 1, line, volume, one)
    j10, j11 = _along_j(u, at + plane, line, volume, one), _along_j(u, at + plane + 1, line, volume, one)
    k00, k01 = _along_k(u, at, volume, one), _along_k(u, at + line, volume, one)
    k10, k11 = _along_k(u, at + plane, volume, one), _along_k(u, at + plane + line, volume, one)
    above = _dot(i00, _cross(j00, k00)) >= limit
    above &= _dot(i01, _cross(j01, k00)) >= limit
    above &= _dot(i10, _cross(j00, k01)) >= limit
    above &= _dot(i11, _cross(j01, k01)) >= limit
    above &= _dot(i00, _cross(j10, k10)) >= limit
    above &= _dot(i01, _cross(j11, k10)) >= limit
    above &= _dot(i10, _cross(j10, k11)) >= limit
    above &= _dot(i11, _cross(j11, k11)) >= limit
    return above


@compiled(forceinline=True, fastmath=FAST)
def _inner_above(u: Any, at: int, plane: int, line: int, volume: int, one: Any) -> Any:
    """Whether both inner tetrahedra of a cell have a positive volume."""
    across_k, across_j, across_i = at + plane + line, at + plane + 1, at + line + 1
    a = _difference(u, at, across_k, volume)
    b = _difference(u, at, across_j, volume)
    c = _difference(u, at, across_i, volume)
    even = _dot(
        (b[0] + one, b[1], b[2] + one),
        _cross((a[0] + one, a[1] + one, a[2]), (c[0], c[1] + one, c[2] + one)),
    )
    opposite = at + plane + line + 1
    a = _difference(u, opposite, at + line, volume)
    b = _difference(u, opposite, at + 1, volume)
    c = _difference(u, opposite, at + plane, volume)
    odd = _dot(
        (b[0] - one, b[1] - one, b[2]),
        _cross((a[0] - one, a[1], a[2] - one), (c[0], c[1] - one, c[2] - one)),
    )
    return (even > 0) & (odd > 0)


@compiled(forceinline=True, fastmath=FAST)
def _add_edge(gradient: Array, near: int, far: int, amount: Any, vector: Vector) -> None:
    """The slope of an edge: to its far voxel, and negative to the near one."""
    for c in range(3):
        gradient[c, far] += amount * vector[c]
        gradient[c, near] -= amount * vector[c]


@compiled(fastmath=FAST)
def _shortfall(u: Array, at: int, plane: int, line: int, limit: Any, gradient: Array) -> float:
    """Sum of a cell's squared shortfalls; adds its slopes."""
    numbers, volume, one = rows(u), gradient.shape[1], u.dtype.type(1)
    total = 0.0
    for corner in range(8):
        di, dj, dk = corner // 4, corner // 2 % 2, corner % 2
        near_i, near_j, near_k = at + dj * line + dk, at + di * plane + dk, at + di * plane + dj * line
        i = _along_i(numbers, near_i, plane, volume, one)
        j = _along_j(numbers, near_j, line, volume, one)
        k = _along_k(numbers, near_k, volume, one)
        short = limit - _dot(i, _cross(j, k))
        if not short <= 0:
            total += short * short
            _add_edge(gradient, near_i, near_i + plane, -2 * short, _cross(j, k))
            _add_edge(gradient, near_j, near_j + line, -2 * short, _cross(k, i))
            _add_edge(gradient, near_k, near_k + 1, -2 * short, _cross(i, j))
    return total


@compiled(parallel=True, fastmath=FAST)
def _barrier(u: Array, limit: Any, boxes: Integers, gradient: Array, sums: NDArray[np.float64]) -> None:
    """Sum of the squared shortfalls in each box of cells; adds their slopes, ``3 n``."""
    ny, nz = u.shape[2:]
    for box in prange(boxes.shape[0]):
        numbers, volume, one = rows(u), gradient.shape[1], u.dtype.type(1)
        total = 0.0
        for x in range(boxes[box, 0], boxes[box, 1]):
            for y in range(boxes[box, 2], boxes[box, 3]):
                at = (x * ny + y) * nz
                fine = 0
                for z in range(nz - 1):
                    fine += _corners_above(numbers, at + z, ny * nz, nz, volume, one, limit)
                if fine < nz - 1:
                    for z in range(nz - 1):
                        total += _shortfall(u, at + z, ny * nz, nz, limit, gradient)
        sums[box] = total


@compiled(parallel=True, fastmath=FAST)
def _folds(u: Array, folds: NDArray[np.bool_]) -> None:
    """Mark the cells, ``i-1 j-1 k-1``, in which one of the ten determinants is not positive."""
    nx, ny, nz = u.shape[1:]
    for row in prange((nx - 1) * (ny - 1)):
        x, y = row // (ny - 1), row % (ny - 1)
        numbers, volume, kind = rows(u), nx * ny * nz, u.dtype.type
        # The least positive number: what reaches it is positive.
        one, least = kind(1), np.finfo(u.dtype).tiny
        at = (x * ny + y) * nz
        fine = 0
        for z in range(nz - 1):
            above = _corners_above(numbers, at + z, ny * nz, nz, volume, one, least)
            fine += above & _inner_above(numbers, at + z, ny * nz, nz, volume, one)
        if fine < nz - 1:
            for z in range(nz - 1):
                above = _corners_above(numbers, at + z, ny * nz, nz, volume, one, least)
                folds[x, y, z] = not above & _inner_above(numbers, at + z, ny * nz, nz, volume, one)
