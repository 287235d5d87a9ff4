"""Names that differ in upper and lower case only: told, and refused where the output takes them for one."""

from __future__ import annotations

import os
import shutil

import pytest

from bids_nodereg.bids.casing import clashes, misspelt_participants, takes_cases_for_one
from tests.bad_input.study import Study, make_study


def twins(study: Study) -> str:
    """Two participants."""
    shutil.copytree(study.raw / "sub-a1", study.raw / "sub-A1")
    for path in (study.raw / "sub-A1" / "anat").iterdir():
        path.rename(path.with_name(path.name.replace("sub-a1", "sub-A1")))
    return "sub-A1 and sub-a1"


def twin_images(study: Study) -> str:
    """Two images of one participant; both are taken with --all-pairs."""
    for label in ("x", "X"):
        shutil.copy(study.image("a1"), study.image("a1", f"acq-{label}_T2w"))
    stem = "sub-a1/anat/sub-a1_acq-{}_T2w.nii.gz"
    return f"{stem.format('X')} and {stem.format('x')}"


NOTHING = ("--boilerplate-only",)
"""All that comes before the first image is read."""
MAKE = {"participants": twins, "images": twin_images}


def is_told(text: str, names: str) -> bool:
    said = " ".join(text.split())
    return said.count("differ in upper and lower case only") == 1 and names in said


@pytest.mark.parametrize("what", MAKE)
def test_names_that_clash_are_told_and_stop_nothing_where_they_are_two(tmp_path, capsys, what, outcome):
    study = make_study(tmp_path, "a1")
    names = MAKE[what](study)
    assert study.run("--all-pairs", "--dry-run") == 0
    assert is_told(capsys.readouterr().err, names)
    assert study.run("--all-pairs", *NOTHING) == 0
    assert is_told(capsys.readouterr().err, names)
    case = f"{what} whose names differ in upper and lower case only"
    outcome("bad input", case, "told; goes on where the output tells them apart", 0)


@pytest.mark.parametrize("what", MAKE)
def test_names_that_clash_are_refused_where_they_are_one(tmp_path, capsys, what, outcome):
    """A hard link stands for a file system that finds a file under both spellings."""
    study = make_study(tmp_path, "a1")
    assert study.run(*NOTHING) == 0
    names = MAKE[what](study)
    os.link(study.out / "dataset_description.json", study.out / "DATASET_DESCRIPTION.JSON")
    capsys.readouterr()
    assert study.run("--all-pairs", *NOTHING) == 73
    said = " ".join(capsys.readouterr().err.split())
    assert "does not tell upper from lower case" in said
    assert names in said
    assert not list(study.out.glob("sub-*"))
    case = f"{what} whose names differ in case only, output on a file system that does not tell"
    outcome("bad input", case, "run refused, told", 73)


def test_a_participant_alone_clashes_with_nobody(tmp_path, capsys):
    study = make_study(tmp_path, "a1", "b1")
    twins(study)
    assert study.run("--participant-label", "b1", *NOTHING) == 0
    assert "differ in upper" not in capsys.readouterr().err


def test_clashes_are_of_names_that_differ_in_case_alone():
    assert clashes(["b", "a", "A", "a", "ab", "AB", "Ab", "c"]) == (("A", "a"), ("AB", "Ab", "ab"))
    assert clashes([]) == ()


def test_misspelt_participants_are_folders(tmp_path):
    for name in ("sub-1", "Sub-10", "SUB-2", "code"):
        (tmp_path / name).mkdir()
    (tmp_path / "Sub-list.txt").touch()
    assert misspelt_participants(tmp_path) == ("SUB-2", "Sub-10")
    assert misspelt_participants(tmp_path / "away") == ()


def test_this_file_system_tells_cases_apart(tmp_path):
    (tmp_path / "file.txt").touch()
    assert takes_cases_for_one(tmp_path / "file.txt") == (tmp_path / "FILE.txt").exists()
    assert not takes_cases_for_one(tmp_path / "away.txt")
