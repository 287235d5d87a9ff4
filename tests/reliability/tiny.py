"""A data set so small that a whole run takes about a second once everything is imported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHAPE = (24, 26, 22)
SPACING_MM = 5.0
QUICK = """\
[settings]
working_resolution_mm = 6.0
bias_correction = "none"

[settings.affine]
spacings_mm = [12.0, 6.0]
iterations = [6, 3]
angles_deg = [0.0]
keep = 1

[settings.registration.capture]
reach = 0
"""


def make(root: Path, subjects: Sequence[str] = ("01",)) -> Path:
    """A raw BIDS data set of skull-stripped egg-shaped brains, T1w and T2w; gives its root."""
    raw = root / "raw"
    raw.mkdir(parents=True)
    (raw / "dataset_description.json").write_text(json.dumps({"Name": "tiny", "BIDSVersion": "1.10.0"}))
    (raw / "README").write_text("Egg-shaped brains, made by a script; nobody was scanned.\n" * 4)
    (root / "quick.toml").write_text(QUICK)
    for number, subject in enumerate(subjects):
        anat = raw / f"sub-{subject}" / "anat"
        anat.mkdir(parents=True)
        _save(anat / f"sub-{subject}_T1w.nii.gz", (100.0, 300.0, 500.0), 0.0, number)
        _save(anat / f"sub-{subject}_T2w.nii.gz", (900.0, 500.0, 200.0), 4.0, number + 50)
    return raw


def arguments(raw: Path, out: Path, *more: str) -> list[str]:
    """Command line of a quick run."""
    quick = ("--preset", "fast", "--config", str(raw.parent / "quick.toml"), "--iterations", "3", "2")
    machine = ("--device", "cpu", "--omp-nthreads", "1", "--skip-bids-validation")
    return [str(raw), str(out), "participant", *quick, *machine, *more]


def _save(path: Path, intensities: Sequence[float], shift_mm: float, seed: int) -> None:
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -SPACING_MM * (np.array(SHAPE) - 1) / 2
    points = np.moveaxis(np.indices(SHAPE), 0, -1) * SPACING_MM + affine[:3, 3] - [shift_mm, 0, 0]
    radius = np.linalg.norm(points / [38.0, 46.0, 36.0], axis=-1) + 0.06 * np.sin(points[..., 1] / 9)
    data = np.select([radius < 0.3, radius < 0.7, radius < 1.0], intensities, 0.0)
    noise = np.random.default_rng(seed).normal(0, 8, SHAPE)
    image = nib.Nifti1Image(np.where(data > 0, np.clip(data + noise, 1, None), 0).astype(np.int16), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)
