"""Trilinear interpolation of vectors in a lattice cell, and its transposes, for compiled loops.

A field lies packed, ``n 4``: voxel after voxel the three components and a zero. A place is a voxel, ``base``,
and a shift from it, both vectors ``(i, j, k, 0)``: the shift alone is rounded, not the whole index. Beyond
the lattice counts its edge.
"""

from __future__ import annotations

from typing import Any

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.vectors import (
    between,
    clamp,
    floor,
    four,
    lane0,
    lane1,
    lane2,
    load4,
    load8,
    lower,
    row_of,
    smaller,
    store4,
    upper,
)

# Contraction only: reassociation would let the compiler change the order of sums.
FAST = {"contract", "arcp", "nsz"}


@compiled(forceinline=True, fastmath=FAST)
def find(base: Any, shift: Any, last: Any, plane: int, line: int) -> tuple[int, Any]:
    """Row of the first voxel of a place's cell, and the three fractions beyond it.

    ``last`` is the last voxel of the lattice, ``plane`` and ``line`` are the rows to a step along ``i`` and
    ``j``.
    """
    most = last - base
    clamped = clamp(shift, base * -1, most)
    low = smaller(floor(clamped), most - 1)
    return row_of(base + low, plane, line), clamped - low


@compiled(forceinline=True, fastmath=FAST)
def value(field: Any, row: int, fraction: Any, plane: int, line: int) -> Any:
    """The vector at a place."""
    near0, far0 = load8(field, row), load8(field, row + line)
    near1, far1 = load8(field, row + plane), load8(field, row + plane + line)
    fi, fj, fk = lane0(fraction), lane1(fraction), lane2(fraction)
    v0, v1 = near0 + (far0 - near0) * fj, near1 + (far1 - near1) * fj
    both = v0 + (v1 - v0) * fi
    return lower(both) + (upper(both) - lower(both)) * fk


@compiled(forceinline=True, fastmath=FAST)
def slope(field: Any, row: int, fraction: Any, plane: int, line: int, along: Any) -> Any:
    """Derivative of ``along . value`` with respect to the place."""
    near0, far0 = load8(field, row), load8(field, row + line)
    near1, far1 = load8(field, row + plane), load8(field, row + plane + line)
    fi, fj, fk = lane0(fraction), lane1(fraction), lane2(fraction)
    d0, d1 = far0 - near0, far1 - near1
    v0, v1 = near0 + d0 * fj, near1 + d1 * fj
    by_i, by_j = v1 - v0, d0 + (d1 - d0) * fi
    both = v0 + by_i * fi
    by_k = (upper(both) - lower(both)) * along
    by_i4 = (lower(by_i) + (upper(by_i) - lower(by_i)) * fk) * along
    by_j4 = (lower(by_j) + (upper(by_j) - lower(by_j)) * fk) * along
    return four(total(by_i4), total(by_j4), total(by_k))


@compiled(forceinline=True, fastmath=FAST)
def total(vector: Any) -> Any:
    """Sum of the three components."""
    return lane0(vector) + lane1(vector) + lane2(vector)


@compiled(forceinline=True, fastmath=FAST)
def add(field: Any, row: int, fraction: Any, plane: int, line: int, amount: Any) -> None:
    """Add a vector to the eight voxels of a cell, each with its weight at the place."""
    fi, fj, fk = lane0(fraction), lane1(fraction), lane2(fraction)
    # Four numbers at a time, not eight: the next point reads what this one wrote, voxel by voxel.
    far = amount * fi
    near = amount - far
    _add_line(field, row, near - near * fj, fk)
    _add_line(field, row + line, near * fj, fk)
    _add_line(field, row + plane, far - far * fj, fk)
    _add_line(field, row + plane + line, far * fj, fk)


@compiled(forceinline=True, fastmath=FAST)
def _add_line(field: Any, row: int, amount: Any, fk: Any) -> None:
    far = amount * fk
    store4(field, row, load4(field, row) + (amount - far))
    store4(field, row + 1, load4(field, row + 1) + far)


@compiled(forceinline=True, fastmath=FAST)
def inside(base: Any, shift: Any, last: Any) -> Any:
    """1 for each axis along which a place lies within the lattice, else 0: an edge value has no slope.

    On the edge itself it has none either, as in torch's ``grid_sample``.
    """
    return between(shift, base * -1, last - base)
