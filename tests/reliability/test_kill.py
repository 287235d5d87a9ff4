"""SIGKILL at random moments: nothing partial is ever seen, and a second run finishes the job."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.reliability import tiny
from tests.reliability.forker import Forker, Request
from tests.reliability.whole import check_whole, contents, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = 6


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    forker = Forker()
    yield forker
    forker.close()


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def undisturbed(forker, raw):
    """What a run writes, how often it changes the output, and how long it takes; the first one warms up."""
    for name in ("warm", "undisturbed"):
        out = raw.parent / name
        answer = forker.ask(request(raw, out))
        assert answer.code == 0, out.with_suffix(".log").read_text()
    return contents(out), answer


def request(raw: Path, out: Path, **more) -> Request:
    return Request(tiny.arguments(raw, out), str(out), str(out.with_suffix(".log")), **more)


@dataclass(frozen=True)
class Killed:
    """What a series of kills came to.

    Attributes
    ----------
    landed
        Kills that ended a run which was alive; the others came when it was ready already.
    tries
        Runs that were to be killed.
    files
        Files under final names that were opened right after the kills, together.
    """

    landed: int
    tries: int
    files: int


def kill_and_resume(forker, raw, undisturbed, kills: int, seed: int) -> Killed:
    """Kill so many living runs, half at a random time and half at a random change, and resume each."""
    wanted, usual = undisturbed
    chance = np.random.default_rng(seed)
    landed = files = tries = 0
    while landed < kills and tries < 2 * kills:
        out = raw.parent / f"out-{seed}-{tries}"
        whole = request(raw, out)
        if tries % 2:
            killed = replace(whole, kill_at=int(chance.integers(1, usual.changes, endpoint=True)))
        else:
            killed = replace(whole, kill_after_s=chance.uniform(0, usual.seconds))
        tries += 1
        code = forker.ask(killed).code
        assert code in {-signal.SIGKILL, 0}  # it may have been ready just before
        landed += code == -signal.SIGKILL
        if out.exists():
            files += check_whole(out)
        assert forker.ask(whole).code == 0, whole.log
        assert contents(out) == wanted
        assert leftovers(out) == []
    return Killed(landed, tries, files)


def test_ten_kills(forker, raw, undisturbed, outcome):
    killed = kill_and_resume(forker, raw, undisturbed, 10, SEED)
    assert killed.landed == 10, killed
    assert killed.files > 0
    tell(outcome, killed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_kills(forker, raw, undisturbed, outcome):
    killed = kill_and_resume(forker, raw, undisturbed, 100, SEED + 1)
    assert killed.landed == 100, killed
    assert killed.files > 100
    sys.stderr.write(f"\n{killed.landed} kills of living runs in {killed.tries} tries\n")
    tell(outcome, killed)


def tell(outcome, killed: Killed) -> None:
    outcome(
        "fault",
        "SIGKILL at a random moment, then the same command again",
        "no partial file under a final name; results equal to those of an undisturbed run",
        code=0,
        count=killed.landed,
    )
