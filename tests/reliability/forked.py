"""Workers as forks of the run, which begin at once: what is killed is the same."""

from __future__ import annotations

import multiprocessing
import os
import signal

from bids_nodereg.app import workers


class _ByFork:
    """Stands before :mod:`multiprocessing`: the run asks for fresh processes, and gets forks."""

    @staticmethod
    def get_context(_method: str) -> multiprocessing.context.BaseContext:
        return multiprocessing.get_context("fork")


def fork_workers() -> None:
    """Called in a run before it begins; one thread alone is in it then.

    A fork would tell the run of its own signals, by the pipe that wakes it.
    """
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    workers.multiprocessing = _ByFork  # type: ignore[assignment]
