"""Pairs that wait: in the order that was always kept, and without looking at all of them each time."""

from __future__ import annotations

import random
import sys
from types import SimpleNamespace

import pytest

from bids_nodereg.app.turns import WaitingTurns


def turn(name, subject, parts=()):
    job = SimpleNamespace(
        outputs=SimpleNamespace(name=name),
        pair=SimpleNamespace(moving=SimpleNamespace(subject=subject)),
        parts=tuple(part.job for part in parts),
    )
    return SimpleNamespace(job=job)


def by_looking_at_all(waiting, doing, last):
    """The rule as it reads."""
    not_there = {each.job.outputs.name for each in (*waiting, *doing)}
    own = None if last is None else last.job.pair.moving.subject
    others = {each.job.pair.moving.subject for each in doing}
    ready = [each for each in waiting if not_there.isdisjoint(part.outputs.name for part in each.job.parts)]

    def rank(each):
        return each.job.pair.moving.subject != own, each.job.pair.moving.subject in others

    return min(ready, key=rank, default=None)


def some_turns(rng, count):
    turns = []
    for number in range(count):
        parts = rng.sample(turns, 2) if len(turns) > 2 and rng.random() < 0.3 else []
        turns.append(turn(f"pair{number}", f"sub{rng.randrange(count // 5)}", parts))
    return turns


@pytest.mark.parametrize("seed", range(20))
def test_each_is_the_one_that_the_rule_chooses(seed):
    rng = random.Random(seed)  # noqa: S311 - no secret
    waiting = some_turns(rng, 40)
    line, doing, lasts = WaitingTurns(waiting), [], [None]
    while waiting or doing:
        if doing and (len(doing) == 4 or rng.random() < 0.4):
            ended = doing.pop(rng.randrange(len(doing)))
            line.end(ended)
            lasts.append(ended)
            continue
        last = rng.choice(lasts)
        expected = by_looking_at_all(waiting, doing, last)
        assert line.has_ready() == (expected is not None)
        taken = line.take(last)
        assert taken is expected
        if taken is None:
            line.end(doing[0])
            lasts.append(doing.pop(0))
        else:
            waiting.remove(taken)
            doing.append(taken)
        assert len(line) == len(waiting)


def test_what_waits_for_itself_is_never_ready():
    first = turn("a", "01")
    first.job.parts = (first.job,)
    line = WaitingTurns([first])
    assert (line.take(None), line.has_ready(), len(line)) == (None, False, 1)


def calls_for(count):
    """Calls of any function while so many pairs are handed out to eight workers."""
    turns = [turn(f"pair{number}", f"sub{number // 3}") for number in range(count)]
    calls = 0

    def note(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        line = WaitingTurns(turns)
        doing = [line.take(None) for _ in range(8)]
        while doing:
            ended = doing.pop(0)
            line.end(ended)
            if (following := line.take(ended)) is not None:
                doing.append(following)
    finally:
        sys.setprofile(None)
    assert not len(line)
    return calls


def test_the_work_grows_no_faster_than_the_number_of_pairs():
    assert calls_for(10_000) < 11 * calls_for(1000)
