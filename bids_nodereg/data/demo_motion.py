"""Smooth, invertible motions with a known inverse, for the demo data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter
from scipy.spatial.transform import Rotation

from bids_nodereg.geometry import Grid, apply_affine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]

TAPER_MM = 20.0
"""The velocity falls to zero over this distance from the border of its box."""
VELOCITY_SPACING_MM = 6.0
MAP_SPACING_MM = 4.0


@dataclass(frozen=True, eq=False)
class SplineField:
    """A vector field given everywhere by cubic B-splines.

    Attributes
    ----------
    coefficients
        ``(3, i, j, k)``, components in RAS+ mm.
    grid
        Where the knots are.
    """

    coefficients: NDArray[np.float64]
    grid: Grid

    def at(self, points: Points) -> Points:
        """Evaluate at world points ``(..., 3)`` in mm; same shape."""
        index = np.moveaxis(self.grid.to_index(points), -1, 0)
        parts = [
            map_coordinates(part, index, order=3, mode="mirror", prefilter=False)
            for part in self.coefficients
        ]
        return np.stack(parts, axis=-1)

    def scaled(self, factor: float) -> SplineField:
        """Return the same field with all vectors multiplied by a number."""
        return SplineField(self.coefficients * factor, self.grid)


@dataclass(frozen=True, eq=False)
class Motion:
    """A known invertible map of the world: a diffeomorphism, then a rigid move.

    ``forward(x) = R(exp(v)(x))`` and ``inverse(y) = exp(-v)(R^-1(y))``.

    Attributes
    ----------
    velocity
        Stationary velocity in mm per unit time, or None for no deformation.
    rigid
        4 x 4 matrix.
    steps
        Runge-Kutta steps over the unit time.
    """

    velocity: SplineField | None
    rigid: NDArray[np.float64]
    steps: int = 10

    def forward(self, points: Points) -> Points:
        """Follow the flow, then move rigidly; world points ``(..., 3)`` in mm."""
        if self.velocity is not None:
            points = flow(self.velocity, points, steps=self.steps)
        return apply_affine(self.rigid, points)

    def inverse(self, points: Points) -> Points:
        """Undo :meth:`forward`; world points ``(..., 3)`` in mm."""
        points = apply_affine(np.linalg.inv(self.rigid), points)
        if self.velocity is None:
            return points
        return flow(self.velocity.scaled(-1), points, steps=self.steps)


def box_grid(low: Points, high: Points, spacing_mm: float) -> Grid:
    """Cover a world box by an isotropic lattice along the world axes."""
    shape = np.ceil((high - low) / spacing_mm).astype(int) + 1
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = low
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def lattice(grid: Grid) -> Points:
    """World positions ``(i, j, k, 3)`` in mm of all voxel centres of a grid."""
    return grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))


def random_velocity(
    rng: np.random.Generator, low: Points, high: Points, scales: dict[float, float]
) -> SplineField:
    """Draw a smooth random velocity that is zero at the border of a box.

    Parameters
    ----------
    rng
        Source of the random numbers.
    low, high
        Corners of the box, RAS+ mm.
    scales
        Standard deviation in mm of each Gaussian the white noise is smoothed with -> weight of it.

    Returns
    -------
    SplineField
        With a root mean square of one mm per unit time and component.
    """
    grid = box_grid(low, high, VELOCITY_SPACING_MM)
    field = np.zeros((3, *grid.shape))
    for sigma_mm, weight in scales.items():
        noise = rng.standard_normal((3, *grid.shape))
        smooth = np.stack([gaussian_filter(part, sigma_mm / VELOCITY_SPACING_MM) for part in noise])
        field += weight * smooth / smooth.std()
    points = lattice(grid)
    depth = np.clip(
        np.minimum(points - grid.corners().min(0), grid.corners().max(0) - points) / TAPER_MM, 0, 1
    )
    taper = (3 * depth**2 - 2 * depth**3).prod(axis=-1)
    field *= taper
    return SplineField(field / field.std(), grid)


def flow(velocity: SplineField, points: Points, *, steps: int) -> Points:
    """Follow a stationary velocity for one unit of time with the classical Runge-Kutta scheme."""
    h = 1 / steps
    for _ in range(steps):
        k1 = velocity.at(points)
        k2 = velocity.at(points + h / 2 * k1)
        k3 = velocity.at(points + h / 2 * k2)
        k4 = velocity.at(points + h * k3)
        points = points + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return points


def scale_to_reach(velocity: SplineField, points: Points, reach_mm: float, *, steps: int = 10) -> SplineField:
    """Scale a velocity so that its flow moves the farthest-moved of some points by a given distance."""
    factor = 1.0
    for _ in range(4):
        moved = flow(velocity.scaled(factor), points, steps=steps) - points
        factor *= reach_mm / float(np.linalg.norm(moved, axis=-1).max())
    return velocity.scaled(factor)


def rigid_about(
    centre: Points, axis: tuple[float, float, float], angle_deg: float, shift_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Rotate about an axis through a point, then shift: 4 x 4 matrix on RAS+ mm."""
    matrix = np.eye(4)
    unit = np.asarray(axis) / np.linalg.norm(axis)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(angle_deg) * unit).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + np.asarray(shift_mm)
    return matrix


def tabulate(inverse_of: Motion, low: Points, high: Points) -> SplineField:
    """Store the inverse deformation (without the rigid part) as an interpolating spline displacement.

    Integrating at each of the millions of points that an image needs would take hours; a cubic
    spline through the exact map on a 4 mm lattice differs from it by micrometres.
    """
    grid = box_grid(low, high, MAP_SPACING_MM)
    points = lattice(grid)
    if inverse_of.velocity is None:
        return SplineField(np.zeros((3, *grid.shape)), grid)
    moved = flow(inverse_of.velocity.scaled(-1), points, steps=inverse_of.steps) - points
    parts = [spline_filter(moved[..., axis], order=3, mode="mirror") for axis in range(3)]
    return SplineField(np.stack(parts), grid)
