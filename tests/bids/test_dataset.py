"""Opening a data set and finding a participant's images."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bids_nodereg.bids import index
from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.filters import read_filters
from bids_nodereg.bids.image import CONTRASTS, NOT_PAIRED
from bids_nodereg.errors import (
    InvalidDatasetError,
    MissingInputError,
    NothingSelectedError,
    OutputError,
    UsageError,
)
from tests.bids.make import make_dataset
from tests.shared_data import shared_data


def found(root, subject="01", **options):
    return [image.path.name for image in open_dataset(root).images(subject, **options)]


def filters_of(tmp_path, content):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps(content))
    return read_filters(path)


def counted_layouts(monkeypatch):
    layouts = []
    original = index.layout_of
    monkeypatch.setattr(
        "bids_nodereg.bids.dataset.layout_of",
        lambda *arguments: layouts.append(original(*arguments)) or layouts[-1],
    )
    return layouts


def test_only_the_participant_asked_for_is_indexed(tmp_path, monkeypatch):
    names = [f"sub-{number:03d}_{suffix}.nii.gz" for number in range(60) for suffix in ("T1w", "T2w")]
    root = make_dataset(tmp_path / "raw", *names, "sub-007x_T1w.nii.gz")
    layouts = counted_layouts(monkeypatch)
    assert found(root, "007") == ["sub-007_T1w.nii.gz", "sub-007_T2w.nii.gz"]
    (layout,) = layouts
    indexed = {path for path in layout.get(return_type="filename") if path.endswith(".nii.gz")}
    assert len(indexed) == 2


def test_one_index_serves_many_participants_in_batches(tmp_path, monkeypatch):
    labels = [f"{number:02d}" for number in range(7)]
    root = make_dataset(tmp_path / "raw", *(f"sub-{label}_T1w.nii.gz" for label in labels))
    (root / "sub-empty").mkdir()
    layouts = counted_layouts(monkeypatch)
    monkeypatch.setattr("bids_nodereg.bids.dataset.BATCH", 3)
    monkeypatch.setattr(index, "MOST_NAMED", 2)
    each = list(open_dataset(root).select_each([*labels, "empty"]))
    assert [subject for subject, _ in each] == [*labels, "empty"]
    assert [[image.subject for image in found.images] for _, found in each] == [
        [label] for label in labels
    ] + [[]]
    assert len(layouts) == 3


def test_pybids_is_not_imported_before_the_first_query(tmp_path):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz")
    code = (
        "import sys; from pathlib import Path; from bids_nodereg.bids.dataset import open_dataset\n"
        "from bids_nodereg.bids import pairs_file, derivatives, output_dataset\n"
        f"assert open_dataset(Path({str(root)!r})).participants() == ('01',)\n"
        "sys.exit('bids' in sys.modules or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_participants_come_from_the_folders_in_natural_order(tmp_path):
    root = make_dataset(tmp_path, "sub-10_T1w.nii.gz", "sub-2_T1w.nii.gz", "sub-02_T1w.nii.gz")
    (root / "participants.tsv").write_text("participant_id\nsub-2\nsub-99\n")
    (root / "sub-file").touch()
    dataset = open_dataset(root)
    assert dataset.participants() == ("02", "2", "10")
    assert dataset.participants(["sub-10", "2", "2"]) == ("2", "10")
    with pytest.raises(NothingSelectedError, match=r"99.*There are 3: 02, 2, 10"):
        dataset.participants(["99"])


def test_labels_may_stand_in_a_file(tmp_path, monkeypatch):
    root = make_dataset(tmp_path / "raw", *(f"sub-0{number}_T1w.nii.gz" for number in range(1, 5)))
    listing = tmp_path / "labels.tsv"
    listing.write_bytes(b"\xef\xbb\xbfparticipant_id\tage\r\nsub-03\t40\r\n# no\r\n\r\n01\t2\r\n")
    dataset = open_dataset(root)
    assert dataset.participants([str(listing), "04"]) == ("01", "03", "04")
    (tmp_path / "02").write_text("01\n")  # a file that happens to be called like a participant
    monkeypatch.chdir(tmp_path)
    assert dataset.participants(["02"]) == ("02",)
    (tmp_path / "empty").write_text("")
    with pytest.raises(NothingSelectedError):
        dataset.participants(["empty"])


def test_a_dataset_without_participants_is_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match="no sub-"):
        open_dataset(make_dataset(tmp_path)).participants()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", '{"Name": "x"}', '{"BIDSVersion": "1.0.0"}', '{"Name": 1, "BIDSVersion": "1.0.0"}'],
)
def test_a_bad_description_is_an_invalid_dataset(tmp_path, text):
    (tmp_path / "dataset_description.json").write_text(text)
    with pytest.raises(InvalidDatasetError, match=r"dataset_description\.json"):
        open_dataset(tmp_path)


def test_missing_folders_and_descriptions_are_told_apart(tmp_path):
    with pytest.raises(MissingInputError):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "a.zip").write_text("not a folder")
    with pytest.raises(MissingInputError, match="expected a BIDS folder, got a file"):
        open_dataset(tmp_path / "a.zip")
    with pytest.raises(InvalidDatasetError):
        open_dataset(tmp_path)
    root = make_dataset(tmp_path / "raw")
    with pytest.raises(MissingInputError, match="fmriprep"):
        open_dataset(root, derivatives={"fmriprep": tmp_path / "nowhere"})
    with pytest.raises(UsageError, match="not 'raw'"):
        open_dataset(root, derivatives={"raw": root})


def test_a_byte_order_mark_and_a_derivative_type_are_no_problem(tmp_path):
    root = make_dataset(
        tmp_path, "sub-01_T1w.nii.gz", "sub-01_space-MNI_desc-x_T1w.nii.gz", DatasetType="derivative"
    )
    path = root / "dataset_description.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert found(root) == ["sub-01_T1w.nii.gz"]


def test_images_that_cannot_pair_are_left_out_with_a_reason(tmp_path):
    names = [f"sub-01_{suffix}.nii.gz" for suffix in (*CONTRASTS, *NOT_PAIRED, "T1map")]
    parts = [f"sub-01_part-{part}_T2starw.nii.gz" for part in ("mag", "phase", "real", "imag")]
    root = make_dataset(tmp_path, *names, *parts, "sub-01_desc-preproc_T1w.nii.gz", "sub-01_T1w.json")
    make_dataset(root / "derivatives" / "other", "sub-01_space-T1w_desc-x_T2w.nii.gz")
    selection = open_dataset(root).select("01")
    chosen = {image.path.name for image in selection.images}
    assert chosen == {f"sub-01_{suffix}.nii.gz" for suffix in CONTRASTS} | {"sub-01_part-mag_T2starw.nii.gz"}
    reasons = {left.relative.split("/")[-1]: left.reason for left in selection.left_out}
    assert reasons["sub-01_part-phase_T2starw.nii.gz"].startswith("part-phase")
    assert reasons["sub-01_inplaneT2.nii.gz"] == NOT_PAIRED["inplaneT2"]
    assert "derived" in reasons["sub-01_desc-preproc_T1w.nii.gz"]
    assert len(chosen) + len(reasons) == len(names) + len(parts) + 1


def test_entities_are_spelled_as_in_the_name(tmp_path):
    root = make_dataset(tmp_path / "Messung für Ägypten", "sub-001_ses-02_acq-mprage_rec-norm_run-01_T1w.nii")
    (image,) = open_dataset(root).images("001")
    assert (image.subject, image.session, image.suffix) == ("001", "02", "T1w")
    assert image.entities == (("acquisition", "mprage"), ("reconstruction", "norm"), ("run", "01"))
    assert image.relative == "sub-001/ses-02/anat/sub-001_ses-02_acq-mprage_rec-norm_run-01_T1w.nii"
    assert image.uri == f"bids:raw:{image.relative}"
    assert image.path.is_absolute()
    assert (image.entity("run"), image.entity("subject"), image.entity("echo")) == ("01", "001", None)
    assert open_dataset(root).images("1") == ()


def test_the_compressed_twin_is_preferred(tmp_path):
    root = make_dataset(tmp_path, "sub-01_T1w.nii", "sub-01_T1w.nii.gz", "sub-01_T2w.nii")
    selection = open_dataset(root).select("01")
    assert [image.path.name for image in selection.images] == ["sub-01_T1w.nii.gz", "sub-01_T2w.nii"]
    assert [left.reason for left in selection.left_out] == ["the same image is there as .nii.gz"]


def test_a_broken_link_is_a_candidate_with_a_problem(tmp_path):
    root = make_dataset(tmp_path, "sub-01_T1w.nii.gz")
    (root / "sub-01/anat/sub-01_T2w.nii.gz").symlink_to("../../.git/annex/objects/xx/key")
    (root / "sub-01/anat/sub-01_FLAIR.nii.gz").symlink_to("sub-01_T1w.nii.gz")
    problems = {image.suffix: image.problem for image in open_dataset(root).images("01")}
    assert "git-annex" in problems.pop("T2w")
    assert problems == {"T1w": "", "FLAIR": ""}


def test_sessions_restrict(tmp_path):
    root = make_dataset(tmp_path, *(f"sub-01_ses-{session}_T1w.nii.gz" for session in ("a", "b", "c")))
    assert found(root, sessions=["ses-c", "a"]) == ["sub-01_ses-a_T1w.nii.gz", "sub-01_ses-c_T1w.nii.gz"]
    make_dataset(root, "sub-02_T1w.nii.gz")  # a filter on sessions does not apply to what has none
    assert found(root, "02", sessions=["a"]) == ["sub-02_T1w.nii.gz"]
    left_out = open_dataset(root).select("01", ["zz"]).left_out
    assert len(left_out) == 3
    assert left_out[0].reason == "session a was not asked for"


FILTERED = (
    "sub-01_T1w.nii.gz",
    "sub-01_acq-a_run-01_T1w.nii.gz",
    "sub-01_acq-a_run-02_T1w.nii.gz",
    "sub-01_acq-b_T1w.nii.gz",
    "sub-01_acq-b_T2w.nii.gz",
    "sub-01_part-phase_T2w.nii.gz",
    "sub-01_inplaneT2.nii.gz",
    "sub-01_desc-preproc_T1w.nii.gz",
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"t1w": {"acquisition": None}}, {FILTERED[0], FILTERED[4]}),
        ({"t1w": {"acquisition": "*"}}, {*FILTERED[1:4], FILTERED[4]}),
        ({"t1w": {"run": 2}}, {FILTERED[2], FILTERED[4]}),
        ({"t1w": {"run": [1, "02"]}}, {*FILTERED[1:3], FILTERED[4]}),
        ({"t1w": {"acquisition": [None, "b"]}}, {FILTERED[0], FILTERED[3], FILTERED[4]}),
        ({"t2w": {"part": "phase"}, "t1w": {"run": 1}}, {FILTERED[1], FILTERED[5]}),
        ({"t2w": {"suffix": "inplaneT2"}, "t1w": {"run": 1}}, {FILTERED[1], FILTERED[6]}),
        ({"t1w": {"session": "ses-9"}, "t2w": {"extension": "nii"}}, set()),
        ({"t1w": {"desc": "preproc"}, "t2w": {"scale": 1}}, {FILTERED[7]}),
        ({"bold": {"echo": 1}}, set(FILTERED[:5])),
    ],
)
def test_filters_mean_what_they_mean_in_fmriprep(tmp_path, query, expected):
    root = make_dataset(tmp_path / "raw", *FILTERED)
    filters = filters_of(tmp_path, query)
    assert set(found(root, filters=filters)) == expected
    selection = open_dataset(root).select("01", filters=filters)
    assert len(selection.images) + len(selection.left_out) == len(FILTERED)


def test_unknown_queries_are_noted_and_not_refused(tmp_path):
    filters = filters_of(tmp_path, {"t1w": {}, "fmap": {"nonsense": 1}, "bold": {}})
    assert len(filters.notes) == 2
    assert "'fmap'" in filters.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON list"),
        ('{"t1w": 3}', "expected an object"),
        ('{"T2w": {"session": "1"}}', "Did you mean 't2w'"),
        ('{"t1w": {"acq": "x"}}', "Did you mean 'acquisition'"),
        ('{"t1w": {"recontruction": "x"}}', "Did you mean 'reconstruction'"),
        ('{"t1w": {"subject": "01"}}', "--participant-label"),
        ('{"t1w": {"run": true}}', "expected text"),
        ('{"t1w": {"run": {"a": 1}}}', "expected text"),
    ],
)
def test_a_wrong_filter_file_is_a_usage_error(tmp_path, text, message):
    path = tmp_path / "filter.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_filters(path)
    with pytest.raises(MissingInputError):
        read_filters(tmp_path / "nowhere.json")


def test_a_database_is_made_once_and_then_reused(tmp_path):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz", "sub-02_T2w.nii.gz")
    dataset = open_dataset(root, database_dir=tmp_path / "db")
    assert [image.suffix for image in dataset.images("02")] == ["T1w", "T2w"]
    assert [path.name for path in (tmp_path / "db").iterdir()] == [index.DATABASE_FILE]
    make_dataset(root, "sub-01_T2w.nii.gz")  # the database does not know it
    (root / "sub-02/anat/sub-02_T2w.nii.gz").unlink()  # but knows this one
    assert [image.suffix for image in dataset.images("01")] == ["T1w"]
    assert [bool(image.problem) for image in dataset.images("02")] == [False, True]


def test_names_parsed_from_a_database_grow_with_the_participants_and_not_faster(tmp_path, monkeypatch):
    monkeypatch.setattr("bids_nodereg.bids.dataset.BATCH", 2)
    monkeypatch.setattr(index, "MOST_NAMED", 1)
    labels = [f"{number:02d}" for number in range(12)]
    root = make_dataset(tmp_path / "raw", *(f"sub-{label}_T1w.nii.gz" for label in labels))
    parsed = []
    original = index.image_from_name
    monkeypatch.setattr(index, "image_from_name", lambda *words: parsed.append(words) or original(*words))
    queries = []
    find = index.find_images
    monkeypatch.setattr(
        "bids_nodereg.bids.dataset.find_images", lambda *words: queries.append(words) or find(*words)
    )
    dataset = open_dataset(root, database_dir=tmp_path / "db")
    for count in (2, 6, 12):
        parsed.clear()
        queries.clear()
        assert len(list(dataset.select_each(labels[:count]))) == count
        assert len(queries) == 1 + len(CONTRASTS)  # each goes over the whole database
        assert len(parsed) == 2 * count  # among all anatomical files, and among those of its contrast


def test_a_foreign_or_broken_database_is_a_usage_error(tmp_path):
    one = make_dataset(tmp_path / "one", "sub-01_T1w.nii.gz")
    two = make_dataset(tmp_path / "two", "sub-01_T1w.nii.gz")
    open_dataset(one, database_dir=tmp_path / "db").images("01")
    with pytest.raises(UsageError, match="not of"):
        open_dataset(two, database_dir=tmp_path / "db").images("01")
    (tmp_path / "db" / index.DATABASE_FILE).write_text("this is no database")
    with pytest.raises(UsageError, match="no usable pybids database"):
        open_dataset(one, database_dir=tmp_path / "db").images("01")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        open_dataset(one, database_dir=tmp_path / "file").images("01")


def test_one_participant_of_the_nasty_layout():
    dataset = open_dataset(shared_data("layouts", "ds004332"))
    assert dataset.participants() == ("01", "02")
    images = dataset.images("02")
    assert len(images) == 32
    assert {image.suffix for image in images} == {"T1w", "T2w", "FLAIR", "T2starw"}


def test_the_mp2rage_layout_has_its_unit1_only():
    selection = open_dataset(shared_data("layouts", "qmri_mp2rage")).select("1")
    assert [image.relative for image in selection.images] == ["sub-1/anat/sub-1_UNIT1.nii"]
    assert len(selection.left_out) == 6
