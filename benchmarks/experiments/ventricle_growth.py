"""A known diffeomorphism that makes the lateral ventricles larger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from cases import VENTRICLE
from scipy import ndimage

from bids_nodereg.data.demo_motion import Motion, SplineField, box_grid, lattice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.imaging.volume import Volume

REACH_MM = 15.0
"""Standard deviation of the Gaussian in distance from the ventricle by which the push fades."""

SMOOTH_MM = 4.0
LATTICE_MM = 4.0
PROBE_MM = 2.5
LARGEST_PUSH_MM = 40.0


def growing_motion(labels: Volume, growth: float) -> Motion:
    """Flow away from the ventricles, scaled until their volume is ``growth`` times the old one.

    The velocity is the smoothed gradient of the signed distance from the ventricles: it diverges
    inside them, pushes outwards around them and fades further away, so the skull stays where it is.
    """
    velocity = _outward(labels)
    points, old = _surroundings(labels)
    low, high = 0.0, LARGEST_PUSH_MM
    for _ in range(12):
        push = (low + high) / 2
        came_from = Motion(velocity.scaled(push), np.eye(4), steps=5).inverse(points)
        low, high = (push, high) if _inside(labels, came_from).sum() < growth * old else (low, push)
    return Motion(velocity.scaled((low + high) / 2), np.eye(4))


def _outward(labels: Volume) -> SplineField:
    """Velocity away from the ventricles, about 1 mm per unit time at their surface."""
    ventricle = labels.data == VENTRICLE
    spacing = labels.grid.spacing
    distance = ndimage.distance_transform_edt(~ventricle, sampling=spacing) - ndimage.distance_transform_edt(
        ventricle, sampling=spacing
    )
    slope = np.stack(np.gradient(ndimage.gaussian_filter(distance, 2 / np.mean(spacing)), *spacing))
    axes = labels.grid.affine[:3, :3] / np.array(spacing)  # columns: unit vectors of the voxel axes
    push = np.einsum("ab,bijk->aijk", axes, slope)
    push *= np.exp(-0.5 * (np.maximum(distance, 0) / REACH_MM) ** 2)
    grid = box_grid(labels.grid.corners().min(0), labels.grid.corners().max(0), LATTICE_MM)
    index = np.moveaxis(labels.grid.to_index(lattice(grid)), -1, 0)
    sigma = SMOOTH_MM / np.array(spacing)
    smooth = [ndimage.gaussian_filter(part, sigma, mode="nearest") for part in push]
    parts = [ndimage.map_coordinates(part, index, order=1, mode="nearest") for part in smooth]
    return SplineField(np.stack(parts), grid)


def _surroundings(labels: Volume) -> tuple[NDArray[np.float64], int]:
    """World points of a lattice around the ventricles, and how many of them lie inside."""
    where = labels.grid.to_world(np.argwhere(labels.data == VENTRICLE))
    points = lattice(box_grid(where.min(0) - 2 * REACH_MM, where.max(0) + 2 * REACH_MM, PROBE_MM))
    return points, int(_inside(labels, points).sum())


def _inside(labels: Volume, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether world points ``(..., 3)`` lie in the ventricles."""
    index = np.moveaxis(labels.grid.to_index(points), -1, 0)
    ventricle = (labels.data == VENTRICLE).astype(np.float32)
    return np.asarray(ndimage.map_coordinates(ventricle, index, order=1) > 0.5)
