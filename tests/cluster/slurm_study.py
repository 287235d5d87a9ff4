"""A data set that arrays of tasks register, and what the tasks recorded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cluster.slurm_faults import Array

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.slurm_machine import Machine, Task

QUICK = ("--preset", "fast", "--iterations", "3", "2", "--device", "cpu", "--omp-nthreads", "1")
"""Of a run that is to be short."""
RUN = re.compile(r"nodereg \S+, run (\S+)")


@dataclass(frozen=True)
class Study:
    """A raw data set, the output folder of its array, and the options of each run.

    Attributes
    ----------
    raw, out
        Input and output.
    options
        Of the participant level, after the folders.
    """

    raw: Path
    out: Path
    options: tuple[str, ...]

    def program(self, *words: str) -> str:
        """Call the program; what it prints to its output.

        Raises
        ------
        AssertionError
            If it fails, with what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", "bids_nodereg", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def run(self, out: Path, *more: str) -> None:
        """Register everything by one run without Slurm."""
        self.program(str(self.raw), str(out), "participant", *self.options, *more)

    def script(self, path: Path, *words: str) -> Path:
        """The batch script that the helper prints for this study."""
        text = self.program("sbatch", str(self.raw), str(self.out), *words, "--", *self.options)
        path.write_text(text)
        return path

    def records(self) -> list[dict[str, Any]]:
        """Every status record of every run so far."""
        return [json.loads(path.read_text("utf-8")) for path in self.out.glob("logs/*/status_*.json")]

    def endings(self, status: str) -> Counter[str]:
        """How many runs ended each pair so."""
        return Counter(record["pair"] for record in self.records() if record["status"] == status)

    def was_done_once(self, pairs: int, killed: int) -> None:
        """See that no pair was registered twice, and that each was.

        Parameters
        ----------
        pairs
            How many there are.
        killed
            Runs that were killed: each may have ended between a pair's last file and the record of it. A
            later run has found that pair done.

        Raises
        ------
        AssertionError
            If it is not so.
        """
        done, found = self.endings("done"), self.endings("already done")
        assert set(done.values()) == {1}, done
        assert len(done) >= pairs - killed, done
        assert len(done | found) == pairs, found


@dataclass(frozen=True)
class Submission:
    """An array of a study, and where its tasks log."""

    study: Study
    script: Path
    array: Array

    def log(self, index: int) -> Path:
        return self.script.parent / f"{self.array.job}_{index}.log"

    def runs(self, index: int) -> list[set[str]]:
        """Participants that each run of a task has recorded so far."""
        text = self.log(index).read_text("utf-8") if self.log(index).exists() else ""
        folders = [self.study.out / "logs" / name for name in RUN.findall(text)]
        return [{_subject(path) for path in folder.glob("status_*.json")} for folder in folders]

    def subjects(self, index: int) -> set[str]:
        """Participants of a task, as its runs have recorded."""
        return set().union(*self.runs(index))

    def wait_for_a_pair(self, index: int, seconds: float = 120) -> None:
        """Wait until the first run of a task has ended a pair."""
        self.array.machine.wait(f"a pair of task {index}", lambda: bool(self.subjects(index)), seconds)

    def end(self, seconds: float) -> dict[int, Task]:
        """Wait for the end of the array; gives its tasks.

        Raises
        ------
        AssertionError
            If one of them did not end well, with its log.
        """
        tasks = self.array.machine.wait_for_end(self.array.job, seconds)
        failed = [index for index, task in tasks.items() if task.state != "COMPLETED"]
        assert not failed, {index: self.log(index).read_text()[-3000:] for index in failed}
        return tasks


def submit(machine: Machine, study: Study, script: Path, *options: str) -> Submission:
    """Submit a script of a study; no two of its tasks share a node."""
    job = machine.submit(script, f"--output={script.parent}/%A_%a.log", "--gres=gpu:1", *options)
    return Submission(study, script, Array(machine, job))


def _subject(record: Path) -> str:
    return str(json.loads(record.read_text("utf-8"))["subject"])
