"""Both images of a pair on one lattice, with all that says where they count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.fill import fill_outside
from bids_nodereg.registration.smoothing import downsample

if TYPE_CHECKING:
    from torch import Tensor

CONTINUED_VOXELS = 8
"""How far tissue is continued into an excluded region; beyond stands the mean of the brain."""


@dataclass(frozen=True)
class ImagePair:
    """Both images on the working grid, ``1 1 i j k``, intensities about in [0, 1].

    Attributes
    ----------
    fixed, moving
        The images.
    fixed_mask, moving_mask
        1 in the brain. Descriptor statistics and the comparison are over them.
    fixed_cost, moving_cost
        0 where the image must not count, as in a lesion (cost-function masking, Brett et al. 2001),
        1 elsewhere; None for everywhere 1.
    stiffness
        Relative weight of the gradient penalty at each voxel, about 1 on average; None for
        everywhere 1.

    Raises
    ------
    ValueError
        If a mask or a map is not on the lattice of its image. The two images may have lattices of their own
        where they are aligned (:func:`.affine.align`); :func:`.register.register` wants one.
    """

    fixed: Tensor
    moving: Tensor
    fixed_mask: Tensor
    moving_mask: Tensor
    fixed_cost: Tensor | None = None
    moving_cost: Tensor | None = None
    stiffness: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse what lies on another lattice: the compiled loops read all by the shape of one."""
        for name, tensor in vars(self).items():
            role = "moving" if name.startswith("moving") else "fixed"
            expected = tuple(getattr(self, role).shape)
            if tensor is not None and tuple(tensor.shape) != expected:
                msg = (
                    f"ImagePair: {name} must have the shape of {role}, {expected}, got {tuple(tensor.shape)}"
                )
                raise ValueError(msg)

    @property
    def fixed_weight(self) -> Tensor:
        """Where the fixed image counts: its mask without what is excluded; ``1 1 i j k``."""
        return self.fixed_mask if self.fixed_cost is None else self.fixed_mask * self.fixed_cost

    def shrunk(self, shrink: int) -> ImagePair:
        """The pair on a coarser lattice over the same extent."""
        if shrink == 1:
            return self
        return ImagePair(
            downsample(self.fixed, shrink),
            downsample(self.moving, shrink),
            _shrunk_mask(self.fixed_mask, shrink),
            _shrunk_mask(self.moving_mask, shrink),
            _shrunk_cost(self.fixed_cost, shrink),
            _shrunk_cost(self.moving_cost, shrink),
            None if self.stiffness is None else downsample(self.stiffness, shrink),
        )

    def without_excluded(self) -> ImagePair:
        """The pair with each excluded region replaced by a continuation of the brain around it.

        A cost mask alone keeps an intensity out of the mean it weighs. Smoothing against aliasing,
        interpolation and statistics over the brain mask would still carry it to where it counts.
        """
        return replace(
            self,
            fixed=_continued(self.fixed, self.fixed_mask, self.fixed_cost),
            moving=_continued(self.moving, self.moving_mask, self.moving_cost),
        )

    def contiguous(self) -> ImagePair:
        """The pair with the last axis dense in memory, as the compiled loops read it.

        Arrays out of image files have their first axis dense, and each loop would copy them.
        """
        tensors = {name: value.contiguous() for name, value in vars(self).items() if value is not None}
        return replace(self, **tensors)

    def swapped(self) -> ImagePair:
        """The pair with the roles of both images exchanged."""
        return ImagePair(
            self.moving,
            self.fixed,
            self.moving_mask,
            self.fixed_mask,
            self.moving_cost,
            self.fixed_cost,
            self.stiffness,
        )


def _continued(image: Tensor, mask: Tensor, cost: Tensor | None) -> Tensor:
    """The image with its excluded part filled from the rest of the brain."""
    if cost is None:
        return image
    return torch.where(cost > 0, image, fill_outside(image, mask * cost, CONTINUED_VOXELS))


def _shrunk_mask(mask: Tensor, shrink: int) -> Tensor:
    """Mask on a coarser lattice; one thinner than a coarse voxel keeps its densest part."""
    share = downsample(mask, shrink)
    return (share > 0.5 * share.amax().clamp(max=1)).to(mask.dtype)


def _shrunk_cost(cost: Tensor | None, shrink: int) -> Tensor | None:
    """Cost mask on a coarser lattice: a coarse voxel counts where half of it does."""
    return None if cost is None else (downsample(cost, shrink) > 0.5).to(cost.dtype)
