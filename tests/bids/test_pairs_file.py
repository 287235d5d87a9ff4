"""Explicit pairs from a TSV file."""

from __future__ import annotations

import pytest

from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.image import SideFile
from bids_nodereg.bids.pairs import pairs_of
from bids_nodereg.bids.pairs_file import read_pairs_file
from bids_nodereg.errors import MissingInputError, UsageError
from tests.bids.make import make_dataset

T1W, T2W = "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz"


@pytest.fixture
def dataset(tmp_path):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-02_T2w.nii.gz", "sub-01_FLAIR.nii.gz")
    names = [
        "sub-02_desc-aseg_dseg.nii.gz",
        "sub-01_desc-brain_mask.nii.gz",
        "sub-01_desc-preproc_T1w.nii.gz",
    ]
    return open_dataset(root, derivatives={"prep": make_dataset(tmp_path / "prep", *names)})


def read(tmp_path, dataset, *rows, columns=("fixed", "moving")):
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join("\t".join(row) for row in (columns, *rows)) + "\n")
    return read_pairs_file(path, dataset)


def test_pairs_across_participants_and_data_sets(tmp_path, dataset):
    columns = ("moving", "fixed", "fixed_mask", "moving_mask", "moving_dseg")
    mask = "bids:prep:sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    dseg = "bids:prep:sub-02/anat/sub-02_desc-aseg_dseg.nii.gz"
    rows = [
        (f"bids::{T2W}", T1W, mask, "n/a", dseg),
        (f"bids:raw:{T2W}", "bids:prep:sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "", "", "n/a"),
    ]
    first, second = pairs_of(read(tmp_path, dataset, *rows, columns=columns))
    assert (first.fixed.subject, first.moving.subject) == ("01", "02")
    assert first.fixed == dataset.images("01")[1]
    assert (first.fixed_mask, first.moving_mask) == (tmp_path / "prep" / mask.split(":")[2], None)
    assert [(each.desc, each.uri) for each in first.moving_dseg] == [("aseg", dseg)]
    assert second.fixed.uri == rows[1][1]
    assert second.fixed.entities == (("desc", "preproc"),)


def test_lesions_and_stiffness_by_path_or_uri(tmp_path, dataset):
    """Their URIs are kept for the sidecars, with what a URI may not hold written in its way."""
    columns = ("fixed", "moving", "fixed_lesion", "moving_lesion", "stiffness")
    lesion = dataset.root / "sub-01/anat/sub-01_label-lesion_roi.nii.gz"
    odd = dataset.root / "masks/my lesion.nii"
    odd.parent.mkdir()
    for path in (lesion, odd):
        path.touch()
    uri = "bids:prep:sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    rows = [
        (T1W, T2W, "sub-01/anat/sub-01_label-lesion_roi.nii.gz", "bids::masks/my%20lesion.nii", uri),
        (T1W, T2W, "n/a", "", "n/a"),
    ]
    given, none = (each.pair for each in read(tmp_path, dataset, *rows, columns=columns))
    assert given.fixed_lesion == SideFile(lesion, "bids:raw:sub-01/anat/sub-01_label-lesion_roi.nii.gz")
    assert given.moving_lesion == SideFile(odd, "bids:raw:masks/my%20lesion.nii")
    assert given.stiffness == SideFile(tmp_path / "prep" / uri.split(":")[2], uri)
    assert (none.fixed_lesion, none.moving_lesion, none.stiffness) == (None, None, None)


@pytest.mark.parametrize("column", ["fixed_lesion", "moving_lesion", "stiffness"])
def test_a_lesion_or_stiffness_that_is_missing_spoils_its_row(tmp_path, dataset, column):
    rows = [(T1W, T2W, ""), (T1W, T2W, "sub-01/gone.nii.gz")]
    found = read(tmp_path, dataset, *rows, columns=("fixed", "moving", column))
    assert [each.taken for each in found] == [True, False]
    assert found[1].reason == f"{column} bids:raw:sub-01/gone.nii.gz: the file is not there (any more)"
    with pytest.raises(UsageError, match=f"line 2: {column}: .* leaves"):
        read(tmp_path, dataset, (T1W, T2W, "../gone.nii.gz"), columns=("fixed", "moving", column))
    with pytest.raises(UsageError, match=f"line 2: {column}: .* no data set 'other'"):
        read(tmp_path, dataset, (T1W, T2W, "bids:other:a.nii"), columns=("fixed", "moving", column))


def test_byte_order_mark_windows_lines_and_blank_lines(tmp_path, dataset):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(f"\ufefffixed\tmoving\tfixed_mask\r\n{T1W}\t{T2W}\r\n\r\n".encode())
    (candidate,) = read_pairs_file(path, dataset)
    assert candidate.taken
    assert candidate.rule == "pairs-file"


def test_a_missing_file_spoils_its_row_only(tmp_path, dataset):
    (dataset.root / "sub-01/anat/sub-01_PDw.nii.gz").symlink_to("nowhere")
    gone = "sub-03/anat/sub-03_T1w.nii.gz"
    rows = [
        (T1W, T2W, ""),
        (gone, T2W, ""),
        (T1W, "sub-01/anat/sub-01_PDw.nii.gz", ""),
        (T1W, T2W, "sub-01/m.nii"),
    ]
    found = read(tmp_path, dataset, *rows, columns=("fixed", "moving", "fixed_mask"))
    assert [each.taken for each in found] == [True, False, False, False]
    assert found[1].reason == f"{gone}: the file is not there (any more)"
    assert "git-annex" in found[2].reason
    assert "fixed_mask bids:raw:sub-01/m.nii" in found[3].reason
    with pytest.raises(MissingInputError, match=r"no pair is left: .*sub-03"):
        read(tmp_path, dataset, (gone, T2W))
    with pytest.raises(MissingInputError, match="no rows"):
        read(tmp_path, dataset)
    with pytest.raises(MissingInputError):
        read_pairs_file(tmp_path / "nowhere.tsv", dataset)


@pytest.mark.parametrize(
    "escape",
    [
        "/etc/passwd",
        "../raw2/sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/../../x/sub-01_T1w.nii.gz",
        "bids::../sub-01_T1w.nii.gz",
        "bids::/sub-01_T1w.nii.gz",
        "bids::%2E%2E/sub-01_T1w.nii.gz",
        "bids:prep:../raw/sub-01/anat/sub-01_T1w.nii.gz",
        "..",
    ],
)
def test_paths_that_leave_their_data_set_are_refused(tmp_path, dataset, escape):
    with pytest.raises(UsageError, match="leaves"):
        read(tmp_path, dataset, (escape, T2W))


@pytest.mark.parametrize("name", ["sub-02_FLAIR.nii.gz", "sub-01_acq-a-b_FLAIR.nii.gz"])
def test_an_image_whose_name_cannot_be_trusted_is_not_taken(tmp_path, dataset, name):
    path = f"sub-01/anat/{name}"
    (dataset.root / path).touch()
    wrong, _ = read(tmp_path, dataset, (T1W, path), (T1W, T2W))
    assert [image.relative for image in wrong.unusable] == [path]
    assert "name" in wrong.reason


def test_dots_that_stay_inside_are_fine(tmp_path, dataset):
    (candidate,) = read(tmp_path, dataset, ("sub-02/../" + T1W, "./" + T2W))
    assert candidate.fixed is not None
    assert (candidate.fixed.relative, candidate.moving.relative) == (T1W, T2W)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([], ("fixed", "moving", "mask"), "columns are"),
        ([], ("fixed",), "columns are"),
        ([], ("fixed", "moving", "moving"), "each once"),
        ([(T1W, T2W, "x")], ("fixed", "moving"), "line 2 has 3 cells"),
        ([(T1W, "n/a")], ("fixed", "moving"), "line 2: moving is empty"),
        ([(T1W,)], ("fixed", "moving"), "line 2: moving is empty"),
        ([(T1W, T1W)], ("fixed", "moving"), "same file"),
        ([(T1W, "dataset_description.json")], ("fixed", "moving"), "no image"),
        ([(T1W, "sub-01/anat/sub-01_T1w.json")], ("fixed", "moving"), "no image"),
        ([(T1W, "bids:other:" + T2W)], ("fixed", "moving"), "known: raw, prep"),
    ],
)
def test_mistakes_are_usage_errors_that_name_the_line(tmp_path, dataset, rows, columns, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, dataset, *rows, columns=columns)
