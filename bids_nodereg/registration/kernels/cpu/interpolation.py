"""Trilinear sampling and composition, with their gradients, compiled.

What is added to a lattice comes from tiles that share no voxel (:mod:`.tiles`): a result is the same bit for
bit whatever the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import prange

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu import map_loops
from bids_nodereg.registration.kernels.cpu.packing import lattice_of, packed, unpacked
from bids_nodereg.registration.kernels.cpu.rows import FAST, cell
from bids_nodereg.registration.kernels.cpu.tiles import lattice_tiles, point_tiles

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]
    Integers = NDArray[np.int64]


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
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        values, points = ctx.saved_tensors
        grad = grad_outputs[0].contiguous()
        want_image, want_at = ctx.needs_input_grad
        grad_at = torch.empty_like(points) if want_at else None
        grad_image = None
        if want_image:
            grad_image = torch.zeros_like(values)
            tiles = point_tiles(_flat(points)[0], values.shape[2], 0.0)
            for slabs in tiles.colours:
                _scatter_gradient(_flat(points), _flat(grad), tiles.order, slabs, _array(grad_image[0]))
        if grad_at is not None:
            _position_gradient(_array(values[0]), _flat(points), _flat(grad), _flat(grad_at))
        return grad_image, grad_at


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """As :func:`reference.compose`, for batch size 1."""
    result: Tensor = _Compose.apply(outer, inner)  # type: ignore[no-untyped-call]  # as above
    return result


class _Compose(torch.autograd.Function):
    """Composition of displacements with both gradients."""

    @staticmethod
    def forward(ctx: Any, outer: Tensor, inner: Tensor) -> Tensor:
        ctx.save_for_backward(outer, inner)
        out = torch.empty_like(inner, memory_format=torch.contiguous_format)
        map_loops.compose_forth(packed(outer), lattice_of(outer), _array(inner[0]), _array(out[0]))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        outer, inner = ctx.saved_tensors
        shape, field = lattice_of(outer), packed(outer)
        want_outer, want_inner = ctx.needs_input_grad
        gradient = np.zeros((len(field) if want_outer else 0, field.shape[1]), field.dtype)
        pulls = torch.empty((1, 3, *(shape if want_inner else (0, 0, 0))), dtype=inner.dtype)
        # Where nothing is added to the lattice, threads need not be kept apart.
        reach = [float(u.abs().max()) if want_outer else 0.0 for u in inner[0]]
        for boxes in lattice_tiles(shape, (1.0, 1.0, 1.0), reach):
            map_loops.compose_back(
                field, shape, _array(inner[0]), _array(grad_outputs[0][0]), boxes, gradient, _array(pulls[0])
            )
        return unpacked(gradient, shape) if want_outer else None, pulls if want_inner else None


def fixed_point_inverse(forward: Tensor, start: Tensor, iterations: int) -> Tensor:
    """As :func:`reference.fixed_point_inverse`, for batch size 1: all iterations of a voxel at once."""
    out = torch.empty_like(start, memory_format=torch.contiguous_format)
    shape = lattice_of(forward)
    map_loops.invert(packed(forward), shape, _array(start[0]), iterations, _array(out[0]))
    return out


def _array(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy()


def _flat(tensor: Tensor) -> Array:
    """View ``1 c x y z`` as ``c n`` without a copy."""
    return tensor.view(tensor.shape[1], -1).numpy()


@compiled(parallel=True, fastmath=FAST)
def _sample_forward(image: Array, at: Array, out: Array) -> None:
    channels, si, sj, sk = image.shape
    for n in prange(at.shape[1]):
        i, fi, _ = cell(at[0, n], si)
        j, fj, _ = cell(at[1, n], sj)
        k, fk, _ = cell(at[2, n], sk)
        for c in range(channels):
            v00 = image[c, i, j, k] + fk * (image[c, i, j, k + 1] - image[c, i, j, k])
            v01 = image[c, i, j + 1, k] + fk * (image[c, i, j + 1, k + 1] - image[c, i, j + 1, k])
            v10 = image[c, i + 1, j, k] + fk * (image[c, i + 1, j, k + 1] - image[c, i + 1, j, k])
            v11 = image[c, i + 1, j + 1, k] + fk * (image[c, i + 1, j + 1, k + 1] - image[c, i + 1, j + 1, k])
            v0 = v00 + fj * (v01 - v00)
            v1 = v10 + fj * (v11 - v10)
            out[c, n] = v0 + fi * (v1 - v0)


@compiled(parallel=True, fastmath=FAST)
def _position_gradient(image: Array, at: Array, grad: Array, grad_at: Array) -> None:
    channels, si, sj, sk = image.shape
    for n in prange(at.shape[1]):
        i, fi, in_i = cell(at[0, n], si)
        j, fj, in_j = cell(at[1, n], sj)
        k, fk, in_k = cell(at[2, n], sk)
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


@compiled(parallel=True, fastmath=FAST)
def _scatter_gradient(at: Array, grad: Array, order: Integers, slabs: Integers, grad_image: Array) -> None:
    channels, si, sj, sk = grad_image.shape
    for slab in prange(slabs.shape[0]):
        for rank in range(slabs[slab, 0], slabs[slab, 1]):
            n = order[rank]
            i, fi, _ = cell(at[0, n], si)
            j, fj, _ = cell(at[1, n], sj)
            k, fk, _ = cell(at[2, n], sk)
            ei, ej, ek = np.float32(1) - fi, np.float32(1) - fj, np.float32(1) - fk
            for c in range(channels):
                g = grad[c, n]
                g0, g1 = g * ei, g * fi
                g00, g01, g10, g11 = g0 * ej, g0 * fj, g1 * ej, g1 * fj
                grad_image[c, i, j, k] += g00 * ek
                grad_image[c, i, j, k + 1] += g00 * fk
                grad_image[c, i, j + 1, k] += g01 * ek
                grad_image[c, i, j + 1, k + 1] += g01 * fk
                grad_image[c, i + 1, j, k] += g10 * ek
                grad_image[c, i + 1, j, k + 1] += g10 * fk
                grad_image[c, i + 1, j + 1, k] += g11 * ek
                grad_image[c, i + 1, j + 1, k + 1] += g11 * fk
