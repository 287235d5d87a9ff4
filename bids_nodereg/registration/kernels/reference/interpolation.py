"""Interpolation on the lattice and composition of maps, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.registration.lattice import constants, identity

if TYPE_CHECKING:
    from torch import Tensor


def sample(image: Tensor, at: Tensor) -> Tensor:
    """Interpolate ``image`` (``b c i j k``) at ``at`` (``b 3 x y z``, voxel index), edges outside.

    The only caller of ``grid_sample``. Torch wants positions in [-1, 1] with the last axis
    first; both conversions happen here and nowhere else.
    """
    last_index = constants([size - 1 for size in image.shape[2:]], at).view(1, 3, 1, 1, 1)
    unit = 2 * at / last_index - 1
    last_axis_first = unit.flip(1).movedim(1, -1)
    return functional.grid_sample(image, last_axis_first, padding_mode="border", align_corners=True)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Displacement of ``(id + outer) o (id + inner)``; both ``b 3 i j k`` on the same lattice."""
    return inner + sample(outer, identity(inner.shape[2:], inner) + inner)


def fixed_point_inverse(forward: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Improve an inverse displacement by the fixed point of ``w = -u(id + w)``; no gradient.

    The residual shrinks by the Lipschitz constant of ``u`` per iteration where that is below 1; elsewhere
    the better of the old and the new value is kept, voxel by voxel.

    Parameters
    ----------
    forward, start
        ``u`` and the ``w`` to start from, ``1 3 i j k`` in voxels.
    iterations
        How often ``w`` is replaced.
    """
    points = identity(forward.shape[2:], forward)
    inverse = start
    proposal = -sample(forward, points + inverse)
    error = (proposal - inverse).square().sum(1, keepdim=True)
    for _ in range(iterations):
        next_proposal = -sample(forward, points + proposal)
        next_error = (next_proposal - proposal).square().sum(1, keepdim=True)
        better = next_error < error
        inverse = torch.where(better, proposal, inverse)
        error = torch.where(better, next_error, error)
        proposal = next_proposal
    return inverse
