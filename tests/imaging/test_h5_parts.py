"""HDF5 is read by a process of its own: what it says, and what becomes of one that does not end."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import h5py
import numpy as np
import pytest

from bids_nodereg.children import child
from bids_nodereg.errors import DataError, ShortOfMemoryError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging import h5_parts, h5_program
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
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True:\n    pass\n"
    )
    monkeypatch.setattr(h5_parts.h5_program, "__file__", str(program))
    with pytest.raises(DataError, match=r"m\.h5: .* did not come to an end"):
        read_h5(path)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix'")
def test_a_process_that_is_killed_from_outside_is_told_apart(path, monkeypatch, outcome):
    """As by the kernel when memory is short: the file is not to blame, and another try may do."""

    @contextmanager
    def killed(words, **streams):
        with child(words, **streams) as process:
            process.kill()
            yield process

    monkeypatch.setattr(h5_parts, "child", killed)
    with pytest.raises(ShortOfMemoryError, match=r"m\.h5: the process that reads it was killed"):
        read_h5(path)
    outcome("fault", "process that reads HDF5 killed by SIGKILL", "told apart from a damaged file")


@pytest.mark.parametrize(
    "text", ["import os; os.abort()", "print('[{}]')", "print('x')", "raise ValueError('so')"]
)
def test_a_process_that_fails_is_one_message(path, tmp_path, monkeypatch, text):
    program = tmp_path / "failing.py"
    program.write_text(text)
    monkeypatch.setattr(h5_parts.h5_program, "__file__", str(program))
    with pytest.raises(DataError, match=r"m\.h5: not a readable ITK transform file"):
        read_h5(path)


def fixed_text(group):
    """A gigabyte of text that takes no place in the file, until it is read."""
    group.create_dataset("TransformType", shape=(1,), dtype="S1000000000")


def long_text(group):
    group["TransformType"] = ["A" * 201]


def many_texts(group):
    group.create_dataset("TransformType", shape=(10**9,), dtype=h5py.string_dtype(), chunks=(100,))


def number(group):
    group["TransformType"] = [7]


def no_value(group):
    group["TransformType"] = h5py.Empty("f")


@pytest.mark.parametrize("write", [fixed_text, long_text, many_texts, number, no_value])
def test_a_type_that_is_not_one_short_text_is_refused(path, write):
    with h5py.File(path, "r+") as file:
        group = file["TransformGroup/1"]
        del group["TransformType"]
        write(group)
    with pytest.raises(DataError, match=r"m\.h5: not a readable ITK transform file \(TransformType "):
        read_h5(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps this limit")
def test_the_process_has_a_limit_of_memory_that_grows_by_what_it_is_allowed(tmp_path):
    program = tmp_path / "greedy.py"
    program.write_text(
        "import sys\n"
        "from bids_nodereg.imaging import h5_program as program\n"
        "program._allow(int(sys.argv[1]))\n"
        "import h5py\n"
        "bytearray(program.ADDRESS_SPACE)\n"
    )
    greedy = [sys.executable, str(program)]
    refused = subprocess.run([*greedy, "0"], capture_output=True, text=True, check=False)
    assert refused.stderr.rstrip().endswith("MemoryError")
    allowed = subprocess.run([*greedy, str(h5_program.ADDRESS_SPACE)], capture_output=True, check=False)
    assert allowed.returncode == 0
