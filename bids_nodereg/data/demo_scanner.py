"""From a continuous anatomy to the voxels of one simulated acquisition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial.transform import Rotation

from bids_nodereg.data.demo_anatomy import CHANNELS
from bids_nodereg.data.demo_motion import SplineField, lattice
from bids_nodereg.geometry import Grid, apply_affine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.data.demo_anatomy import Anatomy
    from bids_nodereg.data.demo_motion import Points

SAMPLE_MM = 1.2
"""The anatomy is read at least this densely inside each voxel, then averaged (partial volume)."""
MARGIN_MM = 5.0


@dataclass(frozen=True)
class Contrast:
    """How bright each tissue is.

    Attributes
    ----------
    tissue
        Signal of fluid, grey matter and white matter.
    texture
        Gain on the template's within-tissue T1w pattern; negative turns it around.
    own_texture
        Standard deviation of a smooth pattern that only this contrast has.
    noise
        Standard deviation of the noise in both channels of the receiver.
    """

    tissue: tuple[float, float, float]
    texture: float
    own_texture: float
    noise: float


@dataclass(frozen=True)
class Protocol:
    """Where a scanner would put the voxels.

    Attributes
    ----------
    spacing_mm
        Voxel size along i, j, k.
    towards
        Closest world direction of each array axis: three letters out of R, L, A, P, S, I.
    tilt_deg
        Extra rotation about the world's x, y and z axes (an oblique slab).
    """

    spacing_mm: tuple[float, float, float]
    towards: str
    tilt_deg: tuple[float, float, float]

    def grid(self, inside: Points) -> Grid:
        """Return the smallest grid of this protocol that holds world points ``(n, 3)`` with a margin."""
        letters = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
        direction = np.zeros((3, 3))
        for axis, letter in enumerate(self.towards):
            world, sign = letters[letter]
            direction[world, axis] = sign
        direction = Rotation.from_euler("xyz", self.tilt_deg, degrees=True).as_matrix() @ direction
        along = inside @ direction
        spacing = np.asarray(self.spacing_mm)
        low, high = along.min(axis=0) - MARGIN_MM, along.max(axis=0) + MARGIN_MM
        shape = np.ceil((high - low) / spacing).astype(int) + 1
        affine = np.eye(4)
        affine[:3, :3] = direction * spacing
        affine[:3, 3] = direction @ low
        # NIfTI keeps the affine as float32; the voxels are computed where the file will say they are.
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Placement:
    """Which point of the anatomy is seen at a world point: ``x -> a + d(a), a = B x``, chained.

    Attributes
    ----------
    links
        Applied first to last: a 4 x 4 matrix, then a displacement to add at the result.
    """

    links: tuple[tuple[NDArray[np.float64], SplineField | None], ...]

    def to_anatomy(self, points: Points) -> Points:
        """Map world points ``(..., 3)`` of the image to points of the anatomy, mm."""
        for matrix, displacement in self.links:
            points = apply_affine(matrix, points)
            if displacement is not None:
                points = points + displacement.at(points)
        return points


def voxel_averages(anatomy: Anatomy, placement: Placement, grid: Grid) -> NDArray[np.float32]:
    """Average all channels of an anatomy over each voxel.

    The profile across a thick slice is wider than the slice, as a real excitation is; in the
    plane it is close to a box.

    Returns
    -------
    NDArray
        ``(5, i, j, k)``, channels as in :data:`~bids_nodereg.data.demo_anatomy.CHANNELS`.
    """
    spacing = np.asarray(grid.spacing)
    inside = np.ceil(spacing / SAMPLE_MM - 1e-6).astype(int)
    fine_affine = np.eye(4)
    fine_affine[:3, :3] = grid.affine[:3, :3] / inside
    fine_affine[:3, 3] = grid.to_world((1 / inside - 1) / 2)
    i, j, k = (int(size) for size in inside * grid.shape)
    fine = Grid((i, j, k), fine_affine)
    seen = anatomy.at(placement.to_anatomy(lattice(fine)))
    thick = int(np.argmax(spacing))
    seen = gaussian_filter1d(seen, 0.25 * inside[thick], axis=thick + 1)
    split = [part for size, count in zip(grid.shape, inside, strict=True) for part in (size, int(count))]
    averaged: NDArray[np.float32] = seen.reshape(len(seen), *split).mean(axis=(2, 4, 6))
    return averaged


def acquire(
    averages: NDArray[np.float32], grid: Grid, contrast: Contrast, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Make the voxels of an image: contrast, uneven coil, Rician noise; zero outside the brain.

    Parameters
    ----------
    averages
        ``(5, i, j, k)`` of :func:`voxel_averages`.
    grid
        The image's grid.
    contrast
        Brightness and noise; signals of about 1 become about 500 in the file.
    rng
        Source of the noise and of the random smooth patterns.
    """
    tissue, texture, brain = averages[:3], averages[3], averages[CHANNELS.index("brain")]
    signal = np.tensordot(np.asarray(contrast.tissue), tissue, axes=1) + contrast.texture * texture
    signal += contrast.own_texture * _smooth_noise(rng, grid, sigma_mm=4.0) * brain
    signal = np.maximum(signal, 0) * np.exp(0.13 * _smooth_noise(rng, grid, sigma_mm=45.0))
    real, imaginary = rng.standard_normal((2, *grid.shape)) * contrast.noise
    magnitude = np.hypot(signal + real, imaginary)
    magnitude[brain < 0.5] = 0
    voxels: NDArray[np.int16] = np.rint(500 * magnitude).astype(np.int16)
    return voxels


def label(averages: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Name the tissue that fills most of each voxel: 1 fluid, 2 grey, 3 white matter; 0 outside."""
    brain = averages[CHANNELS.index("brain")] >= 0.5
    named: NDArray[np.uint8] = np.where(brain, averages[:3].argmax(axis=0) + 1, 0).astype(np.uint8)
    return named


def _smooth_noise(rng: np.random.Generator, grid: Grid, *, sigma_mm: float) -> NDArray[np.float64]:
    """Draw a smooth random pattern of mean 0 and standard deviation 1 on a grid."""
    sigma_vox = sigma_mm / np.asarray(grid.spacing)
    smooth = gaussian_filter(rng.standard_normal(grid.shape), sigma_vox, mode="wrap")
    pattern: NDArray[np.float64] = (smooth - smooth.mean()) / smooth.std()
    return pattern
