"""From an image as it was read to what registration needs: masks, intensity range, working grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from bids_nodereg.errors import DataError
from bids_nodereg.geometry import Grid, isotropic_grid
from bids_nodereg.imaging.interpolate import linear
from bids_nodereg.imaging.mask import find_mask
from bids_nodereg.imaging.slabs import index_between, slabs_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.imaging.volume import Volume

MIN_MASK_VOXELS = 500
LARGEST_LESION = 0.5
"""Part of the mask beyond which a lesion mask is taken for an inverted one."""

WINDOW_PERCENTILES = (0.5, 99.5)
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image with what is to be registered in it."""

    volume: Volume
    """The image as it was read."""
    mask: NDArray[np.bool_]
    """``(i, j, k)`` on the image's grid: where the brain (or head) is."""
    mask_origin: str
    """Where the mask came from, in words."""
    window: tuple[float, float]
    """Robust lowest and highest intensity inside the mask and outside the lesion."""
    lesion: NDArray[np.bool_] | None = None
    """``(i, j, k)`` on the image's grid: what is not to be compared; None where nothing is left out."""
    unbiased: NDArray[np.float32] | None = None
    """``(i, j, k)``: the image without its bias field; None where it is compared as it was read."""

    @property
    def compared(self) -> NDArray[np.float32]:
        """Intensities that are compared, ``(i, j, k)``; the volume's own are what is written."""
        return self.volume.data if self.unbiased is None else self.unbiased

    @property
    def excluded_ml(self) -> float:
        """Volume of the lesion inside the mask."""
        if self.lesion is None:
            return 0.0
        return float(np.count_nonzero(self.lesion & self.mask)) * self.volume.grid.voxel_volume / 1000


def prepare(
    volume: Volume,
    mask: NDArray[np.bool_] | None = None,
    *,
    mask_origin: str = "given",
    lesion: NDArray[np.bool_] | None = None,
    unbiased: NDArray[np.float32] | None = None,
) -> Prepared:
    """Find mask and intensity range of an image.

    Parameters
    ----------
    volume
        The image.
    mask
        ``(i, j, k)`` on the image's grid; None: found in the image itself
        (:func:`~bids_nodereg.imaging.mask.find_mask`).
    mask_origin
        Where a given mask came from, in words.
    lesion
        ``(i, j, k)`` on the image's grid, True in what is not to be compared (cost-function masking:
        Brett et al., NeuroImage 14, 2001).
    unbiased
        ``(i, j, k)``: the image without its bias field, to be compared in its place.

    Raises
    ------
    DataError
        If the mask is empty or tiny, the image is constant inside it, or the lesion is most of it.
    ValueError
        If a mask is not on the image's grid.
    """
    if mask is None:
        mask, mask_origin = find_mask(volume.data, volume.grid.spacing)
    for each in (mask, lesion):
        if each is not None and each.shape != volume.grid.shape:
            msg = f"prepare: mask of shape {each.shape} does not fit the image, {volume.grid.shape}"
            raise ValueError(msg)
    inside = int(np.count_nonzero(mask))
    if inside < MIN_MASK_VOXELS:
        msg = (
            f"{volume.path}: the mask ({mask_origin}) has {inside} voxels, expected at least "
            f"{MIN_MASK_VOXELS}. Give a mask of the brain for this image, or leave the image out."
        )
        raise DataError(msg)
    mask = np.asarray(mask, dtype=bool)
    compared = mask if lesion is None else _outside_lesion(volume, mask, lesion)
    values = volume.data if unbiased is None else unbiased
    window = _window(values[compared], volume.path, mask_origin)
    return Prepared(volume, mask, mask_origin, window, lesion, unbiased)


def normalise(prepared: Prepared) -> NDArray[np.float32]:
    """Scale intensities so that the window becomes [0, 1], and clip to it; ``(i, j, k)``."""
    low, high = prepared.window
    scaled = (prepared.compared - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0, 1).astype(np.float32, copy=False)


def working_grid(prepared: Prepared, spacing_mm: float, margin_mm: float) -> Grid:
    """Lay an isotropic grid with RAS-like axes over the mask and a margin; it may leave the image.

    Parameters
    ----------
    prepared
        The fixed image.
    spacing_mm
        Distance between voxel centres.
    margin_mm
        Room on each side of the mask's bounding box.
    """
    extents = [
        np.flatnonzero(prepared.mask.any(axis=tuple(other for other in range(3) if other != axis)))
        for axis in range(3)
    ]
    margin = margin_mm / np.asarray(prepared.volume.grid.spacing)
    low = np.array([extent[0] for extent in extents]) - margin
    high = np.array([extent[-1] for extent in extents]) + margin
    return isotropic_grid(prepared.volume.grid, low, high, spacing_mm)


def onto_grid(
    prepared: Prepared, grid: Grid, affine: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sample an image and its mask on a grid, by one linear interpolation.

    Where the image's voxels are finer than the grid's, a Gaussian first takes out what the grid
    cannot hold (:func:`anti_alias_sigma`). Where voxel centres coincide and nothing is finer,
    values are copied. Outside the mask the image is left as it is.

    Parameters
    ----------
    prepared
        The image.
    grid
        Where it is wanted.
    affine
        4 x 4, world points of ``grid`` to world points of the image; None: the same world.

    Returns
    -------
    image
        ``(i, j, k)`` float32 on ``grid``, scaled as :func:`normalise` does; beyond the image its
        edge values continue.
    mask
        ``(i, j, k)`` Boolean; False beyond the image.
    """
    own = prepared.volume.grid
    scaled = normalise(prepared)
    image = smoothly_sampled(scaled, own, grid, None, affine)
    return image, mask_onto_grid(prepared, grid, affine)


def mask_onto_grid(
    prepared: Prepared, grid: Grid, affine: NDArray[np.float64] | None = None
) -> NDArray[np.bool_]:
    """Sample the mask alone, as :func:`onto_grid` does; ``(i, j, k)``, False beyond the image."""
    share = smoothly_sampled(prepared.mask.astype(np.float32), prepared.volume.grid, grid, 0.0, affine)
    return np.asarray(share >= 0.5)


def smoothly_sampled(
    values: NDArray[np.float32],
    own: Grid,
    grid: Grid,
    outside: float | None,
    affine: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Sample one array on a grid, linearly and without aliasing, as :func:`onto_grid` does an image.

    Parameters
    ----------
    values
        ``(i, j, k)`` on ``own``.
    own, grid
        Where the values are, and where they are wanted.
    outside
        Value beyond ``own``; None continues the edge values.
    affine
        4 x 4, world points of ``grid`` to world points of ``own``; None: the same world.

    Returns
    -------
    ndarray
        ``(i, j, k)`` float32 on ``grid``.
    """
    smooth = _smooth(values, anti_alias_sigma(own, grid))[..., np.newaxis]
    sampled = np.empty(grid.shape, np.float32)
    for slab in slabs_of(grid):
        index = index_between(grid, own, slab, affine)
        sampled[slab] = linear(smooth, index, outside=outside).reshape(sampled[slab].shape)
    return sampled


def anti_alias_sigma(own: Grid, wanted: Grid) -> tuple[float, float, float]:
    """Width of the Gaussian to apply before sampling on a coarser grid, in voxels of each own axis.

    A voxel is taken as a Gaussian whose full width at half maximum is its size; the filter adds
    the variance that is missing from the fine to the coarse one (Cardoso et al., MICCAI 2015,
    "Scale factor point spread function matching", section 2). Zero along axes that are not finer.
    """
    coarse_mm = min(wanted.spacing)
    i, j, k = (
        float(np.sqrt(max(0.0, coarse_mm**2 - fine_mm**2)) / FWHM_PER_SIGMA / fine_mm)
        if coarse_mm > fine_mm * 1.001
        else 0.0
        for fine_mm in own.spacing
    )
    return (i, j, k)


def _smooth(values: NDArray[np.float32], sigma: tuple[float, float, float]) -> NDArray[np.float32]:
    if max(sigma) == 0:
        return values
    smoothed: NDArray[np.float32] = ndimage.gaussian_filter(values, sigma, mode="nearest")
    return smoothed


def _outside_lesion(volume: Volume, mask: NDArray[np.bool_], lesion: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What of the mask is left to compare; a lesion that leaves little is refused."""
    compared = mask & ~lesion
    covered = 1 - np.count_nonzero(compared) / np.count_nonzero(mask)
    if covered > LARGEST_LESION:
        msg = (
            f"{volume.path}: the lesion mask covers {covered:.0%} of the brain or head, expected at most "
            f"{LARGEST_LESION:.0%}. It has to be 1 in the lesion and 0 elsewhere: is it inverted? "
            "--no-lesion-mask ignores it."
        )
        raise DataError(msg)
    return compared


def _window(values: NDArray[np.float32], path: Path, mask_origin: str) -> tuple[float, float]:
    """Find the robust range of the values in the mask, or the full range where the robust one is empty."""
    low, high = (float(value) for value in np.percentile(values, WINDOW_PERCENTILES))
    if low == high:
        low, high = float(values.min()), float(values.max())
    if low == high:
        msg = (
            f"{path}: every voxel inside the mask ({mask_origin}) has the value {low:g}; there is "
            "nothing to register. Check that mask and image belong together."
        )
        raise DataError(msg)
    return low, high
