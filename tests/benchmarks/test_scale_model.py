"""The plan for many participants: its arithmetic by hand, and that the page shows what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.scale_model import (
    Bounds,
    Costs,
    Group,
    Index,
    PairCost,
    Site,
    best_chunk,
    bottleneck,
    demand,
    fit_index,
)
from benchmarks.scale_plan import PAGE, cohort_table, filled, measured, tables

INDEX = Index(start_s=1.0, each_s=0.01, listed_s=0.0001)
PAIR = PairCost(
    core_s=60.0,
    gpu_s=3.0,
    memory_mb=2048.0,
    read_mb=10.0,
    written_mb=100.0,
    stored_mb=80.0,
    files=40.0,
    folders=3.0,
)
GROUP = Group(start_s=1.0, pair_s=0.001, start_mb=100.0, pair_mb=0.01, pair_page_bytes=200.0)
COSTS = Costs(PAIR, INDEX, start_s=4.0, done_pair_s=0.01, group=GROUP)
SITE = Site(cores=2, gpus=0, at_once=20, container_s=3.0)


def test_a_cohort_by_hand():
    """1,000 participants with 2 pairs, 10 of a task: 100 tasks, each 8.2 s of start and 20 pairs of 30 s."""
    found = demand(1000, 2, COSTS, SITE, chunk=10)
    start_s = 3.0 + 4.0 + (1.0 + 10 * 0.01 + 1 * 1000 * 0.0001)
    assert start_s == pytest.approx(8.2)
    assert (found.pairs, found.tasks, found.chunk) == (2000, 100, 10)
    total_s = 100 * 8.2 + 2000 * 30
    assert found.overhead == pytest.approx(820 / total_s)
    assert found.task_h == pytest.approx(608.2 / 3600)
    assert found.hours == pytest.approx(total_s / 20 / 3600)
    assert found.core_h == pytest.approx(2 * total_s / 3600)
    assert found.gpu_h == 0
    assert found.written_mb_s == pytest.approx(2000 * 100 / (total_s / 20))
    assert found.read_mb_s == pytest.approx(found.written_mb_s / 10)
    assert found.stored_tb == pytest.approx(0.16)
    assert found.files == 2000 * 41 + 100 * 2
    assert found.folders == 1000 * 3 + 100
    assert found.again_h == pytest.approx((820 + 20) / 3600)
    assert (found.group_s, found.group_mb, found.page_mb) == pytest.approx((3.0, 120.0, 0.4))


def test_a_gpu_takes_its_own_time_and_its_cores_are_counted():
    site = Site(cores=16, gpus=1, at_once=4, container_s=0.0)
    found = demand(1000, 2, replace(COSTS, start_s=0.0, index=Index(0, 0, 0)), site, chunk=100)
    assert found.gpu_h == pytest.approx(2000 * 3 / 3600)
    assert found.core_h == pytest.approx(16 * found.gpu_h)
    assert found.hours == pytest.approx(found.gpu_h / 4)


def test_no_more_tasks_run_at_a_time_than_there_are():
    assert demand(10, 2, COSTS, SITE, chunk=10).hours == demand(10, 2, COSTS, SITE, chunk=10).task_h


@pytest.mark.parametrize(("participants", "chunk"), [(100, 5), (10_000, 10), (100_000, 100)])
def test_a_task_is_long_beside_its_start_and_an_array_is_short(participants, chunk):
    """Of 100: 2 participants are 120 s beside 8.03 s, 6.3 %; 5 are 300 s beside 8.06 s, 2.6 %."""
    assert best_chunk(participants, 2, COSTS, SITE) == chunk


def test_the_index_is_found_again_from_what_it_took():
    asked = [(1, 1000), (100, 1000), (1000, 1000), (1, 100_000), (100, 100_000)]
    rows = [(each, present, INDEX.seconds(each, present)) for each, present in asked]
    found = fit_index(rows)
    assert (found.start_s, found.each_s, found.listed_s) == pytest.approx((1.0, 0.01, 0.0001))
    assert INDEX.seconds(1000, 1000) == pytest.approx(1 + 10 + 2 * 0.1)  # two batches
    with pytest.raises(ValueError, match="three or more"):
        fit_index(rows[:2])


def test_the_first_bound_that_is_reached_is_named():
    found = demand(1000, 2, COSTS, SITE, chunk=10)
    assert bottleneck(found, Bounds(files=1000)) == ("number of files", pytest.approx(85.3))
    assert bottleneck(found, Bounds(written_mb_s=1.0))[0] == "bandwidth"


@pytest.mark.parametrize(
    ("stored_mb", "said"),
    [(1_700.0, "3.4 %"), (49_800.0, "100 %"), (125_000.0, "2.5 times"), (1e8, "2,000 times")],
)
def test_how_close_a_bound_is_has_no_powers_of_ten(stored_mb, said):
    """The 200 pairs of 100 participants, beside a bound of 10 TB."""
    costs = replace(COSTS, pair=replace(PAIR, written_mb=0.0, files=0.0, folders=0.0, stored_mb=stored_mb))
    [row] = [line for line in cohort_table(costs, "CPU").splitlines() if "closest to its bound" in line]
    assert row.startswith(f"| closest to its bound | storage: {said} |")


def test_tables_go_into_their_places_and_nowhere_else():
    page = "before\n<!-- table: a -->\nold\n<!-- end -->\nafter\n"
    assert filled(page, {"a": "| new |"}) == "before\n<!-- table: a -->\n| new |\n<!-- end -->\nafter\n"
    with pytest.raises(ValueError, match="no place for the table b"):
        filled(page, {"b": ""})


def test_the_page_shows_what_was_measured():
    page = PAGE.read_text()
    assert filled(page, tables(*measured())) == page, "run: python -m benchmarks.scale_plan"
