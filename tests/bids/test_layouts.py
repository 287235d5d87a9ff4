"""Layouts that data sets really have, and awkward ones: which pairs come of them, from folders to pairs."""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest

from bids_nodereg.bids.candidates import no_pair_message
from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.pairs import RuleOptions, pairs_of, within_session
from bids_nodereg.cli import main
from bids_nodereg.errors import NothingSelectedError
from tests.bids.make import make_dataset


class Layout(NamedTuple):
    """Names after ``sub-01_``, and the pairs expected of them: moving to fixed, by stems."""

    names: tuple[str, ...]
    pairs: dict[str, str]
    extension: str = ".nii.gz"


LAYOUTS = {
    # shapes of public examples
    "one T1w and one T2w": Layout(("T1w", "T2w"), {"T2w": "T1w"}),
    "both in one session": Layout(("ses-01_T1w", "ses-01_T2w"), {"ses-01_T2w": "ses-01_T1w"}),
    "a T1w of each of two runs, and a slab": Layout(("run-01_T1w", "run-02_T1w", "inplaneT2"), {}),
    "a slab only": Layout(("T1w", "inplaneT2"), {}),
    "a FLAIR, no T2w": Layout(("acq-MPRAGE_T1w", "FLAIR"), {"FLAIR": "acq-MPRAGE_T1w"}),
    "the T1w in one of three sessions": Layout(("ses-1_T1w", "ses-2_T1map", "ses-3_T1map"), {}),
    "T1w in every session": Layout(("ses-1_T1w", "ses-2_T1w"), {}),
    "an MP2RAGE with its parts": Layout(
        ("inv-1_part-mag_MP2RAGE", "inv-1_part-phase_MP2RAGE", "UNIT1", "T1map", "T2w"),
        {"T2w": "UNIT1"},
        ".nii",
    ),
    "uncompressed files": Layout(("T1w", "T2w"), {"T2w": "T1w"}, ".nii"),
    "a FLASH with many echoes and angles": Layout(
        ("T1w", "echo-1_flip-1_mt-on_MPM", "echo-1_MEGRE", "acq-x_PDw"), {"acq-x_PDw": "T1w"}
    ),
    # awkward ones
    "the T2w in another session": Layout(("ses-pre_T1w", "ses-post_T2w"), {"ses-post_T2w": "ses-pre_T1w"}),
    "two acquisitions of each": Layout(
        ("acq-hr_T1w", "acq-lr_T1w", "acq-hr_T2w", "acq-lr_T2w"),
        {"acq-hr_T2w": "acq-hr_T1w", "acq-lr_T2w": "acq-lr_T1w"},
    ),
    "PDw and T2w of one scan, apart and in one file": Layout(
        ("T1w", "PDw", "T2w", "PDT2"), {"PDw": "T1w", "T2w": "T1w"}
    ),
    "normalised and not": Layout(("rec-norm_T1w", "T1w", "rec-norm_T2w"), {"rec-norm_T2w": "rec-norm_T1w"}),
    "chunks": Layout(
        ("chunk-1_T1w", "chunk-2_T1w", "chunk-1_T2w", "chunk-2_T2w"),
        {"chunk-1_T2w": "chunk-1_T1w", "chunk-2_T2w": "chunk-2_T1w"},
    ),
    "after contrast agent": Layout(
        ("T1w", "ce-gadolinium_T1w", "ce-gadolinium_FLAIR", "FLAIR"),
        {"ce-gadolinium_T1w": "T1w", "ce-gadolinium_FLAIR": "T1w", "FLAIR": "T1w"},
    ),
    "labels that differ in case": Layout(
        ("acq-MPRAGE_T1w", "acq-mprage_T1w", "acq-mprage_T2w"), {"acq-mprage_T2w": "acq-mprage_T1w"}
    ),
    "leading zeros": Layout(("run-01_T1w", "run-001_T1w", "run-1_T2w"), {"run-1_T2w": "run-001_T1w"}),
    "phases": Layout(("T1w", "part-phase_T2starw", "part-mag_T2starw"), {"part-mag_T2starw": "T1w"}),
    "a defaced twin's mask": Layout(("T1w", "mod-T1w_defacemask", "T2w"), {"T2w": "T1w"}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_pairs_of_a_layout(tmp_path, name):
    layout = LAYOUTS[name]
    root = make_dataset(tmp_path, *(f"sub-01_{stem}{layout.extension}" for stem in layout.names))
    selection = open_dataset(root).select("01")
    candidates = within_session(selection.images, RuleOptions(timeline=selection.timeline))

    def stem(image):
        return image.path.name.removeprefix("sub-01_").removesuffix(layout.extension)

    assert {stem(pair.moving): stem(pair.fixed) for pair in pairs_of(candidates)} == layout.pairs
    assert len(candidates) + len(selection.left_out) == len(layout.names)  # every file is told of


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if not layout.pairs])
def test_a_layout_without_a_pair_ends_with_66(tmp_path, name, capsys):
    layout = LAYOUTS[name]
    root = make_dataset(tmp_path / "raw", *(f"sub-01_{stem}{layout.extension}" for stem in layout.names))
    words = [str(root), str(tmp_path / "out"), "participant", "--skip-bids-validation"]
    assert main(words) == 66
    error = capsys.readouterr().err
    assert "sub-01: no pair. Contrasts found: T1w" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_t2w_that_is_newer_than_the_t1w_of_its_session_changes_nothing(tmp_path):
    root = make_dataset(tmp_path, *(f"sub-01_ses-{s}_{c}.nii.gz" for s in "12" for c in ("T1w", "T2w")))
    for session, hour in (("1", "09"), ("2", "10")):
        lines = f"anat/sub-01_ses-{session}_T1w.nii.gz\t2020-01-0{session}T08:00:00\n"
        lines += f"anat/sub-01_ses-{session}_T2w.nii.gz\t2020-01-0{session}T{hour}:00:00\n"
        table = root / "sub-01" / f"ses-{session}" / f"sub-01_ses-{session}_scans.tsv"
        table.write_text("filename\tacq_time\n" + lines)
    selection = open_dataset(root).select("01")
    assert selection.timeline.between("1", "2") == 1
    pairs = pairs_of(within_session(selection.images, RuleOptions(timeline=selection.timeline)))
    assert [(pair.fixed.session, pair.moving.session) for pair in pairs] == [("1", "1"), ("2", "2")]


def test_participants_are_told_apart_by_zeros_and_case(tmp_path):
    root = make_dataset(tmp_path, *(f"sub-{label}_T1w.nii.gz" for label in ("01", "1", "A", "a")))
    dataset = open_dataset(root)
    for label in ("01", "1", "A", "a"):
        assert [image.subject for image in dataset.images(label)] == [label]


def test_sidecars_at_the_root_are_no_images_and_do_no_harm(tmp_path):
    root = make_dataset(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-01_T2w.json")
    for name in ("T1w.json", "task-rest_bold.json", "acq-MPRAGE_T1w.json"):
        (root / name).write_text("{broken")  # pairing reads no sidecar
    selection = open_dataset(root).select("01")
    assert len(selection.images) == 2
    assert selection.left_out == ()


def test_what_a_mac_leaves_behind_is_no_image(tmp_path):
    root = make_dataset(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    for name in ("._sub-01_T2w.nii.gz", ".DS_Store", "sub-01_T1w.nii.gz.part", "sub-02_T2w.nii.gz"):
        (root / "sub-01" / "anat" / name).touch()
    (root / "sub-01" / "anat" / "sub-01_FLAIR.nii.gz").mkdir()
    (root / "sub-01" / "ses-x").touch()
    selection = open_dataset(root).select("01")
    assert [image.suffix for image in selection.images] == ["T1w", "T2w"]
    left_out = {left.relative: left.reason for left in selection.left_out}
    assert list(left_out) == ["sub-01/anat/sub-01_FLAIR.nii.gz", "sub-01/anat/sub-02_T2w.nii.gz"]
    assert "a folder" in left_out["sub-01/anat/sub-01_FLAIR.nii.gz"]


def test_a_participant_without_a_folder_or_without_anat_has_no_image(tmp_path):
    root = make_dataset(tmp_path, "sub-01_T1w.nii.gz")
    (root / "sub-02" / "func").mkdir(parents=True)
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\nsub-03\n")
    dataset = open_dataset(root)
    assert dataset.participants() == ("01", "02")
    assert dataset.images("02") == ()
    assert "Contrasts found: none" in no_pair_message("02", dataset.select("02"))
    with pytest.raises(NothingSelectedError, match="no folder for participant label"):
        dataset.participants(["sub-03"])


def test_a_broken_t1w_link_sends_the_t2w_nowhere(tmp_path):
    root = make_dataset(tmp_path, "sub-01_ses-1_T1w.nii.gz", "sub-01_ses-2_T2w.nii.gz")
    (root / "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz").symlink_to("../../../.git/annex/objects/k")
    selection = open_dataset(root).select("01")
    candidates = within_session(selection.images, RuleOptions(timeline=selection.timeline))
    assert pairs_of(candidates) == ()
    (row,) = (row for row in candidates if row.unusable)
    assert (row.fixed, row.moving.suffix) == (row.unusable[0], "T2w")
    assert row.reason.startswith("T2w onto the session's T1w, but sub-01_ses-2_T1w.nii.gz cannot be used")
    assert "git-annex" in row.reason


def test_a_file_in_the_folder_of_another_is_left_out_and_told(tmp_path):
    root = make_dataset(tmp_path, "sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz", "sub-03_ses-1_T1w.nii.gz")
    for path in ("sub-01/anat/sub-02_T2w.nii.gz", "sub-03/ses-1/anat/sub-03_ses-2_T2w.nii.gz"):
        (root / path).touch()
    (root / "sub-03/ses-1/anat/sub-03_T2w.nii.gz").touch()
    told = {}
    for labels in (["01", "02", "03"], ["01"], ["02"], ["03"]):  # whoever else is looked at
        for subject, selection in open_dataset(root).select_each(labels):
            assert [image.suffix for image in selection.images] == ["T1w"]
            now = {left.relative.split("/")[-1]: left.reason for left in selection.left_out}
            assert told.setdefault(subject, now) == now
    assert told["02"] == {}
    assert told["01"]["sub-02_T2w.nii.gz"] == (
        "folder and name disagree: it lies in sub-01, and the name says sub-02"
    )
    assert told["03"] == {
        "sub-03_T2w.nii.gz": "folder and name disagree: it lies in ses-1, and the name says no ses-",
        "sub-03_ses-2_T2w.nii.gz": "folder and name disagree: it lies in ses-1, and the name says ses-2",
    }


@pytest.mark.parametrize("label", ["a-b", "<img>", "größe"])
def test_a_label_that_bids_does_not_allow_goes_into_no_name(tmp_path, label):
    root = make_dataset(tmp_path, "sub-01_T1w.nii.gz", f"sub-01_acq-{label}_T2w.nii.gz")
    candidates = within_session(open_dataset(root).images("01"), RuleOptions())
    assert pairs_of(candidates) == ()
    (row,) = (row for row in candidates if row.unusable)
    assert f"its name has {label!r}; BIDS allows letters, digits and + only" in row.reason


def test_listing_grows_with_the_participants_and_not_faster(tmp_path, monkeypatch, capsys):
    """Counts every entry of every folder listed while all pairs are found, with derivatives and sessions."""
    _entries_listed(tmp_path / "first", 1, monkeypatch)  # what is imported once is not counted
    one, two, eight = (_entries_listed(tmp_path / str(n), n, monkeypatch) for n in (1, 2, 8))
    each = two - one
    assert 20 < each < 400  # a participant has 16 files in 8 folders; each folder is looked into a few times
    assert eight - two == 6 * each
    assert "32 pair(s) to register" in capsys.readouterr().out


def _entries_listed(folder, participants, monkeypatch):
    names = [
        f"sub-{number:02}_ses-{session}_{suffix}.nii.gz"
        for number in range(participants)
        for session in "12"
        for suffix in ("T1w", "T2w", "FLAIR")
    ]
    root = make_dataset(folder / "raw", *names)
    masks = (name.replace("_T1w", "_desc-brain_mask") for name in names if "T1w" in name)
    labels = (name.replace("_T1w", "_desc-aseg_dseg") for name in names if "T1w" in name)
    prep = make_dataset(folder / "prep", *masks, *labels)
    (prep / "desc-aseg_dseg.tsv").write_text("index\tname\n")
    count = 0
    scandir, listdir = os.scandir, os.listdir

    def counting_scandir(path):
        nonlocal count
        with scandir(path) as entries:
            count += len(list(entries))
        return scandir(path)

    def counting_listdir(path):
        nonlocal count
        names = listdir(path)
        count += len(names)
        return names

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", counting_scandir)
        patch.setattr(os, "listdir", counting_listdir)
        assert main([str(root), str(folder / "out"), "participant", "--dry-run", "-d", f"prep={prep}"]) == 0
    return count
