"""Temporary files say whose they are: those of the dead go, those of the living stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bids_nodereg import temporaries
from bids_nodereg.temporaries import FORGOTTEN_S, LONGEST_NAME, remove_forgotten, temporary_name


def of_a_dead_process(final: Path) -> Path:
    """A temporary file whose writer has ended."""
    code = (
        "import sys, pathlib; from bids_nodereg.temporaries import temporary_name\n"
        "path = temporary_name(pathlib.Path(sys.argv[1])); path.write_text('half'); print(path)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(final)], capture_output=True, text=True, check=True
    )
    return Path(told.stdout.strip())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell of its processes")
def test_the_dead_ones_go_and_the_living_and_the_results_stay(tmp_path):
    dead = of_a_dead_process(tmp_path / "sub-01_T1w.nii.gz")
    own = temporary_name(tmp_path / "a.json")
    others = [tmp_path / name for name in (".hidden", ".bidsignore", "a.json", ".0.tmp-mine")]
    for path in (own, *others):
        path.touch()
    assert remove_forgotten(tmp_path) == [dead]
    assert sorted(tmp_path.iterdir()) == sorted([own, *others])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell of its processes")
def test_a_number_that_another_process_has_by_now_is_that_of_a_dead_one(tmp_path):
    own = temporary_name(tmp_path / "a.json")
    machine, pid, started, rest = own.name[1:].split("-", 3)
    earlier = tmp_path / f".{machine}-{pid}-{int(started) - 1}-{rest}"
    earlier.touch()
    assert remove_forgotten(tmp_path) == [earlier]


def test_a_process_that_nobody_has_waited_for_is_dead(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert temporaries._started(process.pid) is None


@pytest.mark.parametrize(
    ("age_s", "stays"), [(0, True), (FORGOTTEN_S - 60, True), (FORGOTTEN_S + 60, False), (-1e6, True)]
)
def test_of_another_machine_only_the_age_is_known(tmp_path, age_s, stays):
    path = tmp_path / ".00000000-1-1-0a0b0c0d.tmp-a.json"
    path.touch()
    now = path.stat().st_mtime
    os.utime(path, (now - age_s, now - age_s))
    remove_forgotten(tmp_path)
    assert list(tmp_path.iterdir()) == ([path] if stays else [])


@pytest.mark.parametrize(("age_s", "stays"), [(0, True), (FORGOTTEN_S + 60, False)])
def test_of_a_process_that_the_system_hides_only_the_age_is_known(tmp_path, monkeypatch, age_s, stays):
    """Mounted with hidepid=2, /proc hides others' processes; so not being allowed to ask means alive."""

    def forbid(_pid, _signal):
        raise PermissionError

    path = temporary_name(tmp_path / "a.json")
    path.touch()
    now = path.stat().st_mtime
    os.utime(path, (now - age_s, now - age_s))
    monkeypatch.setattr(temporaries, "_started", lambda _pid: None)
    monkeypatch.setattr(temporaries.os, "kill", forbid)
    remove_forgotten(tmp_path)
    assert path.exists() == stays


def test_the_clock_of_this_machine_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 4e9)
    path = tmp_path / ".00000000-1-1-0a0b0c0d.tmp-a.json"
    path.touch()
    assert remove_forgotten(tmp_path) == []


@pytest.mark.parametrize("letter", ["a", "\u00e4", "\U0001f9e0"])
def test_a_name_fits_however_long_the_final_one(tmp_path, letter):
    ending = ".nii.gz"
    final = tmp_path / (letter * ((LONGEST_NAME - len(ending)) // len(letter.encode())) + ending)
    path = temporary_name(final)
    assert len(os.fsencode(path.name)) <= LONGEST_NAME
    assert path.name.endswith(ending)
    path.touch()
    path.rename(final)


def test_a_folder_that_is_not_there_has_none(tmp_path):
    assert remove_forgotten(tmp_path / "none") == []


def test_two_names_are_never_the_same(tmp_path):
    assert len({temporary_name(tmp_path / "a") for _ in range(1000)}) == 1000
