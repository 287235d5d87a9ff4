"""Write the phantom as a tiny BIDS data set with a derivative of labels, masks and the true warp."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from bids_nodereg.cli import main
from tests.app import phantom

if TYPE_CHECKING:
    from pathlib import Path

QUICK = """\
[settings.affine]
spacings_mm = [6.0, 3.0]
iterations = [30, 15]
angles_deg = [0.0]
keep = 1
"""
QUICK_OPTIONS = (
    *("--preset", "fast", "--working-resolution", "3", "--iterations", "25", "15"),
    *("--device", "cpu", "--omp-nthreads", "1", "--skip-bids-validation"),
)


@dataclass(frozen=True)
class Study:
    """A raw data set, its derivative, and a settings file that makes a run quick."""

    raw: Path
    truth: Path
    config: Path
    options: tuple[str, ...] = field(default=QUICK_OPTIONS)

    def arguments(self, out: Path, *more: str) -> list[str]:
        quick = ("--config", str(self.config), *self.options)
        return [str(self.raw), str(out), "participant", *quick, "-d", f"truth={self.truth}", *more]

    def run(self, out: Path, *more: str) -> int:
        return main(self.arguments(out, *more))

    @property
    def fixed(self) -> Path:
        return self.raw / "sub-01" / "anat" / "sub-01_T1w.nii.gz"

    @property
    def moving(self) -> Path:
        return self.raw / "sub-01" / "anat" / "sub-01_T2w.nii.gz"


def make_study(root: Path) -> Study:
    """sub-00 has a damaged T2w, sub-01 is whole, sub-02 has variants of both contrasts."""
    study = Study(root / "raw", root / "truth", root / "quick.toml")
    study.config.parent.mkdir(parents=True, exist_ok=True)
    study.config.write_text(QUICK)
    _describe(study.raw, License="CC0", DatasetType="raw", Authors=["A. Phantom"])
    _describe(study.truth, DatasetType="derivative", GeneratedBy=[{"Name": "phantom"}])
    (study.raw / "README").write_text("A phantom head, made by a script for tests; nobody was scanned.\n" * 4)
    fixed, moving = phantom.fixed_shares(), phantom.moving_shares()
    t1w = phantom.image_of(fixed, phantom.T1W, 1).astype(np.int16)
    t2w = phantom.image_of(moving, phantom.T2W, 2).astype(np.float32)
    phantom.save(study.fixed, t1w, phantom.FIXED)
    phantom.save(study.moving, t2w, phantom.MOVING)
    _write_damaged_participant(study)
    for name in ("acq-a_run-1_T1w", "acq-b_T1w"):
        path = study.raw / "sub-02" / "anat" / f"sub-02_{name}.nii.gz"
        phantom.save(path, t1w, phantom.FIXED)
    for name in ("run-1_T2w", "run-2_T2w"):
        phantom.save(study.raw / "sub-02" / "anat" / f"sub-02_{name}.nii.gz", t2w, phantom.MOVING)
    _write_derivative(study.truth, fixed, moving)
    return study


def _describe(root: Path, **more: object) -> None:
    root.mkdir(parents=True)
    text = json.dumps({"Name": root.name, "BIDSVersion": "1.10.0", **more})
    (root / "dataset_description.json").write_text(text)


def _write_damaged_participant(study: Study) -> None:
    folder = study.raw / "sub-00" / "anat"
    folder.mkdir(parents=True)
    (folder / "sub-00_T1w.nii.gz").write_bytes(study.fixed.read_bytes())
    whole = study.moving.read_bytes()
    (folder / "sub-00_T2w.nii.gz").write_bytes(whole[: len(whole) // 2])


def _write_derivative(root: Path, fixed: np.ndarray, moving: np.ndarray) -> None:
    stem = root / "sub-01" / "anat" / "sub-01"
    sides = (("T1w", fixed, phantom.FIXED), ("T2w", moving, phantom.MOVING))
    for contrast, shares, affine in sides:
        name = f"{stem}_space-{contrast}_desc-tissue_dseg"
        labels = phantom.labels_of(shares).astype(np.int16)
        phantom.save(stem.parent / f"{name}.nii.gz", labels, affine)
        stem.with_name(f"{stem.name}_space-{contrast}_desc-tissue_dseg.tsv").write_text(
            "index\tname\n1\tfluid\n2\tcortex\n3\twhite matter\n4\tnuclei\n5\tlandmark\n"
        )
    mask = (fixed[..., 0] < 0.5).astype(np.uint8)
    phantom.save(stem.with_name("sub-01_desc-brain_mask.nii.gz"), mask, phantom.FIXED)
    _write_truth(stem.with_name("sub-01_from-T2w_to-T1w_mode-image_desc-truth_xfm.nii.gz"))


def _write_truth(path: Path) -> None:
    """The total displacement as an ITK field: five axes, LPS mm, intent 1007."""
    shape = (41, 45, 39)
    affine = phantom.affine_of(shape, (3.0, 3.0, 3.0), (0, 0, 0), phantom.CENTRE)
    points = phantom.points_of(shape, affine)
    vectors = (phantom.truth()(points) - points) * [-1, -1, 1]
    image = nib.Nifti1Image(vectors[:, :, :, None].astype(np.float32), affine)
    image.header.set_intent(1007)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
