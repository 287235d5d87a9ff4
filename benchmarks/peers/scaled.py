"""A prepared case on a grid of another spacing: how cost grows with voxels, with the accuracy beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.app.inputs import Inputs
from bids_nodereg.config import Settings
from bids_nodereg.files import write_json
from bids_nodereg.imaging.prepare import working_grid
from bids_nodereg.registration.velocity import RIM_VOXELS
from peers.prepare import CaseFiles, prepared_scan, write_case_images, write_fixed_labels

if TYPE_CHECKING:
    from pathlib import Path


def scaled_case(files: CaseFiles, root: Path, spacing_mm: float) -> CaseFiles:
    """Two people of a prepared case, with its affine, on an isotropic grid; made where it is missing.

    Parameters
    ----------
    files
        The prepared case, of two people.
    root
        Folder of the cases that are made.
    spacing_mm
        Of the grid.
    """
    scaled = CaseFiles(files.case, root / f"{files.case.name}-{spacing_mm:g}mm")
    if not (scaled.folder / "case.json").is_file():
        scaled.folder.mkdir(parents=True, exist_ok=True)
        about = files.about
        inputs = Inputs(prepared_scan(files.case.fixed), prepared_scan(files.case.moving))
        margin_mm = max(Settings().margin_mm, RIM_VOXELS * spacing_mm)
        grid = working_grid(inputs.fixed, spacing_mm, margin_mm)
        write_case_images(scaled, inputs, np.asarray(about["affine"], float), grid)
        write_fixed_labels(scaled, grid)
        write_json(scaled.folder / "case.json", about)
    return scaled
