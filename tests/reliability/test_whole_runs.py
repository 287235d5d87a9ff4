"""Whole runs in processes of their own: signals, two at a time, and workers that are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bids_nodereg.interruption import GRACE_S
from tests.reliability import tiny
from tests.reliability.forker import Forker, Request
from tests.reliability.processes import wait_for_the_end
from tests.reliability.whole import check_whole, contents, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.conftest import Place

SLACK_S = 4.0
"""What a busy machine may add to the time that a process needs to end."""


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    forker = Forker()
    yield forker
    forker.close()


def request(place: Place, name: str = "one", more: tuple[str, ...] = (), **others) -> Request:
    log = place.out.parent / f"{name}.log"
    return Request(tiny.arguments(place.raw, place.out, *more), str(place.out), str(log), **others)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_the_run_soon_and_the_next_run_finishes_it(forker, place, usual, number, outcome):
    chance = np.random.default_rng(number)
    whole_s = forker.ask(request(place)).seconds
    for _ in range(3):
        # Everything anew each time, so that there is as much to do as in the first run.
        asked = request(
            place, more=("--force",), kill_after_s=whole_s * chance.uniform(0.1, 0.6), number=number
        )
        answer = forker.ask(asked)
        assert answer.code == 75
        assert answer.seconds_since_signal < GRACE_S + SLACK_S
        check_whole(place.out)
    said = Path(asked.log).read_text()
    assert f"interrupted by {signal.Signals(number).name}; run the same command again" in said
    assert "Traceback" not in said
    assert forker.ask(request(place)).code == 0
    assert contents(place.out) == usual
    assert leftovers(place.out) == []
    outcome(
        "fault", f"{signal.Signals(number).name} during a run", "ends soon; the same command goes on", 75, 3
    )


def since_the_signal(forker, asked: Request) -> float:
    """How long a deaf run took to end after the last signal that it sent to itself."""
    answer = forker.ask(asked)
    now = time.time()
    said = Path(asked.log).read_text()
    assert answer.code == 75, said
    assert "ended at once" in said
    return now - float(said.rpartition("signalled at ")[2].split()[0])


def test_work_that_hears_no_signal_is_ended_all_the_same(forker, place, outcome):
    took = since_the_signal(forker, request(place, prepare="tests.reliability.deaf:be_deaf"))
    assert GRACE_S * 0.9 < took < GRACE_S + SLACK_S
    outcome("fault", "SIGTERM while a library does not come back", "ends after two seconds", code=75)


def test_a_second_signal_ends_at_once(forker, place, outcome):
    took = since_the_signal(forker, request(place, prepare="tests.reliability.deaf:be_deaf_to_two"))
    assert took < GRACE_S
    outcome("fault", "a second signal", "ends at once", code=75)


def test_two_runs_on_one_output_folder_share_the_work(place, usual, outcome):
    forkers = [Forker(), Forker()]
    codes: list[int] = []

    def run(number: int) -> None:
        codes.append(forkers[number].ask(request(place, str(number))).code)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for forker in forkers:
        forker.close()
    assert codes == [0, 0]
    said = "".join((place.out.parent / f"{number}.log").read_text() for number in range(2))
    assert said.count("done in") == 2
    assert contents(place.out) == usual
    assert leftovers(place.out) == []
    outcome(
        "fault",
        "two runs on one output folder at once",
        "each pair is done once; results as of one run",
        0,
        2,
    )


def test_a_worker_that_is_killed_costs_one_try_of_one_pair(place, usual, forker, outcome):
    """Its memory is the kernel's to take: SIGKILL to the worker that has just begun to write."""
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 200
        while not killed and time.monotonic() < deadline:
            time.sleep(0.01)
            if any(place.out.glob("sub-01/anat/*.h5")):
                killed.extend(of_the_pair("sub-01"))

    def of_the_pair(name: str) -> list[int]:
        claims = place.out.glob(f"logs/.{name}*.claim")
        pids = [int(path.name.split("-")[1]) for path in place.out.rglob(f".*.tmp-{name}*")]
        for pid in pids[: 1 if list(claims) else 0]:
            os.kill(pid, signal.SIGKILL)
            return [pid]
        return []

    watcher = threading.Thread(target=kill)
    watcher.start()
    answer = forker.ask(request(place, more=("--n-procs", "2")))
    watcher.join()
    assert answer.code == 0
    assert killed
    statuses = place.statuses()
    assert statuses["01"]["tries"] == 2
    assert statuses["02"]["tries"] == 1
    assert "its process was killed by SIGKILL" in place.log()
    assert without_pictures(contents(place.out)) == without_pictures(usual)
    assert leftovers(place.out) == []
    outcome(
        "fault", "worker killed while it writes (--n-procs 2)", "its pair is done by a new worker", code=0
    )


def without_pictures(found: dict[str, Any]) -> dict[str, Any]:
    """What workers write but for pictures, which they draw in full size."""
    return {name: each for name, each in found.items() if not name.endswith(".webp")}


def test_an_interrupt_ends_the_workers_too(place, forker, outcome):
    """The worker has begun with a pair, which it has claimed, when the signal comes to the run alone."""
    claimed = "logs/.*.claim"
    asked = request(place, more=("--isolate",), kill_when=claimed, kill_after_s=0.3, number=signal.SIGTERM)
    answer = forker.ask(asked)
    assert answer.code == 75
    assert answer.workers >= 1
    assert answer.seconds_since_signal < GRACE_S + SLACK_S
    assert wait_for_the_end(answer.group, 2.0) == set()  # a pair takes longer
    check_whole(place.out)
    outcome("fault", "SIGTERM during a run with workers", "the workers end with it", 75)
