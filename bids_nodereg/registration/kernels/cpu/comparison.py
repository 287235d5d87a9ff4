"""Squared descriptor difference and its gradient in one pass over the voxels, compiled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import prange

from bids_nodereg.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]

# Contraction only: reassociation would let the compiler change the order of sums.
_FAST = {"contract", "arcp", "nsz"}


def descriptor_distance(fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor) -> Tensor:
    """As :func:`reference.descriptor_distance`: value and gradient in one pass over the voxels."""
    arguments = (fixed, moving, displacement, weight)
    result: Tensor = _DescriptorDistance.apply(*arguments)  # type: ignore[no-untyped-call]  # as above
    return result


class _DescriptorDistance(torch.autograd.Function):
    """Squared descriptor difference, the gradient is made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor) -> Tensor:
        u = displacement.detach().contiguous()
        gradient = torch.empty_like(u)
        row_sums = np.zeros(fixed.shape[1:3], np.float64)
        _distance_and_gradient(
            _array(fixed[0]),
            _array(moving[0]),
            _array(u[0]),
            _array(weight[0, 0]),
            _array(gradient[0]),
            row_sums,
        )
        amount = float(weight.sum(dtype=torch.float64)) * fixed.shape[-1]
        ctx.scale = 1.0 / amount if amount else math.nan  # as 0 / 0 is in the reference
        ctx.save_for_backward(gradient)
        return displacement.new_tensor(row_sums.sum() * ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, None, gradient * (grad_outputs[0] * ctx.scale), None


def _array(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy()


@compiled(inline="always", fastmath=_FAST)
def _cell(position: Any, size: int) -> tuple[int, Any, bool]:
    """Lower voxel and fraction of a position clamped to the lattice, and whether it was inside."""
    inside = 0.0 <= position <= size - 1
    clamped = min(max(position, np.float32(0.0)), np.float32(size - 1))
    low = min(int(clamped), size - 2)
    return low, np.float32(clamped - low), inside


@compiled(inline="always", fastmath=_FAST)
def _value_and_slopes(
    volume: Array, i: int, j: int, k: int, fi: Any, fj: Any, fk: Any, c: int
) -> tuple[Any, Any, Any, Any]:
    """Trilinear value of channel ``c`` in a cell, and its derivatives along the three axes."""
    a000, a001 = volume[i, j, k, c], volume[i, j, k + 1, c]
    a010, a011 = volume[i, j + 1, k, c], volume[i, j + 1, k + 1, c]
    a100, a101 = volume[i + 1, j, k, c], volume[i + 1, j, k + 1, c]
    a110, a111 = volume[i + 1, j + 1, k, c], volume[i + 1, j + 1, k + 1, c]
    v00, v01 = a000 + fk * (a001 - a000), a010 + fk * (a011 - a010)
    v10, v11 = a100 + fk * (a101 - a100), a110 + fk * (a111 - a110)
    v0, v1 = v00 + fj * (v01 - v00), v10 + fj * (v11 - v10)
    d0 = (a001 - a000) + fj * ((a011 - a010) - (a001 - a000))
    d1 = (a101 - a100) + fj * ((a111 - a110) - (a101 - a100))
    along_j = (v01 - v00) + fi * ((v11 - v10) - (v01 - v00))
    return v0 + fi * (v1 - v0), v1 - v0, along_j, d0 + fi * (d1 - d0)


@compiled(parallel=True, fastmath=_FAST)
def _distance_and_gradient(
    fixed: Array, moving: Array, u: Array, weight: Array, gradient: Array, row_sums: NDArray[np.float64]
) -> None:
    """Sum of squared differences per (i, j) row, and its gradient with respect to ``u``."""
    si, sj, sk, channels = fixed.shape
    for row in prange(si * sj):
        x, y = row // sj, row % sj
        total = 0.0
        for z in range(sk):
            gi = np.float32(0)
            gj = np.float32(0)
            gk = np.float32(0)
            w = weight[x, y, z]
            if w > 0:
                i, fi, in_i = _cell(np.float32(x) + u[0, x, y, z], si)
                j, fj, in_j = _cell(np.float32(y) + u[1, x, y, z], sj)
                k, fk, in_k = _cell(np.float32(z) + u[2, x, y, z], sk)
                squared = np.float32(0)
                for c in range(channels):
                    m, mi, mj, mk = _value_and_slopes(moving, i, j, k, fi, fj, fk, c)
                    r = m - fixed[x, y, z, c]
                    squared += r * r
                    gi += r * mi
                    gj += r * mj
                    gk += r * mk
                total += w * squared
                gi = 2 * w * gi if in_i else np.float32(0)
                gj = 2 * w * gj if in_j else np.float32(0)
                gk = 2 * w * gk if in_k else np.float32(0)
            gradient[0, x, y, z] = gi
            gradient[1, x, y, z] = gj
            gradient[2, x, y, z] = gk
        row_sums[x, y] = total
