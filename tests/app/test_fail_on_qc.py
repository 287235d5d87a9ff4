"""Verdicts of whole runs on real brains, made small; some of them wrong on purpose."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.app.gate import refused
from bids_nodereg.app.status import Status
from bids_nodereg.cli import main, parse
from tests.shared_data import shared_data

if TYPE_CHECKING:
    from pathlib import Path

QUICK = """\
[settings.affine]
spacings_mm = [8.0, 4.0]
iterations = [30, 25]
angles_deg = [0.0]
keep = 1
"""


def small(contrast: str) -> nib.Nifti1Image:
    """Every other voxel of a real image: 2 mm."""
    path = shared_data("ds-brain", "sub-kirby113", "anat", f"sub-kirby113_{contrast}.nii.gz")
    return nib.load(path).slicer[::2, ::2, ::2]


def mirror_image(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Left for right in the data, the header as it was."""
    axis = int(np.argmax(np.abs(image.affine[0, :3])))
    return nib.Nifti1Image(np.flip(np.asarray(image.dataobj), axis), image.affine, image.header)


def write_raw(root: Path, images: dict[str, nib.Nifti1Image]) -> Path:
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "wrong", "BIDSVersion": "1.10.0"}')
    for name, image in images.items():
        path = root / "sub-01" / "anat" / f"sub-01_{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, path)
    return root


def run(raw: Path, out: Path, *more: str) -> int:
    config = raw.parent / "quick.toml"
    config.write_text(QUICK)
    quick = ("--preset", "fast", "--config", str(config), "--working-resolution", "4", "--device", "cpu")
    few = ("--transform", "affine", "--omp-nthreads", "1", "--skip-bids-validation")
    return main([str(raw), str(out), "participant", *quick, *few, *more])


def quality(out: Path, moving: str) -> dict:
    path = out / "sub-01" / "anat" / f"sub-01_from-{moving}_to-T1w_mode-image_qc.json"
    return json.loads(path.read_text())


@pytest.mark.real
def test_a_mirrored_image_fails_and_the_run_says_so_on_demand(tmp_path, capsys):
    images = {"T1w": small("T1w"), "T2w": mirror_image(small("T2w"))}
    raw, out = write_raw(tmp_path / "raw", images), tmp_path / "out"

    asked = run(raw, out, "--fail-on-qc")

    bad = quality(out, "T2w")
    assert (asked, bad["Verdict"]) == (1, "fail")
    assert "left and right are likely swapped" in bad["Reasons"][0]
    assert bad["Measures"]["mirrored_distance_ratio"] < 0.8
    assert {"mirrored_distance_ratio", "affine_scale_min"} <= {limit["Measure"] for limit in bad["Limits"]}
    assert set(bad["Measures"]) == set(bad["Dictionary"])
    assert list(out.glob("sub-01/anat/*from-T2w_to-T1w_mode-image_xfm.h5")), "outputs stay"
    # What is done already counts the same, and nothing counts when nobody asks.
    assert run(raw, out, "--fail-on-qc", "check") == 1
    capsys.readouterr()
    assert run(raw, out) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "To look at, for the reasons in the reports: sub-01_from-T2w_to-T1w (fail)" in told
    log = next(path for path in out.glob("logs/*/run.log") if "Refused" in path.read_text())
    assert "sub-01_from-T2w_to-T1w (fail)" in log.read_text()


def test_a_constant_image_is_an_error_and_never_passes(tmp_path):
    shape = (24, 28, 24)
    inside = np.zeros(shape, bool)
    inside[4:-4, 4:-4, 4:-4] = True
    affine = np.diag([4.0, 4, 4, 1])
    texture = np.where(inside, np.random.default_rng(0).normal(500, 90, shape), 0).astype(np.float32)
    images = {
        "T1w": nib.Nifti1Image(texture, affine),
        "T2w": nib.Nifti1Image(np.full(shape, 7, np.float32), affine),
    }
    raw, out = write_raw(tmp_path / "raw", images), tmp_path / "out"

    code = run(raw, out)

    assert code == 65
    assert not list(out.rglob("*_qc.json"))
    status = json.loads(next(out.glob("logs/*/status_*.json")).read_text())
    assert status["status"] == "failed"
    assert "sub-01_T2w" in status["error"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (None, []),
        ("fail", ["c (fail)", "d (no verdict that can be read)"]),
        ("check", ["b (check)", "c (fail)", "d (no verdict that can be read)"]),
    ],
)
def test_a_level_refuses_itself_and_what_is_worse(level, expected):
    verdicts = {"a": "pass", "b": "check", "c": "fail", "d": ""}
    statuses = [Status(name, "01", "done", verdict=verdict) for name, verdict in verdicts.items()]
    statuses.append(Status("e", "01", "failed"))  # counts by its error

    assert refused(statuses, level) == expected


@pytest.mark.parametrize(("words", "level"), [((), None), (("--fail-on-qc",), "fail")])
def test_the_option_alone_means_fail(tmp_path, words, level):
    config = parse([str(tmp_path / "raw"), str(tmp_path / "out"), "participant", *words])

    assert config.fail_on_qc == level
    assert (
        parse(
            [str(tmp_path / "raw"), str(tmp_path / "out"), "participant", "--fail-on-qc", "check"]
        ).fail_on_qc
        == "check"
    )
