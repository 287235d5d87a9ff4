"""MIND and MIND-SSC in torch.

Sources and formulas stand in :mod:`bids_nodereg.registration.descriptors.mind`.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.registration.kernels.reference.filters import box, gaussian

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.settings import DescriptorSettings

Offset = tuple[int, int, int]

FACE_NEIGHBOURS: tuple[Offset, ...] = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))

# The 12 pairs of face neighbours that are not opposite each other: sqrt(2) apart.
SSC_PAIRS: tuple[tuple[Offset, Offset], ...] = tuple(
    (a, b)
    for a, b in combinations(FACE_NEIGHBOURS, 2)
    if sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) == 2
)

# Bounds of the local variance relative to its mean, as in the 2013 method's public uses.
SSC_VARIANCE_BOUNDS = (1e-3, 1e3)


def mind(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """MIND (2012); arguments, formula and result as told at :func:`.descriptors.mind.mind`."""
    sigma = settings.patch_sigma

    def distance(offset: Offset) -> Tensor:
        return gaussian((image - shifted(image, offset, settings.offset)).square(), sigma)

    faces = torch.cat([distance(offset) for offset in FACE_NEIGHBOURS], 1)
    variance = faces.mean(1, keepdim=True)
    mean = masked_mean(variance, mask)
    low, high = torch.minimum(mean.sqrt(), mean.square()), torch.maximum(mean.sqrt(), mean.square())
    variance = _clamp(variance, low, high)
    distances = faces
    if settings.search_radius > 0:
        distances = torch.cat([distance(offset) for offset in dense_search_region(settings.search_radius)], 1)
    # exp(-D/V) / max exp(-D/V) = exp(-(D - min D) / V), which cannot underflow.
    return torch.exp(-(distances - distances.amin(1, keepdim=True)) / variance)


def mind_ssc(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """MIND-SSC (2013); arguments, formula and result as told at :func:`.descriptors.mind.mind_ssc`."""
    neighbours = {offset: shifted(image, offset, settings.offset) for offset in FACE_NEIGHBOURS}
    differences = torch.cat([neighbours[a] - neighbours[b] for a, b in SSC_PAIRS], 1)
    distances = box(differences.square(), settings.patch_radius)
    above_least = distances - distances.amin(1, keepdim=True)
    variance = above_least.mean(1, keepdim=True)
    mean = masked_mean(variance, mask)
    variance = _clamp(variance, SSC_VARIANCE_BOUNDS[0] * mean, SSC_VARIANCE_BOUNDS[1] * mean)
    return torch.exp(-above_least / variance)


def dense_search_region(radius: int) -> tuple[Offset, ...]:
    """All offsets within a cube of the given half-width, but the centre."""
    steps = range(-radius, radius + 1)
    return tuple((i, j, k) for i, j, k in product(steps, repeat=3) if (i, j, k) != (0, 0, 0))


def shifted(image: Tensor, offset: Offset, distance: int) -> Tensor:
    """The image read at ``x + distance * offset``, edges replicated."""
    reach = distance * max(abs(step) for step in offset)
    padded = functional.pad(image, [reach] * 6, mode="replicate")
    for axis, step in enumerate(offset, start=2):
        padded = padded.narrow(axis, reach + distance * step, image.shape[axis])
    return padded


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the mask, as a detached tensor: a constant of the image, and no host synchronisation.

    A tiny floor keeps a constant image from dividing zero by zero.
    """
    values = values.detach()
    if mask is None:
        mean = values.mean()
    else:
        weight = (mask > 0).to(values.dtype)
        mean = (values * weight).sum() / weight.sum().clamp_min(1)
    return mean.clamp_min(_floor(values.dtype))


def floored(mean: float, dtype: torch.dtype) -> float:
    """The mean, at least the tiny floor of :func:`masked_mean`; what is no number stays so."""
    return max(mean, _floor(dtype))


def _floor(dtype: torch.dtype) -> float:
    return float(torch.finfo(dtype).tiny ** 0.25)


def _clamp(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(values, low), high)
