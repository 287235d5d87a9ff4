"""Runs with different pairs at the same time: whoever comes second under a name leaves it to the first."""

from __future__ import annotations

import errno
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bids_nodereg.app import attempt as module
from bids_nodereg.app.attempt import Attempt, Whole, close_attempt, open_attempt
from bids_nodereg.app.begun import Begun
from bids_nodereg.app.claims import Claims
from bids_nodereg.app.jobs import find_jobs, open_input
from bids_nodereg.app.progress import PlainProgress
from bids_nodereg.bids.sidecars import transform_sidecar
from bids_nodereg.cli import parse
from bids_nodereg.files import write_json
from tests.bids.make import make_dataset

T1W, T2W = "sub-01/anat/sub-01_run-{}_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz"


@pytest.fixture
def run(tmp_path):
    """What an attempt asks of its run, as far as it gets here."""
    with Claims(tmp_path / "out") as claims:
        yield SimpleNamespace(claims=claims, begun=Begun(tmp_path / "out"))


@pytest.fixture
def attempts(tmp_path):
    """Two runs that have chosen their names and begun nothing: they differ in the fixed image alone."""
    raw = make_dataset(
        tmp_path / "raw", *(f"sub-01_{name}.nii.gz" for name in ("run-1_T1w", "run-2_T1w", "T2w"))
    )
    for path in raw.rglob("*.nii.gz"):
        path.write_bytes(b"x")
    return [attempt_of(tmp_path, T1W.format(number), T2W) for number in (1, 2)]


def attempt_of(tmp_path, fixed, moving):
    table = tmp_path / "pairs.tsv"
    table.write_text(f"fixed\tmoving\n{fixed}\t{moving}\n")
    words = [str(tmp_path / "raw"), str(tmp_path / "out"), "participant", "--pairs-file", str(table)]
    config = parse(words)
    (participant,) = find_jobs(config, open_input(config), ("01",))
    (job,) = participant.jobs
    return Attempt(job, "1/1", PlainProgress().begin(job.title, 1, 1)), config


def leave_result(job):
    """What tells whose the files are, of a finished pair."""
    write_json(job.outputs.inverse_json, transform_sidecar(job.pair, job.outputs, inverse=True))
    write_json(job.outputs.forward_json, transform_sidecar(job.pair, job.outputs))


def contents(tmp_path):
    return {path: path.read_bytes() for path in (tmp_path / "out" / "sub-01").rglob("*") if path.is_file()}


def test_the_second_leaves_the_finished_result_of_the_first(tmp_path, run, attempts):
    (first, _), (second, config) = attempts
    assert first.job.outputs == second.job.outputs
    leave_result(first.job)
    before = contents(tmp_path)
    opened = open_attempt(second, config, run)
    status = close_attempt(opened, config, run)
    assert (status.status, status.exit_code, status.trouble) == ("failed", 75, "")
    assert "another run has written" in status.error
    assert "Run again" in status.error
    assert contents(tmp_path) == before
    again, _ = attempt_of(tmp_path, T1W.format(2), T2W)
    assert again.job.outputs.name == "sub-01_from-T2w_to-T1wrun2"


def test_its_own_result_is_no_hindrance(run, attempts, monkeypatch):
    (first, config), _ = attempts
    monkeypatch.setattr(module, "why_not_done", lambda *_: "")
    monkeypatch.setattr(module, "kept_verdict", lambda _: "pass")
    leave_result(first.job)
    assert open_attempt(first, config, run).held.status == "already done"


def test_what_was_written_while_the_pair_was_searched_stays_too(tmp_path, run, attempts):
    """The other way round: its forward transform has the name of our inverse one."""
    (first, config), _ = attempts
    back, _ = attempt_of(tmp_path, T2W, T1W.format(1))
    outputs = replace(back.job.outputs, folder=first.job.outputs.folder, lead=first.job.outputs.lead)
    leave_result(replace(back.job, outputs=outputs))
    before = contents(tmp_path)

    def write(*_):
        pytest.fail("was written")

    status = close_attempt(replace(first, held=Whole(write)), config, run)
    assert (status.status, status.exit_code) == ("failed", 75)
    assert contents(tmp_path) == before


def test_both_directions_of_a_pair_have_one_claim(tmp_path):
    """Runs that know nothing of each other: the first has the claim until it has written."""
    raw = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    for path in raw.rglob("*.nii.gz"):
        path.write_bytes(b"x")
    t1w = "sub-01/anat/sub-01_T1w.nii.gz"
    (there, config), (back, _) = attempt_of(tmp_path, t1w, T2W), attempt_of(tmp_path, T2W, t1w)
    assert there.job.outputs.inverse_h5 == back.job.outputs.forward_h5
    assert there.job.outputs.claim == back.job.outputs.claim
    out = tmp_path / "out"
    with Claims(out) as first, Claims(out) as second:
        assert first.take(there.job.outputs.claim)
        run = SimpleNamespace(claims=second, begun=Begun(out))
        status = open_attempt(back, config, run).held
        assert (status.status, status.trouble) == ("failed", "another run")  # it is put back, and comes again
        leave_result(there.job)
    before = contents(tmp_path)
    with Claims(out) as second:
        run = SimpleNamespace(claims=second, begun=Begun(out))
        status = close_attempt(open_attempt(back, config, run), config, run)
    assert (status.status, status.exit_code) == ("failed", 75)
    assert "another run has written" in status.error
    assert contents(tmp_path) == before


def test_pairs_of_one_run_never_wait_for_one_another(tmp_path):
    """Both directions in one table have names that share no file, and so claims of their own."""
    raw = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    for path in raw.rglob("*.nii.gz"):
        path.write_bytes(b"x")
    t1w = "sub-01/anat/sub-01_T1w.nii.gz"
    table = tmp_path / "pairs.tsv"
    table.write_text(f"fixed\tmoving\n{t1w}\t{T2W}\n{T2W}\t{t1w}\n")
    config = parse([str(raw), str(tmp_path / "out"), "participant", "--pairs-file", str(table)])
    (participant,) = find_jobs(config, open_input(config), ("01",))
    one, two = (job.outputs for job in participant.jobs)
    assert not set(one.paths()) & set(two.paths())
    assert one.claim != two.claim


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, 73, "TMPDIR"),
        (errno.EDQUOT, 73, "free space"),
        (errno.EMFILE, 75, "ulimit -n"),
        (errno.ENOENT, 66, "Is it still there"),
        (errno.EACCES, 66, "may it be read"),
        (errno.EIO, 75, "the storage did not answer"),
        (errno.ENOTTY, 1, "fault of nodereg"),
    ],
)
def test_an_error_of_the_system_is_told_by_its_number(run, attempts, monkeypatch, number, code, words):
    (first, config), _ = attempts

    def fail(*_):
        raise OSError(number, "why", "/there/x.nii")

    monkeypatch.setattr(module, "open_pair", fail)
    status = open_attempt(first, config, run).held
    assert (status.status, status.exit_code) == ("failed", code)
    assert words in status.error
