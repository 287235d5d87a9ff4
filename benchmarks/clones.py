"""A data set of many participants who are all the same, that of the demo on 1 mm; and how fast they go."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from bids_nodereg.files import write_json

ANAT = Path(__file__).resolve().parents[1] / "bids_nodereg" / "data" / "demo" / "sub-01" / "anat"


def make_clones(folder: Path, participants: int) -> None:
    """Write so many participants with one pair each, T1w and T2w."""
    write_json(folder / "dataset_description.json", {"Name": "clones", "BIDSVersion": "1.10.0"})
    for suffix in ("T1w", "T2w"):
        image = nib.load(ANAT / f"sub-01_{suffix}.nii.gz")
        zooms = np.array(image.header.get_zooms()[:3], float)
        own = np.asarray(image.dataobj, np.float32)
        brain = ndimage.zoom(own != 0, zooms, order=0)  # or it would grow at its edge, beyond any brain
        data = (ndimage.zoom(own, zooms, order=1) * brain).astype(np.int16)
        fine = nib.Nifti1Image(data, image.affine @ np.diag([*(1 / zooms), 1.0]))
        for number in range(1, participants + 1):
            path = folder / f"sub-{number:03d}" / "anat" / f"sub-{number:03d}_{suffix}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            fine.to_filename(path)


def seconds_a_pair(out: Path, first: int) -> float:
    """Seconds from the end of a pair to that of the next; so many at first, with the start, do not count."""
    ends = sorted(path.stat().st_mtime for path in out.rglob("*_from-T2w_to-T1w_mode-image_xfm.json"))
    return (ends[-1] - ends[first - 1]) / (len(ends) - first) if len(ends) > first else float("nan")
