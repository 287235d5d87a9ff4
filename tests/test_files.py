"""Writing under a final name: the whole new file, or the old one as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.errors import OutputError
from bids_nodereg.files import atomic_path, remove, system_error, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_gets_its_final_name_only_when_whole(tmp_path):
    final = tmp_path / "new" / "deeper" / "a.txt"
    with atomic_path(final) as temporary:
        temporary.write_text("first half")
        assert not final.exists()
        assert names(final.parent) == [temporary.name]
        temporary.write_text("whole")
    assert final.read_text() == "whole"
    assert names(final.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_happens_inside_the_old_file_stays(tmp_path, error):
    final = tmp_path / "a.txt"
    final.write_text("old")
    with pytest.raises(error), atomic_path(final) as temporary:  # noqa: PT012 - the file is half written
        temporary.write_text("half of the n")
        raise error
    assert final.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_writers_see_the_format_in_the_temporary_name(tmp_path):
    """nibabel compresses by the suffix, and hidden names are no BIDS files to anyone who looks."""
    final = tmp_path / "sub-01_T1w.nii.gz"
    with atomic_path(final) as temporary:
        nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), temporary)
        assert temporary.name.startswith(".")
        assert temporary.name.endswith("sub-01_T1w.nii.gz")
    assert final.read_bytes()[:2] == b"\x1f\x8b"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    final = tmp_path / "a.txt"
    with atomic_path(final) as one, atomic_path(final) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert final.read_text() == "one"  # the outer one ends last
    assert names(tmp_path) == ["a.txt"]


def test_the_data_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    """A power cut must not leave an empty file under the final name, nor take the name away again."""
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (events.append("flush"), fsync(number)))
    monkeypatch.setattr(Path, "replace", lambda *paths: (events.append("rename"), replace(*paths)))
    write_text(tmp_path / "a.txt", "x")
    assert events == ["flush", "rename", "flush"]  # the last is the folder with the new name


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/a\.txt: cannot be written .*permissions"):
        write_text(tmp_path / "file" / "a.txt", "x")
    assert names(tmp_path) == ["file"]


def test_a_name_that_is_taken_by_a_folder_is_an_output_error(tmp_path):
    (tmp_path / "a.txt" / "inside").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written"):
        write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path):
    final = tmp_path / "a.txt"
    final.write_text("old")
    with pytest.raises(OutputError, match="No space left") as caught, atomic_path(final) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert caught.value.exit_code == 73
    assert final.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_library_that_hides_the_systems_error_is_understood(tmp_path):
    """HDF5 tells of a full disk in words when it closes the file."""
    told = "Disable slist on flush dest failure failed (file write failed: errno = 28, error message = 'No'"
    for words, error in ((told, OutputError), ("no number", RuntimeError)):
        with pytest.raises(error), atomic_path(tmp_path / "a.h5"):
            raise RuntimeError(words)
    assert system_error(RuntimeError(told)) == 28
    assert names(tmp_path) == []


def test_nothing_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError), atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_json_is_readable_by_man_and_machine(tmp_path):
    write_json(tmp_path / "a.json", {"Größe": [1, 2.5], "b": None})
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == {"Größe": [1, 2.5], "b": None}
    assert "Größe" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_numbers_that_json_does_not_know(tmp_path, number):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"a": [number]})
    assert names(tmp_path) == []


def test_remove(tmp_path):
    (tmp_path / "a.txt").touch()
    remove(tmp_path / "a.txt")
    remove(tmp_path / "a.txt")
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be removed"):
        remove(tmp_path / "file" / "a.txt")
