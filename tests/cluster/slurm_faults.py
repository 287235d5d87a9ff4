"""What may happen to the tasks of an array: killed, out of time, put back in the queue."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.slurm_machine import Machine, Task

PROGRAM = "bids_nodereg"
"""Stands in the command line of the program and of nothing else in a task."""


@dataclass(frozen=True)
class Array:
    """A submitted array.

    Attributes
    ----------
    machine
        Where it runs.
    job
        Its number.
    """

    machine: Machine
    job: int

    def name(self, index: int) -> str:
        """What Slurm's programs call a task."""
        return f"{self.job}_{index}"

    def task(self, index: int) -> Task:
        return self.machine.tasks(self.job)[index]

    def programs(self, index: int) -> list[int]:
        """Processes of the program in a task."""
        return self.machine.processes(self.job, index, PROGRAM)

    def a_running_one(self, among: Callable[[], set[int]], seconds: float) -> int:
        """Wait for one of the tasks that may be taken to run the program; gives its number."""
        found: list[int] = []

        def look() -> bool:
            running = [t for t in self.machine.tasks(self.job).values() if t.state == "RUNNING"]
            ready = among()
            found.extend(task.index for task in running if task.index in ready and self.programs(task.index))
            return bool(found)

        self.machine.wait("a task at work", look, seconds)
        return found[0]

    def kill(self, index: int) -> None:
        """End the program by SIGKILL, as the kernel's memory killer does, and put the failed task back."""
        programs = self.programs(index)
        assert programs, f"task {index} has ended before it could be killed"
        _send(programs, signal.SIGKILL)
        self.machine.wait(f"failure of task {index}", lambda: self.task(index).state == "FAILED")
        assert self.task(index).exit_code == 128 + signal.SIGKILL
        self.put_back(index)

    def put_back(self, index: int) -> None:
        """Put a task back in the queue, as the user or a more urgent job does."""
        before = self.task(index).restarts
        self.machine.ask("scontrol", "requeue", self.name(index))
        self.machine.wait(f"task {index} put back", lambda: self.task(index).restarts > before)

    def warn(self, index: int, by: Callable[[], object]) -> None:
        """Hold the program until it has been told that its time ends, let it go on, and await its end.

        Parameters
        ----------
        index
            The task.
        by
            Makes Slurm send SIGUSR1 to the script, which passes it on.
        """
        programs = self.programs(index)
        assert programs, f"task {index} has ended before it could be warned"
        before = self.task(index).restarts
        _send(programs, signal.SIGSTOP)
        try:
            by()
            self.machine.wait(f"SIGUSR1 for task {index}", lambda: any(map(_is_warned, programs)))
        finally:
            _send(programs, signal.SIGCONT)
        self.machine.wait(f"task {index} put back by itself", lambda: self.task(index).restarts > before)

    def let_time_run_out(self, index: int) -> None:
        """Set the limit of a task to one or two minutes from now: Slurm counts in minutes."""
        words = self.machine.ask("squeue", "--noheader", f"--jobs={self.name(index)}", "--Format=StartTime")
        minutes = (datetime.now() - datetime.fromisoformat(words)).total_seconds() // 60
        self.set_limit(index, int(minutes) + 2)

    def set_limit(self, index: int, minutes: int) -> None:
        self.machine.ask("scontrol", "update", f"JobId={self.name(index)}", f"TimeLimit={minutes}")


def _send(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _is_warned(process: int) -> bool:
    """Whether SIGUSR1 waits to be delivered to a process that is held (or the process is no more)."""
    with suppress(OSError):
        lines = Path(f"/proc/{process}/status").read_text("ascii", "replace").splitlines()
        words = dict(line.split(":", 1) for line in lines if ":" in line)
        return bool(int(words["ShdPnd"], 16) >> (signal.SIGUSR1 - 1) & 1)
    return True
