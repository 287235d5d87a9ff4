"""``--work-dir``: where temporary files go."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from bids_nodereg.cli import main
from tests.bids.make import make_dataset


@pytest.fixture
def words(tmp_path, monkeypatch):
    """The least command that ends soon: a group of nothing. What it sets is set back."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    return [str(tmp_path / "raw"), str(tmp_path / "out")]


def test_temporary_files_go_there(words, tmp_path):
    folder = tmp_path / "node local" / "work"
    main([*words, "group", "-w", str(folder)])
    assert Path(tempfile.gettempdir()) == folder
    assert os.environ["TMPDIR"] == str(folder)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_ends_with_73(words, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*words, "group", "--work-dir", str(tmp_path / "file" / "work")]) == 73
    assert "--work-dir" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["", "sub-01/work"])
def test_the_input_is_not_written_to(words, place, capsys):
    assert main([*words, "participant", "-w", str(Path(words[0]) / place)]) == 64
    assert "part of the input" in capsys.readouterr().err


def test_a_dry_run_makes_no_folder(words, tmp_path, capsys):
    main([*words, "participant", "--dry-run", "-w", str(tmp_path / "work")])
    assert not (tmp_path / "work").exists()
