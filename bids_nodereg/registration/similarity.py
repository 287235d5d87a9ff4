"""How alike two images are under a displacement: every choice, one interface.

A similarity is built once for a pair and level, and is then a function of the displacement alone.
Structural ones compare descriptors, computed once and warped, or computed anew on the warped image
(the paper's way). The others compare the intensities of the fixed and the warped image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from bids_nodereg.registration.descriptors import DESCRIPTORS, bounds, describe, masked_distance
from bids_nodereg.registration.fill import fill_outside
from bids_nodereg.registration.intensity import INTENSITY_MEASURES
from bids_nodereg.registration.kernels import descriptor_distance, stored, warp
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.warp import sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair
    from bids_nodereg.registration.settings import DescriptorSettings, SimilarityName
    from bids_nodereg.registration.stored import Stored


class Distance(Protocol):
    """A similarity of a given pair; less is more alike."""

    def __call__(self, displacement: Tensor, iteration: int = 0) -> Tensor:
        """Compare the fixed image with the moving one read at ``x + u(x)``.

        Parameters
        ----------
        displacement
            ``u``, ``1 3 x y z`` in voxels of its own lattice over the images' extent, which may be
            coarser than theirs.
        iteration
            Number of the iteration, for a measure that varies its grid.

        Returns
        -------
        Tensor
            A scalar, differentiable with respect to the displacement.
        """
        ...


class BothWays(NamedTuple):
    """``D(F, M o phi)`` as a function of ``phi``, and ``D(M, F o phi^-1)`` of ``phi^-1``."""

    forward: Distance
    backward: Distance


def similarity_of(pair: ImagePair, settings: DescriptorSettings) -> BothWays:
    """Build the chosen similarity for a pair, in both directions.

    Local mutual information joins a structural descriptor with the weight ``lmi_weight``: descriptors see
    edges and fine structure, information sees the tissues between them.
    """
    similarity = SIMILARITIES[settings.name](pair, settings)
    if settings.added_information == 0:
        return similarity
    information = _of_intensities(pair, replace(settings, name="lmi"), Checkerboard)
    return BothWays(
        _sum(similarity.forward, information.forward, settings.lmi_weight),
        _sum(similarity.backward, information.backward, settings.lmi_weight),
    )


def _sum(first: Distance, second: Distance, weight: float) -> Distance:
    def distance(displacement: Tensor, iteration: int = 0) -> Tensor:
        return first(displacement, iteration) + weight * second(displacement, iteration)

    return distance


def _of_descriptors(pair: ImagePair, settings: DescriptorSettings) -> BothWays:
    """Mean squared difference of descriptors, which are computed once: what is warped is the descriptor."""
    if settings.recompute:
        return _of_recomputed_descriptors(pair, settings)
    within = bounds(settings)
    fixed, moving = (
        stored(described(image, mask, settings), within)
        for image, mask in ((pair.fixed, pair.fixed_mask), (pair.moving, pair.moving_mask))
    )

    def one_way(here: Stored, there: Stored, weight: Weight) -> Distance:
        def distance(displacement: Tensor, iteration: int = 0) -> Tensor:
            del iteration
            return descriptor_distance(here, there, displacement, weight(displacement))

        return distance

    return BothWays(
        one_way(fixed, moving, Weight(pair)),
        one_way(moving, fixed, Weight(pair.swapped())),
    )


def _of_recomputed_descriptors(pair: ImagePair, settings: DescriptorSettings) -> BothWays:
    """The same, with the descriptor of the warped image computed anew each time, as the paper does."""

    def one_way(pair: ImagePair) -> Distance:
        mask = pair.fixed_mask
        fixed = described(pair.fixed, mask, settings)

        weight = Weight(pair)

        def distance(displacement: Tensor, iteration: int = 0) -> Tensor:
            del iteration
            warped = described(warp(pair.moving, displacement), mask, settings)
            return masked_distance(fixed, warped, weight(displacement))

        return distance

    return BothWays(one_way(pair), one_way(pair.swapped()))


def _of_intensities(
    pair: ImagePair,
    settings: DescriptorSettings,
    weight_of: Callable[[ImagePair], Weight] | None = None,
) -> BothWays:
    """A measure on the intensities of the still and the warped image, where the weight counts them."""
    measure = INTENSITY_MEASURES[settings.name]

    def one_way(pair: ImagePair) -> Distance:
        weight = (weight_of or Weight)(pair)

        def distance(displacement: Tensor, iteration: int = 0) -> Tensor:
            counts = weight(displacement, iteration)
            return measure(pair.fixed, pair.moving, displacement, counts, iteration, settings)

        return distance

    return BothWays(one_way(pair), one_way(pair.swapped()))


def described(image: Tensor, mask: Tensor, settings: DescriptorSettings) -> Tensor:
    """Descriptor of an image, continued beyond its mask where the settings ask for it."""
    if settings.fill_outside:
        image = fill_outside(image, mask, settings.reach)
    return describe(image, mask, settings)


class Weight:
    """Where the images are compared, given a displacement: ``1 1 i j k`` in [0, 1].

    It is the fixed mask, less what is excluded in either image. It is a constant of the iteration: no
    gradient goes through it. What a descriptor sees of an excluded region from outside is the filling of
    :meth:`ImagePair.without_excluded`.
    """

    def __init__(self, pair: ImagePair) -> None:
        self._fixed = pair.fixed_weight
        self._moving_cost = pair.moving_cost

    @torch.no_grad()
    def __call__(self, displacement: Tensor, iteration: int = 0) -> Tensor:
        """Return the weight for ``u``, ``1 3 x y z`` as :func:`.kernels.warp` takes it."""
        del iteration
        if self._moving_cost is None:
            return self._fixed
        return self._fixed * warp(self._moving_cost, displacement)

    @torch.no_grad()
    def at(self, mapped: Tensor) -> Tensor:
        """Return the weight where each fixed voxel lies at ``mapped``, ``1 3 i j k`` in moving voxels."""
        if self._moving_cost is None:
            return self._fixed
        return self._fixed * sample(self._moving_cost, mapped)


class Checkerboard(Weight):
    """:class:`Weight` on the black and on the white voxels of a checkerboard, in turns.

    A patch keeps half of its samples, spread evenly, and in two iterations all of them count. That halves
    the cost of a measure that is an estimate from samples anyway (docs/results/choices.md).
    """

    def __init__(self, pair: ImagePair) -> None:
        super().__init__(pair)
        i, j, k = identity(pair.fixed.shape[2:], pair.fixed)[0].unbind()
        white = ((i + j + k) % 2)[None, None]
        self._fixed_parts = (self._fixed * (1 - white), self._fixed * white)

    @torch.no_grad()
    def __call__(self, displacement: Tensor, iteration: int = 0) -> Tensor:
        """Return the weight for ``u`` on the voxels whose turn it is."""
        part = self._fixed_parts[iteration % 2]
        if self._moving_cost is None:
            return part
        return part * warp(self._moving_cost, displacement)


SIMILARITIES: Mapping[SimilarityName, Callable[[ImagePair, DescriptorSettings], BothWays]] = {
    **dict.fromkeys(DESCRIPTORS, _of_descriptors),
    **dict.fromkeys(INTENSITY_MEASURES, _of_intensities),
}
"""Every choice of ``--descriptor``."""
