"""Runge-Kutta steps through a stationary velocity field, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.registration.kernels.reference.interpolation import sample
from bids_nodereg.registration.tableaus import advance

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.tableaus import Tableau


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


def step(velocity: Tensor, position: Tensor, h: float, tableau: Tableau) -> Tensor:
    """One Runge-Kutta step of size ``h`` from ``position``."""
    stages: list[Tensor] = []
    for row in tableau.a:
        stages.append(sample(velocity, advance(position, h, row, stages)))
    end: Tensor = advance(position, h, tableau.b, stages)
    return end
