from __future__ import annotations

import os

import pytest
import torch

from bids_nodereg.app.device import choose_hardware
from bids_nodereg.config import Resources


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("3,2", 3), ("many", None), ("0", None)])
def test_threads_are_those_of_the_environment_where_the_options_say_nothing(value, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", value)

    hardware = choose_hardware(Resources("cpu"))

    assert hardware.threads == (threads or len(os.sched_getaffinity(0)))
    assert torch.get_num_threads() == hardware.threads
    assert choose_hardware(Resources("cpu", 2)).threads == 2
