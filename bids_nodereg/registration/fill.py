"""Continue an image beyond its mask, so that what looks at neighbours sees no background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.lattice import constants
from bids_nodereg.registration.smoothing import separable

if TYPE_CHECKING:
    from torch import Tensor


def fill_outside(image: Tensor, mask: Tensor, reach: int) -> Tensor:
    """Replace everything outside a mask by a continuation of its inside.

    Layer by layer, an unknown voxel next to known ones takes their mean, with binomial weights over
    the 26 neighbours (normalised averaging: H. Knutsson and C.-F. Westin, CVPR 1993). An average
    continues the tissue but not its noise, which nearest values would draw out into rays.

    Parameters
    ----------
    image
        ``1 1 i j k``; its values outside the mask, of whatever kind, have no influence.
    mask
        ``1 1 i j k``, positive inside.
    reach
        Layers to continue, in voxels (a diagonal step counts as one). Beyond them stands the mean of
        the inside: one number, where a continuation all the way would cost as many passes as the
        background is wide. A descriptor needs the distance it looks from its voxel: ``offset +
        patch_radius`` for MIND-SSC.

    Returns
    -------
    Tensor
        ``1 1 i j k``: inside the very bits of ``image``. An empty mask has nothing to continue and
        returns ``image`` as it is. Differentiable with respect to ``image``; deterministic.
    """
    inside = mask > 0
    known = inside
    filled = torch.where(inside, image, 0)
    mean = filled.sum() / inside.sum().clamp_min(1)
    taps = constants([0.25, 0.5, 0.25], image)
    for _ in range(reach):
        total, share = separable(torch.cat([filled, known.to(image.dtype)]), taps).split(1)
        filled = torch.where(known, filled, total / torch.where(share > 0, share, 1))
        known = share > 0
    filled = torch.where(known, filled, mean)
    return torch.where(inside.any(), filled, image)
