"""Measures on intensities, beside the descriptors: squares, local correlation, local mutual information.

Each is a distance of two images ``1 1 i j k`` on one lattice under a weight ``1 1 i j k``: a scalar, the
less the better. Only voxels of positive weight count. Where the weight is zero everywhere there is no
distance, and the value is not a number. Each is a row of :data:`INTENSITY_MEASURES`, which reads the
moving image at ``x + u(x)`` and is differentiable with respect to ``u``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bids_nodereg.registration.intensity.correlation import local_correlation, mean_squared_error
from bids_nodereg.registration.intensity.local_mi import local_mutual_information, patch_origin
from bids_nodereg.registration.kernels import warp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from bids_nodereg.registration.settings import DescriptorSettings, SimilarityName

__all__ = ["INTENSITY_MEASURES", "local_correlation", "local_mutual_information", "mean_squared_error"]


ORIGINS = 8
"""Places the patch grid takes in turn: as many as a window of iterations that is compared with the next."""


class IntensityMeasure(Protocol):
    """From two images, a displacement and a weight to a distance."""

    def __call__(
        self,
        fixed: Tensor,
        moving: Tensor,
        displacement: Tensor,
        weight: Tensor,
        iteration: int,
        settings: DescriptorSettings,
    ) -> Tensor:
        """Compare ``1 1 i j k``, the moving one read at ``x + u(x)`` (see :func:`.kernels.warp`).

        ``iteration`` is for a measure that shifts its patches. Returns a scalar.
        """
        ...


def _squares(
    fixed: Tensor,
    moving: Tensor,
    displacement: Tensor,
    weight: Tensor,
    iteration: int,
    settings: DescriptorSettings,
) -> Tensor:
    del iteration, settings
    return mean_squared_error(fixed, warp(moving, displacement), weight)


def _correlation(
    fixed: Tensor,
    moving: Tensor,
    displacement: Tensor,
    weight: Tensor,
    iteration: int,
    settings: DescriptorSettings,
) -> Tensor:
    del iteration
    return local_correlation(fixed, warp(moving, displacement), weight, radius=settings.window_radius)


def _information(
    fixed: Tensor,
    moving: Tensor,
    displacement: Tensor,
    weight: Tensor,
    iteration: int,
    settings: DescriptorSettings,
) -> Tensor:
    patch = 2 * settings.window_radius + 1
    return local_mutual_information(
        fixed,
        moving,
        weight,
        displacement,
        bins=settings.bins,
        patch=patch,
        origin=patch_origin(iteration % ORIGINS, patch),
    )


INTENSITY_MEASURES: Mapping[SimilarityName, IntensityMeasure] = {
    "mse": _squares,
    "lncc": _correlation,
    "lmi": _information,
}
