"""What workers of a dask cluster are made to do in tests; importable by a process of its own."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from tests.reliability.chores import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from bids_nodereg.app.dask_worker import Machine

LOG = logging.getLogger("nodereg")


def prepare(offset: int, machine: Machine, stop: Event) -> Callable[[str], tuple[int, int]]:
    """Give a function that does a chore: process number, and a number with something added."""

    def do(chore: str) -> tuple[int, int]:
        word, _, number = chore.partition(" ")
        LOG.info("%s has %d thread(s)", chore, machine.threads)
        if word == "wait":
            stop.wait(60)
            raise KeyboardInterrupt
        WORDS[word]()
        return os.getpid(), int(number) + offset

    return do


def prepare_to_see(_machine: Machine, _stop: Event) -> Callable[[str], str]:
    """Give a function that tells which GPUs its process may see."""
    return lambda _chore: os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def prepare_without(lost: str, _machine: Machine, _stop: Event) -> Callable[[str], str]:
    """Fail on one GPU; elsewhere give a function that tells which it is."""
    gpu = os.environ["CUDA_VISIBLE_DEVICES"]
    if gpu == lost:
        msg = "CUDA error: device unavailable"
        raise RuntimeError(msg)
    return lambda _chore: gpu


def refuse(_machine: Machine, _stop: Event) -> Callable[[str], None]:
    msg = "no such library"
    raise ImportError(msg)


def prepare_and_die(_machine: Machine, _stop: Event) -> Callable[[str], None]:
    os.abort()
