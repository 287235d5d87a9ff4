"""The words of --output-spaces."""

from __future__ import annotations

import re

import pytest

from bids_nodereg.bids.spaces import output_spaces
from bids_nodereg.errors import UsageError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["MNI152NLin6Asym"], [("MNI152NLin6Asym", ("",))]),
        (["MNI152NLin6Asym:res-1", "MNI152NLin6Asym:res-02"], [("MNI152NLin6Asym", ("1", "2"))]),
        (["MNI152NLin6Asym:res-2:res-1", "MNI152NLin6Asym"], [("MNI152NLin6Asym", ("2", "1", ""))]),
        (
            ["UNCInfant:cohort-1:res-1", "UNCInfant:cohort-2"],
            [("UNCInfant+1", ("1",)), ("UNCInfant+2", ("",))],
        ),
        (["study=/a/b_T1w.nii.gz", "MNI152Lin"], [("study", ("",)), ("MNI152Lin", ("",))]),
    ],
)
def test_words_become_spaces(words, expected):
    assert [(space.label, space.resolutions) for space in output_spaces(words)] == expected


def test_a_local_file_and_its_mask_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [space] = output_spaces(["study=brain.nii.gz,mask=sub/mask.nii"])
    assert (space.path, space.mask) == (tmp_path / "brain.nii.gz", tmp_path / "sub" / "mask.nii")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["MNI:res-native"], "an index of the template"),
        (["MNI:res-2mm"], "an index of the template"),
        (["MNI:den-10k"], "neither res-R nor cohort-X"),
        (["MNI:cohort-"], "neither res-R nor cohort-X"),
        (["MNI_152"], "letters, digits and + only"),
        (["my space=a.nii.gz"], "letters, digits and + only"),
        (["study=a.mgz"], "no NIfTI file"),
        (["study="], "no NIfTI file"),
        (["study=a.nii.gz,mask=b"], "no NIfTI file"),
        (["T1w=a.nii.gz"], "a meaning of its own"),
        (["templateflow=a.nii.gz"], "a meaning of its own"),
        (["raw=a.nii.gz"], "a meaning of its own"),
        (["study=a.nii.gz", "study=b.nii.gz"], "two different templates"),
        (["study=a.nii.gz", "Study=b.nii.gz"], "study and Study differ in case only"),
        (["MNI152Lin", "mni152lin"], "differ in case only"),
        (["one=a.nii.gz", "two=a.nii.gz"], "the same file has two names"),
    ],
)
def test_a_word_that_makes_no_sense_is_told(words, told):
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        output_spaces(words)
    assert words[-1] in str(error.value)
    assert "Expected SPACE" in str(error.value)
