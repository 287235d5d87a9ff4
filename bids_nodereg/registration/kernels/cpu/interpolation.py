"""Trilinear sampling and its two gradients, compiled.

Every loop is split into as many slabs as there are threads, and partial sums are added in a
fixed order, so that a result is the same bit for bit for the same number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
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


def sample(image: Tensor, at: Tensor) -> Tensor:
    """As :func:`reference.sample`, for batch size 1."""
    result: Tensor = _Sample.apply(image, at)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _Sample(torch.autograd.Function):
    """Trilinear sampling with its gradients with respect to image and positions."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, at: Tensor) -> Tensor:
        values = image.detach().contiguous()
        points = at.detach().contiguous()
        ctx.save_for_backward(values, points)
        out = torch.empty((1, image.shape[1], *at.shape[2:]), dtype=image.dtype)
        _sample_forward(_array(values[0]), _flat(points), _flat(out))
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        values, points = ctx.saved_tensors
        grad = grad_outputs[0].contiguous()
        want_image, want_at = ctx.needs_input_grad
        grad_at = torch.empty_like(points) if want_at else None
        grad_image = None
        if want_image:
            slabs = numba.get_num_threads()
            partial = np.zeros((slabs, *values.shape[1:]), np.float32)
            _scatter_gradient(_flat(points), _flat(grad), partial)
            grad_image = torch.from_numpy(partial.sum(0) if slabs > 1 else partial[0])[None]
        if grad_at is not None:
            _position_gradient(_array(values[0]), _flat(points), _flat(grad), _flat(grad_at))
        return grad_image, grad_at


def _array(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy()


def _flat(tensor: Tensor) -> Array:
    """View ``1 c x y z`` as ``c n`` without a copy."""
    return tensor.view(tensor.shape[1], -1).numpy()


@compiled(inline="always", fastmath=_FAST)
def _cell(position: Any, size: int) -> tuple[int, Any, bool]:
    """Lower voxel and fraction of a position clamped to the lattice, and whether it was inside."""
    inside = 0.0 <= position <= size - 1
    clamped = min(max(position, np.float32(0.0)), np.float32(size - 1))
    low = min(int(clamped), size - 2)
    return low, np.float32(clamped - low), inside


@compiled(parallel=True, fastmath=_FAST)
def _sample_forward(image: Array, at: Array, out: Array) -> None:
    channels, si, sj, sk = image.shape
    for n in prange(at.shape[1]):
        i, fi, _ = _cell(at[0, n], si)
        j, fj, _ = _cell(at[1, n], sj)
        k, fk, _ = _cell(at[2, n], sk)
        for c in range(channels):
            v00 = image[c, i, j, k] + fk * (image[c, i, j, k + 1] - image[c, i, j, k])
            v01 = image[c, i, j + 1, k] + fk * (image[c, i, j + 1, k + 1] - image[c, i, j + 1, k])
            v10 = image[c, i + 1, j, k] + fk * (image[c, i + 1, j, k + 1] - image[c, i + 1, j, k])
            v11 = image[c, i + 1, j + 1, k] + fk * (image[c, i + 1, j + 1, k + 1] - image[c, i + 1, j + 1, k])
            v0 = v00 + fj * (v01 - v00)
            v1 = v10 + fj * (v11 - v10)
            out[c, n] = v0 + fi * (v1 - v0)


@compiled(parallel=True, fastmath=_FAST)
def _position_gradient(image: Array, at: Array, grad: Array, grad_at: Array) -> None:
    channels, si, sj, sk = image.shape
    for n in prange(at.shape[1]):
        i, fi, in_i = _cell(at[0, n], si)
        j, fj, in_j = _cell(at[1, n], sj)
        k, fk, in_k = _cell(at[2, n], sk)
        gi = np.float32(0)
        gj = np.float32(0)
        gk = np.float32(0)
        for c in range(channels):
            a000, a001 = image[c, i, j, k], image[c, i, j, k + 1]
            a010, a011 = image[c, i, j + 1, k], image[c, i, j + 1, k + 1]
            a100, a101 = image[c, i + 1, j, k], image[c, i + 1, j, k + 1]
            a110, a111 = image[c, i + 1, j + 1, k], image[c, i + 1, j + 1, k + 1]
            v00, v01 = a000 + fk * (a001 - a000), a010 + fk * (a011 - a010)
            v10, v11 = a100 + fk * (a101 - a100), a110 + fk * (a111 - a110)
            v0, v1 = v00 + fj * (v01 - v00), v10 + fj * (v11 - v10)
            g = grad[c, n]
            gi += g * (v1 - v0)
            gj += g * ((v01 - v00) + fi * ((v11 - v10) - (v01 - v00)))
            d0 = (a001 - a000) + fj * ((a011 - a010) - (a001 - a000))
            d1 = (a101 - a100) + fj * ((a111 - a110) - (a101 - a100))
            gk += g * (d0 + fi * (d1 - d0))
        # A clamped position does not move with its argument.
        grad_at[0, n] = gi if in_i else np.float32(0)
        grad_at[1, n] = gj if in_j else np.float32(0)
        grad_at[2, n] = gk if in_k else np.float32(0)


@compiled(parallel=True, fastmath=_FAST)
def _scatter_gradient(at: Array, grad: Array, partial: Array) -> None:
    slabs, channels, si, sj, sk = partial.shape
    count = at.shape[1]
    for slab in prange(slabs):
        mine = partial[slab]
        for n in range(slab * count // slabs, (slab + 1) * count // slabs):
            i, fi, _ = _cell(at[0, n], si)
            j, fj, _ = _cell(at[1, n], sj)
            k, fk, _ = _cell(at[2, n], sk)
            ei, ej, ek = np.float32(1) - fi, np.float32(1) - fj, np.float32(1) - fk
            for c in range(channels):
                g = grad[c, n]
                g0, g1 = g * ei, g * fi
                g00, g01, g10, g11 = g0 * ej, g0 * fj, g1 * ej, g1 * fj
                mine[c, i, j, k] += g00 * ek
                mine[c, i, j, k + 1] += g00 * fk
                mine[c, i, j + 1, k] += g01 * ek
                mine[c, i, j + 1, k + 1] += g01 * fk
                mine[c, i + 1, j, k] += g10 * ek
                mine[c, i + 1, j, k + 1] += g10 * fk
                mine[c, i + 1, j + 1, k] += g11 * ek
                mine[c, i + 1, j + 1, k + 1] += g11 * fk
