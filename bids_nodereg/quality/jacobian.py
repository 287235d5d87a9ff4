"""Jacobian determinants of a map ``x -> x + u(x)`` and the measures of folding that follow.

The determinant does not depend on the coordinates it is written in: with ``M`` the grid's linear
part, ``det(d phi_world) = det(M (I + d u_index) M^-1) = det(I + d u_index)``. So everything here
works on displacements in voxels, and oblique, anisotropic and left-handed grids come out right.

Differences that would need a voxel outside the grid are replaced by the one inside (linear
extrapolation), so that a linear map has its exact determinant up to the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Mask = NDArray[np.bool_]

SLAB_VOXELS = 2**18
"""Voxels worked on at a time: small enough for the cache, large enough to hide Python."""

MIDDLE_TETRAHEDRA = (
    ((0, 1, 1), (1, 0, 1), (1, 1, 0)),
    ((-1, -1, 0), (-1, 0, -1), (0, -1, -1)),
)
"""Where, seen from one corner, the other corners of a cube's middle tetrahedron are: ahead and back."""

PERCENTILES = ("min", "p01", "p05", "median", "p95", "p99", "max")
"""What is told of the distribution of the determinant, as it stands in the keys."""

LOG_FLOOR = 1e-3
"""Determinants below this are raised to it before a logarithm is taken."""


@dataclass(frozen=True, eq=False)
class DigitalDiffeomorphism:
    """What ten finite-difference determinants per voxel say (Liu et al., IJCV 2024).

    Attributes
    ----------
    smallest
        ``(i, j, k)``, smallest of the ten determinants, each scaled so that the identity has 1.
    negative_volume
        ``(i, j, k)``, volume in voxels that the map turns inside out, see :func:`digital_diffeomorphism`.
    central
        ``(i, j, k)``, determinant by central differences, one-sided at borders: for pictures and
        percentiles. It can miss folds.
    """

    smallest: Floats
    negative_volume: Floats
    central: Floats

    @property
    def folded(self) -> Mask:
        """``(i, j, k)``, voxels at which the map is not a digital diffeomorphism."""
        return np.asarray(~(self.smallest > 0))  # so that a number that is none counts as folded


def digital_diffeomorphism(
    displacement_mm: NDArray[np.floating], affine: NDArray[np.floating]
) -> DigitalDiffeomorphism:
    """Judge a map by ten finite-difference determinants at every voxel.

    Eight come from the combinations of forward and backward differences: each is the signed
    volume of a tetrahedron at a corner of a cube of eight voxel centres. A cube falls into four
    such corners and one tetrahedron in its middle, in two ways; the middles with a corner at the
    voxel, of the cubes ahead of it and behind it, are determinants nine and ten. The map, made
    continuous by linear interpolation on the tetrahedra, is invertible only where all are positive.

    The non-diffeomorphic volume is the volume of the tetrahedra with a negative determinant, averaged
    over the two ways: ``1/2 sum_i max(0, -V_i)`` with ``V = det / 6`` for corners and ``det / 3``
    for middles (``det`` scaled to 1 for the identity).

    Parameters
    ----------
    displacement_mm
        ``u``, ``(i, j, k, 3)`` in RAS mm.
    affine
        4 x 4 matrix of the grid, voxel index to RAS mm.

    References
    ----------
    Liu, Chen, Wei, Carass, Prince: On Finite Difference Jacobian Computation in Deformable Image
    Registration. International Journal of Computer Vision 132, 2024.
    """
    shape = displacement_mm.shape[:3]
    smallest, negative = np.full(shape, np.inf, np.float32), np.zeros(shape, np.float32)
    central = np.empty(shape, np.float32)
    for rows, edges in _slabs(displacement_mm, affine):
        mean = [0.5 * (backward + forward) for backward, forward in edges.one_sided]
        central[rows] = _dot(mean[0], _cross(mean[1], mean[2]))
        for determinant, volume in edges.ten_determinants():
            np.minimum(smallest[rows], determinant, out=smallest[rows])
            negative[rows] -= np.float32(0.5 * volume) * np.minimum(determinant, 0)
    return DigitalDiffeomorphism(smallest, negative, central)


def jacobian_measures(digital: DigitalDiffeomorphism, mask: Mask) -> dict[str, float]:
    """Folding and volume change of ``x + u(x)`` inside a mask; keys are those of the dictionary."""
    inside, voxels = digital.central[mask], int(mask.sum())
    if voxels == 0:
        return {}
    folded = int(np.count_nonzero(digital.folded & mask))
    p01, p05, p50, p95, p99 = np.percentile(inside, [1, 5, 50, 95, 99])
    return {
        "folded_voxels": float(folded),
        "folded_fraction": folded / voxels,
        "non_diffeomorphic_volume_fraction": float(digital.negative_volume[mask].sum(dtype=float) / voxels),
        "central_folded_fraction": float(np.mean(inside <= 0)),
        "jacobian_smallest_of_ten": float(digital.smallest[mask].min()),
        "jacobian_min": float(inside.min()),
        "jacobian_p01": float(p01),
        "jacobian_p05": float(p05),
        "jacobian_median": float(p50),
        "jacobian_p95": float(p95),
        "jacobian_p99": float(p99),
        "jacobian_max": float(inside.max()),
        "sd_log_jacobian": float(np.log(np.maximum(inside, LOG_FLOOR), dtype=float).std()),
        "sd_log_jacobian_learn2reg": _learn2reg_sd_log(digital.central, mask),
    }


def whole_map_measures(residual: Mapping[str, float], affine_determinant: float) -> dict[str, float]:
    """Jacobian of the whole map, affine and deformation, from that of the deformation alone.

    ``det D(A (x + u)) = det A det(I + Du)`` at every point, so every percentile is scaled by ``det A``
    (where that is positive, which keeps their order).

    Parameters
    ----------
    residual
        What :func:`jacobian_measures` gave.
    affine_determinant
        ``det A``, fixed world to moving world.

    Returns
    -------
    dict
        ``whole_jacobian_<which>`` for each ``jacobian_<which>`` but the smallest of ten.
    """
    stem = "jacobian_"
    names = [f"{stem}{which}" for which in PERCENTILES]
    return {f"whole_{name}": affine_determinant * residual[name] for name in names if name in residual}


def _learn2reg_sd_log(determinant: Floats, mask: Mask) -> float:
    """Spread of ``ln(J + 3)``, two border voxels left out, as the Learn2Reg challenge scores it.

    Hering et al., IEEE TMI 42, 2023. The offset makes it smaller than the plain measure.
    """
    trim = tuple(slice(2, -2) if size > 4 else slice(None) for size in mask.shape)
    inside = determinant[trim][mask[trim]]
    return float(np.log(np.clip(inside + 3.0, 1e-9, 1e9), dtype=float).std()) if inside.size else 0.0


@dataclass(frozen=True, eq=False)
class _Edges:
    """Images of the grid's edges around each voxel of a slab, component first: ``(3, i, j, k)``."""

    one_sided: tuple[tuple[Floats, Floats], ...]  # per axis: backward, forward
    displaced: Floats  # displacement in voxels, one voxel more at each end: (3, i + 2, j + 2, k + 2)

    def ten_determinants(self) -> Iterator[tuple[Floats, float]]:
        """Yield each determinant, scaled to 1 for the identity, with its tetrahedron's volume."""
        along_i, along_j, along_k = self.one_sided
        for edge_j, edge_k in product(along_j, along_k):
            area = _cross(edge_j, edge_k)
            for edge_i in along_i:
                yield _dot(edge_i, area), 1 / 6
        for ends in MIDDLE_TETRAHEDRA:
            a, b, c = (self._edge_to(end) for end in ends)
            yield np.float32(0.5) * _dot(a, _cross(b, c)), 1 / 3

    def _edge_to(self, step: tuple[int, int, int]) -> Floats:
        """Vector between the images of each voxel and of its neighbour ``step`` away."""
        lattice = np.array(step, np.float32)[:, None, None, None]
        return self._shifted(step) - self._shifted((0, 0, 0)) + lattice

    def _shifted(self, step: tuple[int, int, int]) -> Floats:
        sizes = self.displaced.shape[1:]
        i, j, k = (slice(1 + by, size - 1 + by) for by, size in zip(step, sizes, strict=True))
        return self.displaced[:, i, j, k]


def _slabs(
    displacement_mm: NDArray[np.floating], affine: NDArray[np.floating]
) -> Iterator[tuple[slice, _Edges]]:
    """Cut a field into slabs along its first axis and give the displaced edges of each."""
    size_i, size_j, size_k = displacement_mm.shape[:3]
    to_index = np.linalg.inv(np.asarray(affine, float)[:3, :3]).astype(np.float32)
    step = max(1, SLAB_VOXELS // (size_j * size_k))
    for start in range(0, size_i, step):
        stop = min(start + step, size_i)
        low, high = max(start - 1, 0), min(stop + 1, size_i)
        slab = np.asarray(displacement_mm[low:high], np.float32)
        vectors = (to_index @ slab.reshape(-1, 3).T).reshape(3, *slab.shape[:3])
        missing = (int(start == 0), int(stop == size_i))
        yield slice(start, stop), _edges(_extrapolate(vectors, missing))


def _extrapolate(vectors: Floats, missing: tuple[int, int]) -> Floats:
    """Continue a slab linearly by one voxel where the grid ends."""
    for axis, width in enumerate((missing, (1, 1), (1, 1)), start=1):
        pad = [(0, 0)] * 4
        pad[axis] = width
        if vectors.shape[axis] > 1:
            vectors = np.pad(vectors, pad, mode="reflect", reflect_type="odd")
        else:
            vectors = np.pad(vectors, pad, mode="edge")
    return vectors


def _edges(displaced: Floats) -> _Edges:
    """Backward and forward edge vectors at the inner voxels of a padded slab."""
    inner = slice(1, -1)
    one_sided = []
    for axis in range(3):
        keep = (slice(None), *(slice(None) if other == axis else inner for other in range(3)))
        difference = np.diff(displaced, axis=axis + 1)[keep]
        difference[axis] += 1
        ahead = np.moveaxis(difference, axis + 1, 0)
        one_sided.append((np.moveaxis(ahead[:-1], 0, axis + 1), np.moveaxis(ahead[1:], 0, axis + 1)))
    return _Edges(tuple(one_sided), displaced)


def _cross(a: Floats, b: Floats) -> Floats:
    """Cross product of vectors whose components lie along the first axis."""
    result = np.empty_like(a)
    for axis in range(3):
        second, third = (axis + 1) % 3, (axis + 2) % 3
        np.subtract(a[second] * b[third], a[third] * b[second], out=result[axis])
    return result


def _dot(a: Floats, b: Floats) -> Floats:
    """Scalar product of vectors whose components lie along the first axis."""
    total: Floats = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return total
