"""MIND and MIND-SSC: one pass for the mean of the variance, one for the channels; nothing stored between.

Both are patch distances of pairs of places around a voxel (Heinrich et al. 2012 and 2013, see
:mod:`.reference.self_similarity`): the voxel and a neighbour, or two neighbours. A program holds all pairs
of its voxels side by side. On the way back three passes gather: the slope of every distance, of every
squared difference, and of the image; two buffers of all pairs are kept between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from bids_nodereg.registration.kernels.cuda.cells import voxel_of
from bids_nodereg.registration.kernels.cuda.interpolation import shape_of
from bids_nodereg.registration.kernels.cuda.launch import blocks, kernel, launch, partials, total
from bids_nodereg.registration.kernels.cuda.patches import distances, held
from bids_nodereg.registration.kernels.cuda.self_similarity_back import to_differences, to_distances, to_image
from bids_nodereg.registration.kernels.reference.filters import box_kernel, gaussian_kernel
from bids_nodereg.registration.kernels.reference.self_similarity import (
    FACE_NEIGHBOURS,
    SSC_PAIRS,
    SSC_VARIANCE_BOUNDS,
    dense_search_region,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from bids_nodereg.registration.kernels.reference.self_similarity import Offset
    from bids_nodereg.registration.settings import DescriptorSettings

ELEMENTS = 2048
"""Voxels times pairs of one program."""

WARPS = 8
"""With four, a thread would need more registers than it has."""


@dataclass(frozen=True)
class Pairs:
    """What is compared around each voxel.

    Attributes
    ----------
    table
        ``7 pairs``, int32 on the device of the image: both places relative to the voxel, along i, j, k,
        in voxels, and whether the pair counts for the variance.
    count
        How many pairs, and so channels.
    taps
        Weights of the patch along one axis.
    reach
        Largest distance of a place along an axis.
    above_least
        1 if the variance is a mean of ``D - min D``, 0 if of ``D``.
    bounds
        Bounds of the variance relative to its mean over the mask; None for its square root and square.
    """

    table: Tensor
    count: int
    taps: Tensor
    reach: int
    above_least: float
    bounds: tuple[float, float] | None


def mind(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """As :func:`reference.mind`."""
    offsets: Sequence[Offset] = FACE_NEIGHBOURS
    if settings.search_radius > 0:
        offsets = dense_search_region(settings.search_radius)
    here = (0, 0, 0)
    rows = [(here, offset, offset in FACE_NEIGHBOURS) for offset in offsets]
    taps = gaussian_kernel(settings.patch_sigma, image) if settings.patch_sigma > 0 else box_kernel(0, image)
    # A face is one step of the search as well: its length is the same.
    pairs = _pairs(rows, settings.offset, taps, above_least=0.0, bounds=None)
    return _described(image, mask, pairs)


def mind_ssc(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """As :func:`reference.mind_ssc`."""
    rows = [(a, b, True) for a, b in SSC_PAIRS]
    taps = box_kernel(settings.patch_radius, image)
    pairs = _pairs(rows, settings.offset, taps, above_least=1.0, bounds=SSC_VARIANCE_BOUNDS)
    return _described(image, mask, pairs)


def _pairs(
    rows: Sequence[tuple[Offset, Offset, bool]],
    distance: int,
    taps: Tensor,
    *,
    above_least: float,
    bounds: tuple[float, float] | None,
) -> Pairs:
    table = [[distance * step for place in row[:2] for step in place] + [int(row[2])] for row in rows]
    reach = max(abs(step) for row in table for step in row[:6])
    on_device = _table(tuple(map(tuple, table)), taps.device)
    return Pairs(on_device, len(rows), taps.float(), reach, above_least, bounds)


def _described(image: Tensor, mask: Tensor | None, pairs: Pairs) -> Tensor:
    weight = None if mask is None else mask.detach().contiguous()
    result: Tensor = _Descriptor.apply(image, weight, pairs)
    return result


@cache
def _table(rows: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    """``7 pairs`` on the device; made once, as a copy from the host may not stand in a CUDA graph.

    Turned on the host: on the device that would be a kernel of one stream, and others read the table too.
    """
    return torch.tensor(rows, dtype=torch.int32).T.contiguous().to(device)


def _limits(sums: Tensor, pairs: Pairs) -> Tensor:
    """Least and largest variance, from the sums of the variance and of the mask."""
    mean = (sums[0] / sums[1].clamp_min(1)).clamp_min(torch.finfo(torch.float32).tiny ** 0.25)
    if pairs.bounds is None:
        ends = torch.minimum(mean.sqrt(), mean.square()), torch.maximum(mean.sqrt(), mean.square())
    else:
        ends = pairs.bounds[0] * mean, pairs.bounds[1] * mean
    return torch.stack(ends).float()


def _edge_taps(taps: Tensor) -> Tensor:
    """``4 taps``: what a reader at each distance takes from an inner voxel, the first, the last, the only."""
    ones = torch.ones((taps.numel(), taps.numel()), dtype=taps.dtype, device=taps.device)
    up_to, from_here = (taps * ones.tril()).sum(1), (taps * ones.triu()).sum(1)
    return torch.stack([taps.flip(0), up_to.flip(0), from_here.flip(0), taps.sum().expand_as(taps)])


class _Descriptor(torch.autograd.Function):
    """The channels, and the gradient with respect to the image."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, mask: Tensor | None, pairs: Pairs) -> Tensor:
        values = image.detach().contiguous()
        shape = shape_of(values)
        sums = partials(blocks(values.numel(), _block(pairs)), 2, values)
        weight = values if mask is None else mask
        _visit(
            _variances, values, pairs, weight, sums, sums.shape[1], pairs.above_least, MASKED=mask is not None
        )
        limits = _limits(total(sums), pairs)
        out = torch.empty((1, pairs.count, *shape), dtype=image.dtype, device=image.device)
        _visit(_channels, values, pairs, limits, out, pairs.above_least)
        ctx.pairs = pairs
        ctx.save_for_backward(values, limits)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        values, limits = ctx.saved_tensors
        pairs: Pairs = ctx.pairs
        gradient = grad_outputs[0].contiguous()
        slope = torch.empty((values.numel(), pairs.count), dtype=torch.float32, device=values.device)
        _visit(to_distances, values, pairs, limits, gradient, slope, pairs.above_least)
        of_differences = torch.empty_like(slope)
        _visit(to_differences, values, pairs, slope, _edge_taps(pairs.taps), of_differences)
        out = torch.empty_like(values)
        _visit(to_image, values, pairs, of_differences, out, pairs.reach)
        return out, None, None


def _block(pairs: Pairs) -> int:
    return ELEMENTS // int(triton.next_power_of_2(pairs.count))


def _visit(function: Any, image: Tensor, pairs: Pairs, *arguments: Any, **constants: Any) -> None:
    """Start a kernel over all voxels and pairs."""
    shape, block = shape_of(image), _block(pairs)
    size, radius = math.prod(shape), pairs.taps.numel() // 2
    launch(
        function, blocks(size, block), image, pairs.table, pairs.count, pairs.taps, radius, size, *shape,
        *arguments, PAIRS=ELEMENTS // block, BLOCK=block, num_warps=WARPS, **constants,
    )  # fmt: skip


@kernel
def _variances(
    image, table, pairs, taps, radius, size, si, sj, sk, mask, sums, programs, above_least,
    PAIRS: tl.constexpr, BLOCK: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < size
    i, j, k = voxel_of(n, sj, sk)
    weight = live.to(tl.float32)
    if MASKED:
        weight = (tl.load(mask + n, mask=live, other=0.0) > 0).to(tl.float32)
    live = weight > 0.0
    if tl.max(weight, axis=0) > 0.0:
        _above, variance, _there, _counts = distances(
            image, table, pairs, taps, radius, n, i, j, k, si, sj, sk, live, above_least, PAIRS
        )
        tl.store(sums + tl.program_id(0), tl.sum(tl.where(live, variance, 0.0), axis=0))
    else:
        tl.store(sums + tl.program_id(0), 0.0)
    tl.store(sums + programs + tl.program_id(0), tl.sum(weight, axis=0))


@kernel
def _channels(
    image, table, pairs, taps, radius, size, si, sj, sk, limits, out, above_least,
    PAIRS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    i, j, k = voxel_of(n, sj, sk)
    above, variance, there, _counts = distances(
        image, table, pairs, taps, radius, n, i, j, k, si, sj, sk, n < size, above_least, PAIRS
    )
    channel = tl.arange(0, PAIRS)[None, :].to(tl.int64)
    result = tl.exp(-above / held(variance, limits)[:, None])
    tl.store(out + (channel * size + n[:, None]), result, mask=there)
