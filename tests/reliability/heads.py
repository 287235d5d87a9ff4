"""Whole heads on a coarse grid, with label maps: a brain has to be found, and labels are carried."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from bids_nodereg.app import head_template
from bids_nodereg.app.head_template import shipped_head
from bids_nodereg.registration.settings import AffineSettings, Level
from tests.reliability import tiny

if TYPE_CHECKING:
    from pathlib import Path

STEP = 3
"""Every third voxel of the head that comes with the program."""
BRIGHTEST = 260.0
NAMES = "index\tname\n1\tbrain\n2\telse\n"


def make(root: Path) -> Path:
    """A raw data set of one participant, T1w and T2w of a whole head; label maps in ``root/labels``."""
    raw = tiny.make(root)
    template = shipped_head()
    step = (slice(None, None, STEP),) * 3
    head, brain = template.head.data[step], template.brain[step]
    affine = template.head.grid.affine @ np.diag([STEP, STEP, STEP, 1])
    random = np.random.default_rng(3)
    turned = np.where(head > 20, BRIGHTEST - head, 0)
    for suffix, bright, shift_mm in (("T1w", head, 0.0), ("T2w", turned, 4.0)):
        noisy = np.clip(bright + random.normal(4, 3, head.shape), 0, None)
        own = affine.copy()
        own[0, 3] += shift_mm
        _save(raw / "sub-01" / "anat" / f"sub-01_{suffix}.nii.gz", noisy.astype(np.int16), own)
        labels = np.where(brain, 1, np.where(head > 20, 2, 0)).astype(np.uint8)
        stem = root / "labels" / "sub-01" / "anat" / f"sub-01_space-{suffix}_desc-parts_dseg"
        stem.parent.mkdir(parents=True, exist_ok=True)
        _save(stem.with_suffix(".nii.gz"), labels, own)
        stem.with_suffix(".tsv").write_text(NAMES)
    told = {"Name": "labels", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    (root / "labels" / "dataset_description.json").write_text(
        json.dumps({**told, "GeneratedBy": [{"Name": "script"}]})
    )
    return raw


def fit_quickly() -> None:
    """Let the head template be fitted with few iterations: called in a run before it begins."""
    head_template.FITTING = replace(
        head_template.FITTING,
        affine=AffineSettings(spacings_mm=(8.0, 4.0), iterations=(8, 3), angles_deg=(0.0,), keep=1),
        registration=replace(head_template.FITTING.registration, levels=(Level(2, 4),)),
    )


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)
