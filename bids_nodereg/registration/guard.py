"""What is done where a number is none: refuse unusable images, and say how a level was rescued.

A loss or a gradient that is not finite ends the attempt at a level: the weights that such a gradient makes
are not finite, nor is any velocity or loss after them. The level starts again from the last good velocity
with half the learning rate, :data:`MOST_RESTARTS` times at most; then the last good velocity stands, and the
next level goes on from it. Where the first level has never had a finite loss, the affine alone stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from bids_nodereg.registration.image_pair import ImagePair

MOST_RESTARTS = 2
"""How often a level starts again."""

SMALLER = 0.5
"""Factor of the learning rate at each new start."""

Remedy = Literal["smaller step", "last good state", "affine alone"]


@dataclass(frozen=True)
class Rescue:
    """What was done where an iteration had no finite loss.

    Attributes
    ----------
    level
        Number of the level, from 1.
    iteration
        The first iteration of the level that was not finite, from 1.
    learning_rate
        With which it happened.
    remedy
        What came then.
    """

    level: int
    iteration: int
    learning_rate: float
    remedy: Remedy


def refuse_unusable(pair: ImagePair) -> None:
    """Refuse a pair of which no registration can come.

    Raises
    ------
    FloatingPointError
        If a voxel of an image is not a finite number, or no voxel of an image counts.
    """
    sides = {"fixed": (pair.fixed, pair.fixed_weight), "moving": (pair.moving, pair.swapped().fixed_weight)}
    finite = torch.stack([torch.isfinite(image).all() for image, _ in sides.values()])
    counts = torch.stack([(weight > 0).any() for _, weight in sides.values()])
    for side, is_finite, is_counted in zip(sides, finite.tolist(), counts.tolist(), strict=True):
        if not is_finite:
            msg = f"the {side} image has voxels that are not finite numbers on the working grid"
            raise FloatingPointError(msg)
        if not is_counted:
            msg = f"no voxel of the {side} image counts: its mask is empty, or all of it is excluded"
            raise FloatingPointError(msg)


def remedy_for(restarts: int, level: int, *, ever_finite: bool) -> Remedy:
    """Choose what comes after an attempt that met a number that is none.

    Parameters
    ----------
    restarts
        How often the level has started again.
    level
        Number of the level, from 1.
    ever_finite
        Whether any iteration of the level has had a finite loss.
    """
    if restarts < MOST_RESTARTS:
        return "smaller step"
    return "last good state" if ever_finite or level > 1 else "affine alone"
