"""Names of brain masks: ``--derivatives`` reads them, and fMRIPrep does not take them unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bids import BIDSLayout

from bids_nodereg.bids.brain_masks import brain_mask_path, brain_mask_sidecar
from bids_nodereg.bids.derivative_inputs import find_brain_mask
from bids_nodereg.bids.image import image_from_name

OUT = Path("out")


def image_of(relative: str, dataset: str = "raw"):
    return image_from_name(Path("raw") / relative, relative, dataset)


@pytest.mark.parametrize(
    ("relative", "mask"),
    [
        ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_space-T1w_desc-brain_mask.nii.gz"),
        ("sub-01/anat/sub-01_FLAIR.nii", "sub-01/anat/sub-01_space-FLAIR_desc-brain_mask.nii.gz"),
        (
            "sub-01/ses-b/anat/sub-01_ses-b_acq-tse_run-02_T2w.nii.gz",
            "sub-01/ses-b/anat/sub-01_ses-b_acq-tse_run-02_space-T2w_desc-brain_mask.nii.gz",
        ),
    ],
)
def test_the_name_is_found_again_as_a_derivative(relative, mask, tmp_path):
    image = image_of(relative)
    path = brain_mask_path(image, tmp_path)
    assert path == tmp_path / mask
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_brain_mask([("masks", tmp_path)], image) == path


def test_fmriprep_does_not_take_our_mask_for_its_skull_strip(tmp_path):
    """Its query for the mask of the T1w: no ``space-``, ``desc-brain``. Beside a mask that it does take."""
    (tmp_path / "dataset_description.json").write_text(
        json.dumps({"Name": "out", "BIDSVersion": "1.10.0", "DatasetType": "derivative"})
    )
    ours = brain_mask_path(image_of("sub-01/anat/sub-01_T1w.nii.gz"), tmp_path)
    theirs = tmp_path / "sub-02" / "anat" / "sub-02_desc-brain_mask.nii.gz"
    for path in (ours, theirs):
        path.parent.mkdir(parents=True)
        path.touch()
    layout = BIDSLayout(tmp_path, config=["bids", "derivatives"], validate=False)
    query = {"datatype": "anat", "space": None, "desc": "brain", "suffix": "mask"}
    assert layout.get(subject=["01", "02"], return_type="filename", **query) == [str(theirs)]
    assert layout.get(subject="01", return_type="filename", **{**query, "space": "T1w"}) == [str(ours)]


def test_an_image_that_is_a_derivative_has_no_mask_of_ours():
    assert brain_mask_path(image_of("sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "fmriprep"), OUT) is None


def test_the_sidecar_says_of_what_and_how():
    sidecar = brain_mask_sidecar(image_of("sub-01/anat/sub-01_T2w.nii.gz"), "brain found by X")
    assert sidecar["Type"] == "Brain"
    assert sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]
    assert "brain found by X" in sidecar["Description"]
