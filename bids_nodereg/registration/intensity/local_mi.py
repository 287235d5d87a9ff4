"""Mutual information of intensities within patches, averaged over the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.kernels import warped_histograms
from bids_nodereg.registration.kernels.reference.histograms import joint_histograms
from bids_nodereg.registration.tiling import tiling

if TYPE_CHECKING:
    from torch import Tensor

GROWTH = 1.2207440846057596
"""The root ``g`` of ``g^4 = g + 1``."""

LEAST_SHARE = 0.25
"""A patch with less than this share of the foreground of the fullest patch is left out."""


def local_mutual_information(
    fixed: Tensor,
    moving: Tensor,
    weight: Tensor,
    displacement: Tensor | None = None,
    *,
    bins: int = 16,
    patch: int = 11,
    origin: tuple[int, int, int] = (0, 0, 0),
    normalised: bool = False,
) -> Tensor:
    """Negated mutual information of two images, patch by patch.

    The joint histogram of each patch is over its foreground, with cubic B-spline windows (Mattes et
    al., 2003). The patches' values are averaged with their foreground as weight; a patch with less
    than :data:`LEAST_SHARE` of the foreground of the fullest is left out, because a histogram of few
    voxels looks dependent whatever the images are.

    Parameters
    ----------
    fixed, moving
        ``1 1 i j k``, about in [0, 1]. Values outside are clamped: they count as 0 or 1 and have no
        gradient.
    weight
        ``1 1 i j k``, not negative: the foreground. It gets no gradient.
    displacement
        Where the moving image is read, as :func:`.kernels.warp` takes it; None for where it lies.
    bins
        Bins of each image, 4 or more; [0, 1] spans ``bins - 3`` of them.
    patch
        Edge of a patch in voxels.
    origin
        A voxel where a patch starts, any integers (it acts modulo ``patch``); see
        :func:`patch_origin`.
    normalised
        Return ``1 - 2 I / (H_F + H_M)``, which does not reward large entropies, instead of ``-I``.

    Returns
    -------
    Tensor
        A scalar, the less the better. ``-I`` in nats: 0 for independent intensities, a little less for
        them in small patches (-0.013 in full ones of 11 voxels), as few samples look dependent.
        Normalised: in (0, 1], 1 for independent intensities. Not a number if ``weight`` is zero
        everywhere.

    Raises
    ------
    ValueError
        If ``bins`` is below 4 or ``patch`` below 1.

    Notes
    -----
    Differentiable once, with respect to the displacement, or without one with respect to both images.
    Deterministic on the CPU; in torch on CUDA only under ``torch.use_deterministic_algorithms``.
    """
    if bins < 4 or patch < 1:
        msg = f"local_mutual_information: expected bins >= 4 and patch >= 1, got {bins} and {patch}"
        raise ValueError(msg)
    tiles = tiling(fixed.shape[2:], patch, origin)
    if displacement is None:
        joint = joint_histograms(fixed, moving, weight, bins, tiles)
    else:
        joint = warped_histograms(fixed, moving, displacement, weight, bins, tiles)
    # The windows of a voxel sum to 1 whatever its intensity: the foreground is a constant.
    foreground = joint.detach().sum((1, 2))
    kept = (foreground > 0) & (foreground >= LEAST_SHARE * foreground.max())
    if joint.device.type == "cpu":  # a GPU would have to tell the host how many there are
        joint, foreground, kept = joint[kept], foreground[kept], kept[kept]
    information, entropies = _information(joint / torch.where(kept, foreground, 1)[:, None, None])
    distance = 1 - 2 * information / torch.where(kept, entropies, 1) if normalised else -information
    share = torch.where(kept, foreground, 0)
    return (share * distance).sum() / share.sum()


def patch_origin(iteration: int, patch: int) -> tuple[int, int, int]:
    """Where patches start in an iteration of an optimiser: elsewhere in each, evenly over all.

    A grid that stays would let a warp follow the edges of its patches. The origins are fractional
    parts of multiples of the powers of 1 / g, ``g^4 = g + 1``, which spread over the cube as the
    golden ratio's do over a line (M. Roberts, "The unreasonable effectiveness of quasirandom
    sequences", 2018), so no random number is drawn.
    """
    i, j, k = (int(patch * (iteration * GROWTH**-power % 1)) for power in (1, 2, 3))
    return i, j, k


def _information(joint: Tensor) -> tuple[Tensor, Tensor]:
    """Mutual information and sum of the marginal entropies of ``n a b``, ``n`` each, in nats."""
    marginals = _entropy(joint.sum(2)) + _entropy(joint.sum(1))
    return marginals - _entropy(joint.flatten(1)), marginals


def _entropy(probability: Tensor) -> Tensor:
    """Entropy of each row. An empty bin gives 0 and a finite slope (``xlogy`` would give none)."""
    return -(probability * probability.clamp_min(torch.finfo(probability.dtype).tiny).log()).sum(1)
