"""Pairs over time, from files to files: a brain that grew must show as growth."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.cli import main
from tests.app import phantom
from tests.app.dataset import QUICK, QUICK_OPTIONS
from tests.bids.make import make_dataset

SHAPE = (25, 28, 23)
GRID = phantom.affine_of(SHAPE, (3.8, 4.0, 3.9), (8, -5, 12), phantom.CENTRE)
GROWTH = 1.08  # of lengths, so 26 % of volume


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    """Sessions whose labels are not in the order of time: ``b`` was first, ``a`` 90 days later, grown."""
    root = tmp_path_factory.mktemp("sessions")
    raw = make_dataset(root / "raw", *(f"sub-01_ses-{session}_T1w.nii.gz" for session in "ab"))
    points = phantom.points_of(SHAPE, GRID)
    for session, scale in (("a", GROWTH), ("b", 1.0)):
        shares = phantom.soft_labels(phantom.CENTRE + (points - phantom.CENTRE) / scale)
        path = raw / "sub-01" / f"ses-{session}" / "anat" / f"sub-01_ses-{session}_T1w.nii.gz"
        phantom.save(path, phantom.image_of(shares, phantom.T1W, ord(session)).astype(np.float32), GRID)
    (raw / "sub-01" / "sub-01_sessions.tsv").write_text(
        "session_id\tacq_time\nses-a\t2020-04-01\nses-b\t2020-01-02\n"
    )
    (root / "quick.toml").write_text(QUICK)
    longitudinal = ["--pairs", "longitudinal", "--config", str(root / "quick.toml")]
    few = ["--working-resolution", "4", "--iterations", "6", "4"]  # the growth is in the affine part
    return [str(raw), str(root / "out"), "participant", *longitudinal, *QUICK_OPTIONS, *few]


def median_jacobian(words: list[str], moving: str, fixed: str) -> tuple[float, str]:
    """Median determinant deep inside the brain, and what its sidecar says."""
    folder = Path(words[1]) / "sub-01" / f"ses-{moving}" / "anat"
    stem = f"sub-01_ses-{moving}_from-T1w_to-ses{fixed}T1w_mode-image_desc-jacobian_xfm"
    image = nib.load(folder / f"{stem}.nii.gz")
    away = np.linalg.norm(
        (phantom.points_of(image.shape, image.affine) - phantom.CENTRE) / phantom.RADII, axis=-1
    )
    told = json.loads((folder / f"{stem}.json").read_text())["Description"]
    return float(np.median(image.get_fdata()[away < 0.6])), told


def test_growth_from_the_first_session_on_is_above_one(words):
    """The first in time is fixed, whatever its label; the volume that the affine part explains counts."""
    assert main(words) == 0
    growth, told = median_jacobian(words, moving="a", fixed="b")
    assert growth == pytest.approx(GROWTH**3, abs=0.06)
    assert "From session b (fixed) to session a (moving) tissue has expanded where this is above" in told
    assert "affine part included" in told


def test_a_named_base_is_fixed(words, capsys):
    assert main([*words, "--longitudinal-base", "ses-a", "--dry-run", "json"]) == 0
    (pair,) = (row for row in json.loads(capsys.readouterr().out) if row["taken"])
    names = [pair[side].rpartition("/")[2] for side in ("fixed", "moving")]
    assert names == ["sub-01_ses-a_T1w.nii.gz", "sub-01_ses-b_T1w.nii.gz"]
    assert "(90 days earlier, by acq_time of sessions.tsv) onto that of the base, ses-a" in pair["reason"]


def test_a_base_that_is_not_there_ends_with_18(words, capsys):
    assert main([*words, "--longitudinal-base", "c", "--dry-run"]) == 18
    assert "ses-c, the base asked for, is not there; the sessions are ses-b, ses-a" in capsys.readouterr().out
