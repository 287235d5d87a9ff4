"""Leftovers are looked for where this run writes, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bids_nodereg.app import leftovers
from bids_nodereg.app.leftovers import LAST_RUNS, clear_leftovers

DEAD = ".00000000-1-1-0a0b0c0d.tmp-a.json"


@pytest.fixture
def looked_into(monkeypatch):
    """Folders that were looked into."""
    folders = []
    monkeypatch.setattr(leftovers, "remove_forgotten", lambda folder: folders.append(folder) or [])
    return folders


def participant(*subjects):
    jobs = [
        SimpleNamespace(
            pair=SimpleNamespace(moving=SimpleNamespace(subject=each), fixed=SimpleNamespace(subject=each))
        )
        for each in subjects
    ]
    return SimpleNamespace(jobs=jobs)


def test_every_folder_of_the_participants_is_looked_into(tmp_path, looked_into):
    (tmp_path / "sub-01" / "ses-a" / "anat").mkdir(parents=True)
    (tmp_path / "sub-02").mkdir()
    clear_leftovers([participant("01")], tmp_path)
    own = tmp_path / "sub-01"
    assert looked_into == [tmp_path, own, own / "ses-a", own / "ses-a" / "anat"]


def test_links_are_not_followed(tmp_path, looked_into):
    outside, out = tmp_path / "outside", tmp_path / "out"
    claim = outside / ".pair.claim"
    (outside / "anat").mkdir(parents=True)
    claim.touch()
    (out / "sub-02").mkdir(parents=True)
    for link in ("sub-01", "logs", "sub-02/anat"):
        (out / link).symlink_to(outside, target_is_directory=True)
    clear_leftovers([participant("01", "02")], out)
    assert looked_into == [out, out / "sub-02"]
    assert claim.exists()


def test_a_link_among_the_logs_is_not_followed(tmp_path, looked_into):
    logs = tmp_path / "logs"
    (logs / "20260101-000000_x").mkdir(parents=True)
    (logs / "20260102-000000_x").symlink_to(tmp_path, target_is_directory=True)
    clear_leftovers([], tmp_path)
    assert looked_into == [tmp_path, logs, logs / "20260101-000000_x"]


def test_of_many_logs_the_newest_are_looked_into(tmp_path, looked_into):
    logs = tmp_path / "logs"
    names = [f"2026{number:04d}-000000_x" for number in range(LAST_RUNS + 30)]
    for name in names[::-1]:
        (logs / name).mkdir(parents=True)
    (logs / "CITATION.md").touch()
    clear_leftovers([], tmp_path)
    assert sorted(looked_into[2:]) == [logs / name for name in names[-LAST_RUNS:]]
