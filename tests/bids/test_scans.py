"""When sessions were: read from the tables that BIDS has for it."""

from __future__ import annotations

import json

import pytest

from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.scans import read_timeline
from bids_nodereg.bids.sessions import LABEL_ORDER, Timeline
from tests.bids.make import make_dataset
from tests.shared_data import shared_data


def write_scans(root, session, *rows):
    folder = root / "sub-01" / f"ses-{session}"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["filename\tacq_time", *("\t".join(row) for row in rows)]
    (folder / f"sub-01_ses-{session}_scans.tsv").write_text("\n".join(lines) + "\n")


def write_sessions(root, *rows, columns):
    (root / "sub-01").mkdir(exist_ok=True)
    lines = ["\t".join(row) for row in (("session_id", *columns), *rows)]
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("\n".join(lines) + "\n")


def test_the_earliest_anatomical_image_dates_a_session(tmp_path):
    write_scans(
        tmp_path,
        "1",
        ("func/sub-01_ses-1_task-rest_bold.nii.gz", "2020-01-01T06:00:00"),
        ("anat/sub-01_ses-1_T2w.nii.gz", "2020-01-01T12:30:00.123456Z"),
        ("anat/sub-01_ses-1_T1w.nii.gz", "2020-01-01T12:00:00"),
    )
    write_scans(tmp_path, "2", ("anat/sub-01_ses-2_T1w.nii.gz", "n/a"), ("pet/x.nii.gz", "2020-07-22"))
    timeline = read_timeline(tmp_path, "01", ["1", "2"])
    assert timeline.source == "acq_time of scans.tsv"
    assert timeline.between("1", "2") == pytest.approx(202.5)
    assert timeline.words("2", "1") == "202.5 days earlier, by acq_time of scans.tsv"


def test_dates_before_1925_are_as_good_as_others(tmp_path):
    write_scans(tmp_path, "1", ("anat/a.nii", "1899-03-01T00:00:00"))
    write_scans(tmp_path, "2", ("anat/a.nii", "1899-02-27T00:00:00"))
    timeline = read_timeline(tmp_path, "01", ["1", "2"])
    assert timeline.order(["1", "2"]) == ["2", "1"]
    assert timeline.words("1", "2") == "2 days earlier, by acq_time of scans.tsv"


def test_the_times_of_two_tables_are_never_mixed(tmp_path):
    """Dates that are shifted in one table and not in the other would put the sessions a century apart."""
    write_scans(tmp_path, "1", ("anat/a.nii", "1901-01-01T00:00:00"))
    both = ("ses-1", "2020-01-01T00:00:00"), ("ses-2", "2020-01-11T00:00:00")
    write_sessions(tmp_path, *both, columns=("acq_time",))
    timeline = read_timeline(tmp_path, "01", ["1", "2"])
    assert timeline.between("1", "2") == 10
    assert timeline.source == "acq_time of sessions.tsv"
    write_sessions(tmp_path, both[1], columns=("acq_time",))
    assert read_timeline(tmp_path, "01", ["1", "2"]) == Timeline()
    write_scans(tmp_path, "2", ("anat/a.nii", "1901-01-04T00:00:00"))
    assert read_timeline(tmp_path, "01", ["1", "2"]).between("1", "2") == 3


def test_a_number_of_days_that_is_no_clock_is_not_used(tmp_path):
    rows = ("ses-1", "14", "3"), ("ses-2", "2", "40")
    write_sessions(tmp_path, *rows, columns=("days_on_medication", "days_since_birth"))
    timeline = read_timeline(tmp_path, "01", ["1", "2"])
    assert (timeline.between("1", "2"), timeline.source) == (37, "days_since_birth of sessions.tsv")
    write_sessions(tmp_path, *(row[:2] for row in rows), columns=("days_on_medication",))
    assert read_timeline(tmp_path, "01", ["1", "2"]) == Timeline()


@pytest.mark.parametrize(
    ("column", "values", "unit", "apart"),
    [
        ("acq_time", ("2001-02-03T04:05:06", "2001-02-13T04:05:06"), None, 10),
        ("days_since_first", ("0", "203"), None, 203),
        ("Days_since_injury", ("-3", "4.5"), None, 7.5),
        ("age", ("30", "32"), None, 730.5),
        ("age", ("30", "32"), "weeks", 14),
        ("age", ("10", "12"), "month", 60.875),
    ],
)
def test_columns_of_sessions_tsv(tmp_path, column, values, unit, apart):
    rows = [(f"ses-{number}", value) for number, value in enumerate(values)]
    write_sessions(tmp_path, *rows, columns=(column,))
    if unit:
        (tmp_path / "sessions.json").write_text(json.dumps({"age": {"Units": unit}}))
    timeline = read_timeline(tmp_path, "01", ["0", "1"])
    assert timeline.between("0", "1") == pytest.approx(apart)
    assert timeline.source == f"{column} of sessions.tsv"


@pytest.mark.parametrize(
    "rows", [[("ses-0", "1")], [("ses-0", "1"), ("ses-1", "n/a")], [("ses-0", "x"), ("ses-1", "2")], []]
)
def test_a_time_that_one_session_lacks_is_not_used(tmp_path, rows):
    """Times of different kinds cannot be compared, so the labels decide for all."""
    write_sessions(tmp_path, *rows, columns=("days_since_first",))
    write_scans(tmp_path, "1", ("anat/a.nii", "2020-02-31T00:00:00"))
    assert read_timeline(tmp_path, "01", ["0", "1"]) == Timeline(source=LABEL_ORDER)
    assert read_timeline(tmp_path / "nowhere", "01", ["0", "1"]) == Timeline()


def test_a_table_that_cannot_be_read_is_told_and_does_not_stop(tmp_path):
    write_sessions(tmp_path, ("ses-1", "0", "too many"), columns=("days_since_first",))
    timeline = read_timeline(tmp_path, "01", ["1", "2"])
    assert timeline.days == ()
    assert len(timeline.notes) == 1
    assert "sub-01_sessions.tsv: line 2 has 3 cells" in timeline.notes[0]
    assert "not used" in timeline.notes[0]


def test_the_tables_are_read_only_where_there_are_sessions_to_compare(tmp_path, monkeypatch):
    root = make_dataset(
        tmp_path, "sub-01_ses-1_T1w.nii.gz", "sub-02_ses-1_T1w.nii.gz", "sub-02_ses-2_T1w.nii.gz"
    )
    asked = []
    monkeypatch.setattr(
        "bids_nodereg.bids.dataset.read_timeline", lambda *words: asked.append(words[1:]) or Timeline()
    )
    for subject in ("01", "02"):
        open_dataset(root).select(subject)
    assert asked == [("02", ["1", "2"])]


def test_the_real_sessions_are_203_days_apart():
    timeline = open_dataset(shared_data("ds-openms")).select("01").timeline
    assert timeline.between("1", "2") == 203
    assert timeline.source == "days_since_first of sessions.tsv"
