"""The perceptron that turns latent channels into vectors, and its gradient, each in one pass, compiled.

The channels of a point are one vector of the processor, and four points are taken at a time, so that a
column of the weights that is read serves four. Nothing of the size of the latent grid is made but its
gradient: the way back computes the hidden values anew. The gradients of the weights are summed for each
chunk of points by itself, then over the chunks in order and in float64: the bits do not depend on the
threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import prange

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.channels import (
    further,
    load,
    plus_product,
    put,
    sigmoid,
    store,
    sums_of_four,
    zeros,
)
from bids_nodereg.registration.kernels.cpu.rows import FAST, array
from bids_nodereg.registration.kernels.cpu.vectors import number, rows
from bids_nodereg.registration.kernels.reference.perceptron import perceptron as in_torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]

CHANNELS = (8, 16, 32)
"""Numbers of channels that there are loops for."""

CHUNK = 512
"""Points, a multiple of four, whose gradients of the weights are summed in float32."""

VECTOR = 3


def perceptron(
    latent: Tensor, mix_weight: Tensor, mix_bias: Tensor, head_weight: Tensor, head_bias: Tensor
) -> Tensor:
    """As :func:`reference.perceptron`; in torch for other numbers of channels, and under autocast."""
    weights = (mix_weight, mix_bias, head_weight, head_bias)
    if latent.shape[-1] not in CHANNELS or torch.is_autocast_enabled("cpu"):
        return in_torch(latent, *weights)
    result: Tensor = _Perceptron.apply(latent, *weights)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _Perceptron(torch.autograd.Function):
    """Keeps its arguments alone."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(latent, *weights)
        vectors = np.empty((VECTOR, *latent.shape[:-1]), np.float32)
        # An address keeps no array alive: what the loops write to is made here.
        room = np.zeros(4 * (latent.shape[-1] + VECTOR), np.float32)
        _decode(array(latent), _arrays(*weights), _counted(latent), vectors, room)
        return torch.from_numpy(vectors)[None]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        latent, *weights = ctx.saved_tensors
        values, channels = array(latent), latent.shape[-1]
        chunks = -(-values.size // (channels * CHUNK))
        slopes = np.empty_like(values)
        sums = np.empty((chunks, (channels + 1 + VECTOR) * channels + 4 * VECTOR), np.float32)
        room = np.zeros((chunks, 4 * (3 * channels + VECTOR)), np.float32)
        given = array(grad_outputs[0])
        _decode_back(values, _arrays(*weights), _counted(latent), given, slopes, sums, room)
        totals = torch.from_numpy(sums.sum(0, dtype=np.float64))
        mix, bias, head, shift = totals.split([channels * channels, channels, VECTOR * channels, 4 * VECTOR])
        of_weights = (
            mix.view(channels, channels),
            bias,
            head.view(VECTOR, channels),
            shift.view(VECTOR, 4).sum(1),
        )
        return torch.from_numpy(slopes), *(total.to(latent.dtype) for total in of_weights)


def _counted(latent: Tensor) -> tuple[np.float32, ...]:
    """As many numbers as there are channels: from the length the compiler knows how many."""
    return (np.float32(0),) * latent.shape[-1]


def _arrays(
    mix_weight: Tensor, mix_bias: Tensor, head_weight: Tensor, head_bias: Tensor
) -> tuple[Array, Array, Array, Array, Array]:
    """The columns of ``W``, its rows, ``b``, the rows of ``H`` and ``c``."""
    return (
        array(mix_weight.t()),
        array(mix_weight),
        array(mix_bias),
        array(head_weight),
        array(head_bias),
    )


@compiled(forceinline=True, fastmath=FAST)
def _mixed(z: Any, columns: Any, bias: Any, nought: Any, channels: int) -> Any:
    """``W z + b`` of four points, from ``z`` on."""
    y0 = load(bias, 0, nought)
    y1, y2, y3 = y0, y0, y0
    for k in range(channels):
        column = load(columns, k * channels, nought)
        y0 = plus_product(y0, column, number(z, k))
        y1 = plus_product(y1, column, number(z, channels + k))
        y2 = plus_product(y2, column, number(z, 2 * channels + k))
        y3 = plus_product(y3, column, number(z, 3 * channels + k))
    return y0, y1, y2, y3


@compiled(forceinline=True, fastmath=FAST)
def _vectors(z: Any, weights: Any, nought: Any, channels: int, v: Any, step: int) -> None:
    """The vectors of four points; ``v`` is where the first component goes, the next is ``step`` further."""
    columns, _, bias, head, shift = weights
    y0, y1, y2, y3 = _mixed(z, columns, bias, nought, channels)
    h0 = plus_product(load(z, 0, nought), y0, sigmoid(y0))
    h1 = plus_product(load(z, channels, nought), y1, sigmoid(y1))
    h2 = plus_product(load(z, 2 * channels, nought), y2, sigmoid(y2))
    h3 = plus_product(load(z, 3 * channels, nought), y3, sigmoid(y3))
    for r in range(VECTOR):
        row = load(head, r * channels, nought)
        store(v, r * step, sums_of_four(row * h0, row * h1, row * h2, row * h3) + number(shift, r))


@compiled(fastmath=FAST)
def _decode_chunk(
    z: Any, weights: Any, counted: Any, v: Any, bounds: tuple[int, int, int], padded: Any
) -> None:
    """The vectors of some points, four by four; ``bounds`` are the first, the one after them, and all.

    From ``padded`` on there are zeros, as room for a last group that is not full.
    """
    channels, nought = len(counted), zeros(counted)
    of_padded = further(padded, 4 * channels)
    first, end, points = bounds
    for n in range(first, end, 4):
        few, here, there, step = end - n, further(z, n * channels), further(v, n), points
        if few < 4:  # not a full group
            _copy(here, few * channels, padded)
            here, there, step = padded, of_padded, 4
        _vectors(here, weights, nought, channels, there, step)
        if few < 4:
            for r in range(VECTOR):
                _copy(further(of_padded, 4 * r), few, further(v, r * points + n))


@compiled(parallel=True, fastmath=FAST)
def _decode(latent: Array, weights: Any, counted: Any, vectors: Array, room: Array) -> None:
    """The vectors ``3 i j k`` of all points ``i j k c``, chunk by chunk; only the last one needs room."""
    points = vectors.size // VECTOR
    for chunk in prange(-(-points // CHUNK)):
        bounds = chunk * CHUNK, min(points, (chunk + 1) * CHUNK), points
        _decode_chunk(rows(latent), _addresses(weights), counted, rows(vectors), bounds, rows(room))


@compiled(forceinline=True, fastmath=FAST)
def _addresses(weights: Any) -> Any:
    columns, mix_rows, bias, head, shift = weights
    return rows(columns), rows(mix_rows), rows(bias), rows(head), rows(shift)


@compiled(forceinline=True, fastmath=FAST)
def _copy(numbers: Any, count: int, to: Any) -> None:
    for n in range(count):
        put(to, n, number(numbers, n))


@compiled(forceinline=True, fastmath=FAST)
def _slope_of_mixed(y: Any, slope: Any) -> Any:
    """From the slope of ``silu(y)``, and the value of that."""
    s = sigmoid(y)
    return slope * s * plus_product(np.float32(1), y, s * np.float32(-1) + np.float32(1)), y * s


@compiled(forceinline=True, fastmath=FAST)
def _slopes(z: Any, weights: Any, nought: Any, channels: int, g: Any, step: int, room: Any, sums: Any) -> Any:
    """The latent slopes of four points; their part of the gradients of the weights is added to ``sums``.

    ``g`` is where the slopes of their first components are, the next are ``step`` further. ``room`` is for a
    vector of each point.
    """
    columns, mix_rows, bias, head, _ = weights
    z0, z1 = load(z, 0, nought), load(z, channels, nought)
    z2, z3 = load(z, 2 * channels, nought), load(z, 3 * channels, nought)
    y0, y1, y2, y3 = _mixed(z, columns, bias, nought, channels)
    d0, d1, d2, d3 = nought, nought, nought, nought
    for r in range(VECTOR):
        row = load(head, r * channels, nought)
        d0 = plus_product(d0, row, number(g, r * step))
        d1 = plus_product(d1, row, number(g, r * step + 1))
        d2 = plus_product(d2, row, number(g, r * step + 2))
        d3 = plus_product(d3, row, number(g, r * step + 3))
    s0, a0 = _slope_of_mixed(y0, d0)
    s1, a1 = _slope_of_mixed(y1, d1)
    s2, a2 = _slope_of_mixed(y2, d2)
    s3, a3 = _slope_of_mixed(y3, d3)
    at = channels * channels
    store(sums, at, load(sums, at, nought) + ((s0 + s1) + (s2 + s3)))
    of_head = further(sums, (channels + 1) * channels)
    _add_head((z0 + a0, z1 + a1, z2 + a2, z3 + a3), nought, channels, g, step, of_head)
    _store_four((s0, s1, s2, s3), channels, room)
    return _through_mix((z0, z1, z2, z3), (d0, d1, d2, d3), nought, channels, mix_rows, room, sums)


@compiled(forceinline=True, fastmath=FAST)
def _add_head(hidden: Any, nought: Any, channels: int, g: Any, step: int, sums: Any) -> None:
    """Add what four points mean for ``H``, and behind it for ``c``, of which four parts are kept."""
    h0, h1, h2, h3 = hidden
    for r in range(VECTOR):
        total = plus_product(load(sums, r * channels, nought), h0, number(g, r * step))
        total = plus_product(total, h1, number(g, r * step + 1))
        total = plus_product(total, h2, number(g, r * step + 2))
        store(sums, r * channels, plus_product(total, h3, number(g, r * step + 3)))
        at = VECTOR * channels + 4 * r
        for p in range(4):
            put(sums, at + p, number(sums, at + p) + number(g, r * step + p))


@compiled(forceinline=True, fastmath=FAST)
def _through_mix(
    latent: Any, direct: Any, nought: Any, channels: int, mix_rows: Any, of_mixed: Any, sums: Any
) -> Any:
    """Add to the direct slopes of four points those that come through ``W``, whose gradient is added to."""
    z0, z1, z2, z3 = latent
    d0, d1, d2, d3 = direct
    for c in range(channels):
        row, total = load(mix_rows, c * channels, nought), load(sums, c * channels, nought)
        s = number(of_mixed, c)
        d0, total = plus_product(d0, row, s), plus_product(total, z0, s)
        s = number(of_mixed, channels + c)
        d1, total = plus_product(d1, row, s), plus_product(total, z1, s)
        s = number(of_mixed, 2 * channels + c)
        d2, total = plus_product(d2, row, s), plus_product(total, z2, s)
        s = number(of_mixed, 3 * channels + c)
        d3, total = plus_product(d3, row, s), plus_product(total, z3, s)
        store(sums, c * channels, total)
    return d0, d1, d2, d3


@compiled(forceinline=True, fastmath=FAST)
def _store_four(vectors: Any, channels: int, to: Any) -> None:
    v0, v1, v2, v3 = vectors
    store(to, 0, v0)
    store(to, channels, v1)
    store(to, 2 * channels, v2)
    store(to, 3 * channels, v3)


@compiled(fastmath=FAST)
def _decode_back_chunk(
    z: Any,
    weights: Any,
    counted: Any,
    g: Any,
    d: Any,
    sums: Any,
    bounds: tuple[int, int, int],
    hidden: Any,
) -> None:
    """Slopes of some points, four by four, and of the weights; ``bounds`` as above.

    From ``hidden`` on there is room for a vector of each of four points, and then zeros for a last group.
    """
    channels, nought = len(counted), zeros(counted)
    padded, of_padded = further(hidden, 4 * channels), further(hidden, 8 * channels)
    given_padded = further(hidden, 12 * channels)
    first, end, points = bounds
    for n in range(first, end, 4):
        few, at, step = end - n, n * channels, points
        here, given, slopes = further(z, at), further(g, n), further(d, at)
        if few < 4:  # not a full group: what is missing is zero, and adds nothing
            _copy(here, few * channels, padded)
            for r in range(VECTOR):
                _copy(further(given, r * points), few, further(given_padded, 4 * r))
            here, given, slopes, step = padded, given_padded, of_padded, 4
        found = _slopes(here, weights, nought, channels, given, step, hidden, sums)
        _store_four(found, channels, slopes)
        if few < 4:
            _copy(of_padded, few * channels, further(d, at))


@compiled(parallel=True, fastmath=FAST)
def _decode_back(
    latent: Array, weights: Any, counted: Any, given: Array, slopes: Array, sums: Array, room: Array
) -> None:
    """Slopes of the latent grid from those of the vectors, and of the weights for each chunk."""
    points = given.size // VECTOR
    for chunk in prange(sums.shape[0]):
        sums[chunk] = 0
        bounds = chunk * CHUNK, min(points, (chunk + 1) * CHUNK), points
        mine = further(rows(sums), chunk * sums.shape[1])
        both = rows(given), rows(slopes)
        hidden = further(rows(room), chunk * room.shape[1])
        _decode_back_chunk(rows(latent), _addresses(weights), counted, *both, mine, bounds, hidden)
