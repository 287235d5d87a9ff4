"""An array under a real Slurm goes on after a kill and a warning; a task resubmitted does the same."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from tests.cluster.slurm_machine import slurm_machine, why_not
from tests.cluster.slurm_study import QUICK, Study, submit
from tests.reliability import tiny
from tests.reliability.whole import check_whole, leftovers

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"no Slurm here: {why_not()}")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    raw = tiny.make(tmp_path, ("01", "02", "03", "04"))
    config = ("--config", str(tmp_path / "quick.toml"))
    return Study(raw, tmp_path / "out", (*QUICK, *config, "--skip-bids-validation"))


def test_killed_and_warned_tasks_end_complete(study, tmp_path):
    """Two tasks at a time; one is killed and put back, the other is told that its time ends.

    The job of the group, submitted at once as the head of the script says, waits for both in all their turns.
    """
    words = ("--tasks", "2", "--max-running", "2", "--time", "30")
    script = study.script(tmp_path / "array.sh", *words)
    with slurm_machine() as machine:
        first = submit(machine, study, script)
        array = first.array
        [group] = [row[4:] for row in script.read_text().splitlines() if row.startswith("#   sbatch ")]
        called = shlex.split(group.replace("JOB", str(array.job)))
        machine.ask(*called[:1], f"--chdir={tmp_path}", *called[1:])
        first.wait_for_a_pair(1)
        array.kill(1)
        first.wait_for_a_pair(2)
        array.warn(2, lambda: machine.ask("scancel", "--batch", "--signal=USR1", array.name(2)))
        tasks = first.end(200)
        assert [tasks[index].restarts for index in (1, 2)] == [1, 1]
        study.was_done_once(4, killed=1)
        assert check_whole(study.out) > 4
        assert leftovers(study.out) == []
        table = study.out / "group_registration.tsv"
        machine.wait("the table of all", lambda: table.exists() and len(table.read_text().splitlines()) == 5)

        again = submit(machine, study, script, "--array=2")
        again.end(120)
        assert again.runs(2) == [first.subjects(2)]
        study.was_done_once(4, killed=1)
