"""A head that is known everywhere: tissues, two contrasts and a warp, as functions of world points.

Everything lives in the world (RAS+ mm) of the fixed image, so that an image on any grid is one
evaluation and the truth is exact. Files are written with nibabel alone, not with the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from pathlib import Path

CENTRE = np.array([4.0, -6.0, 9.0])
RADII = np.array([32.0, 40.0, 30.0])
EDGE_MM = 1.2  # width of the soft border between tissues
BLOB = np.array([-14.0, 9.0, 4.0])  # landmark on the subject's left, from the centre; its label is 5
BLOB_RADIUS_MM = 6.0

# intensity by label: background, fluid, cortex, white matter, nuclei, landmark
T1W = np.array([0.0, 180.0, 520.0, 900.0, 640.0, 330.0])
T2W = np.array([0.0, 1000.0, 560.0, 300.0, 420.0, 800.0])


def affine_of(shape, spacing, angles, centre, flip=1) -> np.ndarray:
    """Voxel to world of a grid around a world point; flip=-1 makes it left-handed."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing * [flip, 1, 1]
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


FIXED_SHAPE, MOVING_SHAPE = (39, 37, 27), (31, 43, 33)
FIXED = affine_of(FIXED_SHAPE, (2.4, 3.0, 3.6), (20, -14, 36), np.add(CENTRE, [1, 2, -1]), flip=-1)
MOVING = affine_of(MOVING_SHAPE, (3.4, 2.6, 3.0), (14, -21, 27), np.add(CENTRE, [8, -9, 6]))


def points_of(shape, affine) -> np.ndarray:
    """World positions of all voxel centres, (i, j, k, 3)."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def soft_labels(points: np.ndarray) -> np.ndarray:
    """Share of each label at world points: ``(..., 6)``, summing to one."""
    p = points - CENTRE
    depth_mm = (1 - np.linalg.norm(p / RADII, axis=-1)) * RADII.mean()
    x, y, z = np.moveaxis(p, -1, 0)
    folds = 2.5 * np.sin(x / 4.1 + 0.6) * np.sin(y / 5.3) + 2.0 * np.sin(z / 4.7 + x / 9.0 + 1.1)
    layers = [
        (1, depth_mm),
        (2, depth_mm - 2.0),
        (3, depth_mm - 7.5 + folds),
        (4, _ball(p, [10.0, 3.0, -3.0], [7.0, 9.0, 6.0])),
        (4, _ball(p, [-9.0, -8.0, -4.0], [6.0, 8.0, 7.0])),
        (1, _ball(p, [2.0, -4.0, 8.0], [4.0, 13.0, 4.5])),
        (1, _ball(p, [9.0, -19.0, 5.0], [4.0, 5.0, 6.0])),
        (5, _ball(p, BLOB, [BLOB_RADIUS_MM] * 3)),
    ]
    shares = np.zeros((*points.shape[:-1], 6))
    shares[..., 0] = 1
    for label, inside_mm in layers:
        weight = 1 / (1 + np.exp(-np.clip(inside_mm / EDGE_MM * 2, -30, 30)))
        shares *= 1 - weight[..., None]
        shares[..., label] += weight
    return shares


def _ball(p, centre, radii) -> np.ndarray:
    """Depth in mm (about) inside an ellipsoid."""
    return (1 - np.linalg.norm((p - centre) / radii, axis=-1)) * np.mean(radii)


@dataclass(frozen=True)
class Warp:
    """Truth: fixed world points to moving world points, ``y = A (x + u(x))``."""

    affine: np.ndarray
    centres: np.ndarray
    vectors: np.ndarray
    sigma_mm: float = 11.0

    def displacement(self, points: np.ndarray) -> np.ndarray:
        away = points[..., None, :] - self.centres
        weights = np.exp(-np.sum(away**2, -1) / (2 * self.sigma_mm**2))
        return weights @ self.vectors

    def __call__(self, points: np.ndarray) -> np.ndarray:
        moved = points + self.displacement(points)
        return moved @ self.affine[:3, :3].T + self.affine[:3, 3]

    def back(self, points: np.ndarray) -> np.ndarray:
        """Moving world points to fixed ones."""
        inverse = np.linalg.inv(self.affine)
        start = points @ inverse[:3, :3].T + inverse[:3, 3]
        found = start
        for _ in range(40):
            found = start - self.displacement(found)
        return found


def truth() -> Warp:
    """Four degrees, five millimetres, two percent, and bumps of a few millimetres."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (4, -3, 5), degrees=True).as_matrix() * [1.02, 0.98, 1.01]
    affine[:3, 3] = CENTRE - affine[:3, :3] @ CENTRE + [4.0, -5.0, 3.0]
    random = np.random.default_rng(7)
    centres = CENTRE + random.uniform(-0.6, 0.6, (7, 3)) * RADII
    return Warp(affine, centres, random.choice([-1, 1], (7, 3)) * random.uniform(1.5, 3.2, (7, 3)))


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def fixed_shares() -> np.ndarray:
    return soft_labels(points_of(FIXED_SHAPE, FIXED))


def moving_shares() -> np.ndarray:
    return soft_labels(truth().back(points_of(MOVING_SHAPE, MOVING)))


def image_of(shares: np.ndarray, intensities: np.ndarray, seed: int) -> np.ndarray:
    """Image with 1 % of noise inside the head and an exactly zero background."""
    noise = np.random.default_rng(seed).normal(0, 6, shares.shape[:-1])
    return np.where(shares[..., 0] > 0.5, 0, np.clip(shares @ intensities + noise, 1, None))


def labels_of(shares: np.ndarray) -> np.ndarray:
    return np.argmax(shares, -1)
