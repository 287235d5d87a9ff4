"""The demo data cloned to forty participants, as an array under a real Slurm that is disturbed in many ways.

``make cluster`` runs it, and prints what happened when.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.cluster.clones import clone_demo
from tests.cluster.slurm_machine import slurm_machine, why_not
from tests.cluster.slurm_study import QUICK, Study, submit
from tests.reliability import tiny
from tests.reliability.whole import check_whole, contents, leftovers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.slurm_faults import Array
    from tests.cluster.slurm_machine import Machine
    from tests.cluster.slurm_study import Submission

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(bool(why_not()), reason=f"no Slurm here: {why_not()}"),
]

PARTICIPANTS, TASKS = 40, 8
KILLED = 4
"""Runs that end at any moment: killed, put back, out of time, without power."""
SEED = int(os.environ.get("NODEREG_SEED", "7"))
"""Of the moments; another one by this variable."""
MOST_DONE, LATEST_S = 2, 5.0
"""A task is harmed when it has ended so many of its five pairs at most, and at most so long after that."""
LIMIT_MIN = 20
LONG_S = 3600.0
DAY_S = 86400.0


def test_forty_participants(tmp_path):
    """Disturbed, it ends complete; again, it finds all done; and an undisturbed run gives the same."""
    study = forty(tmp_path)
    words = ("--tasks", str(TASKS), "--max-running", "2", "--time", str(LIMIT_MIN))
    script = study.script(tmp_path / "array.sh", *words)
    with slurm_machine() as machine:
        first = submitted_and_disturbed(machine, study, script)
        wait_a_day(study)
        before = contents(study.out)
        second = submit(machine, study, script)
        second.end(LONG_S)
        tell("the same array again has ended")
        finds_all_done(study, second, before)
        third = submit(machine, study, script, "--array=3")
        third.end(LONG_S)
        assert third.runs(3) == second.runs(3) == [first.subjects(3)]
        study.was_done_once(PARTICIPANTS, KILLED)
        tell("task 3 alone has ended")
    is_as_undisturbed(study, tmp_path / "usual")
    tell("an undisturbed run without Slurm has given the same")
    study.program(str(study.raw), str(study.out), "group")
    assert len((study.out / "group_registration.tsv").read_text().splitlines()) == 1 + PARTICIPANTS


def forty(folder: Path) -> Study:
    raw = clone_demo(folder / "raw", PARTICIPANTS)
    (folder / "quick.toml").write_text(tiny.QUICK)
    config = ("--config", str(folder / "quick.toml"), "--no-brain-mask", "--skip-bids-validation")
    return Study(raw, folder / "out", (*QUICK, *config))


def submitted_and_disturbed(machine: Machine, study: Study, script: Path) -> Submission:
    """Do each harm to a task of its own at a random moment of its work, and see the array end complete."""
    chance = np.random.default_rng(SEED)
    first = submit(machine, study, script)
    tell(f"{PARTICIPANTS} participants submitted in {TASKS} tasks, seed {SEED}")
    left = set(range(1, TASKS + 1))
    for harm in (kill, run_out_of_time, cut_the_power, put_back):
        index = some_time_in_a_task(first, left, chance)
        left.discard(index)
        harm(first.array, index)
        tell(f"{harm.__name__}: task {index}, with {len(study.endings('done'))} pairs done by all")
    tasks = first.end(LONG_S)
    tell(f"the array has ended; restarts: {[tasks[index].restarts for index in sorted(tasks)]}")
    assert sum(task.restarts for task in tasks.values()) == KILLED
    assert check_whole(study.out) > PARTICIPANTS
    study.was_done_once(PARTICIPANTS, KILLED)
    return first


def some_time_in_a_task(first: Submission, left: set[int], chance: np.random.Generator) -> int:
    """Wait for a random moment in the work of a task that was not harmed; gives its number."""

    def not_far() -> set[int]:
        return {index for index in left if len(first.subjects(index)) <= MOST_DONE}

    index = first.array.a_running_one(not_far, LONG_S)
    wanted = chance.integers(0, MOST_DONE, endpoint=True)
    first.array.machine.wait("pairs", lambda: len(first.subjects(index)) >= wanted, LONG_S)
    time.sleep(chance.uniform(0, LATEST_S))  # nothing is waited for: the moment is to be any
    return index


def kill(array: Array, index: int) -> None:
    array.kill(index)


def run_out_of_time(array: Array, index: int) -> None:
    """Slurm sends by itself, before the limit, the signal that the script asked for."""
    array.warn(index, lambda: array.let_time_run_out(index))
    array.set_limit(index, LIMIT_MIN)


def cut_the_power(array: Array, index: int) -> None:
    """Slurm notices by itself, and gives the task to another node."""
    node = array.task(index).node
    array.machine.switch_off(node)
    array.machine.wait(f"task {index} taken from {node}", lambda: array.task(index).restarts > 0, 180)
    array.machine.switch_on(node)


def put_back(array: Array, index: int) -> None:
    array.put_back(index)


def wait_a_day(study: Study) -> None:
    """Make older what a node without power has left: nobody else can know whether its runs still live."""
    left = leftovers(study.out)
    tell(f"left by processes that other nodes cannot know: {len(left)} temporary file(s)")
    for path in left:
        assert ".tmp-" in path.name, path
        os.utime(path, (time.time() - 2 * DAY_S,) * 2)


def finds_all_done(study: Study, again: Submission, before: dict[str, object]) -> None:
    for index in range(1, TASKS + 1):
        assert len(again.subjects(index)) == PARTICIPANTS / TASKS
    assert len(set().union(*map(again.subjects, range(1, TASKS + 1)))) == PARTICIPANTS
    study.was_done_once(PARTICIPANTS, KILLED)
    assert leftovers(study.out) == []
    assert contents(study.out) == before


def is_as_undisturbed(study: Study, out: Path) -> None:
    study.run(out, "--n-procs", "2")
    ours, usual = contents(study.out), contents(out)
    other = {name for name in ours.keys() | usual.keys() if ours.get(name) != usual.get(name)}
    assert not other, {name: difference(study.out / name, out / name) for name in sorted(other)}


def difference(one: Path, other: Path) -> str:
    """What is different in a file, in words: to tell other numbers from another compression of the same."""
    if not (one.exists() and other.exists()):
        return f"{(other if one.exists() else one).parents[2].name} has none"
    data = [path.read_bytes() for path in (one, other)]
    if one.suffix == ".gz":
        data = [gzip.decompress(each) for each in data]
    unlike = [place for place, pair in enumerate(zip(*data, strict=False)) if pair[0] != pair[1]]
    sizes = " and ".join(str(len(each)) for each in data)
    return f"{sizes} bytes of content, {len(unlike)} differ, the first at {unlike[:5]}"


def tell(what: str) -> None:
    sys.stderr.write(f"\n{time.strftime('%H:%M:%S')} {what}")
