"""The benchmark of speed: what it makes of its measurements, and that the wrapped names are there."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import speed
from peers.launch import Cost, MethodFailedError
from peers.run_stages import REGISTER, REST, STAGES, Clock


def bench(**changes):
    values = {"files": None, "scratch": None, "plan": speed.QUICK, "threads": 1, "repeats": 2, "limit_s": 1.0}
    return speed.Bench(**{**values, "devices": ("cpu",), **changes})


def test_a_power_is_found_again():
    rows = [{"x": x, "y": 3.0 * x**1.5} for x in (1.0, 2.0, 5.0)]
    assert speed.slope(rows, "x", "y") == pytest.approx(1.5)
    assert math.isnan(speed.slope(rows[:1], "x", "y"))


def test_the_fastest_repeat_counts_with_the_largest_peak():
    found = speed.best([Cost(2.0, 5.0, 100.0), Cost(1.0, 4.0, 300.0)])
    assert found == {"wall_s": 4.0, "cpu_s": 1.0, "peak_mb": 300.0, "slowest_s": 5.0}


def test_ratios_are_to_our_first_row():
    rows = speed.with_ratios([{"method": "nodereg-default", "wall_s": 2.0}, {"method": "x", "wall_s": 9.0}])
    assert [row["times_ours"] for row in rows] == [1.0, 4.5]


def test_what_fails_is_told_and_the_rest_goes_on():
    shared = bench()

    def fails():
        msg = "ended with 1"
        raise MethodFailedError(msg)

    assert speed.repeated(shared, "bad", fails) == []
    assert speed.repeated(shared, "good", lambda: 7) == [7, 7]
    assert shared.skipped == {"bad": "ended with 1"}


def test_the_page_and_the_numbers_can_be_written():
    rows = [{"device": "cpu", "voxels": count, "fields_cpu_s": 2.0 * count} for count in (10, 100)]
    measured = {
        "voxels": rows,
        "peers": [{"method": "x", "wall_s": 1234.5, "dice": math.nan, "hd95_mm": None}],
    }
    text = speed.page(measured, bench(skipped={"deeds": "not there"}), {"cores": "2"}, "python x")
    assert "to the power of 1.00" in text
    assert "| x | 1234 | nan | n/a |" in text
    assert "Not run: deeds (not there)." in text
    assert json.loads(json.dumps(speed.plain(measured), allow_nan=False))["peers"][0]["dice"] is None


@pytest.mark.parametrize("place", [place for places in STAGES.values() for place in places])
def test_every_function_that_is_timed_is_there(place):
    module, _, name = place.partition(":")
    assert callable(getattr(importlib.import_module(f"bids_nodereg.{module}"), name))


def test_a_stage_does_not_count_what_is_inside_another():
    @dataclass(frozen=True)
    class Step:
        level: int
        levels: int
        seconds: float

    clock = Clock()
    inner = clock.wrap(lambda: sum(range(200_000)), "read")
    outer = clock.wrap(inner, "measure")
    outer()
    register = clock.listening(lambda _pair, _settings, on_step: on_step(Step(1, 1, 0.5)))
    clock.wrap(register, REGISTER)(None, SimpleNamespace(), lambda _step: None)
    rows = {row["stage"]: row for row in clock.told()}
    assert rows["read"]["wall_s"] > rows["measure"]["wall_s"]
    assert rows["level 1 of 1"]["wall_s"] == 0.5
    assert set(rows) == {REST, *STAGES, "level 1 of 1"}
