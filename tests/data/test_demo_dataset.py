"""The demo data set as it is committed: valid, small, and its truth is true."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

import bids_nodereg

MEGABYTE = 1e6
PAIRS = [(subject, suffix) for subject in ("01", "02") for suffix in ("T2w", "FLAIR")]
IMAGES = [*PAIRS, ("01", "T1w"), ("02", "T1w")]
TISSUES = {1: "fluid", 2: "grey", 3: "white"}


@pytest.fixture
def demo() -> Path:
    """Root of the demo data set that comes with the package."""
    return Path(bids_nodereg.__file__).parent / "data" / "demo"


def image_path(demo: Path, subject: str, suffix: str) -> Path:
    return demo / f"sub-{subject}/anat/sub-{subject}_{suffix}.nii.gz"


def labels_path(demo: Path, subject: str, suffix: str) -> Path:
    name = f"sub-{subject}_space-{suffix}_desc-tissue_dseg.nii.gz"
    return demo / f"derivatives/truth/sub-{subject}/anat" / name


def field_path(demo: Path, subject: str, suffix: str) -> Path:
    name = f"sub-{subject}_from-{suffix}_to-T1w_mode-image_desc-truth_xfm.nii.gz"
    return demo / f"derivatives/truth/sub-{subject}/anat" / name


def dice(first: np.ndarray, second: np.ndarray, value: int) -> float:
    a, b = first == value, second == value
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def carried_dice(demo: Path, subject: str, suffix: str, sign: float) -> dict[int, float]:
    """Overlap per tissue of the moving labels, carried by ``sign`` times the true field, with the T1w's."""
    fixed = sitk.ReadImage(str(labels_path(demo, subject, "T1w")))
    moving = sitk.ReadImage(str(labels_path(demo, subject, suffix)))
    field = sitk.ReadImage(str(field_path(demo, subject, suffix)), sitk.sitkVectorFloat64)
    signed = sitk.GetImageFromArray(sign * sitk.GetArrayFromImage(field), isVector=True)
    signed.CopyInformation(field)
    transform = sitk.DisplacementFieldTransform(signed)
    carried = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor, 0))
    truth = sitk.GetArrayFromImage(fixed)
    return {value: dice(carried, truth, value) for value in TISSUES}


def test_is_small(demo: Path) -> None:
    sizes = [path.stat().st_size for path in demo.rglob("*") if path.is_file()]
    assert len(sizes) > 30
    assert sum(sizes) < 4 * MEGABYTE


@pytest.mark.skipif(sys.platform == "win32", reason="bids-validator-deno has no Windows build")
@pytest.mark.parametrize("root", [".", "derivatives/truth"])
def test_is_valid_bids(demo: Path, root: str) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    command = [str(validator), "--format", "json", str(demo / root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert done.returncode == 0


@pytest.mark.parametrize(("subject", "suffix"), IMAGES)
def test_image_looks_like_a_stripped_brain(demo: Path, subject: str, suffix: str) -> None:
    image = nib.load(image_path(demo, subject, suffix))
    voxels = np.asarray(image.dataobj)
    litres = np.count_nonzero(voxels) * abs(np.linalg.det(image.affine[:3, :3])) / 1e6
    assert 1.6 < litres < 2.1
    for axis in range(3):  # nothing is cut off by the field of view
        assert not voxels.take([0, -1], axis=axis).any()
    labels = np.asarray(nib.load(labels_path(demo, subject, suffix)).dataobj)
    fluid, grey, white = (float(voxels[labels == value].mean()) for value in TISSUES)
    order = {"T1w": fluid < grey < white, "T2w": white < grey < fluid, "FLAIR": fluid < white < grey}
    assert order[suffix]


@pytest.mark.parametrize(("subject", "suffix"), IMAGES)
def test_headers_are_unambiguous(demo: Path, subject: str, suffix: str) -> None:
    for path in (image_path(demo, subject, suffix), labels_path(demo, subject, suffix)):
        image = nib.load(path)
        qform, qcode = image.get_qform(coded=True)
        sform, scode = image.get_sform(coded=True)
        assert (qcode, scode) == (1, 1)
        np.testing.assert_allclose(qform, sform, atol=1e-4)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert np.abs(np.asarray(image.header.get_zooms()) - 2).max() < 1.3
        assert path.read_bytes()[4:8] == bytes(4), "the gzip header holds a time"


def test_grids_cover_the_hard_cases(demo: Path) -> None:
    affines = [nib.load(image_path(demo, *name)).affine[:3, :3] for name in IMAGES]
    handedness = {np.sign(np.linalg.det(affine)) for affine in affines}
    assert handedness == {-1.0, 1.0}
    spacings = [np.linalg.norm(affine, axis=0) for affine in affines]
    assert any(spacing.max() / spacing.min() > 2 for spacing in spacings)
    cosines = [
        np.abs(affine / spacing).max(axis=0) for affine, spacing in zip(affines, spacings, strict=True)
    ]
    assert all(cosine.min() < 0.999 for cosine in cosines)  # all are oblique


@pytest.mark.parametrize(("subject", "suffix"), PAIRS)
def test_true_field_carries_the_anatomy(demo: Path, subject: str, suffix: str) -> None:
    true = carried_dice(demo, subject, suffix, sign=1)
    assert true[1] > 0.65  # thin fluid between folds, seen by voxels of up to 3.2 mm
    assert true[2] > 0.90
    assert true[3] > 0.90
    for wrong_sign in (0, -1):
        wrong = carried_dice(demo, subject, suffix, sign=wrong_sign)
        assert all(true[value] - wrong[value] > 0.1 for value in TISSUES)


@pytest.mark.parametrize(("subject", "suffix"), PAIRS)
def test_true_field_is_what_itk_expects_and_does_not_fold(demo: Path, subject: str, suffix: str) -> None:
    field = nib.load(field_path(demo, subject, suffix))
    assert field.get_data_dtype() == np.float32
    assert int(field.header["intent_code"]) == 1007
    assert field.shape[3:] == (1, 3)
    displacement = field.get_fdata()[..., 0, :] * [-1, -1, 1]  # LPS file -> RAS, as the lattice is
    spacing = np.linalg.norm(field.affine[:3, :3], axis=0)
    slopes = [np.gradient(displacement, spacing[axis], axis=axis) for axis in range(3)]
    jacobian = np.linalg.det(np.stack(slopes, axis=-1) + np.eye(3))
    assert jacobian.min() > 0.3
    assert jacobian.max() > 1.1, "a rigid motion alone would be no test"
    assert 8 < np.linalg.norm(displacement, axis=-1).max() < 40


def test_subjects_have_different_anatomy(demo: Path) -> None:
    """The T1w images of both subjects lie in nearly the same place but do not agree."""
    first, second = (sitk.ReadImage(str(labels_path(demo, subject, "T1w"))) for subject in ("01", "02"))
    resampled = sitk.GetArrayFromImage(
        sitk.Resample(second, first, sitk.Transform(), sitk.sitkNearestNeighbor)
    )
    fixed = sitk.GetArrayFromImage(first)
    assert 0.3 < dice(resampled, fixed, 3) < 0.85
