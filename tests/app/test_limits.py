"""No pair is begun that would probably not end in time, and none that was begun is cut short."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from bids_nodereg.app import limits
from bids_nodereg.app.limits import FACTOR, MARGIN_S, TimeLimit, process_age_s
from bids_nodereg.app.turns import TimedTurns, while_there_is_time
from bids_nodereg.cli import main
from bids_nodereg.options import build_parser
from tests.reliability import tiny


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_a_limit_there_is_always_time(clock):
    limit = TimeLimit(None, clock=clock)
    clock.now += 1e9
    assert limit.allows()
    assert not limit.is_reached


def test_it_counts_from_the_start_of_the_process(clock):
    limit = TimeLimit(100, age_s=60, clock=clock)
    clock.now += 40 - MARGIN_S
    assert limit.allows()
    clock.now += 1
    assert not limit.allows()


def test_a_pair_is_begun_while_there_is_time_for_one_somewhat_longer_than_the_longest(clock):
    limit = TimeLimit(1000, clock=clock)
    for number, seconds in enumerate((100.0, 20.0)):
        limit.begin(number)
        clock.now += seconds
        limit.end(number)
    clock.now = 2000 - MARGIN_S - FACTOR * 100
    assert limit.allows()
    clock.now += 1
    assert not limit.allows()
    assert limit.is_reached


def test_once_refused_nothing_is_begun_any_more(clock):
    """A pair that the run is about to end over must not be overtaken by a shorter one."""
    limit = TimeLimit(10, clock=clock)
    assert not limit.allows()
    clock.now -= 1000
    assert not limit.allows()


def turns(count: int) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(
            number=number,
            job=SimpleNamespace(
                outputs=SimpleNamespace(name=f"pair{number}"),
                parts=(),
                pair=SimpleNamespace(moving=SimpleNamespace(subject=f"{number}")),
            ),
        )
        for number in range(count)
    ]


def test_pairs_one_after_the_other_end_in_time(clock):
    """Each takes 100 s: with 30 s to spare and a factor of 1.25, six of them are begun in 700 s."""
    limit = TimeLimit(700, clock=clock)
    begun = []
    for turn in while_there_is_time(turns(20), limit):
        begun.append(turn.number)
        clock.now += 100
        limit.end(turn.number)
    assert begun == [0, 1, 2, 3, 4, 5]
    assert limit.is_reached
    assert clock.now - 1000 <= 700


def test_a_run_that_ends_before_its_time_has_not_reached_it(clock):
    limit = TimeLimit(700, clock=clock)
    assert len(list(while_there_is_time(turns(3), limit))) == 3
    clock.now += 1000
    assert not limit.is_reached


def test_workers_get_nothing_new_when_time_is_up(clock):
    limit = TimeLimit(200, clock=clock)
    waiting = TimedTurns(turns(4), limit)
    first, second = waiting.take(None), waiting.take(None)
    assert waiting.has_ready()
    clock.now += 100  # 100 s are left, and a pair may take 125
    waiting.end(first)
    assert waiting.take(first) is None
    assert (len(waiting), waiting.has_ready()) == (0, False)
    assert list(waiting.under_way.values()) == [second]
    waiting.end(second)
    assert not waiting.under_way


def test_the_age_of_a_process_is_that_since_its_start():
    program = (
        "import time; time.sleep(0.5); from bids_nodereg.app.limits import process_age_s as age; print(age())"
    )
    began = time.monotonic()
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert 0.4 < float(said) < time.monotonic() - began + 0.1
    assert process_age_s() > 0


def time_limit(text: str) -> int:
    return build_parser().parse_args(["raw", "out", "participant", "--time-limit", text]).time_limit


def test_the_end_of_a_slurm_job_is_a_limit(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 500))
    assert 495 < time_limit("slurm") <= 500
    monkeypatch.setenv("SLURM_JOB_END_TIME", "5")  # long ago
    assert time_limit("slurm") == 1


@pytest.mark.parametrize(
    ("text", "told"), [("slurm", "SLURM_JOB_END_TIME is not set"), ("soon", "a length of time as")]
)
def test_a_limit_that_cannot_be_told_is_refused(text, told, monkeypatch, capsys):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert main(["raw", "out", "participant", "--time-limit", text]) == 64
    assert told in capsys.readouterr().err


def test_a_run_that_is_out_of_time_begins_nothing_and_says_so(tmp_path, capsys):
    raw = tiny.make(tmp_path, ["01", "02"])
    words = tiny.arguments(raw, tmp_path / "out", "--time-limit", "0:01")
    assert main(words) == 75
    said = " ".join(capsys.readouterr().err.split())
    assert "Time limit: 2 pair(s) were not begun. Run the same command again to go on." in said
    assert not list((tmp_path / "out").glob("sub-*"))
    assert not list((tmp_path / "out" / "logs").glob("*/status_*"))


def test_what_is_done_already_needs_no_time(tmp_path, capsys):
    """The last task of an array may be put back when all is done, with no time for a pair."""
    raw, out = tiny.make(tmp_path, ["01"]), tmp_path / "out"
    assert main(tiny.arguments(raw, out)) == 0
    assert main(tiny.arguments(raw, out, "--time-limit", "0:01")) == 0
    assert "Time limit" not in capsys.readouterr().err
    assert main(tiny.arguments(raw, out, "--time-limit", "0:01", "--force")) == 75


def test_a_run_that_runs_out_of_time_goes_on_when_it_is_started_again(tmp_path, capsys, monkeypatch):
    """Nothing is known before the first pair has ended; then the second would take too long."""
    monkeypatch.setattr(limits, "FACTOR", 1e9)
    raw, out = tiny.make(tmp_path, ["01", "02"]), tmp_path / "out"
    assert main(tiny.arguments(raw, out, "--time-limit", "1:00:00")) == 75
    assert "Time limit: 1 pair(s) were not begun" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in out.glob("sub-*") if path.is_dir()] == ["sub-01"]
    assert not list(out.glob("logs/.*"))
    assert main(tiny.arguments(raw, out)) == 0
    assert "1 of 2 pair(s) registered, 1 already done" in " ".join(capsys.readouterr().err.split())
