"""A pair whose objective is never a finite number ends with a map; quality file, sidecar and page say so."""

from __future__ import annotations

import json

import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from tests.app.conftest import Run
from tests.registration.faults import Faults


@pytest.fixture
def rescued(study, tmp_path, monkeypatch) -> Run:
    """A deformable run whose similarity is never a number."""
    Faults(losses=range(1, 1000)).install(monkeypatch)
    out = study.raw.parent / "rescued" / tmp_path.name
    return Run(study, out, study.run(out, "--participant-label", "01"))


def test_the_affine_alone_is_written_and_to_be_checked(rescued):
    assert rescued.code == 0
    quality = json.loads(rescued.stem.with_name(rescued.stem.name + "_mode-image_qc.json").read_text())
    assert quality["Verdict"] in {"check", "fail"}
    assert quality["Measures"]["affine_alone"] == 1
    assert quality["Measures"]["nonfinite_attempts"] == 3
    assert quality["Measures"]["folded_voxels"] == 0
    assert any("Nothing was deformed" in reason for reason in quality["Reasons"])
    assert [rescue["Level"] for rescue in rescued.sidecar["Rescues"]] == [1, 1, 1]
    assert "the affine alone was kept" in rescued.sidecar["Rescues"][-1]["Description"]
    page = (rescued.out / "sub-01.html").read_text("utf-8")
    assert "Nothing was deformed" in page
    whole, affine = (sitk.ReadTransform(str(path)) for path in (rescued.forward_h5, rescued.affine))
    point = (-10.0, 8.0, 12.0)
    assert whole.TransformPoint(point) == pytest.approx(affine.TransformPoint(point), abs=1e-6)


def test_a_usual_pair_says_that_there_was_nothing_to_rescue(done):
    quality = json.loads(done.stem.with_name(done.stem.name + "_mode-image_qc.json").read_text())

    assert quality["Measures"]["affine_alone"] == quality["Measures"]["nonfinite_attempts"] == 0
    assert "Rescues" not in done.sidecar
