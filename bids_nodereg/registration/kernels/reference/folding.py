"""The folding barrier and the test for folds, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from bids_nodereg.registration.determinants import corner_determinants, tetrahedron_determinants

SLAB = 16
"""Cells along the first axis handled at once: the determinants of a whole 1 mm brain would be ten volumes."""


def folding_barrier(displacement: Tensor, epsilon: float) -> Tensor:
    """Mean of ``relu(epsilon - det J)^2`` over all corner determinants of ``1 3 i j k``; a scalar."""
    return torch.relu(epsilon - corner_determinants(displacement)).square().mean()


def folded_cells(displacement: Tensor) -> Tensor:
    """Cells ``1 1 i-1 j-1 k-1`` in which one of the ten determinants is not positive; boolean."""
    rows = []
    for start in range(0, displacement.shape[2] - 1, SLAB):
        slab = displacement[:, :, start : start + SLAB + 1]
        least = torch.minimum(
            corner_determinants(slab).amin(1, keepdim=True),
            tetrahedron_determinants(slab).amin(1, keepdim=True),
        )
        rows.append(~(least > 0))  # so that a number that is none counts as folded
    return torch.cat(rows, 2)
