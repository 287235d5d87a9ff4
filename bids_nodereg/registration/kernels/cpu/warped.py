"""An image seen through a displacement on a coarser lattice, compiled."""

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

    Array = NDArray[np.float32]


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """As :func:`reference.warp`."""
    result: Tensor = _Warp.apply(displacement, image)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _Warp(torch.autograd.Function):
    """The warped image, and the gradient of the displacement."""

    @staticmethod
    def forward(ctx: Any, displacement: Tensor, image: Tensor) -> Tensor:
        ctx.save_for_backward(displacement, image)
        out = np.empty(image.shape[1:], np.float32)
        _warp(array(image[0]), coarse_of(displacement, image.shape[2:]), out)
        return torch.from_numpy(out)[None]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        displacement, image = ctx.saved_tensors
        coarse = coarse_of(displacement, image.shape[2:])
        part = planes_of(coarse, image.shape[2:])
        _gradient(array(image[0]), coarse, array(grad_outputs[0][0]), part)
        return gradient_of(coarse, part, 1.0), None


@compiled(parallel=True, fastmath=FAST)
def _warp(image: Array, coarse: Coarse, out: Array) -> None:
    """Read every voxel where the displacement says."""
    u, _, lows, fractions = coarse
    channels, si, sj, sk = image.shape
    for x in prange(si):
        plane = np.empty((3, u.shape[2], u.shape[3]), np.float32)
        row = np.empty((3, u.shape[3]), np.float32)
        blend_planes(coarse, x, plane)
        for y in range(sj):
            blend_rows(plane, lows[si + y], fractions[si + y], row)
            for z in range(sk):
                at, f = lows[si + sj + z], fractions[si + sj + z]
                i, fi, _, j, fj, _, k, fk, _ = moved(row, at, f, (x, y, z), (si, sj, sk))
                for c in range(channels):
                    out[c, x, y, z] = value_and_slopes(image[c], i, j, k, fi, fj, fk)[0]


@compiled(parallel=True, fastmath=FAST)
def _gradient(image: Array, coarse: Coarse, grad: Array, part: Array) -> None:
    """For each plane the gradient of the displacement, on a coarse plane."""
    u, _, lows, fractions = coarse
    channels, si, sj, sk = image.shape
    for x in prange(si):
        part[x] = 0
        plane = np.empty((3, u.shape[2], u.shape[3]), np.float32)
        row = np.empty((3, u.shape[3]), np.float32)
        of_row = np.zeros((3, u.shape[3]), np.float32)
        blend_planes(coarse, x, plane)
        for y in range(sj):
            blend_rows(plane, lows[si + y], fractions[si + y], row)
            for z in range(sk):
                at, f = lows[si + sj + z], fractions[si + sj + z]
                i, fi, in_i, j, fj, in_j, k, fk, in_k = moved(row, at, f, (x, y, z), (si, sj, sk))
                gi, gj, gk = np.float32(0), np.float32(0), np.float32(0)
                for c in range(channels):
                    g = grad[c, x, y, z]
                    _, along_i, along_j, along_k = value_and_slopes(image[c], i, j, k, fi, fj, fk)
                    gi += g * along_i
                    gj += g * along_j
                    gk += g * along_k
                # A clamped position does not move with its argument.
                gi = gi if in_i else np.float32(0)
                gj = gj if in_j else np.float32(0)
                gk = gk if in_k else np.float32(0)
                add_to_row(of_row, at, f, gi, gj, gk)
            add_to_plane(of_row, lows[si + y], fractions[si + y], part[x])
