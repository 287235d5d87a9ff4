"""How well a descriptor finds a place again in an aligned image of another contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.registration.descriptors import masked_distance

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Retrieval:
    """Where the candidate of least distance lies, over the places that were looked for."""

    within: float
    """Fraction not farther from the truth than the tolerance."""
    error_mm: float
    """Mean distance from the truth."""
    median_rank: float
    """Candidates that are nearer in the descriptor than the truth is: 0 is the best."""


@dataclass(frozen=True)
class Search:
    """Which candidates are compared, and how."""

    reach_voxels: int
    """Candidates are all voxels of the cube of this half-width around the truth."""
    patch_voxels: int
    """Distances are averaged over the cube of this half-width, moved as a whole; 0 for the voxel alone."""
    spacing_mm: float
    tolerance_mm: float


def retrieve(fixed: Tensor, moving: Tensor, places: Tensor, search: Search) -> Retrieval:
    """Look for places of the fixed image in the moving image, both aligned.

    Parameters
    ----------
    fixed, moving
        Descriptors ``1 c i j k`` on one lattice; the same index is the same place.
    places
        ``n 3`` voxel indices, at least ``reach + patch`` from the edges.
    search
        The candidates.
    """
    reach, patch = search.reach_voxels, search.patch_voxels
    width = 2 * reach + 1
    truth = (width**3) // 2
    steps = torch.arange(-reach, reach + 1) * search.spacing_mm
    lengths = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij")).square().sum(0).sqrt().flatten()
    errors, ranks = [], []
    for place in places.tolist():
        window = moving[0][_around(place, reach + patch)]
        piece = fixed[0][_around(place, patch)]
        distances = _patch_distances(piece, window).flatten()
        errors.append(lengths[int(distances.argmin())])
        ranks.append((distances < distances[truth]).sum())
    error = torch.stack(errors)
    return Retrieval(
        within=float((error <= search.tolerance_mm + 1e-6).float().mean()),
        error_mm=float(error.mean()),
        median_rank=float(torch.stack(ranks).float().median()),
    )


def _around(place: list[int], radius: int) -> tuple[slice, ...]:
    if min(place) < radius:
        msg = f"retrieve: place {place} is nearer than {radius} voxels to an edge"
        raise ValueError(msg)
    return (slice(None), *(slice(index - radius, index + radius + 1) for index in place))


def _patch_distances(piece: Tensor, window: Tensor) -> Tensor:
    """Mean squared difference of ``piece`` (``c a a a``) with every place in ``window`` (``c w w w``)."""
    window, piece = window.double(), piece.double()  # the difference of large sums
    size = piece.shape[1]
    cross = functional.conv3d(window[None], piece[None])
    energy = functional.avg_pool3d(window.square().sum(0)[None, None], size, 1) * size**3
    return (energy - 2 * cross + piece.square().sum()) / piece.numel()


def capture(fixed: Tensor, moving: Tensor, mask: Tensor, voxels: int) -> list[float]:
    """Mean descriptor distance in the mask after translations of 0 to ``voxels``, along each axis."""
    curve = []
    for shift in range(voxels + 1):
        values = [masked_distance(fixed, torch.roll(moving, shift, axis), mask) for axis in (2, 3, 4)]
        curve.append(float(torch.stack(values).mean()))
    return curve


def places_in(mask: Tensor, count: int, margin: int, seed: int = 0) -> Tensor:
    """Random voxels ``n 3`` of the mask, ``margin`` from the edges of the lattice."""
    keep = torch.zeros_like(mask[0, 0], dtype=torch.bool)
    middle = slice(margin, -margin)
    keep[middle, middle, middle] = mask[0, 0, middle, middle, middle] > 0
    voxels = keep.nonzero()
    return voxels[torch.randperm(len(voxels), generator=torch.Generator().manual_seed(seed))[:count]]
