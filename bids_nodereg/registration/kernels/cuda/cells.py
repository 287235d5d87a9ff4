"""What the kernels share: cells of the lattice, and interpolation in them.

Offsets are 64 bit: a descriptor of a 0.5 mm head has more than 2^31 bytes.
"""

from __future__ import annotations

import triton
import triton.language as tl

GIVEN = tl.constexpr(0)
"""Where a kernel reads: at given positions."""

DISPLACED = tl.constexpr(1)
"""Where a kernel reads: at ``x + u(x)``."""

COARSE = tl.constexpr(2)
"""Where a kernel reads: at ``x + u(x)``, with ``u`` interpolated from a coarser lattice."""


@triton.jit
def cell(position, size):
    """Lower voxel and fraction of a position clamped to the lattice, and whether it was inside.

    On the edge itself it was not: there is no slope, as in torch's ``grid_sample``.
    Every comparison is false for a NaN: it keeps a valid voxel and goes on in the fraction.
    """
    clamped = tl.where(position < 0.0, 0.0, tl.where(position > size - 1, size - 1, position))
    low = tl.maximum(tl.minimum(clamped.to(tl.int32), size - 2), 0)
    return low, clamped - low, (position > 0.0) & (position < size - 1)


@triton.jit
def steps(si, sj, sk):
    """Offsets of the next voxel along each axis; 0 along an axis of one voxel."""
    along_i = tl.minimum(si - 1, 1) * sj * sk
    along_j = tl.minimum(sj - 1, 1) * sk
    return along_i, along_j, tl.minimum(sk - 1, 1)


@triton.jit
def voxel_of(n, sj, sk):
    """Index along the three axes of the flat index ``n`` in C order."""
    row = n // sk
    return row // sj, row % sj, n % sk


@triton.jit
def value_and_slopes(image, di, dj, dk, fi, fj, fk, live):
    """Trilinear value in a cell, and its derivatives along the three axes.

    ``image`` points at the low corner of every cell; ``di, dj, dk`` are :func:`steps`.
    """
    a000 = tl.load(image, mask=live, other=0.0).to(tl.float32)
    a001 = tl.load(image + dk, mask=live, other=0.0).to(tl.float32)
    a010 = tl.load(image + dj, mask=live, other=0.0).to(tl.float32)
    a011 = tl.load(image + (dj + dk), mask=live, other=0.0).to(tl.float32)
    a100 = tl.load(image + di, mask=live, other=0.0).to(tl.float32)
    a101 = tl.load(image + (di + dk), mask=live, other=0.0).to(tl.float32)
    a110 = tl.load(image + (di + dj), mask=live, other=0.0).to(tl.float32)
    a111 = tl.load(image + (di + dj + dk), mask=live, other=0.0).to(tl.float32)
    d00, d01, d10, d11 = a001 - a000, a011 - a010, a101 - a100, a111 - a110
    v00, v01, v10, v11 = a000 + fk * d00, a010 + fk * d01, a100 + fk * d10, a110 + fk * d11
    v0, v1 = v00 + fj * (v01 - v00), v10 + fj * (v11 - v10)
    d0, d1 = d00 + fj * (d01 - d00), d10 + fj * (d11 - d10)
    along_j = (v01 - v00) + fi * ((v11 - v10) - (v01 - v00))
    return v0 + fi * (v1 - v0), v1 - v0, along_j, d0 + fi * (d1 - d0)


@triton.jit
def value(image, di, dj, dk, fi, fj, fk, live):
    """The value alone of :func:`value_and_slopes`."""
    v, _, _, _ = value_and_slopes(image, di, dj, dk, fi, fj, fk, live)
    return v


@triton.jit
def vector_at(field, a, b, c, si, sj, sk, live):
    """Interpolate the three components of ``3 i j k`` at a position."""
    i, fi, _ = cell(a, si)
    j, fj, _ = cell(b, sj)
    k, fk, _ = cell(c, sk)
    di, dj, dk = steps(si, sj, sk)
    corner = field + ((i.to(tl.int64) * sj + j) * sk + k)
    plane = tl.full((), 1, tl.int64) * si * sj * sk
    x = value(corner, di, dj, dk, fi, fj, fk, live)
    y = value(corner + plane, di, dj, dk, fi, fj, fk, live)
    z = value(corner + 2 * plane, di, dj, dk, fi, fj, fk, live)
    return x, y, z


@triton.jit
def load_vector(field, n, points, live):
    """The three components of ``3 n`` at ``n``."""
    x = tl.load(field + n, mask=live, other=0.0).to(tl.float32)
    y = tl.load(field + (points + n), mask=live, other=0.0).to(tl.float32)
    z = tl.load(field + (2 * points + n), mask=live, other=0.0).to(tl.float32)
    return x, y, z


@triton.jit
def store_vector(field, n, points, x, y, z, live):
    """Write the three components of ``3 n`` at ``n``."""
    tl.store(field + n, x, mask=live)
    tl.store(field + (points + n), y, mask=live)
    tl.store(field + (2 * points + n), z, mask=live)


@triton.jit
def displaced(u, n, i, j, k, points, ui, uj, uk, qi, qj, qk, live, mode: tl.constexpr):
    """``x + u(x)`` at the voxel ``(i, j, k)``, whose flat index is ``n``.

    ``ui, uj, uk`` is the shape of the displacement's lattice and ``qi, qj, qk`` its voxels per voxel of
    the image; its values are in its own voxels.
    """
    if mode == 2:
        x, y, z = vector_at(u, i * qi, j * qj, k * qk, ui, uj, uk, live)
        x, y, z = x / qi, y / qj, z / qk
    else:
        x, y, z = load_vector(u, n, points, live)
    return i + x, j + y, k + z


@triton.jit
def position(at, n, points, sj, sk, ui, uj, uk, qi, qj, qk, live, mode: tl.constexpr):
    """Where the point ``n`` reads, by the mode: one of :data:`GIVEN`, :data:`DISPLACED`, :data:`COARSE`."""
    if mode == 0:
        x, y, z = load_vector(at, n, points, live)
    else:
        i, j, k = voxel_of(n, sj, sk)
        x, y, z = displaced(at, n, i, j, k, points, ui, uj, uk, qi, qj, qk, live, mode)
    return x, y, z
