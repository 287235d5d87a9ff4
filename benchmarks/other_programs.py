"""Compare what SimpleITK, ANTs and nitransforms make of our files with our own images, on the demo data.

Needs the output of ``make demo``. Forward: against the image that the program wrote. Inverse: the
fixed image pulled onto the moving grid, against SimpleITK, since the program writes no such image.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ants
import nibabel as nib
import nitransforms as nt
import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses
from common import ROOT, write_results
from nitransforms.resampling import apply

DEMO = ROOT / "bids_nodereg" / "data" / "demo"


def main() -> None:
    """Compare every pair of the demo both ways and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo-output", type=Path, default=ROOT / "demo-output")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "other-programs")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for subject in ("01", "02"):
        for contrast in ("T2w", "FLAIR"):
            for moving, fixed in ((contrast, "T1w"), ("T1w", contrast)):
                rows += compare(arguments.demo_output, subject, moving, fixed)
    notes = ["Absolute difference inside the fixed image's brain, per cent of the moving image's range."]
    write_results(arguments.out, "The transforms in other programs", rows, notes)


def compare(output: Path, subject: str, moving: str, fixed: str) -> list[dict[str, Any]]:
    """One row a program for one transform."""
    stem = output / f"sub-{subject}" / "anat" / f"sub-{subject}_"
    h5 = f"{stem}from-{moving}_to-{fixed}_mode-image_xfm.h5"
    images = {
        name: str(DEMO / f"sub-{subject}" / "anat" / f"sub-{subject}_{name}.nii.gz")
        for name in (moving, fixed)
    }
    by_sitk = with_sitk(h5, images[moving], images[fixed])
    expected = by_sitk
    if fixed == "T1w":
        expected = values(nib.load(f"{stem}space-T1w_desc-nodereg_{moving}.nii.gz"))
    brain = values(nib.load(images[fixed])) > 0
    span = float(np.ptp(values(nib.load(images[moving]))))
    results = {
        "SimpleITK": by_sitk,
        "ANTs": with_ants(h5, images[moving], images[fixed]),
        "nitransforms": with_nitransforms(h5, images[moving], images[fixed]),
    }
    rows = []
    for program, result in results.items():
        difference = 100 * np.abs(result - expected)[brain] / span
        rows.append(
            {
                "pair": f"sub-{subject} {moving} onto {fixed}",
                "program": program,
                "mean %": float(difference.mean()),
                "p99 %": float(np.percentile(difference, 99)),
                "max %": float(difference.max()),
            }
        )
    return rows


def with_sitk(transform: str, moving: str, fixed: str) -> np.ndarray:
    """Resample with SimpleITK."""
    image = sitk.ReadImage(moving, sitk.sitkFloat32)
    resampled = sitk.Resample(image, sitk.ReadImage(fixed), sitk.ReadTransform(transform), sitk.sitkLinear)
    return sitk.GetArrayFromImage(resampled).T


def with_ants(transform: str, moving: str, fixed: str) -> np.ndarray:
    """Resample with antspyx."""
    images = ants.image_read(fixed), ants.image_read(moving)
    result: np.ndarray = ants.apply_transforms(*images, transformlist=[transform]).numpy()
    return result


def with_nitransforms(transform: str, moving: str, fixed: str) -> np.ndarray:
    """Resample with nitransforms, linearly as the others."""
    loaded = nt.manip.load(transform, fmt="itk")
    return values(apply(loaded, moving, reference=fixed, order=1))


def values(image: Any) -> np.ndarray:
    """Voxel values as floats."""
    return np.asarray(image.dataobj, dtype=float)


if __name__ == "__main__":
    main()
