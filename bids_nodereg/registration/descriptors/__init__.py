"""Structural descriptors: what is compared instead of intensities.

A descriptor turns an image ``1 1 i j k`` into channels ``1 c i j k`` that depend on local
structure and not on contrast. Each is a row of :data:`DESCRIPTORS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from bids_nodereg.registration.descriptors.contrastive import contrastive
from bids_nodereg.registration.descriptors.mind import mind, mind_ssc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from bids_nodereg.registration.settings import DescriptorSettings, SimilarityName


class Descriptor(Protocol):
    """From an image and its mask to channels."""

    def __call__(self, image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
        """Describe ``image`` (``1 1 i j k``); statistics over ``mask`` only. Returns ``1 c i j k``."""
        ...


def fused(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """Learned features and MIND-SSC side by side, ``1 c i j k``.

    They are scaled so that the mean squared difference over all channels is that of each, weighted by
    ``learned_weight`` and its complement.
    """
    parts = (
        (contrastive(image, mask, settings), settings.learned_weight),
        (mind_ssc(image, mask, settings), 1 - settings.learned_weight),
    )
    channels = sum(part.shape[1] for part, _ in parts)
    return torch.cat([part * (share * channels / part.shape[1]) ** 0.5 for part, share in parts], 1)


DESCRIPTORS: Mapping[SimilarityName, Descriptor] = {
    "mind": mind,
    "mind-ssc": mind_ssc,
    "contrastive": contrastive,
    "contrastive+mind-ssc": fused,
}


def describe(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """Compute the chosen descriptor of an image.

    Parameters
    ----------
    image
        ``1 1 i j k``.
    mask
        ``1 1 i j k``, non-zero where the image is meaningful, or None for everywhere. It enters
        the global statistic of the descriptor only; the values outside are the caller's to ignore.
    settings
        Choice and parameters.

    Returns
    -------
    Tensor
        ``1 c i j k``, differentiable with respect to ``image``.
    """
    return DESCRIPTORS[settings.name](image, mask, settings)


def bounds(settings: DescriptorSettings) -> tuple[float, float]:
    """Least and largest value that the chosen descriptor can have, for :func:`.kernels.stored`."""
    if settings.name == "contrastive":
        return -1.0, 1.0
    if settings.name == "contrastive+mind-ssc":
        learned, other = (2 * share for share in (settings.learned_weight, 1 - settings.learned_weight))
        return -(learned**0.5), max(learned, other) ** 0.5
    return 0.0, 1.0


def masked_distance(fixed: Tensor, moving: Tensor, weight: Tensor) -> Tensor:
    """Mean squared difference of two descriptors ``1 c i j k``, over channels and a weight ``1 1 i j k``.

    The mean is over the sum of the weight, never over all voxels.
    """
    squared = (moving - fixed).square().mean(1, keepdim=True)
    return (squared * weight).sum() / weight.sum()
