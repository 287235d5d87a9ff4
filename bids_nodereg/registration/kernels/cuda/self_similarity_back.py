"""The way back of MIND and MIND-SSC, gathered in three passes.

From the slope of every channel to that of every distance, of every difference, and of the image.
"""

from __future__ import annotations

import triton
import triton.language as tl

from bids_nodereg.registration.kernels.cuda.cells import voxel_of
from bids_nodereg.registration.kernels.cuda.launch import kernel
from bids_nodereg.registration.kernels.cuda.patches import difference, distances, held, offsets


@kernel
def to_distances(
    image, table, pairs, taps, radius, size, si, sj, sk, limits, gradient, slope, above_least,
    PAIRS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Slope of every distance, from that of every channel."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    i, j, k = voxel_of(n, sj, sk)
    above, variance, there, counts = distances(
        image, table, pairs, taps, radius, n, i, j, k, si, sj, sk, n < size, above_least, PAIRS
    )
    within = held(variance, limits)
    channel = tl.arange(0, PAIRS)[None, :].to(tl.int64)
    g = tl.load(gradient + (channel * size + n[:, None]), mask=there, other=0.0).to(tl.float32)
    g = tl.where(there, g * tl.exp(-above / within[:, None]), 0.0)
    to_variance = tl.sum(tl.where(there, g * above, 0.0), axis=1) / (within * within)
    to_variance = tl.where(within == variance, to_variance, 0.0)
    to_above = -g / within[:, None]
    # Equal least distances share what comes to the least one.
    least = (there & (above == 0.0)).to(tl.float32)
    least = least / tl.maximum(tl.sum(least, axis=1), 1.0)[:, None]
    to_least = tl.sum(to_above, axis=1) + above_least * to_variance
    result = to_above + counts * to_variance[:, None] - least * to_least[:, None]
    tl.store(slope + (n[:, None] * pairs + channel), result, mask=there)


@triton.jit
def _reader_share(edges, radius, y, t, size):
    """What the voxel ``y`` gave to the patch around ``y + t``, along one axis."""
    row = tl.where(y == 0, 1, 0) + tl.where(y == size - 1, 2, 0)
    inside = (y + t >= 0) & (y + t < size)
    return tl.load(edges + (row * (2 * radius + 1) + t + radius), mask=inside, other=0.0)


@kernel
def to_differences(
    image, table, pairs, taps, radius, size, si, sj, sk, slope, edges, out,
    PAIRS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Slope of every difference, from those of the patches that it is in."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < size
    i, j, k = voxel_of(n, sj, sk)
    pair = tl.arange(0, PAIRS)
    ai, aj, ak = offsets(table, pairs, 0, pair)
    bi, bj, bk = offsets(table, pairs, 3, pair)
    there = (pair < pairs)[None, :] & live[:, None]
    result = tl.zeros((BLOCK, PAIRS), tl.float32)
    for ti in range(-radius, radius + 1):
        wi = _reader_share(edges, radius, i, ti, si)
        for tj in range(-radius, radius + 1):
            wij = wi * _reader_share(edges, radius, j, tj, sj)
            for tk in range(-radius, radius + 1):
                share = wij * _reader_share(edges, radius, k, tk, sk)
                at = ((n + (ti * sj + tj) * sk + tk) * pairs)[:, None] + pair[None, :]
                mask = there & (share > 0.0)[:, None]
                result += share[:, None] * tl.load(slope + at, mask=mask, other=0.0)
    d = difference(
        image, i[:, None], j[:, None], k[:, None], ai, aj, ak, bi, bj, bk, si, sj, sk, there
    )  # fmt: skip
    tl.store(out + (n[:, None] * pairs + pair[None, :]), 2.0 * d * result, mask=there)


@triton.jit
def _reader(z, offset, t, size):
    """The ``t``-th voxel from ``z`` against the offset, and whether it read ``z``: edges are replicated."""
    length = tl.abs(offset)
    y = z - tl.where(offset > 0, t, tl.where(offset < 0, -t, 0))
    beyond = ((offset < 0) & (z == 0)) | ((offset > 0) & (z == size - 1))
    return y, ((length == t) | ((t < length) & beyond)) & (y >= 0) & (y < size)


@kernel
def to_image(
    image, table, pairs, taps, radius, size, si, sj, sk, slope, out, reach,
    PAIRS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Slope of every voxel, from those of the differences that read it as either place."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = n < size
    i, j, k = voxel_of(n, sj, sk)
    pair = tl.arange(0, PAIRS)
    there = (pair < pairs)[None, :] & live[:, None]
    result = tl.zeros((BLOCK, PAIRS), tl.float32)
    for place in range(2):
        oi, oj, ok = offsets(table, pairs, 3 * place, pair)
        sign = 1.0 - 2.0 * place
        for ti in range(reach + 1):
            a, in_a = _reader(i[:, None], oi, ti, si)
            for tj in range(reach + 1):
                b, in_b = _reader(j[:, None], oj, tj, sj)
                for tk in range(reach + 1):
                    c, in_c = _reader(k[:, None], ok, tk, sk)
                    at = ((a * sj + b) * sk + c) * pairs + pair[None, :]
                    mask = there & in_a & in_b & in_c
                    result += sign * tl.load(slope + at, mask=mask, other=0.0)
    tl.store(out + n, tl.sum(result, axis=1), mask=live)
