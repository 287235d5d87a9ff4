"""Register one pair on its working grid: the door to this room."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.diffeomorphism import Repair, diffeomorphic_maps
from bids_nodereg.registration.optimise import Step, optimise
from bids_nodereg.registration.similarity import similarity_of
from bids_nodereg.registration.warp import resize_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair
    from bids_nodereg.registration.settings import DescriptorSettings, RegistrationSettings


@dataclass(frozen=True)
class Registration:
    """The result for one pair; tensors on the device of the images.

    Attributes
    ----------
    forward
        Displacement ``1 3 i j k`` in voxels of the working grid: fixed points to moving points.
    inverse
        The same for the inverse map.
    velocity
        The final velocity field, ``n 3 i j k`` in voxels of its own lattice per unit time.
    history
        One record per iteration.
    repair
        What had to be done against folds.
    distance_before, distance_after
        Descriptor distance at half the working resolution, without and with the forward map. It is
        what was optimised, so it tells that the optimisation worked, not that the result is right.
    """

    forward: Tensor
    inverse: Tensor
    velocity: Tensor
    history: tuple[Step, ...]
    repair: Repair
    distance_before: float
    distance_after: float


def register(
    pair: ImagePair,
    settings: RegistrationSettings,
    on_step: Callable[[Step], None] = lambda _step: None,
) -> Registration:
    """Find the diffeomorphism ``phi`` for which ``M o phi`` resembles ``F`` in structure.

    Parameters
    ----------
    pair
        Fixed and moving image and masks, on one isotropic working grid, affinely aligned.
    settings
        The whole choice; see :mod:`bids_nodereg.registration.settings`.
    on_step
        Hears of every iteration as it happens.
    """
    history: list[Step] = []

    def record(step: Step) -> None:
        history.append(step)
        on_step(step)

    pair = pair.without_excluded()
    velocity = optimise(pair, settings, record)
    maps = diffeomorphic_maps(velocity, pair.fixed.shape[2:], settings.final_steps)
    before, after = _distances(pair, maps.forward, settings.descriptor)
    return Registration(maps.forward, maps.inverse, maps.velocity, tuple(history), maps.repair, before, after)


def _distances(pair: ImagePair, forward: Tensor, descriptor: DescriptorSettings) -> tuple[float, float]:
    """Descriptor distance without and with a displacement, at half the resolution."""
    descriptor = replace(descriptor, lmi_weight=0.0)
    coarse = pair.shrunk(2)
    shape = coarse.fixed.shape[2:]
    distance = similarity_of(coarse, descriptor).forward
    with torch.no_grad():
        after = resize_vectors(forward, shape)
        return float(distance(torch.zeros_like(after))), float(distance(after))
