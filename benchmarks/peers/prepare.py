"""Make the files of a case once: two aligned images with masks on one grid, as every method gets them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common import shared_data

from bids_nodereg.app.inputs import Inputs
from bids_nodereg.app.stages import common_grid, find_affine
from bids_nodereg.config import Settings, overlay
from bids_nodereg.files import write_json
from bids_nodereg.imaging.maps import SpatialMap
from bids_nodereg.imaging.prepare import onto_grid, prepare
from bids_nodereg.imaging.resample import warp_labels
from bids_nodereg.imaging.transforms import read_displacement_nifti, write_displacement_nifti
from bids_nodereg.imaging.volume import Volume, read_image, read_labels, read_mask, write_image
from peers.case_list import SPACING_MM, UNRELIABLE, Case, Scan
from peers.known import known_motion, true_displacement, warped_by

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.maps import DisplacementField
    from bids_nodereg.imaging.prepare import Prepared

IMAGES = ("fixed", "moving", "fixed_mask", "moving_mask")
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class CaseFiles:
    """Where the files of a prepared case are."""

    case: Case
    folder: Path

    def path(self, name: str) -> Path:
        """File of `fixed`, `moving`, `fixed_mask`, `moving_mask`, `fixed_labels` or `truth`."""
        return self.folder / f"{name}.nii.gz"

    @property
    def about(self) -> dict[str, Any]:
        """What was noted when the case was made: affine, classes, rigid residual."""
        content: dict[str, Any] = json.loads((self.folder / "case.json").read_text())
        return content


@dataclass(frozen=True, eq=False)
class Truth:
    """What a result is scored against; loaded once per case.

    Attributes
    ----------
    affine
        4 x 4, fixed world to moving world (RAS+ mm).
    mask
        ``(i, j, k)``, brain of the fixed image.
    fixed_labels, moving_labels
        On the case's grid, and as they are stored; None for kind `known`.
    classes
        Codes that both label maps hold.
    displacement
        True field for kind `known`, else None.
    """

    grid: Grid
    affine: np.ndarray
    mask: np.ndarray
    fixed_labels: np.ndarray | None
    moving_labels: Volume | None
    classes: tuple[int, ...]
    headline: tuple[int, ...]
    displacement: DisplacementField | None


def prepared_case(case: Case, root: Path) -> CaseFiles:
    """Files of a case, made where they are missing; ``case.json`` is written last."""
    files = CaseFiles(case, root / case.name)
    if not (files.folder / "case.json").is_file():
        files.folder.mkdir(parents=True, exist_ok=True)
        (_make_known if case.kind == "known" else _make_pair)(files)
    return files


def read_truth(files: CaseFiles) -> Truth:
    """Load what scoring needs."""
    about = files.about
    mask = read_labels(files.path("fixed_mask"))
    known = files.case.kind == "known"
    classes = tuple(about["classes"])
    reliable = tuple(code for code in classes if files.case.kind == "exact" or code not in UNRELIABLE)
    return Truth(
        grid=mask.grid,
        affine=np.asarray(about["affine"], float),
        mask=mask.data > 0,
        fixed_labels=None if known else read_labels(files.path("fixed_labels")).data,
        moving_labels=None if known else read_labels(shared_data(files.case.moving.labels)),
        classes=classes,
        headline=reliable,
        displacement=read_displacement_nifti(files.path("truth")) if known else None,
    )


def _make_pair(files: CaseFiles) -> None:
    """Two people: the affine of our own start, then both images on the fixed image's grid."""
    inputs = Inputs(prepared_scan(files.case.fixed), prepared_scan(files.case.moving))
    affine = find_affine(inputs, Settings(), CPU, lambda _step: None)
    grid = _case_grid(files, inputs)
    write_case_images(files, inputs, affine, grid)
    on_grid = write_fixed_labels(files, grid)
    moving_labels = read_labels(shared_data(files.case.moving.labels))
    shared = np.intersect1d(np.unique(on_grid), np.unique(moving_labels.data))
    classes = [int(code) for code in shared if code != 0]
    write_json(files.folder / "case.json", {"affine": affine.tolist(), "classes": classes})


def _make_known(files: CaseFiles) -> None:
    """One person: the moving image warped by a known flow, the rigid residual taken out."""
    case = files.case
    fixed, moving = prepared_scan(case.fixed), prepared_scan(case.moving)
    motion, residual = known_motion(fixed, moving, case.seed or 0)
    warped = warped_by(motion, residual, moving.volume, fixed.volume.grid)
    inputs = Inputs(fixed, prepare(warped))
    grid = _case_grid(files, inputs)
    write_case_images(files, inputs, np.eye(4), grid)
    truth = true_displacement(motion, grid)
    write_displacement_nifti(files.path("truth"), truth)
    about = {"affine": np.eye(4).tolist(), "classes": [], "residual": residual.about, "seed": case.seed}
    write_json(files.folder / "case.json", about)


def prepared_scan(scan: Scan) -> Prepared:
    """Read and prepare a scan, with its brain mask where there is one."""
    volume = read_image(shared_data(scan.image))
    if scan.mask is None:
        return prepare(volume)
    return prepare(volume, read_mask(shared_data(scan.mask), volume.grid))


def write_case_images(files: CaseFiles, inputs: Inputs, affine: np.ndarray, grid: Grid) -> None:
    """Write both images, scaled to [0, 1], and both masks on a grid."""
    fixed, fixed_mask = onto_grid(inputs.fixed, grid)
    moving, moving_mask = onto_grid(inputs.moving, grid, affine)
    for name, values in zip(IMAGES, (fixed, moving, fixed_mask, moving_mask), strict=True):
        dtype = np.uint8 if name.endswith("mask") else np.float32
        write_image(values, grid, files.path(name), dtype=dtype)


def write_fixed_labels(files: CaseFiles, grid: Grid) -> np.ndarray:
    """Write the fixed image's labels on a grid, and give them."""
    fixed_labels = read_labels(shared_data(files.case.fixed.labels))
    on_grid = warp_labels(fixed_labels, grid, SpatialMap(np.eye(4)))
    write_image(on_grid, grid, files.path("fixed_labels"), dtype=np.uint8)
    return on_grid


def _case_grid(files: CaseFiles, inputs: Inputs) -> Grid:
    settings = overlay(Settings(), {"working_resolution_mm": SPACING_MM[files.case.kind]}, "case")
    return common_grid(inputs.fixed, settings)
