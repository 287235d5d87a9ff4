"""The commands of the report are run as they stand, on a transform that ITK wrote."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from bids_nodereg.cli import main
from bids_nodereg.quality.commands import reuse_commands
from bids_nodereg.quality.records import OutputFiles
from tests.quality.pages import image, pair_report

if TYPE_CHECKING:
    from pathlib import Path

sitk = pytest.importorskip("SimpleITK")

PAIR = pair_report(
    fixed=image("my fixed's image.nii.gz", "T1w"),
    moving=image("moving.nii.gz", "T2w"),
    outputs=OutputFiles("forward.h5", "", "affine.txt", "warp.nii.gz"),
)


@pytest.fixture
def output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images, and a pull transform y = A (x + u(x)), as one file and in parts."""
    rng = np.random.default_rng(2)
    for name, shape in ((PAIR.fixed.path, (16, 18, 14)), (PAIR.moving.path, (18, 16, 15))):
        array = (1000 * ndimage.gaussian_filter(rng.random(shape), 2)).astype(np.float32)
        picture = sitk.GetImageFromArray(array.transpose())
        picture.SetSpacing((1.0, 1.2, 1.5))
        sitk.WriteImage(picture, str(tmp_path / name))
    reference = sitk.ReadImage(str(tmp_path / PAIR.fixed.path))
    affine = sitk.AffineTransform(3)
    affine.Rotate(0, 1, 0.08)
    affine.Translate((0.5, -0.4, 0.3))
    vectors = ndimage.gaussian_filter(rng.normal(size=(14, 18, 16, 3)), (2, 2, 2, 0)) * 12
    field = sitk.GetImageFromArray(vectors, isVector=True)
    field.CopyInformation(reference)
    sitk.WriteImage(sitk.Cast(field, sitk.sitkVectorFloat32), str(tmp_path / "warp.nii.gz"))
    sitk.WriteTransform(affine, str(tmp_path / "affine.txt"))
    composite = sitk.CompositeTransform(3)
    composite.AddTransform(affine)
    composite.AddTransform(sitk.DisplacementFieldTransform(field))
    sitk.WriteTransform(composite, str(tmp_path / "forward.h5"))
    moving = sitk.ReadImage(str(tmp_path / PAIR.moving.path))
    truth = sitk.Resample(
        moving, reference, sitk.ReadTransform(str(tmp_path / "forward.h5")), sitk.sitkLinear
    )
    sitk.WriteImage(truth, str(tmp_path / "truth.nii.gz"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def moved_equals_truth(folder: Path) -> None:
    moved = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "moved.nii.gz")))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "truth.nii.gz")))
    inner = (slice(4, -4),) * 3
    assert truth[inner].std() > 1
    np.testing.assert_allclose(moved[inner], truth[inner], atol=0.05)


def code(tool: str) -> str:
    return next(command.code for command in reuse_commands(PAIR) if command.tool == tool)


@pytest.mark.parametrize("tool", ["SimpleITK", "nitransforms"])
def test_python_lines_make_the_moved_image(tool: str, output_folder: Path) -> None:
    pytest.importorskip(tool)

    exec(compile(code(tool), tool, "exec"), {})  # noqa: S102 - these lines are what users paste

    moved_equals_truth(output_folder)


def test_our_own_line_makes_the_moved_image(output_folder: Path) -> None:
    words = shlex.split(code("nodereg").replace("\\\n", ""), comments=True)
    assert words[0] == "bids-nodereg"

    assert main(words[1:]) == 0

    moved_equals_truth(output_folder)


@pytest.mark.parametrize("tool", ["ANTs", "ANTs, separate parts"])
def test_ants_lines_make_the_moved_image(tool: str, output_folder: Path) -> None:
    ants = pytest.importorskip("ants")
    words = shlex.split(code(tool), comments=True)
    assert words[0] == "antsApplyTransforms"
    transforms = [words[at + 1] for at, word in enumerate(words) if word == "-t"]

    moved = ants.apply_transforms(
        ants.image_read(words[words.index("-r") + 1]),
        ants.image_read(words[words.index("-i") + 1]),
        transforms,
    )
    ants.image_write(moved, "moved.nii.gz")

    moved_equals_truth(output_folder)


def test_the_inverse_swaps_the_images_and_its_own_file_is_used() -> None:
    pair = replace(PAIR, outputs=OutputFiles("forward.h5", "inverse.h5"))
    ants = [command for command in reuse_commands(pair) if command.tool == "ANTs"]

    words = shlex.split(ants[1].code, comments=True)
    assert words[words.index("-i") + 1] == PAIR.fixed.path
    assert words[words.index("-r") + 1] == PAIR.moving.path
    assert words[words.index("-t") + 1] == "inverse.h5"
