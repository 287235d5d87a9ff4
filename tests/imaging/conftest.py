"""One scene for all geometric tests: oblique, anisotropic, left-handed, every grid different.

The helpers hang on the scene, so that tests need no import from this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap, forward_map, inverse_map
from bids_nodereg.imaging.volume import Volume

MAX_DISPLACEMENT_MM = 5.0


@dataclass(frozen=True)
class Scene:
    fixed: Grid
    moving: Grid
    working: Grid
    image: np.ndarray  # moving image
    labels: np.ndarray  # on the moving grid
    affine: np.ndarray  # fixed world -> moving world
    forward: DisplacementField
    inverse: DisplacementField

    def forward_map(self) -> SpatialMap:
        return forward_map(self.affine, self.forward)

    def inverse_map(self) -> SpatialMap:
        return inverse_map(self.affine, self.inverse)

    def moving_volume(self) -> Volume:
        return Volume(self.image, self.moving, Path("moving.nii.gz"), np.dtype(np.float32))

    def label_volume(self) -> Volume:
        return Volume(self.labels, self.moving, Path("labels.nii.gz"), np.dtype(np.int16))

    def fixed_volume(self) -> Volume:
        image = smooth_image(self.fixed.shape, seed=11)
        return Volume(image, self.fixed, Path("fixed.nii.gz"), np.dtype(np.float32))

    @staticmethod
    def points(grid: Grid) -> np.ndarray:
        """World positions of all voxel centres, (i, j, k, 3)."""
        return grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))

    @staticmethod
    def interior(grid: Grid, points: np.ndarray) -> np.ndarray:
        """Which world points lie at least one voxel inside a grid."""
        index = grid.to_index(points)
        return ((index > 1) & (index < np.asarray(grid.shape) - 2)).all(axis=-1)


def oblique_grid(shape, spacing, angles, centre, flip=1) -> Grid:
    """A grid around a world point; flip=-1 makes it left-handed."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing * [flip, 1, 1]
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, affine)


def smooth_field(grid: Grid, seed: int, max_mm: float = MAX_DISPLACEMENT_MM) -> DisplacementField:
    """Smooth random displacements that fall to exactly zero on the grid's boundary."""
    noise = np.random.default_rng(seed).standard_normal((*grid.shape, 3))
    vectors = np.stack([ndimage.gaussian_filter(noise[..., axis], 5.0) for axis in range(3)], -1)
    edge = [np.minimum(np.arange(size), np.arange(size)[::-1]) for size in grid.shape]
    depth = np.min(np.meshgrid(*edge, indexing="ij"), axis=0)
    vectors *= np.sin(np.clip(depth / 9, 0, 1) * np.pi / 2)[..., None]
    vectors *= max_mm / np.linalg.norm(vectors, axis=-1).max()
    return DisplacementField(grid, vectors.astype(np.float32))


def inverse_field(field: DisplacementField) -> DisplacementField:
    """w with z + w(z) = x for z = x + u(x), by fixed point iteration w = -u(z + w)."""
    nodes = field.grid.to_world(np.moveaxis(np.indices(field.grid.shape), 0, -1))
    w = np.zeros_like(nodes)
    for _ in range(40):
        w = -field.at(nodes + w)
    return DisplacementField(field.grid, w.astype(np.float32))


def smooth_image(shape, seed: int) -> np.ndarray:
    """Smooth blobs with values from 0 to 1000."""
    image = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0)
    return (1000 * (image - image.min()) / np.ptp(image)).astype(np.float32)


def make_scene() -> Scene:
    fixed = oblique_grid((24, 31, 19), (1.0, 1.7, 2.3), (12, -8, 20), (5, -7, 11), flip=-1)
    moving = oblique_grid((29, 22, 27), (1.4, 1.9, 1.5), (-9, 14, -25), (9, -3, 6))
    working = oblique_grid((27, 33, 29), (1.6, 1.6, 1.6), (12, -8, 20), (5, -7, 11))
    linear = Rotation.from_euler("xyz", (5, -4, 7), degrees=True).as_matrix() @ np.diag([1.05, 0.95, 1.1])
    affine = np.eye(4)
    affine[:3, :3] = linear + np.array([[0, 0.04, 0], [0, 0, 0], [0.03, 0, 0]])
    affine[:3, 3] = moving.centre - affine[:3, :3] @ fixed.centre + [1.0, -0.7, 0.5]
    forward = smooth_field(working, seed=3)
    image = smooth_image(moving.shape, seed=5)
    labels = np.array([0, 7, 2000, 41], np.int16)[np.digitize(image, [450, 550, 650])]
    return Scene(fixed, moving, working, image, labels, affine, forward, inverse_field(forward))


@pytest.fixture(scope="session")
def scene() -> Scene:
    return make_scene()
