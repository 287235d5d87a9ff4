"""How far a map moves points, how smooth it is, and how well two maps undo or equal each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.floating]
    Mask = NDArray[np.bool_]

_ENTRIES = ((0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1))
"""Those of a symmetric matrix, each once."""

_BLOCK = 1 << 16
"""Voxels whose products are summed at a time, in float64."""


def magnitude_mm(displacement_mm: Field) -> NDArray[np.float32]:
    """Length in mm of each vector of a field ``(i, j, k, 3)``."""
    squared = np.einsum("...c,...c->...", displacement_mm, displacement_mm)
    return np.asarray(np.sqrt(squared), np.float32)


def error_measures(error_mm: NDArray[np.floating], mask: Mask, name: str) -> dict[str, float]:
    """Mean, 95th percentile and maximum in a mask as ``<name>_mean_mm``, ``_p95_mm``, ``_max_mm``."""
    inside = error_mm[mask]
    if inside.size == 0:
        return {}
    return {
        f"{name}_mean_mm": float(inside.mean(dtype=float)),
        f"{name}_p95_mm": float(np.percentile(inside, 95)),
        f"{name}_max_mm": float(inside.max()),
    }


def endpoint_error_mm(displacement_mm: Field, truth_mm: Field) -> NDArray[np.float32]:
    """Distance in mm between where two fields ``(i, j, k, 3)`` on one grid send each voxel."""
    return magnitude_mm(np.asarray(displacement_mm, np.float32) - np.asarray(truth_mm, np.float32))


def inverse_consistency_error_mm(
    there_mm: Field, back_mm: Field, affine: NDArray[np.floating], mask: Mask
) -> NDArray[np.float32]:
    """How far a point is from its start after going there and back: ``|u(x) + w(x + u(x))|``.

    Parameters
    ----------
    there_mm, back_mm
        ``u`` and ``w``, ``(i, j, k, 3)`` in RAS mm on one grid; ``w`` is interpolated linearly and
        is zero outside the grid.
    affine
        4 x 4 matrix of the grid, voxel index to RAS mm.
    mask
        ``(i, j, k)``, where to compute it.

    Returns
    -------
    ndarray
        ``(i, j, k)`` in mm, zero outside the mask.
    """
    to_index = np.linalg.inv(np.asarray(affine, float)[:3, :3])
    there = np.asarray(there_mm[mask], float)
    landing = np.argwhere(mask).T + to_index @ there.T
    error = np.zeros(mask.shape, np.float32)
    rest = there
    for component in range(3):
        rest[:, component] += ndimage.map_coordinates(back_mm[..., component], landing, order=1, cval=0.0)
    error[mask] = np.linalg.norm(rest, axis=1)
    return error


def bending_energy(displacement_mm: Field, affine: NDArray[np.floating], mask: Mask) -> float:
    """Mean of the squared second derivatives of ``u`` over a mask, in 1/mm^2.

    ``sum_c sum_ab (d^2 u_c / dx_a dx_b)^2`` with world axes a, b: zero for every affine map
    (Rueckert et al., IEEE TMI 18, 1999, equation 6, as a mean). Voxels at the border of the grid
    have no second derivative and are left out.

    Parameters
    ----------
    displacement_mm
        ``u``, ``(i, j, k, 3)`` in RAS mm.
    affine
        4 x 4 matrix of the grid, voxel index to RAS mm.
    mask
        ``(i, j, k)``, where to take the mean.
    """
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1, 1:-1] = mask[1:-1, 1:-1, 1:-1]
    low, high = _bounding_box(inner)
    if (high <= low).any():
        return 0.0
    box = tuple(slice(a - 1, b + 1) for a, b in zip(low, high, strict=True))
    centre = inner[box][1:-1, 1:-1, 1:-1]
    to_index = np.linalg.inv(np.asarray(affine, float)[:3, :3])
    # H_world = P^T H_index P, so |H_world|^2 = trace(G H G H) with G = P P^T.
    metric = to_index @ to_index.T
    turned = [metric @ _unit(a, b) for a, b in _ENTRIES]
    # A quadratic form of the six entries of H: its mean needs no more than the mean products of the entries.
    form = np.array([[np.trace(one @ other) for other in turned] for one in turned])
    products = np.zeros_like(form)
    for component in range(3):
        values = np.asarray(displacement_mm[..., component][box], np.float32)
        entries = _second_derivatives(values, centre)
        for start in range(0, entries.shape[1], _BLOCK):
            block = entries[:, start : start + _BLOCK].astype(float)
            products += block @ block.T
    return float((form * products).sum()) / int(centre.sum())


def _unit(a: int, b: int) -> NDArray[np.float64]:
    """The symmetric 3 x 3 matrix with ones at one place and its mirror place."""
    unit = np.zeros((3, 3))
    unit[a, b] = unit[b, a] = 1
    return unit


def _second_derivatives(values: NDArray[np.float32], centre: Mask) -> NDArray[np.float32]:
    """Second differences in voxels of a mask on the inner voxels, ``(6, n)`` as :data:`_ENTRIES`."""

    def shifted(*steps: tuple[int, int]) -> NDArray[np.float32]:
        offset = [0, 0, 0]
        for axis, step in steps:
            offset[axis] += step
        box = tuple(slice(1 + o, size - 1 + o) for o, size in zip(offset, values.shape, strict=True))
        return np.asarray(values[box][centre])

    twice = 2 * shifted()
    entries = np.empty((len(_ENTRIES), twice.size), np.float32)
    for entry, (a, b) in zip(entries, _ENTRIES, strict=True):
        if a == b:
            entry[:] = shifted((a, 1)) - twice + shifted((a, -1))
        else:
            mixed = shifted((a, 1), (b, 1)) - shifted((a, 1), (b, -1))
            entry[:] = (mixed + shifted((a, -1), (b, -1)) - shifted((a, -1), (b, 1))) / 4
    return entries


def _bounding_box(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and one past last index of a mask along each axis; equal when it is empty."""
    where = np.argwhere(mask)
    if where.size == 0:
        return np.zeros(3, np.intp), np.zeros(3, np.intp)
    return where.min(0), where.max(0) + 1
