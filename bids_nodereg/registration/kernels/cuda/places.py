"""Where points lie in a lattice: given, or as voxels moved by a displacement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_nodereg.registration.kernels.cuda.cells import COARSE, DISPLACED, GIVEN

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Places:
    """Points at which a lattice is read; see :func:`.cells.position`.

    Attributes
    ----------
    lattice
        Shape of what is read.
    at
        ``3 n``, contiguous: positions, or displacements by the mode.
    points
        How many.
    displacement_lattice
        Shape of the displacement's own lattice.
    mode
        One of :data:`.cells.GIVEN`, :data:`.cells.DISPLACED`, :data:`.cells.COARSE`.
    """

    lattice: Shape
    at: Tensor
    points: int
    displacement_lattice: Shape
    mode: int

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Voxels of the displacement's lattice per voxel of the lattice."""
        i, j, k = (
            (own - 1) / max(size - 1, 1)
            for own, size in zip(self.displacement_lattice, self.lattice, strict=True)
        )
        return i, j, k

    @property
    def arguments(self) -> tuple[Tensor | float, ...]:
        """What a kernel takes, from ``at`` to ``mode``."""
        return (self.at, self.points, *self.lattice, *self.displacement_lattice, *self.ratios, self.mode)


def given(lattice: Shape, at: Tensor) -> Places:
    """Points at positions ``1 3 x y z`` in voxel index."""
    flat = at.detach().contiguous()
    return Places(lattice, flat, flat.numel() // 3, lattice, GIVEN.value)


def moved(lattice: Shape, displacement: Tensor) -> Places:
    """Every voxel moved by ``1 3 x y z``, in voxels of its own lattice over the same extent."""
    i, j, k = displacement.shape[2:]
    mode = DISPLACED if (i, j, k) == lattice else COARSE
    return Places(lattice, displacement.detach().contiguous(), math.prod(lattice), (i, j, k), mode.value)
