"""Worker processes: one that dies costs its task alone, and none outlives the run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest

from bids_nodereg.app import workers
from bids_nodereg.app.workers import Lost, Work, in_workers
from tests.reliability.chores import InOrder, Never, no_preparation, prepare

ADDING = Work(prepare, (10,), InOrder)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_all_tasks_are_done_by_as_many_processes_as_asked_for():
    tasks = [f"add {number}" for number in range(6)]
    found = dict(in_workers(tasks, ADDING, 2))
    assert {task: result[1] for task, result in found.items()} == {f"add {n}": n + 10 for n in range(6)}
    pids = {result[0] for result in found.values()}
    assert len(pids) <= 2
    assert os.getpid() not in pids


@pytest.mark.parametrize(
    ("death", "how"),
    [
        ("die 0", "killed by SIGKILL"),
        ("crash 0", "killed by SIGSEGV"),
        ("leave 0", "ended with exit code 3"),
    ],
)
def test_a_worker_that_dies_costs_its_task_alone(death, how, outcome):
    found = dict(in_workers([death, "add 1", "add 2"], ADDING, 1))
    assert found[death] == Lost(how)
    assert [found[f"add {n}"][1] for n in (1, 2)] == [11, 12]
    outcome("fault", f"worker process {how}", "costs the pair at work alone; a new worker takes its place")


def test_a_worker_that_cannot_begin_is_lost_and_none_is_waited_for(capfd):
    found = dict(in_workers(["add 1"], Work(no_preparation, (), InOrder), 1))
    assert found == {"add 1": Lost("ended with exit code 1")}
    assert "cannot be prepared" in capfd.readouterr().err


def test_a_worker_that_has_done_its_share_is_replaced(monkeypatch, outcome):
    monkeypatch.setattr(workers, "MOST_TASKS", 2)
    found = [result[0] for _, result in in_workers([f"add {n}" for n in range(4)], ADDING, 1)]
    assert found[0] == found[1] != found[2] == found[3]
    outcome("long run", "worker with 200 pairs done (2 in the test)", "replaced by a new process")


def test_a_worker_that_has_grown_is_replaced(monkeypatch):
    monkeypatch.setattr(workers, "MOST_GROWTH_MIB", -1.0)
    found = [result[0] for _, result in in_workers(["add 0", "add 1"], ADDING, 1)]
    assert found[0] != found[1]


def test_tasks_that_wait_for_one_another_are_told():
    with pytest.raises(RuntimeError, match="2 tasks wait for one another"):
        list(in_workers(["add 1", "add 2"], Work(prepare, (0,), Never), 2))


def test_who_wants_no_more_leaves_no_process():
    ended = in_workers(["add 1", "sleep 1", "sleep 2"], ADDING, 2)
    with closing(ended):
        _, result = next(ended)
        assert is_alive(result[0])
        before = time.monotonic()
    assert time.monotonic() - before < 2
    assert not is_alive(result[0])


def test_workers_end_with_a_parent_that_is_killed(outcome):
    """SIGKILL leaves the parent no time to say anything."""
    script = (
        "from tests.reliability.chores import InOrder, prepare\n"
        "from bids_nodereg.app.workers import Work, in_workers\n"
        "if __name__ == '__main__':\n"
        "    for _, (pid, _) in in_workers(['add 1', 'sleep 2'], Work(prepare, (0,), InOrder), 1):\n"
        "        print(pid, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_alive(worker)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(worker)
    outcome("fault", "parent of worker processes killed by SIGKILL", "the workers end too")


def refuse_to_start(monkeypatch, after):
    """Let the system refuse a process once so many have been started."""
    start = workers._Worker.__init__
    started = []

    def refusing(self, work, slot):
        if len(started) >= after:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(self)
        start(self, work, slot)

    monkeypatch.setattr(workers._Worker, "__init__", refusing)


def test_workers_that_cannot_be_started_are_done_without(monkeypatch, caplog, outcome):
    refuse_to_start(monkeypatch, after=1)
    found = dict(in_workers([f"add {n}" for n in range(4)], ADDING, 3))
    assert [found[f"add {n}"][1] for n in range(4)] == [10, 11, 12, 13]
    assert len([line for line in caplog.messages if "No more than 1 worker" in line]) == 1
    outcome("fault", "the system refuses more worker processes (EAGAIN)", "the run goes on with those it has")


def test_a_task_is_given_up_where_no_worker_can_be_started(monkeypatch, outcome):
    refuse_to_start(monkeypatch, after=0)
    found = dict(in_workers(["add 1", "add 2"], ADDING, 2))
    told = Lost("not started (Resource temporarily unavailable)")
    assert found == {"add 1": told, "add 2": told}
    outcome("fault", "the system refuses any worker process (EAGAIN)", "trouble of the pair: tried again")
