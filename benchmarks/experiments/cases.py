"""The pairs of the experiments: images on one working grid, labels, and the truth where there is one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parent.parent))  # for the benchmarks' common module

from common import shared_data

from bids_nodereg.app.inputs import Inputs
from bids_nodereg.app.stages import common_grid, find_affine
from bids_nodereg.data.demo_motion import tabulate
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.prepare import onto_grid, prepare
from bids_nodereg.imaging.resample import warp_image, warp_labels
from bids_nodereg.imaging.volume import Volume, read_image, read_labels
from bids_nodereg.registration.image_pair import ImagePair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.config import Settings
    from bids_nodereg.data.demo_motion import Motion
    from bids_nodereg.geometry import Grid

SYNTHETIC = ("synth01", "synth02")
STRUCTURES = {
    1: "white matter",
    2: "cortex",
    3: "lateral ventricle",
    5: "cerebellar white matter",
    6: "cerebellar cortex",
    7: "thalamus",
    8: "caudate",
    9: "putamen",
    10: "pallidum",
    13: "brain stem",
    14: "hippocampus",
    15: "amygdala",
    17: "ventral diencephalon",
}
"""Classes of the label maps that are scored: those with trustworthy automatic labels."""

VENTRICLE = 3


@dataclass(frozen=True, eq=False)
class Scan:
    """An image and its labels."""

    volume: Volume
    labels: Volume | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One ordered pair, ready to be deformed.

    Attributes
    ----------
    name
        In words.
    pair
        Both images and masks on the working grid, the moving ones through the affine.
    grid
        The working grid, RAS+ mm.
    affine
        4 x 4, fixed world to moving world.
    fixed_labels
        ``(i, j, k)`` on the fixed image's own grid.
    labels_grid
        That grid.
    moving_labels
        On the moving image's own grid.
    truth_mm
        True displacement ``(i, j, k, 3)`` on the working grid, RAS+ mm.
    """

    name: str
    pair: ImagePair
    grid: Grid
    affine: NDArray[np.float64]
    labels_grid: Grid
    fixed_labels: NDArray[np.integer] | None = None
    moving_labels: Volume | None = None
    truth_mm: NDArray[np.float64] | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Fixed brain on the working grid."""
        return np.asarray(self.pair.fixed_mask[0, 0].numpy() > 0)


def brain(subject: str, suffix: str) -> Scan:
    """One skull-stripped brain: real (labels automatic, from its T1w image) or painted (labels exact)."""
    painted = subject in SYNTHETIC
    data = shared_data("ds-synthetic" if painted else "ds-brain")
    name = f"sub-{subject}"
    if painted:
        labels = data / "derivatives" / "labels" / name / "anat" / f"{name}_desc-sae18_dseg.nii.gz"
    else:
        labels = (
            data / "derivatives" / "seg-auto" / name / "anat" / f"{name}_space-T1w_desc-sae18_dseg.nii.gz"
        )
    return Scan(read_image(data / name / "anat" / f"{name}_{suffix}.nii.gz"), read_labels(labels))


def spm_average(suffix: str) -> Scan:
    """Group average of 152 whole heads, 2 mm; the contrasts share one space."""
    return Scan(
        read_image(shared_data("templates", "tpl-spm152avg", f"tpl-spm152avg_res-02_{suffix}.nii.gz"))
    )


def moved_by(scan: Scan, motion: Motion) -> Scan:
    """Image and labels carried by a known motion ``phi``: the new image is ``old(phi^-1(y))``."""
    grid = scan.volume.grid
    inverse = tabulate(motion, grid.corners().min(0), grid.corners().max(0))
    planes = [inverse.at(_plane(grid, i)) for i in range(grid.shape[0])]
    pull = SpatialMap(np.eye(4), DisplacementField(grid, np.stack(planes).astype(np.float32)))
    image = np.maximum(warp_image(scan.volume, grid, pull, interpolation="cubic"), 0)
    labels = scan.labels
    if labels is not None:
        labels = Volume(warp_labels(labels, grid, pull), grid, labels.path, labels.dtype)
    return Scan(Volume(image, grid, scan.volume.path, scan.volume.dtype), labels)


def between(name: str, fixed: Scan, moving: Scan, settings: Settings) -> Case:
    """Pair of two people, aligned by the program's own affine start."""
    inputs = Inputs(prepare(fixed.volume), prepare(moving.volume))
    affine = find_affine(inputs, settings, torch.device("cpu"), lambda _step: None)
    return _case(name, inputs, fixed, moving, settings, affine)


def with_truth(name: str, fixed: Scan, other: Scan, motion: Motion, settings: Settings) -> Case:
    """Pair of two contrasts of one space, the moving one carried by a known motion; no affine."""
    moving = moved_by(other, motion)
    inputs = Inputs(prepare(fixed.volume), prepare(moving.volume))
    return _case(name, inputs, fixed, moving, settings, np.eye(4), motion)


def _case(
    name: str,
    inputs: Inputs,
    fixed: Scan,
    moving: Scan,
    settings: Settings,
    affine: NDArray[np.float64],
    motion: Motion | None = None,
) -> Case:
    grid = common_grid(inputs.fixed, settings)
    fixed_image, fixed_mask = onto_grid(inputs.fixed, grid)
    moving_image, moving_mask = onto_grid(inputs.moving, grid, affine)
    arrays = (fixed_image, moving_image, fixed_mask, moving_mask)
    tensors = (torch.from_numpy(np.asarray(array, np.float32))[None, None] for array in arrays)
    truth = None
    if motion is not None:
        planes = [_plane(grid, i) for i in range(grid.shape[0])]
        truth = np.stack([motion.forward(points) - points for points in planes])
    return Case(
        name=name,
        pair=ImagePair(*tensors),
        grid=grid,
        affine=affine,
        labels_grid=fixed.volume.grid,
        fixed_labels=None if fixed.labels is None else fixed.labels.data,
        moving_labels=moving.labels,
        truth_mm=truth,
    )


def _plane(grid: Grid, i: int) -> NDArray[np.float64]:
    """World points of the voxel centres of one plane, ``(j, k, 3)`` in mm."""
    index = np.moveaxis(np.indices((1, *grid.shape[1:])), 0, -1)[0]
    points: NDArray[np.float64] = grid.to_world(index + np.array([i, 0, 0]))
    return points
