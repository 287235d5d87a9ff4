"""A map of relative stiffness, from the pairs file to the registration and the sidecar."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from bids_nodereg.app import stages
from bids_nodereg.app.images import read_inputs
from bids_nodereg.app.jobs import find_jobs, open_input
from bids_nodereg.cli import parse
from bids_nodereg.registration.register import Registration
from tests.app import phantom
from tests.app.conftest import Run

SHAPE = (30, 34, 28)
AFFINE = phantom.affine_of(SHAPE, (4.0, 4.0, 4.0), (8, -5, 3), phantom.CENTRE)
URI = "bids:maps:sub-01/anat/sub-01_stiffness.nii.gz"


@pytest.fixture
def words(study, tmp_path) -> list[str]:
    """A run of one pair with a map that is three times as stiff on the left (x < 0) as on the right."""
    left = phantom.points_of(SHAPE, AFFINE)[..., 0] < phantom.CENTRE[0]
    values = np.where(left, 6.0, 2.0).astype(np.float32)
    phantom.save(tmp_path / "maps" / "sub-01" / "anat" / "sub-01_stiffness.nii.gz", values, AFFINE)
    table = tmp_path / "pairs.tsv"
    images = [f"sub-01/anat/sub-01_{contrast}.nii.gz" for contrast in ("T1w", "T2w")]
    table.write_text("fixed\tmoving\tstiffness\n" + "\t".join([*images, URI]) + "\n")
    more = ("--participant-label", "01", "--pairs-file", str(table), "-d", f"maps={tmp_path / 'maps'}")
    return study.arguments(tmp_path / "out", *more)


def test_the_map_weights_the_registration_where_it_says(words, monkeypatch):
    seen = {}

    def register(pair, *rest):
        seen["pair"] = pair
        zero = torch.zeros(1, 3, *pair.fixed.shape[2:])
        return Registration(zero, zero, zero, (), None, 1.0, 0.5)

    monkeypatch.setattr(stages, "register", register)
    config = parse(words)
    (participant,) = find_jobs(config, open_input(config), ("01",))
    inputs = read_inputs(participant.jobs[0].pair)
    grid = stages.common_grid(inputs.fixed, config.settings)
    stages.deform(inputs, np.eye(4), grid, config.settings, torch.device("cpu"), print)
    stiffness, mask = (tensor[0, 0].numpy() for tensor in (seen["pair"].stiffness, seen["pair"].fixed_mask))
    assert stiffness[mask > 0].mean() == pytest.approx(1, abs=1e-3)
    away = phantom.points_of(grid.shape, grid.affine)[..., 0] - phantom.CENTRE[0]
    inside = mask > 0
    left, right = stiffness[inside & (away < -6)], stiffness[inside & (away > 6)]
    np.testing.assert_allclose(left, 3 * right.mean(), rtol=1e-3)
    np.testing.assert_allclose(right, right.mean(), rtol=1e-3)


def test_a_run_names_the_map(words, study, tmp_path):
    options = words[words.index("--participant-label") :]
    out = tmp_path / "out"
    run = Run(study, out, study.run(out, *options, "--iterations", "2", "1"))
    assert run.code == 0
    assert run.sidecar["StiffnessMap"] == URI
    facts = json.loads(next(out.rglob("*_report.json")).read_text())["facts"]
    assert facts["stiffness"] == ["a given map"]
    assert run.again(*options, "--transform", "rigid") == 0
    assert "StiffnessMap" not in run.sidecar
