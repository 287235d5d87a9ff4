"""Runge-Kutta steps through stationary fields: the whole way of a point in one visit.

On the way back every step is made again from its start, which is kept, and its stages are gone through
from the last to the first (the discrete adjoint of the scheme). What they give back to the field goes
through :func:`.scatter.scatter`, one call per step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from bids_nodereg.registration.kernels import reference
from bids_nodereg.registration.kernels.cuda.cells import (
    cell,
    load_vector,
    steps,
    store_vector,
    value_and_slopes,
    vector_at,
    voxel_of,
)
from bids_nodereg.registration.kernels.cuda.interpolation import shape_of
from bids_nodereg.registration.kernels.cuda.launch import blocks, kernel, launch
from bids_nodereg.registration.kernels.cuda.places import given
from bids_nodereg.registration.kernels.cuda.scatter import scatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from bids_nodereg.registration.kernels.cuda.places import Shape
    from bids_nodereg.registration.tableaus import Leg, Tableau

MOST_STAGES = 4
"""A scheme with more stages is left to torch."""


BLOCK = 128
"""Points of one program: with more, the way back would need more registers than there are."""


def carry(velocity: Tensor, position: Tensor, h: float, steps: int, tableau: Tableau) -> Tensor:
    """As :func:`reference.carry`."""
    if len(tableau.b) > MOST_STAGES:
        return reference.carry(velocity, position, h, steps, tableau)
    arguments = (velocity, position, h, steps, tableau)
    result: Tensor = _Carry.apply(*arguments)
    return result


def carry_lattice(
    velocity: Tensor, shape: tuple[int, int, int], legs: Sequence[Leg], tableau: Tableau
) -> Tensor:
    """As :func:`reference.carry_lattice`."""
    ratios = _ratios(shape_of(velocity), shape)
    # Not in float16, whatever the velocity is in: from 128 voxels on its steps are an eighth of a voxel.
    position = torch.empty((1, 3, *shape), dtype=torch.float32, device=velocity.device)
    points = math.prod(shape)
    launch(_start, blocks(points, BLOCK), position, points, shape[1], shape[2], *ratios, BLOCK=BLOCK)
    for leg in legs:
        position = carry(velocity[leg.part : leg.part + 1], position, leg.h, leg.steps, tableau)
    result: Tensor = _Displacement.apply(position, ratios)
    return result.to(velocity.dtype)


def _ratios(lattice: Shape, shape: Shape) -> tuple[float, float, float]:
    """Voxels of the velocity's lattice per point of the other."""
    i, j, k = ((own - 1) / max(size - 1, 1) for own, size in zip(lattice, shape, strict=True))
    return i, j, k


def _coefficients(tableau: Tableau) -> list[float]:
    """``a21 a31 a32 a41 a42 a43 b1 b2 b3 b4``, with zeros for stages that are not there."""
    rows = [
        list(row) + [0.0] * (n - len(row)) for n, row in enumerate([*tableau.a, (), (), ()][:MOST_STAGES])
    ]
    return [*rows[1], *rows[2], *rows[3], *tableau.b, *[0.0] * (MOST_STAGES - len(tableau.b))]


class _Carry(torch.autograd.Function):
    """The steps with the gradients with respect to the field and the starts."""

    @staticmethod
    def forward(
        ctx: Any, velocity: Tensor, position: Tensor, h: float, steps: int, tableau: Tableau
    ) -> Tensor:
        field, start = velocity.detach().contiguous(), position.detach().contiguous()
        points = start.numel() // 3
        kept = steps if any(ctx.needs_input_grad[:2]) else 0
        starts = torch.empty((kept, 3, points), dtype=start.dtype, device=start.device)
        out = torch.empty_like(start)
        ctx.scheme = (h, steps, len(tableau.b), _coefficients(tableau))
        ctx.save_for_backward(field, starts)
        launch(
            _carry, blocks(points, BLOCK), field, start, starts, out, points, *shape_of(field), steps, h,
            *_coefficients(tableau), STAGES=len(tableau.b), KEEP=kept > 0, BLOCK=BLOCK,
        )  # fmt: skip
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        field, starts = ctx.saved_tensors
        h, steps, stages, coefficients = ctx.scheme
        points, shape = starts.shape[2], shape_of(field)
        like = grad_outputs[0].contiguous()
        adjoint = like.clone()
        wants_field, wants_start = ctx.needs_input_grad[:2]
        kept = (3, stages, points if wants_field else 0)
        at = torch.empty(kept, dtype=torch.float32, device=field.device)
        addends = torch.empty_like(at)
        to_field: Tensor | None = None
        for number in reversed(range(steps)):
            launch(
                _step_back, blocks(points, BLOCK), field, starts[number], adjoint, at, addends, points,
                *shape, h, *coefficients, STAGES=stages, KEEP=wants_field, BLOCK=BLOCK,
            )  # fmt: skip
            if wants_field:
                share = scatter(given(shape, at), addends, 3)
                to_field = share if to_field is None else to_field.add_(share)
        return to_field, adjoint if wants_start else None, None, None, None


class _Displacement(torch.autograd.Function):
    """How far every lattice point has come, in voxels of its own lattice."""

    @staticmethod
    def forward(ctx: Any, position: Tensor, ratios: tuple[float, float, float]) -> Tensor:
        ctx.ratios = ratios
        return _scaled(position.detach().contiguous(), ratios, from_start=True)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return _scaled(grad_outputs[0].contiguous(), ctx.ratios, from_start=False), None


def _scaled(vectors: Tensor, ratios: tuple[float, float, float], *, from_start: bool) -> Tensor:
    """``(vectors - start) / ratios``, or without the start."""
    out, shape = torch.empty_like(vectors), shape_of(vectors)
    arguments = (vectors, out, math.prod(shape), shape[1], shape[2], *ratios)
    launch(_scale, blocks(math.prod(shape), BLOCK), *arguments, FROM_START=from_start, BLOCK=BLOCK)
    return out


@kernel
def _start(out, points, sj, sk, qi, qj, qk, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    i, j, k = voxel_of(n, sj, sk)
    store_vector(out, n, points, i * qi, j * qj, k * qk, n < points)


@kernel
def _scale(vectors, out, points, sj, sk, qi, qj, qk, FROM_START: tl.constexpr, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    x, y, z = load_vector(vectors, n, points, live)
    if FROM_START:
        i, j, k = voxel_of(n, sj, sk)
        x, y, z = x - i * qi, y - j * qj, z - k * qk
    store_vector(out, n, points, x / qi, y / qj, z / qk, live)


@triton.jit
def _stages(
    v, x, y, z, si, sj, sk, h, a21, a31, a32, a41, a42, a43, live, STAGES: tl.constexpr
):  # fmt: skip
    """Where the stages of a step from ``(x, y, z)`` read the field, and what they find."""
    p1, q1, r1 = vector_at(v, x, y, z, si, sj, sk, live)
    x2, y2, z2, x3, y3, z3, x4, y4, z4 = x, y, z, x, y, z, x, y, z
    p2, q2, r2, p3, q3, r3, p4, q4, r4 = p1, q1, r1, p1, q1, r1, p1, q1, r1
    if STAGES > 1:
        x2, y2, z2 = x + h * (a21 * p1), y + h * (a21 * q1), z + h * (a21 * r1)
        p2, q2, r2 = vector_at(v, x2, y2, z2, si, sj, sk, live)
    if STAGES > 2:
        x3 = x + h * (a31 * p1 + a32 * p2)
        y3 = y + h * (a31 * q1 + a32 * q2)
        z3 = z + h * (a31 * r1 + a32 * r2)
        p3, q3, r3 = vector_at(v, x3, y3, z3, si, sj, sk, live)
    if STAGES > 3:
        x4 = x + h * (a41 * p1 + a42 * p2 + a43 * p3)
        y4 = y + h * (a41 * q1 + a42 * q2 + a43 * q3)
        z4 = z + h * (a41 * r1 + a42 * r2 + a43 * r3)
        p4, q4, r4 = vector_at(v, x4, y4, z4, si, sj, sk, live)
    return (
        x2, y2, z2, x3, y3, z3, x4, y4, z4, p1, q1, r1, p2, q2, r2, p3, q3, r3, p4, q4, r4
    )  # fmt: skip


@kernel
def _carry(
    v, start, starts, out, points, si, sj, sk, count, h,
    a21, a31, a32, a41, a42, a43, b1, b2, b3, b4,
    STAGES: tl.constexpr, KEEP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    x, y, z = load_vector(start, n, points, live)
    here = starts
    for _ in range(count):
        if KEEP:
            store_vector(here, n, points, x, y, z, live)
            here += tl.full((), 3, tl.int64) * points
        _x2, _y2, _z2, _x3, _y3, _z3, _x4, _y4, _z4, p, q, r, p2, q2, r2, p3, q3, r3, p4, q4, r4 = _stages(
            v, x, y, z, si, sj, sk, h, a21, a31, a32, a41, a42, a43, live, STAGES
        )
        x += h * (b1 * p + b2 * p2 + b3 * p3 + b4 * p4)
        y += h * (b1 * q + b2 * q2 + b3 * q3 + b4 * q4)
        z += h * (b1 * r + b2 * r2 + b3 * r3 + b4 * r4)
    store_vector(out, n, points, x, y, z, live)


@triton.jit
def _stage_back(
    v, at, addends, stage, stages, n, points, x, y, z, p, q, r, si, sj, sk, live, KEEP: tl.constexpr
):  # fmt: skip
    """Keep what a stage gives back to the field where wanted; return what it gives back to its position."""
    if KEEP:
        row = points * tl.full((), 1, tl.int64)
        store_vector(at + stage * row, n, stages * row, x, y, z, live)
        store_vector(addends + stage * row, n, stages * row, p, q, r, live)
    i, fi, in_i = cell(x, si)
    j, fj, in_j = cell(y, sj)
    k, fk, in_k = cell(z, sk)
    di, dj, dk = steps(si, sj, sk)
    corner = v + ((i.to(tl.int64) * sj + j) * sk + k)
    plane = tl.full((), 1, tl.int64) * si * sj * sk
    _a, ai, aj, ak = value_and_slopes(corner, di, dj, dk, fi, fj, fk, live)
    _b, bi, bj, bk = value_and_slopes(corner + plane, di, dj, dk, fi, fj, fk, live)
    _c, ci, cj, ck = value_and_slopes(corner + 2 * plane, di, dj, dk, fi, fj, fk, live)
    # A clamped position does not move with its argument.
    to_x = tl.where(in_i, p * ai + q * bi + r * ci, 0.0)
    to_y = tl.where(in_j, p * aj + q * bj + r * cj, 0.0)
    to_z = tl.where(in_k, p * ak + q * bk + r * ck, 0.0)
    return to_x, to_y, to_z


@kernel
def _step_back(
    v, start, adjoint, at, addends, points, si, sj, sk, h,
    a21, a31, a32, a41, a42, a43, b1, b2, b3, b4,
    STAGES: tl.constexpr, KEEP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take the adjoint of the positions back over one step, in place."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < points
    x, y, z = load_vector(start, n, points, live)
    x2, y2, z2, x3, y3, z3, x4, y4, z4, _p, _q, _r, _p2, _q2, _r2, _p3, _q3, _r3, _p4, _q4, _r4 = _stages(
        v, x, y, z, si, sj, sk, h, a21, a31, a32, a41, a42, a43, live, STAGES
    )
    a, b, c = load_vector(adjoint, n, points, live)
    zero = tl.zeros((BLOCK,), tl.float32)
    i2, j2, k2, i3, j3, k3, i4, j4, k4 = zero, zero, zero, zero, zero, zero, zero, zero, zero
    if STAGES > 3:
        p, q, r = h * (b4 * a), h * (b4 * b), h * (b4 * c)
        i4, j4, k4 = _stage_back(
            v, at, addends, 3, STAGES, n, points, x4, y4, z4, p, q, r, si, sj, sk, live, KEEP
        )  # fmt: skip
    if STAGES > 2:
        p, q, r = h * (b3 * a + a43 * i4), h * (b3 * b + a43 * j4), h * (b3 * c + a43 * k4)
        i3, j3, k3 = _stage_back(
            v, at, addends, 2, STAGES, n, points, x3, y3, z3, p, q, r, si, sj, sk, live, KEEP
        )  # fmt: skip
    if STAGES > 1:
        p = h * (b2 * a + a32 * i3 + a42 * i4)
        q = h * (b2 * b + a32 * j3 + a42 * j4)
        r = h * (b2 * c + a32 * k3 + a42 * k4)
        i2, j2, k2 = _stage_back(
            v, at, addends, 1, STAGES, n, points, x2, y2, z2, p, q, r, si, sj, sk, live, KEEP
        )  # fmt: skip
    p = h * (b1 * a + a21 * i2 + a31 * i3 + a41 * i4)
    q = h * (b1 * b + a21 * j2 + a31 * j3 + a41 * j4)
    r = h * (b1 * c + a21 * k2 + a31 * k3 + a41 * k4)
    i1, j1, k1 = _stage_back(
        v, at, addends, 0, STAGES, n, points, x, y, z, p, q, r, si, sj, sk, live, KEEP
    )  # fmt: skip
    store_vector(
        adjoint, n, points, a + i1 + i2 + i3 + i4, b + j1 + j2 + j3 + j4, c + k1 + k2 + k3 + k4, live
    )
