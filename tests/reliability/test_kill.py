"""SIGKILL at random moments: nothing partial is ever seen, and a second run finishes the job."""

from __future__ import annotations

import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.reliability import heads, tiny
from tests.reliability.forker import Answer, Forker, Request
from tests.reliability.processes import wait_for_the_end
from tests.reliability.whole import check_whole, contents, leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SEED = 6


@dataclass(frozen=True)
class Shape:
    """A kind of run.

    Attributes
    ----------
    name
        In words, for the table.
    kills
        How many of the hundred.
    make
        Makes the data set in a folder; gives its root.
    threads
        Of the run; with more than one, pairs overlap.
    prepare
        What is called in the process before the run.
    words
        Gives further words for the command line, of the folder.
    shows
        Whether an undisturbed run is of this kind, by its log and the names of its results.
    """

    name: str
    kills: int
    make: Callable[[Path], Path]
    threads: int = 1
    prepare: str = ""
    words: Callable[[Path], tuple[str, ...]] = lambda _root: ()
    shows: Callable[[str, set[str]], bool] = lambda _said, _names: True


def one(root: Path) -> Path:
    return tiny.make(root)


def two(root: Path) -> Path:
    return tiny.make(root, ("01", "02"))


def both_at_a_time(said: str, _names: set[str]) -> bool:
    """Whether the second pair was begun before the first one was done."""
    return said.index("2/2] sub-02") < said.index("done in")


def brains_and_labels(_said: str, names: set[str]) -> bool:
    """Whether brains were found in both images, and labels carried."""
    masks = [name for name in names if name.endswith("desc-brain_mask.nii.gz")]
    return len(masks) == 2 and any(name.endswith("_dseg.nii.gz") for name in names)


SHAPES = {
    "one": Shape("one pair after the other", 40, one),
    "overlap": Shape("pairs that overlap", 30, two, threads=2, shows=both_at_a_time),
    "workers": Shape(
        "two worker processes: one of them, or the run",
        15,
        two,
        prepare="tests.reliability.forked:fork_workers",
        words=lambda _root: ("--n-procs", "2"),
        shows=both_at_a_time,
    ),
    "heads": Shape(
        "whole heads with label maps",
        15,
        heads.make,
        prepare="tests.reliability.heads:fit_quickly",
        words=lambda root: ("-d", f"labels={root / 'labels'}", "--brain-mask-method", "template"),
        shows=brains_and_labels,
    ),
}


@dataclass(frozen=True)
class Setting:
    """A shape in its place, and what an undisturbed run of it writes and takes."""

    shape: Shape
    root: Path
    raw: Path
    forker: Forker
    wanted: dict[str, Any]
    usual: Answer

    def request(self, name: str) -> Request:
        return request(self.shape, self.raw, self.root / name)


def request(shape: Shape, raw: Path, out: Path) -> Request:
    words = tiny.arguments(raw, out, "--omp-nthreads", str(shape.threads), *shape.words(raw.parent))
    return Request(words, str(out), str(out.with_suffix(".log")), prepare=shape.prepare)


@contextmanager
def setting(shape: Shape, root: Path) -> Iterator[Setting]:
    """Make the data, and run the program undisturbed; the first time warms up."""
    raw = shape.make(root)
    forker = Forker(shape.threads)
    try:
        for name in ("warm", "undisturbed"):
            out = root / name
            usual = forker.ask(request(shape, raw, out))
            said = out.with_suffix(".log").read_text()
            assert usual.code == 0, said
        wanted = contents(out)
        assert shape.shows(said, set(wanted)), said
        yield Setting(shape, root, raw, forker, wanted, usual)
    finally:
        forker.close()


@dataclass(frozen=True)
class Killed:
    """What a series of kills came to.

    Attributes
    ----------
    landed
        Kills of living processes; the others came when all was ready already.
    tries
        Runs that were to be killed.
    files
        Files under final names that were opened right after the kills, together.
    """

    landed: int
    tries: int
    files: int


def kill_and_resume(place: Setting, kills: int, seed: int) -> Killed:
    """Kill so many living runs, half at a random time and half at a random change, and resume each."""
    chance = np.random.default_rng(seed)
    landed = files = tries = 0
    while landed < kills and tries < 2 * kills:
        whole = place.request(f"out-{seed}-{tries}")
        out = place.root / f"out-{seed}-{tries}"
        if tries % 2:
            killed = replace(whole, kill_at=int(chance.integers(1, place.usual.changes, endpoint=True)))
        else:
            killed = replace(whole, kill_after_s=chance.uniform(0, place.usual.seconds))
        tries += 1
        answer = place.forker.ask(killed)
        assert answer.code in {-signal.SIGKILL, 0}  # it may have been ready just before
        assert wait_for_the_end(answer.group) == set()
        landed += answer.killed
        if out.exists():
            files += check_whole(out)
        assert place.forker.ask(whole).code == 0, whole.log
        assert contents(out) == place.wanted
        assert leftovers(out) == []
    return Killed(landed, tries, files)


def test_the_shapes_come_to_a_hundred():
    assert sum(shape.kills for shape in SHAPES.values()) == 100


@pytest.mark.parametrize(("name", "kills"), [("one", 8), ("workers", 3)])
def test_some_kills(name, kills, tmp_path, outcome):
    with setting(SHAPES[name], tmp_path) as place:
        killed = kill_and_resume(place, kills, SEED)
    assert killed.landed == kills, killed
    assert killed.files > 0
    tell(outcome, SHAPES[name], killed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_kills(tmp_path, outcome):
    """Two shapes at a time, each by a forker of its own."""

    def kill(name: str) -> tuple[Shape, Killed]:
        shape, began = SHAPES[name], time.monotonic()
        with setting(shape, tmp_path / name) as place:
            killed = kill_and_resume(place, shape.kills, SEED + 1)
        sys.stderr.write(f"\n{shape.name}: {killed}, {time.monotonic() - began:.0f} s\n")
        return shape, killed

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(kill, SHAPES))
    for shape, killed in found:
        assert killed.landed == shape.kills, killed
        assert killed.files > shape.kills
        tell(outcome, shape, killed)


def tell(outcome, shape: Shape, killed: Killed) -> None:
    outcome(
        "fault",
        f"SIGKILL at a random moment, then the same command again: {shape.name}",
        "no partial file under a final name; results equal to those of an undisturbed run",
        code=0,
        count=killed.landed,
    )
