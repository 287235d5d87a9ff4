"""How strongly the velocity is held smooth at each place.

The paper (Rodriguez-Sanz & Hernandez 2025, section V-B) leaves weights that vary in space as an open
question. Here they come from the images, or from a map given with the pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from bids_nodereg.registration.smoothing import box
from bids_nodereg.registration.warp import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair

SOFTEST = 0.25
"""Least stiffness where both images have the clearest structure; 1 is the mean over the mask."""


def stiffness_on(
    pair: ImagePair, shape: Sequence[int], spatial: Literal["uniform", "confidence"]
) -> Tensor | None:
    """Relative weight of the gradient penalty on the velocity lattice.

    Parameters
    ----------
    pair
        The images of a level and the map given with them, if any.
    shape
        The velocity lattice, over the same extent.
    spatial
        `uniform`, or `confidence` for a weight out of the images.

    Returns
    -------
    Tensor or None
        ``1 1 i j k``; None where it is 1 everywhere.
    """
    stiffness = pair.stiffness
    if spatial == "confidence":
        own = from_confidence(pair)
        stiffness = own if stiffness is None else own * stiffness
    return None if stiffness is None else resize(stiffness, shape)


def from_confidence(pair: ImagePair) -> Tensor:
    """Stiffness that is low where both images have structure, ``1 1 i j k``, mean 1 over the masks.

    Structure is ``s = V / (V + mean V)`` in [0, 1), with ``V`` the squared intensity gradient in a box
    of three voxels and its mean over the mask. A descriptor is confident where both images have it, so
    the smaller ``s`` counts: stiffness is proportional to ``max(1 - s, SOFTEST)``.
    """
    structure = torch.minimum(
        _structure(pair.fixed, pair.fixed_mask, pair.fixed_cost),
        _structure(pair.moving, pair.moving_mask, pair.moving_cost),
    )
    stiffness = (1 - structure).clamp_min(SOFTEST)
    weight = torch.maximum(pair.fixed_mask, pair.moving_mask)
    return stiffness / ((stiffness * weight).sum() / weight.sum().clamp_min(1)).clamp_min(SOFTEST)


def _structure(image: Tensor, mask: Tensor, cost: Tensor | None) -> Tensor:
    """``V / (V + mean V)`` with central differences; none in an excluded region."""
    slopes = torch.gradient(image, dim=(2, 3, 4))
    energy = box(torch.stack([slope.square() for slope in slopes]).sum(0), 1)
    mean = (energy * mask).sum() / mask.sum().clamp_min(1)
    structure = energy / (energy + mean.clamp_min(torch.finfo(image.dtype).tiny ** 0.25))
    return structure if cost is None else structure * cost
