"""MIND and MIND-SSC: local self-similarity as a description that outlives a change of contrast.

M. P. Heinrich et al., "MIND: Modality independent neighbourhood descriptor for multi-modal
deformable registration", Medical Image Analysis 16(7), 2012 (equations 2 to 4), and M. P. Heinrich
et al., "Towards realtime multimodal fusion for image-guided interventions using self-similarities",
MICCAI 2013 (self-similarity context).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.registration import kernels
from bids_nodereg.registration.kernels.reference.self_similarity import SSC_PAIRS

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.settings import DescriptorSettings

__all__ = ["SSC_PAIRS", "mind", "mind_ssc"]


def mind(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """MIND (2012): ``exp(-D(x, x + r) / V(x))``, scaled so that the largest channel is 1.

    ``D`` is the Gaussian-weighted squared difference of the patches at ``x`` and ``x + r``, ``V``
    its mean over the six face neighbours, held between the square root and the square of its mean
    over the mask.

    Parameters
    ----------
    image
        ``1 1 i j k``.
    mask
        Where the mean of ``V`` is taken, or None for everywhere.
    settings
        ``search_radius`` 0 gives 6 channels, 1 gives 26; ``offset`` is their distance in voxels and
        ``patch_sigma`` the width of the patch.

    Returns
    -------
    Tensor
        ``1 c i j k`` in (0, 1].
    """
    return kernels.mind(image, mask, settings)


def mind_ssc(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """MIND with self-similarity context (2013): pairs of neighbours, never the centre voxel.

    For each of the 12 pairs of face neighbours at distance ``offset``, ``D`` is the mean squared
    difference over a box of ``2 patch_radius + 1`` voxels; the descriptor is ``exp(-(D - min D)/V)``
    with ``V`` the mean over the pairs of ``D - min D``, held within :data:`SSC_VARIANCE_BOUNDS` times its
    mean over the mask.

    Returns
    -------
    Tensor
        ``1 12 i j k`` in (0, 1].
    """
    return kernels.mind_ssc(image, mask, settings)
