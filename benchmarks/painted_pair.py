"""A pair with a known map out of what comes with the code: a demo brain, moved and in another contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from common import ROOT

from bids_nodereg.imaging.maps import SpatialMap
from bids_nodereg.imaging.prepare import onto_grid, prepare, working_grid
from bids_nodereg.imaging.resample import warp_labels
from bids_nodereg.imaging.transforms import read_displacement_nifti
from bids_nodereg.imaging.volume import read_image, read_labels
from bids_nodereg.registration.diffeomorphism import flow_on
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.smoothing import coarser_shape, gaussian
from bids_nodereg.registration.velocity import boundary_window
from bids_nodereg.registration.warp import sample

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

DEMO = ROOT / "bids_nodereg" / "data" / "demo"
REACH_MM = 8.0
"""Longest vector of the velocity that moves the brain."""
NOISE = 0.02


@dataclass(frozen=True, eq=False)
class KnownPair:
    """Both images on one grid, and the true displacement and labels where they are known.

    Attributes
    ----------
    pair
        On the CPU.
    spacing_mm
        Voxel size.
    truth
        ``1 3 i j k`` in voxels, fixed to moving points; or None.
    labels
        Of the fixed and of the moving image, ``1 1 i j k``; or None.
    """

    pair: ImagePair
    spacing_mm: float
    truth: Tensor | None = None
    labels: tuple[Tensor, Tensor] | None = None

    def on(self, device: torch.device) -> ImagePair:
        """The pair on a device."""
        pair = self.pair
        each = (pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask)
        return ImagePair(*(tensor.to(device) for tensor in each))

    def score(self, forward: Tensor) -> dict[str, float | str]:
        """Mean error in the fixed mask (mm), and mean Dice of the labels; empty words where unknown."""
        forward = forward.cpu()
        found: dict[str, float | str] = {"error mm": "", "Dice": ""}
        if self.truth is not None:
            apart = (forward - self.truth).norm(dim=1, keepdim=True)
            found["error mm"] = float(apart[self.pair.fixed_mask > 0].mean()) * self.spacing_mm
        if self.labels is not None:
            fixed, moving = self.labels
            found["Dice"] = mean_dice(fixed, nearest(moving, forward))
        return found


def painted_pair(spacing_mm: float, seed: int = 0) -> KnownPair:
    """The T1w of demo participant 01 on an isotropic grid, and the same brain moved, inverted and noisy."""
    prepared = prepare(read_image(DEMO / "sub-01" / "anat" / "sub-01_T1w.nii.gz"))
    grid = working_grid(prepared, spacing_mm, 10.0)
    image, mask = (
        torch.from_numpy(np.asarray(array, np.float32))[None, None] for array in onto_grid(prepared, grid)
    )
    tissue = DEMO / "derivatives" / "truth" / "sub-01" / "anat" / "sub-01_space-T1w_desc-tissue_dseg.nii.gz"
    carried = warp_labels(read_labels(tissue), grid, SpatialMap(np.eye(4)))
    labels = torch.from_numpy(carried.astype(np.float32))[None, None]
    velocity = random_velocity(image, REACH_MM / spacing_mm, seed)
    shape = image.shape[2:]
    truth, back = flow_on(velocity, shape, 8), flow_on(-velocity, shape, 8)
    points = identity(shape, image)
    draws = torch.Generator().manual_seed(seed)
    moving = 1 - 0.8 * sample(image, points + back) ** 1.5
    moving_mask = (sample(mask, points + back) > 0.5).float()
    moving = moving_mask * (moving + NOISE * torch.randn(moving.shape, generator=draws))
    pair = ImagePair(image * mask, moving, mask, moving_mask)
    return KnownPair(pair, spacing_mm, truth, (labels, nearest(labels, back)))


def prepared_pair(folder: Path) -> KnownPair:
    """A case of ``accuracy.py``: two images and masks on one grid, and the truth if there is one."""
    images, masks = [], []
    for name in ("fixed", "moving"):
        mask = read_labels(folder / f"{name}_mask.nii.gz").data > 0
        prepared = prepare(read_image(folder / f"{name}.nii.gz"), mask)
        grid = prepared.volume.grid
        image, inside = onto_grid(prepared, grid)
        images.append(torch.from_numpy(np.asarray(image, np.float32))[None, None])
        masks.append(torch.from_numpy(np.asarray(inside, np.float32))[None, None])
    truth = None
    if (folder / "truth.nii.gz").is_file():
        world = read_displacement_nifti(folder / "truth.nii.gz").vectors
        voxels = world @ np.linalg.inv(grid.affine[:3, :3]).T
        truth = torch.from_numpy(np.moveaxis(voxels, -1, 0).astype(np.float32))[None]
    return KnownPair(ImagePair(*images, *masks), float(grid.spacing[0]), truth)


def random_velocity(like: Tensor, reach_vox: float, seed: int) -> Tensor:
    """Smooth vectors on half the lattice of an image, zero on its boundary, ``1 3 i j k`` in its voxels."""
    shape = coarser_shape(like.shape[2:], 2)
    draws = torch.Generator().manual_seed(seed)
    rough = torch.randn(1, 3, *shape, generator=draws)
    smooth = boundary_window(shape, 2.0) * gaussian(rough, max(shape) / 12)
    return smooth * (reach_vox / 2 / smooth.norm(dim=1).max())


def nearest(labels: Tensor, displacement: Tensor) -> Tensor:
    """Labels ``1 1 i j k`` read at the voxel nearest to ``x + u(x)``."""
    at = identity(labels.shape[2:], displacement) + displacement
    last = [size - 1 for size in labels.shape[2:]]
    i, j, k = (at[0, axis].round().long().clamp(0, last[axis]) for axis in range(3))
    return labels[0, 0][i, j, k][None, None]


def mean_dice(a: Tensor, b: Tensor) -> float:
    """Mean Dice coefficient of the classes of ``a``."""
    classes = [code for code in a.unique().tolist() if code != 0]
    each = [2 * ((a == c) & (b == c)).sum() / ((a == c).sum() + (b == c).sum()) for c in classes]
    return float(torch.stack(each).mean())
