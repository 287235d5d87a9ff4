"""Interpolation on the lattice and composition of maps, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.registration.lattice import identity

if TYPE_CHECKING:
    from torch import Tensor


def sample(image: Tensor, at: Tensor) -> Tensor:
    """Interpolate ``image`` (``b c i j k``) at ``at`` (``b 3 x y z``, voxel index), edges outside.

    The only caller of ``grid_sample``. Torch wants positions in [-1, 1] with the last axis
    first; both conversions happen here and nowhere else.
    """
    last_index = torch.tensor(image.shape[2:], dtype=at.dtype, device=at.device).view(1, 3, 1, 1, 1) - 1
    unit = 2 * at / last_index - 1
    last_axis_first = unit.flip(1).movedim(1, -1)
    return functional.grid_sample(image, last_axis_first, padding_mode="border", align_corners=True)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Displacement of ``(id + outer) o (id + inner)``; both ``b 3 i j k`` on the same lattice."""
    return inner + sample(outer, identity(inner.shape[2:], inner) + inner)
