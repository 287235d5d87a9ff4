"""HDF5 is read by a process of its own: what it says, and what becomes of one that does not end."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest

from bids_nodereg.errors import DataError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging import h5_parts
from bids_nodereg.imaging.h5_parts import read_h5
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.transforms import write_composite_h5

SHAPE = (5, 6, 7)


@pytest.fixture
def path(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(*SHAPE, 3)).astype(np.float32)
    field = DisplacementField(Grid(SHAPE, np.diag([2.0, 2, 3, 1])), vectors)
    write_composite_h5(tmp_path / "m.h5", SpatialMap(np.diag([1.1, 1, 1, 1]), field))
    return tmp_path / "m.h5"


def test_the_parts_are_what_h5py_reads(path):
    parts = read_h5(path)
    with h5py.File(path) as file:
        groups = [file[f"TransformGroup/{number}"] for number in range(3)]
        assert [part.kind for part in parts] == [group["TransformType"][0].decode() for group in groups]
        for part, group in zip(parts[1:], groups[1:], strict=True):
            np.testing.assert_array_equal(part.parameters, group["TransformParameters"][:])
            np.testing.assert_array_equal(part.fixed, group["TransformFixedParameters"][:])


def test_modules_come_from_nowhere_but_where_they_are(path, monkeypatch):
    """A file of the current folder with the name of a module is never run."""
    (path.parent / "h5py.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])
    assert len(read_h5(path)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="limits of time are Unix'")
def test_a_process_that_does_not_end_is_given_up(path, tmp_path, monkeypatch):
    program = tmp_path / "endless.py"
    program.write_text(
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True:\n    pass\n"
    )
    monkeypatch.setattr(h5_parts.h5_program, "__file__", str(program))
    with pytest.raises(DataError, match=r"m\.h5: .* did not come to an end"):
        read_h5(path)


@pytest.mark.parametrize(
    "text", ["import os; os.abort()", "print('[{}]')", "print('x')", "raise ValueError('so')"]
)
def test_a_process_that_fails_is_one_message(path, tmp_path, monkeypatch, text):
    program = tmp_path / "failing.py"
    program.write_text(text)
    monkeypatch.setattr(h5_parts.h5_program, "__file__", str(program))
    with pytest.raises(DataError, match=r"m\.h5: not a readable ITK transform file"):
        read_h5(path)
