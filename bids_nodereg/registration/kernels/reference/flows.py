"""Runge-Kutta steps through a stationary velocity field, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.registration.kernels.reference.interpolation import sample
from bids_nodereg.registration.lattice import identity, lattice_ratio
from bids_nodereg.registration.tableaus import advance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from bids_nodereg.registration.tableaus import Leg, Tableau


def carry(velocity: Tensor, position: Tensor, h: float, steps: int, tableau: Tableau) -> Tensor:
    """Carry points along a stationary field by ``steps`` Runge-Kutta steps of size ``h``.

    Parameters
    ----------
    velocity
        ``1 3 i j k`` in voxels per unit time.
    position
        ``1 3 x y z`` in voxel index of the velocity lattice.
    h
        Step size; the time that passes is ``steps * h``.
    steps
        Number of steps.
    tableau
        The scheme.

    Returns
    -------
    Tensor
        New positions, differentiable with respect to velocity and position.
    """
    for _ in range(steps):
        position = step(velocity, position, h, tableau)
    return position


def carry_lattice(
    velocity: Tensor, shape: tuple[int, int, int], legs: Sequence[Leg], tableau: Tableau
) -> Tensor:
    """Displacement of every point of a lattice that is carried through the fields of its legs in turn.

    Parameters
    ----------
    velocity
        ``n 3 i j k`` in voxels of its lattice per unit time: ``n`` stationary fields.
    shape
        Lattice ``x y z`` of the points, over the same extent (corner on corner).
    legs
        Which field, how many steps and of what size, in order of passing.
    tableau
        The scheme.

    Returns
    -------
    Tensor
        ``1 3 x y z`` in voxels of the lattice ``shape``, differentiable with respect to the velocity.
    """
    ratio = lattice_ratio(velocity.shape[2:], shape, velocity)
    points = identity(shape, velocity) / ratio
    moved = points
    for leg in legs:
        moved = carry(velocity[leg.part : leg.part + 1], moved, leg.h, leg.steps, tableau)
    return (moved - points) * ratio


def step(velocity: Tensor, position: Tensor, h: float, tableau: Tableau) -> Tensor:
    """One Runge-Kutta step of size ``h`` from ``position``."""
    stages: list[Tensor] = []
    for row in tableau.a:
        stages.append(sample(velocity, advance(position, h, row, stages)))
    end: Tensor = advance(position, h, tableau.b, stages)
    return end
