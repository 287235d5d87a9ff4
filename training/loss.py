"""InfoNCE over places: the same place in the other view against other places."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.registration.warp import sample
from training.views import corresponding

if TYPE_CHECKING:
    from torch import Tensor

    from training.chance import Chance
    from training.views import View

SHELL_MM = (2.0, 15.0)
"""Distance of the hard negatives from their anchor, near ones more often (its logarithm is uniform)."""

NEAR_VOXELS = 1.2
"""A place this near the anchor is neither positive nor negative."""

GROUP = 4
"""An anchor and its hard negatives; every one of them is an anchor too."""


def info_nce(first: Tensor, second: Tensor, places: Tensor, temperature: float) -> Tensor:
    """Mean of ``-log softmax`` of the true place, both ways.

    Parameters
    ----------
    first, second
        Unit vectors ``n c`` of the same places in two views.
    places
        ``n 3`` in voxels; places nearer than :data:`NEAR_VOXELS` are not told apart.
    temperature
        Similarities are divided by it.
    """
    near = torch.cdist(places, places) < NEAR_VOXELS
    near.fill_diagonal_(False)  # noqa: FBT003 # a torch method that takes its value by position
    similarity = (first @ second.T / temperature).masked_fill(near, -torch.inf)
    target = torch.arange(len(first), device=first.device)
    forth = functional.cross_entropy(similarity, target)
    back = functional.cross_entropy(similarity.T, target)
    return 0.5 * (forth + back)


def sample_places(first: View, second: View, count: int, chance: Chance) -> tuple[Tensor, Tensor]:
    """Draw places in the mask of both views, half of the anchors at label boundaries.

    Returns
    -------
    tuple of Tensor
        ``n 3`` voxel positions in the first and in the second view, ``n`` at most ``count``.
    """
    mask = first.mask[0, 0] > 0
    anchors = max(1, count // GROUP)
    half = anchors // 2
    boundary = _boundary(first.labels) & mask
    drawn = torch.cat([_draw(boundary, half, chance), _draw(mask, anchors - half, chance)])
    directions = functional.normalize(chance.normals(len(drawn), GROUP - 1, 3), dim=-1)
    low, high = (math.log(length / first.spacing_mm) for length in SHELL_MM)
    lengths = chance.uniforms(low, high, (len(drawn), GROUP - 1, 1)).exp()
    shell = (drawn[:, None] + directions * lengths.clamp_min(1.5)).round().view(-1, 3)
    places = torch.cat([drawn, shell])
    there = corresponding(places, first, second)
    usable = _inside(places, mask) & _inside(there, second.mask[0, 0] > 0)
    return places[usable], there[usable]


def features_at(features: Tensor, places: Tensor) -> Tensor:
    """Unit vectors ``n c`` of channels ``1 c i j k`` interpolated at voxel positions ``n 3``."""
    at = places.T.reshape(1, 3, -1, 1, 1)
    return functional.normalize(sample(features, at)[0, :, :, 0, 0].T, dim=1)


def _boundary(labels: Tensor) -> Tensor:
    """Voxels with a neighbour of another label."""
    result = torch.zeros_like(labels, dtype=torch.bool)
    for axis in range(3):
        size = labels.shape[axis]
        differs = labels.narrow(axis, 1, size - 1) != labels.narrow(axis, 0, size - 1)
        result.narrow(axis, 1, size - 1).logical_or_(differs)
        result.narrow(axis, 0, size - 1).logical_or_(differs)
    return result


def _draw(where: Tensor, count: int, chance: Chance) -> Tensor:
    voxels = where.nonzero()
    if len(voxels) == 0:
        return voxels.new_zeros(0, 3).float()
    return voxels[chance.wholes(0, len(voxels), (count,))].float()


def _inside(places: Tensor, mask: Tensor) -> Tensor:
    """Whether the nearest voxel is in the mask."""
    nearest = places.round().long()
    limits = torch.tensor(mask.shape, device=places.device)
    within = ((nearest >= 0) & (nearest < limits)).all(1)
    i, j, k = torch.minimum(nearest.clamp_min(0), limits - 1).unbind(1)
    return within & mask[i, j, k]
