"""Which part of the participants a task of an array does, as its variables tell."""

from __future__ import annotations

import argparse
from itertools import chain

import pytest

from bids_nodereg.sharding import shard


def of_task(number: object, *, first: int = 1, last: int = 1, step: int = 1, count: int | None = None):
    """Variables of a task, as Slurm sets them."""
    values = {"ID": number, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{key}": str(value) for key, value in values.items() if value is not None}


def array(tasks: list[int], step: int = 1):
    """Variables of every task of an array that was submitted with these numbers."""
    return [of_task(number, first=tasks[0], last=tasks[-1], step=step, count=len(tasks)) for number in tasks]


@pytest.mark.parametrize(
    ("tasks", "step"),
    [
        (list(range(10)), 1),
        (list(range(1, 41)), 1),
        (list(range(5, 9)), 1),
        (list(range(1, 10, 2)), 2),
        ([0], 1),
        ([1], 1),
    ],
)
def test_the_tasks_of_a_whole_array_do_every_part_once(tasks, step):
    parts = [shard("slurm", task) for task in array(tasks, step)]
    assert parts == [(number, len(tasks)) for number in range(1, len(tasks) + 1)]


@pytest.mark.parametrize("tasks", [[3, 7], [1, 2, 5], [7]], ids=str)
def test_a_part_of_an_array_is_refused_where_it_shows(tasks):
    """Else --array=3,7 would leave three of five parts undone, and --array=7 would do everything."""
    for task in array(tasks):
        with pytest.raises(argparse.ArgumentTypeError, match=r"a part of an array.*Say slurm:N"):
            shard("slurm", task)


@pytest.mark.parametrize("tasks", [[3, 7], [7], list(range(1, 41)), [39, 40]], ids=str)
def test_with_the_number_of_parts_a_task_has_the_same_part_in_every_array(tasks):
    assert [shard("slurm:40", task) for task in array(tasks)] == [(number, 40) for number in tasks]


@pytest.mark.parametrize("number", [0, 41])
def test_a_task_beyond_the_parts_is_refused(number):
    with pytest.raises(argparse.ArgumentTypeError, match=f"this is task {number}: number the tasks 1-40"):
        shard("slurm:40", of_task(number))


@pytest.mark.parametrize(
    "text", ["", "3", "0/3", "4/3", "1:3", "slurm/3", "slurm:", "slurm:0", "a/b", "1/3/4"]
)
def test_what_is_no_part_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="I/N with 1 <= I <= N"):
        shard(text, of_task(1, last=3))


@pytest.mark.parametrize("text", ["slurm", "slurm:4"])
@pytest.mark.parametrize("environment", [{}, {"SLURM_ARRAY_TASK_ID": ""}, {"SLURM_ARRAY_TASK_ID": "x"}])
def test_outside_of_an_array_slurm_is_refused(text, environment):
    told = r"not in an array task, or in a container .* Say I/N, such as"
    with pytest.raises(argparse.ArgumentTypeError, match=told):
        shard(text, environment)


def test_parts_differ_by_one_participant_at_most_and_have_each_once():
    """As chosen_participants takes them."""
    everyone = list(range(23))
    parts = [everyone[part - 1 :: parts] for part, parts in (shard(f"{i}/5", {}) for i in range(1, 6))]
    assert sorted(chain(*parts)) == everyone
    assert {len(part) for part in parts} == {4, 5}
