"""The mean squared gradient of a field and its slope in one pass: a voxel reads its six neighbours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from bids_nodereg.registration.kernels.cuda.cells import voxel_of
from bids_nodereg.registration.kernels.cuda.interpolation import shape_of
from bids_nodereg.registration.kernels.cuda.launch import BLOCK, blocks, kernel, launch, partials, total

if TYPE_CHECKING:
    from torch import Tensor


def squared_gradient(field: Tensor, stiffness: Tensor | None) -> Tensor:
    """As :func:`reference.squared_gradient`, for batch size 1."""
    result: Tensor = _SquaredGradient.apply(field, stiffness)
    return result


class _SquaredGradient(torch.autograd.Function):
    """Sum of squared differences; the slope is made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, field: Tensor, stiffness: Tensor | None) -> Tensor:
        values = field.detach().contiguous()
        shape, size = shape_of(values), values[0, 0].numel()
        weight = values if stiffness is None else stiffness.detach().contiguous()
        slope, sums = torch.empty_like(values), partials(blocks(size), 1, values)
        shares = [along / (along - 1) / math.prod(shape) for along in shape]
        launch(
            _rough, blocks(size), values, weight, slope, sums, field.shape[1], size, *shape, *shares,
            WEIGHTED=stiffness is not None, BLOCK=BLOCK,
        )  # fmt: skip
        ctx.save_for_backward(slope)
        result: Tensor = total(sums)[0]
        return result.to(field.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad_outputs[0], None


@triton.jit
def _difference(field, weight, n, far, there, here, stiff, share, WEIGHTED: tl.constexpr):
    """Half the weight of the difference to the voxel ``far`` away, and the difference; 0 beyond the edge."""
    other = tl.load(field + (n + far), mask=there, other=0.0).to(tl.float32)
    half = tl.where(there, 0.5 * share, 0.0)
    if WEIGHTED:
        half *= (stiff + tl.load(weight + (n + far), mask=there, other=0.0).to(tl.float32)) * 0.5
    return half, tl.where(there, here - other, 0.0)


@kernel
def _rough(
    field, weight, slope, sums, channels, size, si, sj, sk, share_i, share_j, share_k,
    WEIGHTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < size
    i, j, k = voxel_of(n, sj, sk)
    stiff = tl.zeros((BLOCK,), tl.float32)
    if WEIGHTED:
        stiff += tl.load(weight + n, mask=live, other=0.0).to(tl.float32)
    squared = tl.zeros((BLOCK,), tl.float32)
    plane = tl.full((), 1, tl.int64) * sj * sk
    here_field, here_slope = field, slope
    for _ in range(channels):
        here = tl.load(here_field + n, mask=live, other=0.0).to(tl.float32)
        pull = tl.zeros((BLOCK,), tl.float32)
        for sign in tl.static_range(-1, 2, 2):
            # Each difference is seen from both its ends, which take half of it each.
            in_i = live & (i + sign >= 0) & (i + sign < si)
            in_j = live & (j + sign >= 0) & (j + sign < sj)
            in_k = live & (k + sign >= 0) & (k + sign < sk)
            a, x = _difference(here_field, weight, n, sign * plane, in_i, here, stiff, share_i, WEIGHTED)
            b, y = _difference(here_field, weight, n, sign * sk, in_j, here, stiff, share_j, WEIGHTED)
            c, z = _difference(here_field, weight, n, sign, in_k, here, stiff, share_k, WEIGHTED)
            squared += a * x * x + b * y * y + c * z * z
            pull += 4.0 * (a * x + b * y + c * z)
        tl.store(here_slope + n, pull, mask=live)
        here_field += tl.full((), 1, tl.int64) * size
        here_slope += tl.full((), 1, tl.int64) * size
    tl.store(sums + tl.program_id(0), tl.sum(squared, axis=0))
