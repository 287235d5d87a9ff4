"""Patch distances of pairs of places around a voxel: what both ways of MIND share."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def offsets(table, pairs, first, pair):
    """Offsets of one place of each pair along the three axes: ``1 pairs``."""
    valid = pair < pairs
    i = tl.load(table + first * pairs + pair, mask=valid, other=0)
    j = tl.load(table + (first + 1) * pairs + pair, mask=valid, other=0)
    k = tl.load(table + (first + 2) * pairs + pair, mask=valid, other=0)
    return i[None, :], j[None, :], k[None, :]


@triton.jit
def near(at, size):
    """The index, or that of the nearest voxel of the lattice."""
    return tl.minimum(tl.maximum(at, 0), size - 1)


@triton.jit
def difference(image, i, j, k, ai, aj, ak, bi, bj, bk, si, sj, sk, live):
    """Difference of the two places of each pair around the voxels ``(i, j, k)``: ``voxels pairs``."""
    a = (near(i + ai, si).to(tl.int64) * sj + near(j + aj, sj)) * sk + near(k + ak, sk)
    b = (near(i + bi, si).to(tl.int64) * sj + near(j + bj, sj)) * sk + near(k + bk, sk)
    value = tl.load(image + a, mask=live, other=0.0).to(tl.float32)
    return value - tl.load(image + b, mask=live, other=0.0).to(tl.float32)


@triton.jit
def distances(
    image, table, pairs, taps, radius, n, i, j, k, si, sj, sk, live, above_least, PAIRS: tl.constexpr
):  # fmt: skip
    """``D - min D`` of all pairs, the variance, which pairs are there, and which count for the variance."""
    pair = tl.arange(0, PAIRS)
    ai, aj, ak = offsets(table, pairs, 0, pair)
    bi, bj, bk = offsets(table, pairs, 3, pair)
    there = (pair < pairs)[None, :] & live[:, None]
    distance = tl.zeros((n.shape[0], PAIRS), tl.float32)
    for ti in range(-radius, radius + 1):
        y = near(i + ti, si)[:, None]
        wi = tl.load(taps + (ti + radius))
        for tj in range(-radius, radius + 1):
            z = near(j + tj, sj)[:, None]
            wij = wi * tl.load(taps + (tj + radius))
            for tk in range(-radius, radius + 1):
                x = near(k + tk, sk)[:, None]
                d = difference(image, y, z, x, ai, aj, ak, bi, bj, bk, si, sj, sk, there)
                distance += wij * tl.load(taps + (tk + radius)) * d * d
    least = tl.min(tl.where((pair < pairs)[None, :], distance, float("inf")), axis=1)
    counts = tl.load(table + 6 * pairs + pair, mask=pair < pairs, other=0).to(tl.float32)
    counts = (counts / tl.sum(counts, axis=0))[None, :]
    variance = tl.sum(counts * (distance - above_least * least[:, None]), axis=1)
    return distance - least[:, None], variance, there, counts


@triton.jit
def held(variance, limits):
    """The variance within its limits."""
    return tl.minimum(tl.maximum(variance, tl.load(limits)), tl.load(limits + 1))
