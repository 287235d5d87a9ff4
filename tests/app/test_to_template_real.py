"""A real brain to a real template, both on every fourth voxel so that it is quick."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from tests.app import phantom
from tests.app.conftest import Run
from tests.app.dataset import QUICK, Study
from tests.app.templates import without_figures
from tests.shared_data import shared_data

SPACE = "MNI152NLin6Asym"
SUBJECT = "kirby113"
LABELS = "res-01_desc-sae18_dseg.nii.gz"
SCORED = [1, 2, 3, 5, 6, 7, 8, 9, 10, 13, 14, 15, 17]  # structures that the labels are to be trusted for


def coarse(source, target):
    image = nib.load(source)
    data = np.asarray(image.dataobj)[2::4, 2::4, 2::4]
    affine = image.affine.copy()
    affine[:3, 3] = image.affine[:3, :3] @ [2, 2, 2] + image.affine[:3, 3]
    affine[:3, :3] *= 4
    phantom.save(target, data, affine)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("real")
    raw, seg, home = root / "raw", root / "seg", root / "home"
    brain, labels = shared_data("ds-brain"), shared_data("ds-brain", "derivatives", "seg-auto")
    for contrast in ("T1w", "T2w"):
        name = f"sub-{SUBJECT}/anat/sub-{SUBJECT}_{contrast}.nii.gz"
        coarse(brain / name, raw / name)
    name = f"sub-{SUBJECT}/anat/sub-{SUBJECT}_space-T1w_desc-sae18_dseg.nii.gz"
    coarse(labels / name, seg / name)
    for folder in (raw, seg):
        text = json.dumps({"Name": folder.name, "BIDSVersion": "1.10.0"})
        (folder / "dataset_description.json").write_text(text)
    template = shared_data("templates", f"tpl-{SPACE}")
    for kind in ("desc-brain_T1w", "desc-brain_mask"):
        name = f"tpl-{SPACE}_res-01_{kind}.nii.gz"
        coarse(template / name, home / f"tpl-{SPACE}" / name)
    config = root / "quick.toml"
    config.write_text(QUICK)
    study = Study(raw, seg, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPLATEFLOW_HOME", str(home))
        without_figures(patch)
        quick = ("--working-resolution", "4", "--iterations", "15", "10")
        code = study.run(root / "out", "--output-spaces", f"{SPACE}:res-1", *quick)
    return Run(study, root / "out", code)


def in_space(run, ending):
    stem = f"sub-{SUBJECT}_space-{SPACE}_res-1_desc-{ending}.nii.gz"
    return np.asarray(nib.load(run.out / f"sub-{SUBJECT}" / "anat" / stem).dataobj)


@pytest.mark.real
def test_structures_of_a_real_brain_come_onto_those_of_the_template(run, tmp_path):
    assert run.code == 0
    coarse(shared_data("templates", f"tpl-{SPACE}", f"tpl-{SPACE}_{LABELS}"), tmp_path / "labels.nii.gz")
    true = np.asarray(nib.load(tmp_path / "labels.nii.gz").dataobj)
    ours = in_space(run, "sae18fromT1w_dseg")
    dice = [2 * ((ours == n) & (true == n)).sum() / ((ours == n).sum() + (true == n).sum()) for n in SCORED]
    assert np.mean(dice) > 0.65  # at 1 mm the affine alone has 0.77, and both together 0.83


@pytest.mark.real
def test_the_t2w_lies_on_the_t1w_in_the_template(run):
    """In the template too, the ventricles are dark in one contrast and bright in the other."""
    labels = in_space(run, "sae18fromT1w_dseg")
    ventricles, white = labels == 3, labels == 1
    t1w, t2w = (in_space(run, f"nodereg_{contrast}") for contrast in ("T1w", "T2w"))
    assert t1w[ventricles].mean() < 0.7 * t1w[white].mean()
    assert t2w[ventricles].mean() > 1.7 * t2w[white].mean()
