"""Grids and fields with known answers for the tests of this folder."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from bids_nodereg.geometry import Grid

SHAPE = (14, 19, 11)


def awkward_grid() -> Grid:
    """Oblique, anisotropic, left-handed, of odd sizes."""
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", [20, -35, 70], degrees=True).as_matrix()
    affine[:3, :3] = rotation @ np.diag([-1.0, 1.7, 2.3])
    affine[:3, 3] = [12.0, -40.0, 7.0]
    return Grid(SHAPE, affine)


def canonical_grid() -> Grid:
    """Oblique by a few degrees and anisotropic, axes to R, A and S, off the world's origin."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", 8, degrees=True).as_matrix() @ np.diag([2.0, 2.0, 3.0])
    affine[:3, 3] = [-30.0, -50.0, 20.0]
    return Grid((32, 40, 24), affine)


def world_points(grid: Grid) -> np.ndarray:
    """World position of every voxel, ``(i, j, k, 3)``."""
    return grid.to_world(np.stack(np.indices(grid.shape), -1))
