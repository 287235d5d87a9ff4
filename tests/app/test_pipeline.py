"""Stages of many pairs that overlap: order, bounds, errors and stopping, with stages that wait for events."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import closing, suppress

import pytest

from bids_nodereg.app.pipeline import Stages, one_by_one, overlapping

LONG = 10.0  # seconds that nothing here ever waits, unless it is broken


class Recorder:
    """Stages that note who did what; each pair is a number, and each stage adds its letter."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.threads: dict[str, set[str]] = {"open": set(), "solve": set(), "close": set()}
        self.alive = self.most_alive = 0
        self._lock = threading.Lock()

    def stages(self, **others) -> Stages:
        chosen = {name: getattr(self, name) for name in ("open", "solve", "close")} | others
        return Stages(**chosen)

    def open(self, task: int) -> int:
        with self._lock:
            self.alive += 1
            self.most_alive = max(self.most_alive, self.alive)
        return self._note("open", task)

    def solve(self, task: int) -> int:
        return self._note("solve", task)

    def close(self, task: int) -> int:
        self._note("close", task)
        with self._lock:
            self.alive -= 1
        return task

    def _note(self, stage: str, task: int) -> int:
        with self._lock:
            self.events.append((stage, task))
            self.threads[stage].add(threading.current_thread().name)
        return task


def run(tasks, stages, stop=None):
    return list(overlapping(tasks, stages, stop or threading.Event()))


def no_thread_left() -> bool:
    return not [each for each in threading.enumerate() if each.name.startswith(("opening", "closing"))]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_results_come_in_the_order_of_the_tasks_with_and_without_overlap(count):
    assert run(range(count), Recorder().stages()) == list(range(count))
    assert list(one_by_one(range(count), Recorder().stages())) == list(range(count))
    assert no_thread_left()


def test_the_next_is_opened_and_the_last_closed_while_one_is_solved():
    recorder = Recorder()
    others_work = {"opened 2": threading.Event(), "closed 0": threading.Event()}

    def solve(task: int) -> int:
        if task == 1:  # goes on only when both neighbours have been worked on meanwhile
            assert all(event.wait(LONG) for event in others_work.values())
        return recorder.solve(task)

    def open_(task: int) -> int:
        recorder.open(task)
        if task == 2:
            others_work["opened 2"].set()
        return task

    def close(task: int) -> int:
        recorder.close(task)
        if task == 0:
            others_work["closed 0"].set()
        return task

    assert run(range(4), recorder.stages(open=open_, solve=solve, close=close)) == [0, 1, 2, 3]


def test_the_main_thread_solves_and_one_thread_each_opens_and_closes():
    recorder = Recorder()
    run(range(5), recorder.stages())
    assert recorder.threads["solve"] == {threading.current_thread().name}
    assert len(recorder.threads["open"]) == len(recorder.threads["close"]) == 1
    assert not recorder.threads["open"] & recorder.threads["close"]


def test_three_pairs_are_held_at_most_although_closing_is_slow_and_the_tasks_are_many():
    recorder = Recorder()

    def slow(task: int) -> int:
        time.sleep(0.01)
        return recorder.close(task)

    assert run(range(12), recorder.stages(close=slow)) == list(range(12))
    assert recorder.most_alive <= 4  # three, and the one that is asked for while the last is yielded
    opened = [recorder.events.index(("open", task)) for task in range(12)]
    solved = [recorder.events.index(("solve", task)) for task in range(12)]
    assert all(opened[task + 2] > solved[task] for task in range(10)), "opened more than one ahead"


def test_a_task_that_needs_all_memory_has_nothing_beside_it():
    recorder = Recorder()
    stages = recorder.stages(alone=lambda task: task in {2, 3})
    assert run(range(6), stages) == list(range(6))
    events = recorder.events
    for task in (2, 3):
        solved = events.index(("solve", task))
        assert events.index(("close", task - 1)) < solved
        assert events.index(("open", task + 1)) > events.index(("close", task))
    assert events.index(("open", 5)) < events.index(("solve", 5))


@pytest.mark.parametrize("given", [0, 1])
def test_where_the_system_gives_no_threads_the_tasks_are_done_one_by_one(given, monkeypatch, caplog, outcome):
    start, started = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        if len(started) >= given:
            msg = "can't start new thread"
            raise RuntimeError(msg)
        started.append(thread)
        start(thread)

    recorder = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert run(range(3), recorder.stages()) == [0, 1, 2]
    assert recorder.events == [(stage, task) for task in range(3) for stage in ("open", "solve", "close")]
    assert len([line for line in caplog.messages if "gives no more threads" in line]) == 1
    assert no_thread_left()
    outcome("fault", "the system refuses threads", "the run goes on, one pair after the other")


def test_tasks_are_asked_for_one_ahead():
    asked = []

    def tasks():
        for task in range(6):
            asked.append(task)
            yield task

    with closing(overlapping(tasks(), Recorder().stages(), threading.Event())) as results:
        assert next(results) == 0
        assert asked == [0, 1, 2]


@pytest.mark.parametrize("stage", ["open", "solve", "close"])
def test_an_exception_of_a_stage_ends_everything_and_tells_the_threads(stage):
    stop = threading.Event()

    def fail(task: int) -> int:
        if task == 2:
            msg = "broken"
            raise ZeroDivisionError(msg)
        return task

    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        run(range(9), recorder.stages(**{stage: fail}), stop)
    assert stop.is_set()
    assert no_thread_left()
    assert ("solve", 5) not in recorder.events


def test_an_interrupt_while_solving_stops_what_works_beside_it():
    stop, begun = threading.Event(), threading.Event()
    recorder = Recorder()

    def close(task: int) -> int:
        begun.set()
        if not stop.wait(LONG):
            pytest.fail("the thread that closes was not told")
        raise KeyboardInterrupt

    def solve(task: int) -> int:
        if task == 1:
            assert begun.wait(LONG)
            raise KeyboardInterrupt
        return task

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(range(4), recorder.stages(solve=solve, close=close), stop)
    assert time.monotonic() - began < LONG / 2
    assert no_thread_left()


def test_who_wants_no_more_results_ends_the_threads():
    stop = threading.Event()
    with closing(overlapping(range(9), Recorder().stages(), stop)) as results:
        next(results)
    assert stop.is_set()
    assert no_thread_left()


def test_one_after_the_other_touches_nothing_ahead():
    recorder = Recorder()
    with closing(one_by_one(range(3), recorder.stages())) as results:
        next(results)
    assert recorder.events == [("open", 0), ("solve", 0), ("close", 0)]


def test_threads_beside_have_the_lower_priority_where_the_system_knows_it():
    if sys.platform != "linux":
        pytest.skip("only Linux has priorities of threads")
    seen = []

    def open_(task: int) -> int:
        with suppress(OSError):
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return task

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    run(range(1), Recorder().stages(open=open_))
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
    assert seen in ([min(own + 5, 19)], [5])


def test_elsewhere_no_priority_is_touched(monkeypatch):
    """A thread's number is no process there: the priority of a stranger would be lowered."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "setpriority", lambda *_: pytest.fail("a priority was set"), raising=False)
    assert run(range(2), Recorder().stages()) == [0, 1]


def test_what_libraries_keep_for_each_thread_is_set_before_its_first_task():
    begun, late = [], []
    recorder = Recorder()

    def own() -> str:
        return threading.current_thread().name

    def open_(task: int) -> int:
        late.extend([] if own() in begun else [task])
        return recorder.open(task)

    stages = recorder.stages(open=open_)
    list(overlapping(range(3), stages, threading.Event(), lambda: begun.append(own())))
    assert not late
    assert sorted(begun) == sorted(recorder.threads["open"] | recorder.threads["close"])
