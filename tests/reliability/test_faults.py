"""Faults, by causing them: a pair is tried again by the stated rule, then recorded; the others finish."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
import torch

from bids_nodereg import children
from bids_nodereg.app import attempt, provenance
from bids_nodereg.imaging import h5_parts
from tests.reliability.conftest import Place
from tests.reliability.whole import check_whole, contents, leftovers

if TYPE_CHECKING:
    from pathlib import Path


class FailsFor01:
    """Stands before a stage of the pairs, and raises for participant 01 as often as is asked for."""

    def __init__(self, stage, errors) -> None:
        self._stage = stage
        self._errors = list(errors)

    def __call__(self, what, *rest):
        job = getattr(getattr(what, "opened", what), "job", what)
        if job.pair.moving.subject == "01" and self._errors:
            raise self._errors.pop(0)
        return self._stage(what, *rest)


PASSING = {
    "file system away (ESTALE)": ("open_pair", lambda: OSError(errno.ESTALE, "Stale file handle", "x"), 75),
    "input/output error (EIO)": ("open_pair", lambda: OSError(errno.EIO, "Input/output error", "x"), 75),
    "out of memory": ("solve_pair", lambda: MemoryError("Unable to allocate 9 GiB"), 1),
    "out of memory in torch": (
        "solve_pair",
        lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        1,
    ),
    "GPU out of memory": (
        "solve_pair",
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        1,
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_trouble_that_passes_is_tried_again(name, place, monkeypatch, outcome):
    stage, error, _ = PASSING[name]
    monkeypatch.setattr(attempt, stage, FailsFor01(getattr(attempt, stage), [error()]))
    assert place.run("--transform", "rigid") == 0
    assert {subject: row["tries"] for subject, row in place.statuses().items()} == {"01": 2, "02": 1}
    assert "is put back, and tried again" in place.log()
    assert {row["status"] for row in place.statuses().values()} == {"done"}
    outcome("fault", f"{name}, once", "the pair is tried again when the others are done, and is done", code=0)


@pytest.mark.parametrize("name", PASSING)
def test_a_trouble_that_stays_is_recorded_and_the_others_finish(name, place, monkeypatch, capsys, outcome):
    stage, error, code = PASSING[name]
    monkeypatch.setattr(attempt, stage, FailsFor01(getattr(attempt, stage), [error(), error()]))
    assert place.run("--transform", "rigid") == 1
    statuses = place.statuses()
    assert statuses["02"]["status"] == "done"
    assert (statuses["01"]["status"], statuses["01"]["tries"]) == ("failed", 2)
    assert statuses["01"]["exit_code"] == code
    assert statuses["01"]["trouble"]
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "fault of nodereg" not in said
    assert not place.mark("01").exists()
    check_whole(place.out)
    outcome(
        "fault",
        f"{name}, twice",
        "the pair is recorded as failed, with the reason; the others finish",
        code=1,
    )


@pytest.mark.parametrize("stage", ["open_pair", "solve_pair", "close_pair"])
def test_a_second_try_is_not_seen_in_the_results(stage, place, usual, monkeypatch):
    error = OSError(errno.ESTALE, "Stale file handle", "x")
    monkeypatch.setattr(attempt, stage, FailsFor01(getattr(attempt, stage), [error]))
    assert place.run() == 0
    assert place.statuses()["01"]["tries"] == 2
    assert contents(place.out) == usual


def test_a_reader_of_transforms_that_is_killed_costs_its_pair_alone(
    place, tmp_path, monkeypatch, capsys, outcome
):
    """Composed maps are read from files, by a process of its own; that of participant 01 is killed."""

    @contextmanager
    def killed(words, **streams):
        with children.child(words, **streams) as process:
            if "sub-01" in words[2]:
                process.kill()
            yield process

    monkeypatch.setattr(h5_parts, "child", killed)
    template = tmp_path / "egg_T1w.nii.gz"
    shutil.copy(place.raw / "sub-02" / "anat" / "sub-02_T1w.nii.gz", template)
    assert place.run("--transform", "rigid", "--output-spaces", f"Egg={template}") == 1
    rows = place.pairs()
    (failed,) = (name for name, row in rows.items() if row["status"] == "failed")
    assert failed == "sub-01_from-T2w_to-Egg"
    assert rows[failed]["tries"] == 2
    assert "the process that reads it was killed (SIGKILL)" in rows[failed]["error"]
    assert len(rows) == 6
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "fault of nodereg" not in said
    outcome(
        "fault",
        "process that reads a transform killed by SIGKILL, twice",
        "the pair is tried again, then recorded as failed, with the reason; the others finish",
        code=1,
    )


def test_a_lost_gpu_ends_the_run_which_can_be_resumed(place, usual, monkeypatch, outcome):
    error = RuntimeError("CUDA error: unspecified launch failure")
    with monkeypatch.context() as patch:
        patch.setattr(attempt, "solve_pair", FailsFor01(attempt.solve_pair, [error]))
        assert place.run() == 75
    assert place.statuses()["01"]["trouble"] == "device lost"
    assert "02" not in place.statuses()
    assert "Run the same command again" in place.log()
    assert place.run() == 0
    assert contents(place.out) == usual
    outcome("fault", "GPU lost", "the run ends; the same command again does what is left", code=75)


def test_an_error_that_would_come_again_is_not_tried_again(place, monkeypatch):
    monkeypatch.setattr(attempt, "solve_pair", FailsFor01(attempt.solve_pair, [ValueError("wrong")]))
    assert place.run("--transform", "rigid") == 1
    assert place.statuses()["01"]["tries"] == 1
    assert "fault of nodereg" in place.statuses()["01"]["error"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "No space left"), (errno.EDQUOT, "quota")],
)
def test_a_disk_that_cannot_flush(place, monkeypatch, outcome, number, words):
    """Every file in turn would take long: the first, and some of the pairs."""
    fsync, count = os.fsync, 0
    for failing in (1, 30, 70):
        count = 0

        def fail(descriptor, failing=failing):
            nonlocal count
            count += 1
            if count >= failing:
                raise OSError(number, os.strerror(number))
            fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            code = place.run("--transform", "rigid")
        assert code in {1, 73}
        check_whole(place.out)
        assert words.casefold() in place.log().casefold() or failing == 1
        assert leftovers(place.out) == []
    assert place.run("--transform", "rigid") == 0
    case = f"{os.strerror(number)} on fsync, from the n-th file on"
    outcome(
        "fault", case, "the pairs that cannot be written are recorded as failed, nothing partial", count=3
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB; resize it with :func:`make_room`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems may not be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=False)


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


def test_a_full_disk(raw, small_disk, usual, outcome, capsys):
    place = Place(raw, small_disk / "out")
    assert place.run() == 73
    assert "No space left" in capsys.readouterr().err
    check_whole(place.out)
    assert not place.mark("01").exists()
    remount(small_disk, "size=50m")
    assert place.run() == 0
    assert contents(place.out) == usual
    assert leftovers(place.out) == []
    outcome("fault", "disk full", "every pair without room is recorded as failed, nothing partial", code=73)


def test_an_output_that_becomes_read_only(raw, small_disk, usual, outcome, capsys):
    place = Place(raw, small_disk / "out")
    remount(small_disk, "size=50m")
    assert place.run("--participant-label", "01") == 0
    remount(small_disk, "ro")
    assert place.run() == 73
    said = capsys.readouterr().err
    assert "its file system is mounted read-only" in said
    assert "Traceback" not in said
    remount(small_disk, "rw")
    assert place.run() == 0
    assert contents(place.out) == usual
    outcome("fault", "output on a read-only file system", "one message; what is there stays", code=73)


NAMES = {
    "spaces and quotes": "my own 'results' \"2\"",
    "non-ASCII, composed (NFC)": "Ergebni\u00dfe f\u00fcr \u00c5ngstr\u00f6m \u8133",
    "non-ASCII, decomposed (NFD)": "fu\u0308r A\u030angstro\u0308m",
    "an emoji, a dollar and a percent sign": "\U0001f9e0 $HOME %20 #1",
}


@pytest.mark.parametrize("name", NAMES)
def test_any_path_will_do(name, raw, tmp_path, usual, outcome):
    root = tmp_path / NAMES[name]
    shutil.copytree(raw.parent / "raw", root / "raw data")
    shutil.copy(raw.parent / "quick.toml", root)
    place = Place(root / "raw data", root / "out put")
    assert place.run("--participant-label", "01") == 0
    assert place.run("--participant-label", "01") == 0
    assert {row["status"] for row in place.statuses().values()} == {"already done"}
    found = contents(place.out)
    same = [key for key in found if key.endswith((".h5", ".nii.gz", ".txt"))]
    assert len(same) > 5
    assert all(found[key] == usual[key] for key in same)
    outcome("fault", f"input and output on a path with {name}", "done, and found again", code=0)


@pytest.mark.parametrize("stage", ["open_pair", "close_pair"])
def test_an_input_that_vanishes(stage, raw, tmp_path, monkeypatch, outcome, capsys):
    root = tmp_path / "data"
    shutil.copytree(raw, root / "raw")
    shutil.copy(raw.parent / "quick.toml", root)
    place = Place(root / "raw", root / "out")
    real = getattr(attempt, stage)

    def vanish(what, *rest):
        for path in (place.raw / "sub-02" / "anat").glob("*_T2w.nii.gz"):
            path.unlink()
        return real(what, *rest)

    monkeypatch.setattr(attempt, stage, vanish)
    assert place.run("--transform", "rigid") == 1
    statuses = place.statuses()
    assert statuses["01"]["status"] == "done"
    assert statuses["02"]["status"] == "failed"
    assert statuses["02"]["exit_code"] in {65, 66}
    assert "sub-02_T2w.nii.gz" in statuses["02"]["error"]
    assert "fault of nodereg" not in statuses["02"]["error"]
    assert "Traceback" not in capsys.readouterr().err
    outcome(
        "fault", "input vanishes during the run", "its pair is recorded as failed; the others finish", code=1
    )


def test_a_clock_that_is_set_back(place, usual, monkeypatch, outcome):
    """Between two runs, and between two files of a pair: neither makes anything look new or lost."""
    assert place.run() == 0

    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(timezone.utc) - timedelta(days=400)

    monkeypatch.setattr(provenance, "datetime", Earlier)
    future = place.mark("01").stat().st_mtime + 1e7
    for path in place.out.rglob("*.h5"):
        os.utime(path, (future, future))
    assert place.run() == 0
    assert {row["status"] for row in place.statuses().values()} == {"already done"}
    assert contents(place.out) == usual
    outcome("fault", "clock set back between runs, and between files", "what is done is seen as done", code=0)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


CHANGES = {
    "an output cut short": (
        lambda path: os.truncate(path, path.stat().st_size // 2),
        "is not as it was written",
    ),
    "an output changed in one bit": (flip, "is not as it was written"),
    "an output removed": (lambda path: path.unlink(), "is missing"),
}


@pytest.fixture(scope="module")
def finished(raw):
    place = Place(raw, raw.parent / "finished")
    place.run("--participant-label", "01")
    return place.out


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "ending", ["mode-image_xfm.h5", "desc-nodereg_T2w.nii.gz", "desc-convergence_T2w.svg"]
)
def test_a_result_that_was_changed_is_noticed(change, ending, finished, raw, tmp_path, outcome):
    shutil.copytree(finished, tmp_path / "out")
    place = Place(raw, tmp_path / "out")
    found = sorted(path for path in place.out.rglob(f"*{ending}"))
    assert found, sorted(path.name for path in place.out.rglob("*"))
    do, words = CHANGES[change]
    do(found[0])
    assert place.run("--participant-label", "01") == 0
    assert place.statuses()["01"]["status"] == "done"
    assert f"to do: {found[0].name} {words}" in place.log()
    outcome("fault", change, "noticed by the next run, said, and made anew", code=0)


def test_a_touched_result_is_the_same(finished, raw, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    place = Place(raw, tmp_path / "out")
    for path in place.out.rglob("*.nii.gz"):
        os.utime(path)
    assert place.run("--participant-label", "01") == 0
    assert place.statuses()["01"]["status"] == "already done"
