"""Trilinear sampling, composition and the fixed-point inverse.

The gradient with respect to positions is gathered; that with respect to the sampled field goes through
:func:`.scatter.scatter`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton.language as tl

from bids_nodereg.registration.kernels.cuda.cells import (
    cell,
    load_vector,
    position,
    steps,
    store_vector,
    value,
    value_and_slopes,
    vector_at,
    voxel_of,
)
from bids_nodereg.registration.kernels.cuda.launch import BLOCK, blocks, kernel, launch
from bids_nodereg.registration.kernels.cuda.places import given, moved
from bids_nodereg.registration.kernels.cuda.scatter import scatter

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.kernels.cuda.places import Places, Shape


def sample(image: Tensor, at: Tensor) -> Tensor:
    """As :func:`reference.sample`, for batch size 1."""
    result: Tensor = _Sample.apply(image, at)
    return result


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """As :func:`reference.compose`, for batch size 1, in one pass: positions are never stored."""
    result: Tensor = _Compose.apply(outer, inner)
    return result


def shape_of(image: Tensor) -> Shape:
    """The last three axes."""
    i, j, k = image.shape[-3:]
    return i, j, k


def read(image: Tensor, places: Places, out: Tensor, *, add: bool = False) -> Tensor:
    """Interpolate ``1 c i j k`` at the places into ``out``, ``c n``; ``add``: onto the displacement."""
    channels = image.shape[1]
    launch(_read, blocks(places.points), image, out, channels, *places.arguments, ADD=add, BLOCK=BLOCK)
    return out


def slopes(image: Tensor, places: Places, gradient: Tensor, *, add: bool = False) -> Tensor:
    """Gradient ``3 n`` with respect to the positions, from that of the values, ``c n``.

    ``add``: together with the gradient of the displacement that :func:`read` added.
    """
    out = torch.empty((3, places.points), dtype=torch.float32, device=image.device)
    arguments = (image, gradient, out, image.shape[1], *places.arguments)
    launch(_slopes, blocks(places.points), *arguments, ADD=add, BLOCK=BLOCK)
    return out


class _Sample(torch.autograd.Function):
    """Trilinear sampling with its gradients with respect to image and positions."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, at: Tensor) -> Tensor:
        values, points = image.detach().contiguous(), at.detach().contiguous()
        ctx.save_for_backward(values, points)
        out = torch.empty((1, image.shape[1], *at.shape[2:]), dtype=image.dtype, device=image.device)
        return read(values, given(shape_of(values), points), out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        values, points = ctx.saved_tensors
        gradient, places = grad_outputs[0].contiguous(), given(shape_of(values), points)
        to_image = scatter(places, gradient, values.shape[1]) if ctx.needs_input_grad[0] else None
        to_at = slopes(values, places, gradient).view_as(points) if ctx.needs_input_grad[1] else None
        return to_image, to_at


class _Compose(torch.autograd.Function):
    """``inner + outer(id + inner)`` with both gradients."""

    @staticmethod
    def forward(ctx: Any, outer: Tensor, inner: Tensor) -> Tensor:
        outside, inside = outer.detach().contiguous(), inner.detach().contiguous()
        ctx.save_for_backward(outside, inside)
        return read(outside, moved(shape_of(outside), inside), torch.empty_like(inside), add=True)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        outside, inside = ctx.saved_tensors
        gradient, places = grad_outputs[0].contiguous(), moved(shape_of(outside), inside)
        to_outer = scatter(places, gradient, 3) if ctx.needs_input_grad[0] else None
        to_inner = None
        if ctx.needs_input_grad[1]:
            to_inner = slopes(outside, places, gradient, add=True).view_as(inside)
        return to_outer, to_inner


def fixed_point_inverse(forward: Tensor, start: Tensor, iterations: int) -> Tensor:
    """As :func:`reference.fixed_point_inverse`: all iterations of a voxel in one visit."""
    field, inverse = forward.detach().contiguous(), start.detach().contiguous()
    out = torch.empty_like(inverse)
    shape = shape_of(field)
    points = out.numel() // 3
    launch(_fixed_point, blocks(points), field, inverse, out, iterations, points, *shape, BLOCK=BLOCK)
    return out


@kernel
def _read(
    image, out, channels, at, points, si, sj, sk, ui, uj, uk, qi, qj, qk,
    mode: tl.constexpr, ADD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    a, b, c = position(at, n, points, sj, sk, ui, uj, uk, qi, qj, qk, live, mode)
    i, fi, _ = cell(a, si)
    j, fj, _ = cell(b, sj)
    k, fk, _ = cell(c, sk)
    di, dj, dk = steps(si, sj, sk)
    corner = image + ((i.to(tl.int64) * sj + j) * sk + k)
    here = n
    for _ in range(channels):
        v = value(corner, di, dj, dk, fi, fj, fk, live)
        if ADD:
            v += tl.load(at + here, mask=live, other=0.0)
        tl.store(out + here, v, mask=live)
        corner += tl.full((), 1, tl.int64) * si * sj * sk
        here += points


@kernel
def _slopes(
    image, gradient, out, channels, at, points, si, sj, sk, ui, uj, uk, qi, qj, qk,
    mode: tl.constexpr, ADD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    a, b, c = position(at, n, points, sj, sk, ui, uj, uk, qi, qj, qk, live, mode)
    i, fi, in_i = cell(a, si)
    j, fj, in_j = cell(b, sj)
    k, fk, in_k = cell(c, sk)
    di, dj, dk = steps(si, sj, sk)
    corner = image + ((i.to(tl.int64) * sj + j) * sk + k)
    here = n
    x = tl.zeros((BLOCK,), tl.float32)
    y = tl.zeros((BLOCK,), tl.float32)
    z = tl.zeros((BLOCK,), tl.float32)
    for _ in range(channels):
        _v, along_i, along_j, along_k = value_and_slopes(corner, di, dj, dk, fi, fj, fk, live)
        g = tl.load(gradient + here, mask=live, other=0.0).to(tl.float32)
        x += g * along_i
        y += g * along_j
        z += g * along_k
        corner += tl.full((), 1, tl.int64) * si * sj * sk
        here += points
    # A clamped position does not move with its argument.
    x, y, z = tl.where(in_i, x, 0.0), tl.where(in_j, y, 0.0), tl.where(in_k, z, 0.0)
    if ADD:
        p, q, r = load_vector(gradient, n, points, live)
        x, y, z = x + p, y + q, z + r
    store_vector(out, n, points, x, y, z, live)


@kernel
def _fixed_point(forward, start, out, iterations, points, si, sj, sk, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    i, j, k = voxel_of(n, sj, sk)
    x, y, z = load_vector(start, n, points, live)
    u, v, w = vector_at(forward, i + x, j + y, k + z, si, sj, sk, live)
    error = (u + x) * (u + x) + (v + y) * (v + y) + (w + z) * (w + z)
    for _ in range(iterations):
        a, b, c = -u, -v, -w
        u, v, w = vector_at(forward, i + a, j + b, k + c, si, sj, sk, live)
        now = (u + a) * (u + a) + (v + b) * (v + b) + (w + c) * (w + c)
        better = now < error
        x, y, z = tl.where(better, a, x), tl.where(better, b, y), tl.where(better, c, z)
        error = tl.where(better, now, error)
    store_vector(out, n, points, x, y, z, live)
