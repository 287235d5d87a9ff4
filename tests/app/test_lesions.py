"""Lesions that have no counterpart, from the files to the result: left out of the comparison, and said."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_nodereg.app import stages
from bids_nodereg.app.images import read_inputs
from bids_nodereg.app.jobs import Job, find_jobs, open_input
from bids_nodereg.app.status import fingerprint
from bids_nodereg.cli import parse
from bids_nodereg.errors import DataError
from tests.app import phantom
from tests.app.conftest import Run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.dataset import Study

CPU = torch.device("cpu")
CENTRE = np.add(phantom.CENTRE, [-11.0, -15.0, 7.0])  # of the ball in the T1w
SHIFT_MM = np.array([4.0, 5.0, 0.0])  # from there to where the T2w has one, which is another lesion
RADIUS_MM = 8.0
MARGIN_MM = 1.5  # masks are drawn a little wide
FIXED_NAME = "sub-01_label-lesion_desc-hand_mask.nii.gz"
MOVING_NAME = "sub-01_T2w_label-lesion_roi.nii.gz"  # as users of fMRIPrep name it, in the raw data set
FIXED_URI = f"bids:lesions:sub-01/anat/{FIXED_NAME}"
MOVING_URI = f"bids:raw:sub-01/anat/{MOVING_NAME}"


def fixed_depth_mm(points: np.ndarray) -> np.ndarray:
    """Depth inside the lesion of the T1w at world points of the fixed image."""
    return RADIUS_MM - np.linalg.norm(points - CENTRE, axis=-1)


def moving_depth_mm(points: np.ndarray) -> np.ndarray:
    """The same for that of the T2w, at world points of the moving image."""
    return RADIUS_MM - np.linalg.norm(phantom.truth().back(points) - CENTRE - SHIFT_MM, axis=-1)


def paint(path: Path, depth: np.ndarray, intensity: float, affine: np.ndarray) -> None:
    weight = 1 / (1 + np.exp(-np.clip(2 * depth, -30, 30)))
    image = nib.load(path)
    data = (1 - weight) * image.get_fdata() + weight * intensity
    phantom.save(path, data.astype(image.get_data_dtype()), affine)


@pytest.fixture(scope="module")
def sick(study, tmp_path_factory) -> Study:
    """The study with a bright ball in the T1w and a dark one in the T2w, some millimetres apart."""
    root = tmp_path_factory.mktemp("sick")
    shutil.copytree(study.raw, root / "raw", ignore=shutil.ignore_patterns("sub-00", "sub-02"))
    sick = replace(study, raw=root / "raw")
    paint(
        sick.fixed, fixed_depth_mm(phantom.points_of(phantom.FIXED_SHAPE, phantom.FIXED)), 50, phantom.FIXED
    )
    depth = moving_depth_mm(phantom.points_of(phantom.MOVING_SHAPE, phantom.MOVING))
    paint(sick.moving, depth, 1200, phantom.MOVING)
    inside = (depth > -MARGIN_MM).astype(np.uint8)
    phantom.save(sick.moving.with_name(MOVING_NAME), inside, phantom.MOVING)
    return sick


@pytest.fixture(scope="module")
def masks(sick) -> Path:
    """A derivative with the mask of the T1w on a grid of its own, finer and not oblique."""
    root = sick.raw.with_name("lesions")
    shape = (60, 60, 60)
    affine = phantom.affine_of(shape, (1.5, 1.5, 1.5), (0, 0, 0), phantom.CENTRE)
    inside = fixed_depth_mm(phantom.points_of(shape, affine)) > -MARGIN_MM
    phantom.save(root / "sub-01" / "anat" / FIXED_NAME, inside.astype(np.uint8), affine)
    (root / "dataset_description.json").write_bytes((sick.truth / "dataset_description.json").read_bytes())
    return root


def words_of(sick: Study, masks: Path, *more: str) -> list[str]:
    out = sick.raw.with_name("out")
    given = ("--participant-label", "01", "-d", f"truth={sick.truth}", f"lesions={masks}")
    return sick.arguments(out, *given, *more)


def job_of(words: list[str]) -> Job:
    config = parse(words)
    (participant,) = find_jobs(config, open_input(config), ("01",))
    (job,) = participant.jobs
    return job


def error_mm(words: list[str]) -> float:
    """Mean error of the map in and around both lesions, started from the true affine."""
    settings, inputs = parse(words).settings, read_inputs(job_of(words).pair)
    grid = stages.common_grid(inputs.fixed, settings)
    solution = stages.deform(inputs, phantom.truth().affine, grid, settings, CPU, lambda _step: None)
    points = phantom.points_of(grid.shape, grid.affine)
    near = np.maximum(fixed_depth_mm(points), fixed_depth_mm(points - SHIFT_MM)) > -3
    away = solution.forward(points[near]) - phantom.truth()(points[near])
    return float(np.linalg.norm(away, axis=-1).mean())


def test_masks_are_found_and_carried_to_their_images(sick, masks):
    """One lies in a derivative on another grid, one in the raw data set under fMRIPrep's odd name."""
    pair = job_of(words_of(sick, masks)).pair
    assert pair.fixed_lesion is not None
    assert pair.moving_lesion is not None
    assert (pair.fixed_lesion.uri, pair.moving_lesion.uri) == (FIXED_URI, MOVING_URI)
    inputs = read_inputs(pair)
    for prepared, depth in ((inputs.fixed, fixed_depth_mm), (inputs.moving, moving_depth_mm)):
        grid = prepared.volume.grid
        true = depth(phantom.points_of(grid.shape, grid.affine)) > -MARGIN_MM
        assert 2 * (prepared.lesion & true).sum() / (prepared.lesion.sum() + true.sum()) > 0.9
        inside = (prepared.lesion & prepared.mask).sum() * abs(np.linalg.det(grid.affine[:3, :3])) / 1000
        assert prepared.excluded_ml == pytest.approx(inside)
    ignored = job_of(words_of(sick, masks, "--no-lesion-mask")).pair
    assert (ignored.fixed_lesion, ignored.moving_lesion) == (None, None)


def test_lesions_no_longer_mislead(sick, masks):
    """Compared, the two balls are drawn onto one another and the map becomes worse than the affine."""
    masked, misled = (error_mm(words_of(sick, masks, *more)) for more in ((), ("--no-lesion-mask",)))
    points = phantom.points_of(phantom.FIXED_SHAPE, phantom.FIXED)
    near = np.maximum(fixed_depth_mm(points), fixed_depth_mm(points - SHIFT_MM)) > -3
    start = np.linalg.norm(phantom.truth().displacement(points[near]), axis=-1).mean()
    assert masked < 0.9 * start < 0.9 * misled


def test_a_run_says_what_was_left_out(sick, masks):
    words = words_of(sick, masks, "--iterations", "3", "2")
    out = sick.raw.with_name("out")
    run = Run(sick, out, sick.run(out, *words[words.index("--participant-label") :]))
    assert run.code == 0
    told = run.sidecar["CostFunctionMasks"]
    inputs = read_inputs(job_of(words).pair)
    assert told == {
        "Fixed": {"Source": FIXED_URI, "ExcludedVolumeMl": round(inputs.fixed.excluded_ml, 3)},
        "Moving": {"Source": MOVING_URI, "ExcludedVolumeMl": round(inputs.moving.excluded_ml, 3)},
    }
    assert 2.5 < told["Fixed"]["ExcludedVolumeMl"] < 4.5  # a ball of 9.5 mm has 3.6 ml
    assert {FIXED_URI, MOVING_URI} < set(run.sidecar["Sources"])
    log = (run.logs()[-1] / "run.log").read_text()
    assert f"fixed image: lesion mask {FIXED_NAME}: {inputs.fixed.excluded_ml:.2f} ml are not compared" in log
    assert "Brett" in (out / "logs" / "CITATION.md").read_text("utf-8")
    page = (out / "sub-01.html").read_text("utf-8")
    assert f"lesion mask {MOVING_NAME}" in page
    assert "a lesion mask of the fixed and moving image was left out of the comparison" in page
    report = json.loads(next(out.rglob("*_report.json")).read_text())
    assert report["facts"]["lesion_masks"] == ["fixed", "moving"]


def test_a_changed_or_ignored_lesion_mask_is_another_result(sick, masks, tmp_path):
    shutil.copytree(masks, tmp_path / "m")
    path = tmp_path / "m" / "sub-01" / "anat" / FIXED_NAME
    image = nib.load(path)
    words = words_of(sick, tmp_path / "m")
    settings = parse(words).settings
    before = fingerprint(job_of(words), settings)
    assert fingerprint(job_of(words), settings) == before
    assert {"fixed lesion", "moving lesion"} < before["InputSHA256"].keys()
    ignored = fingerprint(job_of([*words, "--no-lesion-mask"]), parse([*words, "--no-lesion-mask"]).settings)
    assert ignored["SettingsDigest"] != before["SettingsDigest"]
    data = np.asarray(image.dataobj).copy()
    data[0, 0, 0] = 1
    phantom.save(path, data, image.affine)
    after = fingerprint(job_of(words), settings)
    changed = {key for key, digest in after["InputSHA256"].items() if before["InputSHA256"][key] != digest}
    assert changed == {"fixed lesion"}


def test_an_empty_mask_leaves_nothing_out(sick, masks, tmp_path, capsys):
    """Studies keep one for the healthy too."""
    shutil.copytree(masks, tmp_path / "m")
    path = tmp_path / "m" / "sub-01" / "anat" / FIXED_NAME
    phantom.save(path, np.zeros((9, 9, 9), np.uint8), np.eye(4))
    inputs = read_inputs(job_of(words_of(sick, tmp_path / "m")).pair)
    assert inputs.fixed.lesion is None
    assert inputs.fixed.excluded_ml == 0
    assert inputs.moving.lesion is not None


@pytest.mark.parametrize(
    ("values", "origin_mm", "message"),
    [(np.ones, 0, "is it inverted"), (np.ones, 900, "no voxel inside the image")],
)
def test_masks_that_cannot_be_right_are_refused(sick, masks, tmp_path, values, origin_mm, message):
    shutil.copytree(masks, tmp_path / "m")
    affine = phantom.affine_of((40, 40, 40), (5.0, 5.0, 5.0), (0, 0, 0), phantom.CENTRE + origin_mm)
    phantom.save(tmp_path / "m" / "sub-01" / "anat" / FIXED_NAME, values((40, 40, 40), np.uint8), affine)
    with pytest.raises(DataError, match=message):
        read_inputs(job_of(words_of(sick, tmp_path / "m")).pair)
