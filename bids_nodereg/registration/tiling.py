"""Cubes that tile a lattice: where local statistics are taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Tiling:
    """Cubes that tile a lattice, cut at its edges.

    Along each axis voxel ``x`` lies in cube ``(x + lead) // patch``, and there are ``counts`` cubes.
    """

    shape: tuple[int, int, int]
    patch: int
    lead: tuple[int, int, int]
    counts: tuple[int, int, int]

    @property
    def patches(self) -> int:
        """How many cubes there are."""
        return self.counts[0] * self.counts[1] * self.counts[2]

    @property
    def boxes(self) -> NDArray[np.int64]:
        """First voxel of each cube and the one behind its last, along i, j, k: ``patches 6``."""
        ranges = []
        for size, lead, count in zip(self.shape, self.lead, self.counts, strict=True):
            edges = (np.arange(count + 1) * self.patch - lead).clip(0, size)
            ranges.append(np.stack([edges[:-1], edges[1:]], 1))
        numbers = np.indices(self.counts).reshape(3, -1)
        return np.hstack([axis[number] for axis, number in zip(ranges, numbers, strict=True)])

    def patch_of(self, voxels: Tensor) -> Tensor:
        """Number of the cube of each voxel, both as flat indices in C order."""
        rest, patch, stride = voxels, torch.zeros_like(voxels), 1
        for size, lead, count in list(zip(self.shape, self.lead, self.counts, strict=True))[::-1]:
            patch = patch + stride * ((rest % size + lead) // self.patch)
            rest, stride = rest // size, stride * count
        return patch


def tiling(shape: Sequence[int], patch: int, origin: Sequence[int]) -> Tiling:
    """Tile a lattice by cubes of ``patch`` voxels, one of which would start at the voxel ``origin``.

    ``origin`` may be any integers: it acts modulo ``patch``.
    """
    si, sj, sk = shape
    i, j, k = (-start % patch for start in origin)
    a, b, c = ((size - 1 + lead) // patch + 1 for size, lead in zip(shape, (i, j, k), strict=True))
    return Tiling((si, sj, sk), patch, (i, j, k), (a, b, c))
