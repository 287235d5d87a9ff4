"""The head that comes with the program, with the mask of its brain, fitted to any image of a head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.app.inputs import Inputs
from bids_nodereg.app.stages import deform, find_affine
from bids_nodereg.config import Settings
from bids_nodereg.imaging.brain import agreement, depth_mm, near, painted, top_of_head
from bids_nodereg.imaging.maps import forward_map
from bids_nodereg.imaging.mask import find_mask, one_piece
from bids_nodereg.imaging.prepare import Prepared, prepare, working_grid
from bids_nodereg.imaging.resample import warp_image
from bids_nodereg.imaging.volume import Volume, read_image, read_labels
from bids_nodereg.registration.settings import (
    AffineSettings,
    DescriptorSettings,
    Level,
    LossWeights,
    RegistrationSettings,
)
from bids_nodereg.registration.velocity import RIM_VOXELS

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.maps import SpatialMap
    from bids_nodereg.registration.optimise import Step

SPACING_MM = 4.0
ROOM_MM = 0.6
"""How far the mask reaches beyond the fitted edge: rather fluid in it than cortex out of it."""

AROUND_MM = 8.0
"""How far from the brain the head is compared: over the bone, to the skin."""

FITTING = Settings(
    working_resolution_mm=SPACING_MM,
    affine=AffineSettings(spacings_mm=(8.0, SPACING_MM), iterations=(40, 40)),
    registration=RegistrationSettings(
        levels=(Level(2, 30), Level(1, 20)),
        symmetric=False,
        descriptor=DescriptorSettings(name="lncc", window_radius=3),
        weights=LossWeights(gradient=1.0),
    ),
)


@dataclass(frozen=True, eq=False)
class HeadTemplate:
    """A T1w image of a head, and its brain on the same grid."""

    head: Volume
    brain: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FittedBrain:
    """A brain found by the template.

    Attributes
    ----------
    mask
        ``(i, j, k)`` on the image's grid.
    agreement
        Correlation of the image with the painted, fitted template, in and around the brain.
    """

    mask: NDArray[np.bool_]
    agreement: float


def shipped_head() -> HeadTemplate:
    """Read the head that comes with the package."""
    folder = resources.files("bids_nodereg.data").joinpath("head")
    with resources.as_file(folder.joinpath("head_T1w.nii.gz")) as path:
        head = read_image(path)
    with resources.as_file(folder.joinpath("head_desc-brain_mask.nii.gz")) as path:
        brain = read_labels(path).data > 0
    return HeadTemplate(head, brain)


def fit_brain(volume: Volume, head: NDArray[np.bool_], device: torch.device) -> FittedBrain:
    """Find the brain in an image of a head, whatever its contrast.

    The head template is aligned by an affine map on structural descriptors, painted in the image's own
    contrast (:func:`~bids_nodereg.imaging.brain.painted`), deformed on local correlation at 4 mm, and
    its brain mask is pulled onto the image's grid.

    Parameters
    ----------
    volume
        The image.
    head
        ``(i, j, k)`` on its grid: the head; a neck may be part of it.
    device
        Where to compute.

    Raises
    ------
    DataError, FloatingPointError
        If there is nothing to register in the head.
    """
    template = shipped_head()
    grid = template.head.grid
    own_head, _ = find_mask(template.head.data, grid.spacing)
    moving = prepare(volume, top_of_head(head, volume.grid))
    fixed = prepare(template.head, top_of_head(own_head, grid))
    affine = find_affine(Inputs(fixed, moving), FITTING, device, _silent)
    around = near(template.brain, grid, AROUND_MM)
    seen = warp_image(volume, grid, forward_map(affine))
    paint = painted(template.head.data, template.brain, around, seen, grid)
    look = prepare(replace(template.head, data=paint), around & own_head)
    solution = deform(Inputs(look, moving), affine, _room(template, around), FITTING, device, _silent)
    depth = replace(template.head, data=depth_mm(template.brain, grid) + ROOM_MM)
    # Beyond the template the interpolation gives 0, which is outside.
    mask = one_piece(warp_image(depth, volume.grid, solution.inverse) > 0)
    return FittedBrain(mask, _agreement(look, volume, around, solution.forward))


def _room(template: HeadTemplate, around: NDArray[np.bool_]) -> Grid:
    """Working grid over the brain's surroundings, with room for the rim where the velocity ends."""
    prepared = Prepared(template.head, around, "", (0.0, 1.0))
    return working_grid(prepared, SPACING_MM, RIM_VOXELS * SPACING_MM)


def _agreement(look: Prepared, volume: Volume, around: NDArray[np.bool_], forward: SpatialMap) -> float:
    """How well the painted template explains the image, over the part that the image shows."""
    grid = look.volume.grid
    seen = warp_image(volume, grid, forward)
    shown = warp_image(replace(volume, data=np.ones_like(volume.data)), grid, forward)
    return agreement(look.volume.data, seen, around & (shown > 0.5))


def _silent(_step: Step) -> None:
    """Listen to nothing: the progress bar is the pair's."""
