"""A pair that kills the run does not keep the others from being done, however often the run is started."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from bids_nodereg.app import executors
from bids_nodereg.app.begun import MOST_DEATHS, Begun
from bids_nodereg.app.claims import Claims
from bids_nodereg.cli import parse
from bids_nodereg.errors import NodeRegError
from tests.reliability import killers, tiny
from tests.reliability.forker import Forker, Request
from tests.reliability.whole import contents, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bids_nodereg.app.shared import Run
    from tests.reliability.conftest import Place

FIRST = "sub-01_from-T2w_to-T1w"


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    forker = Forker()
    yield forker
    forker.close()


def request(place: Place, **others) -> Request:
    log = place.out.parent / "one.log"
    return Request(tiny.arguments(place.raw, place.out), str(place.out), str(log), **others)


def marks(out: Path) -> dict[str, int]:
    return {path.name: json.loads(path.read_text())["Begun"] for path in out.glob("logs/.*.begun")}


def test_a_pair_that_kills_every_run_is_put_last_then_apart_and_then_told(
    forker, place, usual, monkeypatch, outcome
):
    killer = request(place, prepare="tests.reliability.killers:die_at_01")
    assert forker.ask(killer).code == -signal.SIGKILL
    assert marks(place.out) == {f".{FIRST}.begun": 1}
    assert not place.mark("02").exists()

    assert forker.ask(killer).code == -signal.SIGKILL
    assert marks(place.out) == {f".{FIRST}.begun": 2}
    assert place.mark("02").exists()  # done before it this time

    with monkeypatch.context() as patch:
        patch.setattr(executors, "prepare_worker", killers.prepare_to_die)
        assert place.run() == 1
    assert marks(place.out) == {}
    status = place.statuses()
    assert (status["01"]["status"], status["01"]["trouble"]) == ("failed", "worker lost")
    assert status["02"]["status"] == "already done"
    assert "1 pair(s) are done last, one at a time: a run died while it was at them" in place.log()

    assert place.run() == 0  # whatever it was has passed
    assert contents(place.out) == usual
    assert leftovers(place.out) == []
    told = "put last, then into a process of its own; the others are done, and it is recorded as failed"
    outcome("fault", "a pair that kills every run that is at it", told, code=1)


def test_a_pair_that_kills_even_those_who_watch_it_is_left_out_of_one_run(place, usual, outcome):
    """As where the kernel kills all of a job at once."""
    name = place.out / "logs" / f".{FIRST}.begun"
    name.parent.mkdir(parents=True)
    name.write_text(json.dumps({"Begun": MOST_DEATHS}))
    assert place.run() == 1
    status = place.statuses()
    assert f"{MOST_DEATHS} runs died over it" in status["01"]["error"]
    assert status["02"]["status"] == "done"
    assert place.run() == 0
    assert contents(place.out) == usual
    assert leftovers(place.out) == []
    outcome(
        "fault", "three runs died over a pair", "left out of one run, with the reason; then tried", code=1
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_told_to_end_leaves_no_mark(number, forker, place):
    patient = "tests.reliability.killers:take_time"
    asked = request(place, prepare=patient, kill_when="logs/.*.begun", kill_after_s=0.1, number=number)
    assert forker.ask(asked).code == 75
    assert marks(place.out) == {}


@pytest.fixture
def mark(tmp_path) -> Path:
    path = tmp_path / "logs" / ".pair.begun"
    path.parent.mkdir()
    return path


def test_a_mark_is_there_from_beginning_to_end(tmp_path, mark):
    with Begun(tmp_path) as begun:
        begun.adopt("pair")
        assert not mark.exists()
        begun.begin("pair")
        assert Begun(tmp_path).deaths() == {"pair": 1}
        begun.end("pair")
        assert begun.deaths() == {}
        begun.adopt("pair")
        begun.begin("pair")
    assert not mark.exists()  # an early end, and nobody died


def test_deaths_are_counted_until_there_are_too_many(tmp_path, mark):
    for count in range(1, MOST_DEATHS + 1):
        dying = Begun(tmp_path)
        dying.adopt("pair")
        dying.begin("pair")
        assert Begun(tmp_path).deaths() == {"pair": count}
    begun = Begun(tmp_path)
    begun.adopt("pair")
    with pytest.raises(NodeRegError, match=f"{MOST_DEATHS} runs died over it"):
        begun.begin("pair")
    begun.end("pair")
    assert not mark.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"Begun": "x"}', '{"Begun": -5}', "\x00"])
def test_a_mark_that_cannot_be_read_counts_as_one_death(content, tmp_path, mark):
    mark.write_text(content)
    assert Begun(tmp_path).deaths() == {"pair": 1}


def begin(out: Path, run_id: str) -> None:
    """Leave the mark of a process of a run."""
    begun = Begun(out, run_id)
    begun.adopt("pair")
    begun.begin("pair")


def lose_worker(out: Path) -> None:
    """Do what the run "own" does when a process of it has died that was given the pair."""
    outputs = SimpleNamespace(name="pair", claim="pair")
    turn = executors.Turn(SimpleNamespace(outputs=outputs), 1, 1)
    executors.clear_mark(turn, SimpleNamespace(claims=Claims(out), begun=Begun(out, "own")))


@pytest.mark.parametrize("run_id", ["other", "own"])  # the own: a worker out of reach that lives on
def test_the_mark_of_a_living_process_is_not_taken_away(run_id, tmp_path, mark):
    with Claims(tmp_path) as living:
        assert living.take("pair")
        begin(tmp_path, run_id)
        lose_worker(tmp_path)
        assert marks(tmp_path) == {mark.name: 1}


def test_deaths_before_stay_counted_where_a_worker_dies_before_it_began(tmp_path, mark):
    begin(tmp_path, "first")
    begin(tmp_path, "second")
    lose_worker(tmp_path)
    assert marks(tmp_path) == {mark.name: 2}
    begin(tmp_path, "own")
    lose_worker(tmp_path)
    assert marks(tmp_path) == {}
    assert Claims(tmp_path).take("pair")  # it was given back


def test_a_worker_that_is_told_to_end_takes_its_mark_away_before_it_frees_the_pair(
    tmp_path, mark, monkeypatch
):
    """Else it might be the mark of a run that takes the pair in between."""

    def interrupted(_attempt: object, _config: object, run: Run) -> None:
        assert run.claims.take("pair")
        run.begun.adopt("pair")
        run.begun.begin("pair")
        raise KeyboardInterrupt

    had_mark = []
    give_back = Claims.give_back
    monkeypatch.setattr(executors, "open_attempt", interrupted)
    monkeypatch.setattr(
        Claims, "give_back", lambda *given: (had_mark.append(mark.exists()), give_back(*given))
    )
    config = parse(["raw", str(tmp_path), "participant", "--device", "cpu"])
    do = executors.prepare_worker(config, "own", tmp_path, None)
    with pytest.raises(KeyboardInterrupt):
        do(executors.Turn(SimpleNamespace(title="pair"), 1, 1))
    assert had_mark == [False]
