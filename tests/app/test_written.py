"""Files that were written: what is changed is noticed, and what is not is read once."""

from __future__ import annotations

import os

import pytest

from bids_nodereg.app import written
from bids_nodereg.app.provenance import sha256
from bids_nodereg.app.written import OUTPUTS, record, why_changed

HOUR_NS = 3600 * 10**9


@pytest.fixture
def pair(tmp_path):
    """Two files that were copied with a time after that of their sidecar, an hour ago and more."""
    files = [tmp_path / name for name in ("a.h5", "b.nii")]
    for path in files:
        path.write_text("whole")
    mark = tmp_path / "mark.json"
    mark.touch()
    now = mark.stat().st_mtime_ns
    for path in files:
        os.utime(path, ns=(now - HOUR_NS, now - HOUR_NS))
    os.utime(mark, ns=(now - 2 * HOUR_NS, now - 2 * HOUR_NS))
    return {OUTPUTS: record(files, tmp_path)}, mark, tmp_path


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were read in full."""
    names = []

    def digest(path):
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(written, "sha256", digest)
    return names


def test_files_that_were_copied_are_read_once(pair, read):
    assert why_changed(*pair) == ""
    assert read == ["a.h5", "b.nii"]
    assert why_changed(*pair) == ""
    assert read == ["a.h5", "b.nii"]


def test_a_change_after_that_is_noticed(pair, read):
    assert why_changed(*pair) == ""
    (pair[2] / "b.nii").write_text("while")
    assert why_changed(*pair) == "b.nii is not as it was written"
    assert read == ["a.h5", "b.nii", "b.nii"]


def test_a_changed_file_gives_the_sidecar_no_new_time(pair, read):
    (pair[2] / "b.nii").write_text("while")
    before = pair[1].stat().st_mtime_ns
    for _ in range(2):
        assert why_changed(*pair) == "b.nii is not as it was written"
    assert pair[1].stat().st_mtime_ns == before


@pytest.mark.parametrize("ahead_ns", [0, HOUR_NS])
def test_a_time_that_has_not_passed_is_given_to_no_sidecar(pair, read, ahead_ns):
    """A change in the same moment could not be told from the file that was compared."""
    path = pair[2] / "a.h5"
    path.touch()
    now = path.stat().st_mtime_ns
    os.utime(path, ns=(now + ahead_ns, now + ahead_ns))
    before = pair[1].stat().st_mtime_ns
    assert why_changed(*pair) == ""
    assert pair[1].stat().st_mtime_ns == before


def test_a_file_that_is_lost_does_not_matter_here(pair, read):
    (pair[2] / "a.h5").unlink()
    assert why_changed(*pair) == ""
