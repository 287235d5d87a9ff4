"""The mean squared gradient of a field and its slope, in one pass over the voxels, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import prange

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.cells import FAST
from bids_nodereg.registration.kernels.cpu.vectors import number, rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.floating[Any]]


def squared_gradient(field: Tensor, stiffness: Tensor | None) -> Tensor:
    """As :func:`reference.squared_gradient`."""
    result: Tensor = _SquaredGradient.apply(field, stiffness)  # type: ignore[no-untyped-call]  # torch leaves it so
    return result


class _SquaredGradient(torch.autograd.Function):
    """Sum of squared differences; the slope is made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, field: Tensor, stiffness: Tensor | None) -> Tensor:
        values = field.detach().contiguous()
        slope = torch.empty_like(values)
        stiff = torch.ones((1,) * 5, dtype=field.dtype) if stiffness is None else stiffness
        ni, nj, nk = field.shape[2:]
        shares = np.array([1 / ((ni - 1) * nj * nk), 1 / (ni * (nj - 1) * nk), 1 / (ni * nj * (nk - 1))])
        sums = np.zeros((3, ni, nj))
        arrays = (values[0].numpy(), stiff.detach().to(field.dtype).contiguous()[0, 0].numpy())
        _rough(*arrays, shares.astype(values.numpy().dtype), slope[0].numpy(), sums)
        ctx.save_for_backward(slope)
        return field.new_tensor(float(sums.sum((1, 2)) @ shares))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad_outputs[0], None


@compiled(forceinline=True, fastmath=FAST)
def _weight(stiffness: Any, is_uniform: bool, one: int, other: int) -> Any:  # noqa: FBT001  # no keywords in numba
    """Twice the weight of the difference of two voxels."""
    if is_uniform:
        return number(stiffness, 0) + number(stiffness, 0)
    return number(stiffness, one) + number(stiffness, other)


@compiled(parallel=True, fastmath=FAST)
def _rough(field: Array, stiffness: Array, shares: Array, slope: Array, sums: NDArray[np.float64]) -> None:
    """Squared forward differences along each axis, summed along ``k``; and the slope of their mean.

    A voxel reads the differences to all its neighbours, so that no two write to the same place.
    """
    nx, ny, nz = field.shape[1:]
    for row in prange(nx * ny):
        x, y = row // ny, row % ny
        u, s, is_uniform = rows(field), rows(stiffness), stiffness.size == 1
        along_i, along_j, along_k = 0.0, 0.0, 0.0
        for c in range(3):
            for z in range(nz):
                voxel = row * nz + z
                at = c * nx * ny * nz + voxel
                here, pull = number(u, at), shares[0] * 0
                if x + 1 < nx:
                    step = number(u, at + ny * nz) - here
                    weighted = step * _weight(s, is_uniform, voxel, voxel + ny * nz)
                    along_i += step * weighted
                    pull -= weighted * shares[0]
                if x > 0:
                    step = here - number(u, at - ny * nz)
                    pull += step * _weight(s, is_uniform, voxel, voxel - ny * nz) * shares[0]
                if y + 1 < ny:
                    step = number(u, at + nz) - here
                    weighted = step * _weight(s, is_uniform, voxel, voxel + nz)
                    along_j += step * weighted
                    pull -= weighted * shares[1]
                if y > 0:
                    step = here - number(u, at - nz)
                    pull += step * _weight(s, is_uniform, voxel, voxel - nz) * shares[1]
                if z + 1 < nz:
                    step = number(u, at + 1) - here
                    weighted = step * _weight(s, is_uniform, voxel, voxel + 1)
                    along_k += step * weighted
                    pull -= weighted * shares[2]
                if z > 0:
                    step = here - number(u, at - 1)
                    pull += step * _weight(s, is_uniform, voxel, voxel - 1) * shares[2]
                slope[c, x, y, z] = pull
        sums[0, x, y], sums[1, x, y], sums[2, x, y] = along_i / 2, along_j / 2, along_k / 2
