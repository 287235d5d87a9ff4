from __future__ import annotations

import os
from threading import Event, Thread, current_thread
from types import SimpleNamespace

import numba
import pytest
import torch

from bids_nodereg.app import executors
from bids_nodereg.app.device import Hardware, choose_hardware
from bids_nodereg.app.executors import Turn, in_this_process
from bids_nodereg.app.limits import TimeLimit
from bids_nodereg.config import Resources


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads(), numba.get_num_threads()
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("3,2", 3), ("many", None), ("0", None)])
def test_threads_are_those_of_the_environment_where_the_options_say_nothing(value, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", value)

    hardware = choose_hardware(Resources("cpu"))

    assert hardware.threads == (threads or len(os.sched_getaffinity(0)))
    assert torch.get_num_threads() == hardware.threads
    assert choose_hardware(Resources("cpu", 2)).threads == 2


def counts() -> tuple[int, int]:
    """Threads of numba and of torch for what is computed in the current thread."""
    return numba.get_num_threads(), torch.get_num_threads()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="numba has one thread to begin with")
def test_a_new_thread_of_pythons_takes_all_cores_unless_it_is_told():
    choose_hardware(Resources("cpu", 1))
    seen = []
    thread = Thread(target=lambda: seen.append(counts()))
    thread.start()
    thread.join()
    assert seen[0][0] == numba.config.NUMBA_NUM_THREADS


@pytest.mark.parametrize("overlap", [False, True])
def test_the_number_of_threads_holds_in_all_stages(overlap, monkeypatch):
    choose_hardware(Resources("cpu", 1))
    seen: dict[str, tuple[int, int]] = {}

    def stage(name):
        def note(held, *_rest):
            seen[name] = counts()
            seen[f"{name} by"] = current_thread().name
            return held

        return note

    for name in ("open", "solve", "close"):
        monkeypatch.setattr(executors, f"{name}_attempt", stage(name))
    monkeypatch.setattr(executors, "_attempt", lambda *_: None)
    monkeypatch.setattr(executors, "needs_all_memory", lambda *_: False)
    monkeypatch.setattr(executors, "can_overlap", lambda _hardware: overlap)
    run = SimpleNamespace(hardware=Hardware(torch.device("cpu"), "CPU", 1), stop=Event(), limit=TimeLimit())
    config = SimpleNamespace(fail_fast=False)
    turns = [Turn(None, number, 3) for number in range(3)]

    list(in_this_process(turns, lambda _turn, status: status, config=config, run=run, progress=None))

    assert {seen[name] for name in ("open", "solve", "close")} == {(1, 1)}
    assert len({seen[f"{name} by"] for name in ("open", "solve", "close")}) == (3 if overlap else 1)
