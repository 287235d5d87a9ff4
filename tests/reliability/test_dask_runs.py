"""Whole runs on dask workers, in processes of their own: as a local run, whatever is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("distributed", reason='needs dask: pip install "bids-nodereg[cluster]"')

from bids_nodereg.app import dask_cluster
from bids_nodereg.app.dask_executor import _why_refused
from bids_nodereg.app.dask_worker import Environment, Look, environment
from tests.reliability import tiny
from tests.reliability.dask_preload import LOST, MET, POISON
from tests.reliability.whole import check_whole, contents, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.reliability.conftest import Place

PRELOAD = "tests.reliability.dask_preload"
HERE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cluster:
    """A scheduler and its workers, each in a process of its own."""

    address: str
    scheduler: subprocess.Popen[str]
    workers: Sequence[subprocess.Popen[str]]


@contextmanager
def cluster(folder: Path, workers: int, of_scheduler: str = "") -> Iterator[Cluster]:
    """Start what a user starts: ``dask scheduler``, ``dask worker``."""
    file = folder / "scheduler.json"
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        variables = {**os.environ, "PYTHONPATH": str(HERE)}
        with (folder / "dask.log").open("a") as log:
            command = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(file)]
            started.append(
                subprocess.Popen(command, env=variables, cwd=folder, stdout=log, stderr=log, text=True)
            )
        return started[-1]

    try:
        here = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
        loaded = ("--preload", of_scheduler) if of_scheduler else ()
        scheduler = start("scheduler", *here, "--port", "0", "--no-dashboard", *loaded)
        settings = ("--nthreads", "1", "--memory-limit", "0", "--preload", PRELOAD)
        mine = [start("worker", *here, *settings) for _ in range(workers)]
        wait_until(file.is_file)
        yield Cluster(str(file), scheduler, mine)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Wait for a process that was told to end, but not for ever."""
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(holds, seconds=120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert holds()


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("dask"), 2) as given:
        yield given


def when_begun(place: Place, subject: str, do) -> threading.Thread:
    """Do something, once, with the process number of the worker that has a participant's pair."""

    def watch() -> None:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            for claim in place.out.glob(f"logs/.sub-{subject}_*.claim"):
                if found := re.search(r"process (\d+)", claim.read_text()):
                    do(int(found[1]))
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_dask_workers_of_this_machine_write_what_a_local_run_writes(place, usual):
    import dask

    with dask.config.set({"distributed.worker.preload": [PRELOAD]}):
        assert place.run("--dask-workers", "2") == 0
    assert contents(place.out) == usual
    assert leftovers(place.out) == []
    assert "[1/2] done in" in place.log()
    assert "[2/2] done in" in place.log()


def test_a_given_cluster_goes_on_when_a_worker_is_killed(place, usual, given, outcome):
    killed: list[int] = []

    def kill(pid: int) -> None:
        killed.append(pid)
        os.kill(pid, signal.SIGKILL)

    when_begun(place, "01", kill)
    assert place.run("--dask-scheduler", given.address) == 0
    assert killed
    statuses = place.statuses()
    assert statuses["01"]["tries"] == 2
    assert statuses["02"]["tries"] == 1
    assert "its process was lost with the dask worker" in place.log()
    assert contents(place.out) == usual
    assert not list(place.out.glob("logs/.*.begun"))
    outcome("fault", "dask worker killed by SIGKILL in a run", "its pair is done by another worker", code=0)


@pytest.mark.slow
def test_a_pair_that_kills_every_worker_fails_alone(place, given, outcome):
    (place.out.parent / POISON).write_text("01")
    assert place.run("--dask-scheduler", given.address) == 1
    statuses = place.statuses()
    assert statuses["01"]["status"] == "failed"
    assert statuses["01"]["trouble"] == "worker lost"
    assert statuses["01"]["tries"] == 2
    assert statuses["02"]["status"] == "done"
    assert place.mark("02").is_file()
    outcome(
        "fault", "a pair kills each dask worker that has it", "fails after two; the others are done", code=1
    )


@pytest.fixture
def two_gpus(monkeypatch):
    """Two GPUs that can be seen from here; the workers that are given one take the CPU (`dask_preload`)."""
    import dask
    import torch

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with dask.config.set({"distributed.worker.preload": [PRELOAD]}):
        yield


@pytest.fixture
def of_this_machine(two_gpus) -> tuple[str, ...]:
    """Options for two workers that have a GPU each."""
    return ("--executor", "dask", "--device", "cuda")


@pytest.fixture
def both_given(given) -> tuple[str, ...]:
    """Options for the workers that are given, when both are there."""
    from distributed import Client

    with Client(scheduler_file=given.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
    return ("--dask-scheduler", given.address)


@pytest.mark.parametrize("workers", ["both_given", pytest.param("of_this_machine", marks=pytest.mark.slow)])
def test_a_gpu_that_is_lost_is_not_used_again(place, usual, workers, request, outcome):
    (place.out.parent / LOST).write_text("first")
    assert place.run(*request.getfixturevalue(workers)) == 0
    assert len((place.out.parent / MET).read_text().splitlines()) == 1
    assert sorted(row["tries"] for row in place.statuses().values()) == [1, 2]
    assert contents(place.out) == usual
    assert leftovers(place.out) == []
    outcome("fault", "the GPU of a dask worker is lost", "its pair is done on another; it is not used again")


def test_the_loss_of_the_last_gpu_ends_the_run(place, usual, both_given, outcome):
    (place.out.parent / LOST).write_text("all")
    assert place.run(*both_given) == 75
    assert 1 <= len((place.out.parent / MET).read_text().splitlines()) <= 2
    assert "Run the same command again" in place.log()
    assert not list(place.out.glob("logs/.*.begun"))
    assert not list(place.out.glob("logs/.*.claim"))
    assert place.run() == 0
    assert contents(place.out) == usual
    outcome("fault", "the GPUs of all dask workers are lost", "ends; the same command goes on", code=75)


ALSO = [pytest.param(name, marks=pytest.mark.slow) for name in ("SIGTERM", "SIGUSR1")]


@pytest.mark.parametrize("name", ["SIGINT", *ALSO])
def test_a_signal_ends_the_run_and_frees_the_pairs(place, usual, given, name, outcome):
    words = tiny.arguments(place.raw, place.out, "--dask-scheduler", given.address)
    command = [sys.executable, "-m", "bids_nodereg", *words]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    when_begun(place, "01", lambda _: driver.send_signal(getattr(signal, name)))
    said = driver.communicate(timeout=200)[1]
    assert driver.returncode == 75
    assert f"interrupted by {name}; run the same command again" in said
    check_whole(place.out)
    wait_until(lambda: not list(place.out.glob("logs/.*.claim")))  # the worker ends at its next step
    assert not list(place.out.glob("logs/.*.begun"))
    assert place.run("--dask-scheduler", given.address) == 0
    assert contents(place.out) == usual
    outcome("fault", f"{name} to the driver of dask workers", "ends soon; the same command goes on", code=75)


def test_a_scheduler_that_is_lost_ends_the_run_and_another_goes_on(place, usual, tmp_path, capsys, outcome):
    with cluster(tmp_path, 1) as short_lived:
        when_begun(place, "01", lambda _: short_lived.scheduler.kill())
        assert place.run("--dask-scheduler", short_lived.address) == 75
    assert re.search(r"the dask scheduler \S+ is lost", capsys.readouterr().err)
    check_whole(place.out)
    assert place.run() == 0
    assert contents(place.out) == usual
    outcome("fault", "dask scheduler killed by SIGKILL in a run", "ends; the same command goes on", code=75)


def test_a_cluster_of_another_version_is_refused(place, tmp_path, capsys):
    with cluster(tmp_path, 0, "tests.reliability.dask_old") as old:
        assert place.run("--dask-scheduler", old.address) == 64
    said = capsys.readouterr().err
    assert re.search(
        r"it has nodereg 0\.0\.1; this program has nodereg \d+\.\d+\.\d+\S*\. Start all from", said
    )


def test_a_scheduler_that_is_not_there_is_waited_for_and_told(place, monkeypatch, capsys):
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 0.5)
    assert place.run("--dask-scheduler", "tcp://127.0.0.1:9") == 75
    assert "no scheduler answers there" in capsys.readouterr().err


def test_an_address_that_is_none_is_refused(place, capsys):
    assert place.run("--dask-scheduler", "nowhere://x") == 64
    assert "expected an address such as tcp://" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seen", "code", "words"),
    [
        (Look(Environment("0.0.1", "1", "3.1")), 64, "it has nodereg 0.0.1, torch 1, python 3.1"),
        (Look(environment(), missing=(Path("/data/raw"),)), 73, "/data/raw is not there"),
        (Look(environment(), read_only=(Path("/out"),)), 73, "/out may not be written to"),
        (ModuleNotFoundError("No module named 'bids_nodereg'"), 64, "it has no nodereg of this version"),
        (None, 64, "it has no nodereg of this version"),
    ],
)
def test_why_a_worker_cannot_be_used(seen, code, words):
    error = _why_refused("tcp://10.0.0.2:4000", seen)
    assert error is not None
    assert error.exit_code == code
    assert str(error).startswith("dask worker tcp://10.0.0.2:4000: ")
    assert words in str(error)


def test_a_worker_that_sees_what_this_process_sees_is_used():
    assert _why_refused("tcp://10.0.0.2:4000", Look(environment())) is None
