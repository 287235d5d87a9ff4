"""Runs whose pairs overlap: the same files as one pair after the other, and an error stays with its pair."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.app.conftest import Run

if TYPE_CHECKING:
    from pathlib import Path

RIGID = ("--transform", "rigid", "--participant-label", "00", "01", "02")
OF_THE_CLOCK = ("run.log", "config.toml", "_report.json", "_qc.json", "_xfm.json")


@pytest.fixture
def overlap(monkeypatch):
    """Say whether pairs overlap, whatever the machine is."""

    def choose(wanted: bool) -> None:
        monkeypatch.setattr("bids_nodereg.app.executors.can_overlap", lambda _hardware: wanted)

    return choose


@pytest.fixture(scope="module")
def both(study):
    """The same command with and without overlap; sub-00 cannot be read."""
    runs = []
    with pytest.MonkeyPatch.context() as patch:
        for wanted in (True, False):
            patch.setattr("bids_nodereg.app.executors.can_overlap", lambda _hardware, wanted=wanted: wanted)
            out = study.raw.parent / f"overlap-{wanted}"
            runs.append(Run(study, out, study.run(out, *RIGID)))
    return runs


def without_chance(path: Path) -> bytes:
    """What a file holds; matplotlib names the shapes in an SVG by random numbers."""
    content = path.read_bytes()
    return re.sub(rb"\b[mp][0-9a-f]{10}\b", b"", content) if path.suffix == ".svg" else content


def contents(run: Run) -> dict[str, bytes]:
    files = (path for path in run.out.rglob("*") if path.is_file() and not path.name.endswith(OF_THE_CLOCK))
    return {
        path.relative_to(run.out).as_posix(): without_chance(path)
        for path in files
        if path.parent.parent.name != "logs" and path.suffix != ".html"
    }


def test_every_file_is_the_same_bit_for_bit(both):
    overlapping, plain = map(contents, both)
    assert len(overlapping) > 20
    assert any(name.startswith("sub-02") for name in overlapping)
    assert overlapping == plain


def test_the_unreadable_pair_alone_fails_and_statuses_are_the_same(both):
    endings = [{name: row["status"] for name, row in run.statuses().items()} for run in both]
    assert endings[0] == endings[1]
    assert sorted(endings[0].values()).count("failed") == 1
    assert endings[0]["sub-00_from-T2w_to-T1w"] == "failed"
    assert [run.code for run in both] == [1, 1]


def test_each_line_of_the_log_says_which_pair_it_is_of(both):
    for run in both:
        lines = (run.logs()[-1] / "run.log").read_text().splitlines()
        count = len(run.statuses())
        begun = [line for line in lines if re.search(r"\[\d+/\d+\] sub-\d\d_from", line)]
        assert len(begun) >= count
        about = [line for line in lines if "done in" in line or "failed:" in line or "level 1/" in line]
        assert len(about) > count
        assert all(re.search(rf"\[[1-{count}]/{count}\]", line) for line in about)


@pytest.mark.parametrize("stage", ["open_pair", "solve_pair", "close_pair"])
def test_a_fault_in_any_stage_is_the_status_of_its_pair_alone(study, tmp_path, monkeypatch, overlap, stage):
    from bids_nodereg.app import attempt

    real = getattr(attempt, stage)

    def fail_for_01(subject_of, *rest):
        job = getattr(subject_of, "job", None) or getattr(subject_of, "opened", subject_of)
        job = getattr(job, "job", job)
        if job.pair.moving.subject == "01":
            msg = "injected"
            raise RuntimeError(msg)
        return real(subject_of, *rest)

    monkeypatch.setattr(attempt, stage, fail_for_01)
    overlap(wanted=True)
    run = Run(study, tmp_path / "out", study.run(tmp_path / "out", *RIGID[:3], "01", "02"))
    assert run.code == 1
    endings = {row["subject"]: row for row in run.statuses().values()}
    assert endings["01"]["status"] == "failed"
    assert "injected. This is a fault" in endings["01"]["error"]
    assert endings["02"]["status"] == "done"
    assert (run.out / "sub-01.html").is_file()
    assert (run.out / "sub-02.html").is_file()
    assert not run.forward_h5.with_suffix(".json").exists()


def test_an_interrupt_ends_with_75_and_what_is_done_stays(study, tmp_path, monkeypatch, overlap):
    from bids_nodereg.app import attempt

    real, solved = attempt.solve_pair, []

    def interrupt(opened, *rest):
        if solved:
            raise KeyboardInterrupt
        solved.append(opened)
        return real(opened, *rest)

    out = tmp_path / "out"
    overlap(wanted=True)
    with monkeypatch.context() as patch:
        patch.setattr(attempt, "solve_pair", interrupt)
        assert study.run(out, *RIGID[:3], "01", "02") == 75
    assert not list(out.rglob("*.tmp-*"))
    assert study.run(out, *RIGID[:3], "01", "02") == 0
    run = Run(study, out, 0)
    assert {row["status"] for row in run.statuses().values()} <= {"done", "already done"}
    assert json.loads(run.forward_h5.with_suffix(".json").read_text())["Verdict"]


def test_fail_fast_begins_nothing_after_the_failure(study, tmp_path, overlap):
    overlap(wanted=True)
    run = Run(study, tmp_path / "out", study.run(tmp_path / "out", *RIGID, "--fail-fast"))
    assert list(run.statuses()) == ["sub-00_from-T2w_to-T1w"]
    assert (run.out / "sub-00.html").is_file()
    assert not (run.out / "sub-01").exists()


def test_a_gpu_that_is_lost_while_memory_is_planned_is_told_and_is_no_fault(
    study, tmp_path, monkeypatch, overlap
):
    """In the main thread nothing else would catch it; the run ends as it does for any lost GPU."""

    def lost(*_):
        msg = "CUDA error: unspecified launch failure"
        raise RuntimeError(msg)

    monkeypatch.setattr("bids_nodereg.app.memory.device_room", lost)
    overlap(wanted=True)
    run = Run(study, tmp_path / "out", study.run(tmp_path / "out", *RIGID[:3], "01", "02"))
    (ending,) = run.statuses().values()
    assert ending["status"] == "failed"
    assert "the GPU was lost" in ending["error"]
    assert run.code == 75
    assert "0 of 2 pair(s) registered" in (run.logs()[-1] / "run.log").read_text()


def test_what_is_to_be_said_of_the_computation_is_in_the_log_and_the_sidecar(study, tmp_path, monkeypatch):
    from bids_nodereg.app import pair

    real = pair.solve
    monkeypatch.setattr(pair, "solve", lambda *given: replace(real(*given), remarks=("a remark",)))
    run = Run(study, tmp_path / "out", study.run(tmp_path / "out", *RIGID[:3], "01"))
    assert run.sidecar["Remarks"] == ["a remark"]
    assert "WARNING [1/1] a remark." in (run.logs()[-1] / "run.log").read_text()
