"""Names, headers and side files of the demo data set."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from bids_nodereg.files import atomic_path, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.data.demo_motion import Points
    from bids_nodereg.geometry import Grid

BIDS_VERSION = "1.10.1"
TRUTH = "derivatives/truth"
INTENT_VECTOR = 1007
"""ITK reads vectors as they are (LPS) under this code; under 1006 it would turn them around."""
TRUTH_QUANTUM_MM = 1 / 64
"""True displacements are rounded to multiples of this, which makes the files much smaller."""
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])

NOT_A_SCAN = (
    "SIMULATED by bids_nodereg.data.build_demo on the MNI152 2009a average brain; not acquired on a scanner."
)
TISSUE_TABLE = """index\tname\tabbreviation\tcolor
0\tbackground\tBG\t#000000
1\tcerebrospinal fluid\tCSF\t#4477aa
2\tgrey matter\tGM\t#bbbbbb
3\twhite matter\tWM\t#ffffff
"""


@dataclass(frozen=True)
class ImageName:
    """One image of the data set."""

    subject: str
    suffix: str

    @property
    def stem(self) -> str:
        """Folder and first entity: ``sub-01/anat/sub-01``."""
        return f"sub-{self.subject}/anat/sub-{self.subject}"

    @property
    def image(self) -> str:
        """Path of the image, relative to the data set, without its extension."""
        return f"{self.stem}_{self.suffix}"


def write_dataset(folder: Path, subjects: Sequence[str], *, seed: int) -> None:
    """Write what stands at the root of the data set and of its truth derivative."""
    texts = resources.files("bids_nodereg.data").joinpath("demo_texts")
    for name in ("README.md", "LICENSE"):
        write_text(folder / name, texts.joinpath(name).read_text(encoding="utf-8"))
    write_text(folder / TRUTH / "README.md", texts.joinpath("truth_README.md").read_text(encoding="utf-8"))
    write_json(
        folder / "dataset_description.json",
        {
            "Name": "nodereg demo: simulated T1w, T2w and FLAIR of the MNI152 average brain",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "raw",
            "License": "MNI (see LICENSE)",
            "Authors": ["The nodereg developers"],
            "Acknowledgements": "Anatomy: ICBM 152 nonlinear atlas version 2009, carried by nilearn.",
            "ReferencesAndLinks": [
                "https://doi.org/10.1016/j.neuroimage.2010.07.033",
                "https://doi.org/10.1016/S1053-8119(09)70884-5",
            ],
            "GeneratedBy": [{"Name": "bids_nodereg.data.build_demo", "Description": f"seed {seed}"}],
        },
    )
    rows = [f"sub-{subject}\tsimulated" for subject in subjects]
    write_text(folder / "participants.tsv", "\n".join(["participant_id\torigin", *rows]) + "\n")
    write_json(
        folder / "participants.json",
        {"origin": {"Description": "Where the images come from", "Levels": {"simulated": NOT_A_SCAN}}},
    )
    write_json(
        folder / TRUTH / "dataset_description.json",
        {
            "Name": "Truth of the nodereg demo: known maps and tissue labels",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "License": "MNI (see LICENSE)",
            "GeneratedBy": [{"Name": "truth", "Description": "Written by bids_nodereg.data.build_demo"}],
            "SourceDatasets": [{"URL": "../.."}],
            "DatasetLinks": {"raw": "../.."},
        },
    )
    write_text(folder / TRUTH / ".bidsignore", "*_xfm.*\n")
    write_text(folder / TRUTH / "desc-tissue_dseg.tsv", TISSUE_TABLE)


def write_image(folder: Path, name: ImageName, voxels: NDArray[np.int16], grid: Grid) -> None:
    """Write one simulated acquisition and its sidecar."""
    write_nifti(folder / f"{name.image}.nii.gz", voxels, grid)
    sidecar = {"Description": NOT_A_SCAN, "Modality": "MR", "BodyPart": "BRAIN", "SkullStripped": True}
    write_json(folder / f"{name.image}.json", sidecar)


def write_labels(folder: Path, name: ImageName, labels: NDArray[np.uint8], grid: Grid) -> None:
    """Write the true tissue of each voxel of one image and its sidecar."""
    stem = f"{name.stem}_space-{name.suffix}_desc-tissue_dseg"
    write_nifti(folder / TRUTH / f"{stem}.nii.gz", labels, grid)
    sidecar = {
        "Description": "Tissue that fills most of each voxel, exact",
        "SpatialReference": f"bids:raw:{name.image}.nii.gz",
        "Sources": [f"bids:raw:{name.image}.nii.gz"],
    }
    write_json(folder / TRUTH / f"{stem}.json", sidecar)


def write_truth_field(folder: Path, name: ImageName, displacement_mm: Points, grid: Grid) -> None:
    """Write the true map from T1w points to points of a moving image.

    Parameters
    ----------
    folder
        Root of the demo data set.
    name
        The moving image.
    displacement_mm
        ``(i, j, k, 3)``, RAS+ mm, world point of the moving image minus world point of the T1w.
    grid
        Where the vectors are, in the world of the T1w image.
    """
    stem = f"{name.stem}_from-{name.suffix}_to-T1w_mode-image_desc-truth_xfm"
    rounded = np.rint(displacement_mm / TRUTH_QUANTUM_MM) * TRUTH_QUANTUM_MM
    lps = (rounded * RAS_TO_LPS).astype(np.float32)[:, :, :, np.newaxis, :]
    write_nifti(folder / TRUTH / f"{stem}.nii.gz", lps, grid, intent=INTENT_VECTOR)
    fixed = f"{ImageName(name.subject, 'T1w').image}.nii.gz"
    sidecar = {
        "Description": "Displacement from points of the fixed image to points of the moving image, exact",
        "Sources": [f"bids:raw:{fixed}", f"bids:raw:{name.image}.nii.gz"],
        "SpatialReference": f"bids:raw:{fixed}",
        "FromSpace": name.suffix,
        "ToSpace": "T1w",
        "Units": "mm",
        "Convention": "LPS, pull: moving point = fixed point + vector",
    }
    write_json(folder / TRUTH / f"{stem}.json", sidecar)


def write_nifti(path: Path, voxels: NDArray[np.generic], grid: Grid, *, intent: int = 0) -> None:
    """Write a NIfTI-1 file with equal q- and sform whose bytes depend on the contents only.

    The gzip header holds neither the time nor the file's name.
    """
    image = nib.Nifti1Image(voxels, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(grid.affine, code=1)
    image.set_sform(image.get_qform(), code=1)
    image.header["intent_code"] = intent
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as stream:
        stream.write(image.to_bytes())
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getvalue())
