"""The n-th thing that a run brings to the disk fails, n from the first to the last; then it is resumed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.reliability import tiny
from tests.reliability.conftest import Place
from tests.reliability.whole import check_whole, contents, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = 11
RIGID = ("--transform", "rigid", "-q")
CALLS = ("fsync", "replace")
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
SLOW = 30
"""Tries of the thorough test, together; of about 150 calls that a run makes."""


class Counted:
    """Stands before a function of :mod:`os`; counts, and lets the n-th call fail."""

    def __init__(self, name: str, failing: int = 0, number: int = 0) -> None:
        self._call = getattr(os, name)
        self._failing = failing
        self._number = number
        self.count = 0

    def __call__(self, *arguments, **names):
        self.count += 1
        if self.count == self._failing:
            raise OSError(self._number, os.strerror(self._number))
        return self._call(*arguments, **names)


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """A data set of one participant."""
    return tiny.make(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def usual_calls(one) -> tuple[dict[str, object], dict[str, int]]:
    """What an undisturbed run writes, and how often it calls what."""
    assert Place(one, one.parent / "warm").run(*RIGID) == 0  # what is compiled is kept by the same calls
    place = Place(one, one.parent / "usual")
    with pytest.MonkeyPatch.context() as patch:
        counted = {name: Counted(name) for name in CALLS}
        for name, counter in counted.items():
            patch.setattr(os, name, counter)
        assert place.run(*RIGID) == 0
    return contents(place.out), {name: counter.count for name, counter in counted.items()}


def fail_and_resume(place: Place, name: str, failing: int, number: int, usual: dict[str, object]) -> None:
    """Let one call fail: nothing partial is left, and the same command again brings the usual results."""
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(name, failing, number)
        patch.setattr(os, name, counted)
        code = place.run(*RIGID)
    told = f"{name} number {failing}: {os.strerror(number)}"
    assert counted.count >= failing, told
    allowed = {73, 0} if number == errno.EIO else {73}  # a pair that meets an I/O error is tried again
    assert code in allowed, f"{told}: exit code {code}"
    check_whole(place.out)
    assert leftovers(place.out) == [], told
    assert place.run(*RIGID) == 0, told
    assert contents(place.out) == usual, told
    assert leftovers(place.out) == [], told


def fail_at_many(root: Path, one: Path, usual_calls, positions: int, seed: int) -> int:
    """Let calls fail that are spread over the whole run; how many."""
    usual, counts = usual_calls
    chance = np.random.default_rng(seed)
    tries = 0
    for name in CALLS:
        edges = np.linspace(1, counts[name] + 1, positions // len(CALLS) + 1)
        for low, high in pairwise(edges):  # one at a random place of each part
            failing = int(chance.integers(int(low), max(int(high), int(low) + 1)))
            place = Place(one, root / f"out-{name}-{failing}")
            fail_and_resume(place, name, failing, ERRORS[tries % len(ERRORS)], usual)
            shutil.rmtree(place.out)
            tries += 1
    return tries


def tell(outcome, tries: int) -> None:
    outcome(
        "fault",
        "full disk, full quota or I/O error at one fsync or rename, any of a run",
        "an error or another try; nothing partial; the same command again brings the usual results",
        count=tries,
    )


def test_a_write_that_fails_at_some_moments(tmp_path, one, usual_calls, outcome):
    tell(outcome, fail_at_many(tmp_path, one, usual_calls, 6, SEED))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_write_that_fails_at_many_moments(tmp_path, one, usual_calls, outcome):
    tell(outcome, fail_at_many(tmp_path, one, usual_calls, SLOW, SEED + 1))


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems may not be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_disk_that_is_full_at_any_size(disk, one, usual_calls, outcome):
    """The kernel refuses whichever write, also those of libraries in C."""
    usual, _ = usual_calls
    whole = Place(one, disk / "whole")
    assert whole.run(*RIGID) == 0
    used = shutil.disk_usage(disk).used
    shutil.rmtree(whole.out)
    sizes = np.random.default_rng(SEED).uniform(0.02, 0.97, 8) * used
    for number, size in enumerate(sizes):
        place = Place(one, disk / f"out-{number}")
        _resize(disk, int(size))
        assert place.run(*RIGID) == 73, size
        check_whole(disk)
        _resize(disk, 50 << 20)
        assert place.run(*RIGID) == 0, size
        assert contents(place.out) == usual, size
        assert leftovers(place.out) == [], size
        shutil.rmtree(place.out)
    outcome(
        "fault",
        "disk full at a random size",
        "an error, nothing partial; with room the same command again brings the usual results",
        code=73,
        count=len(sizes),
    )


def _resize(folder: Path, size: int) -> None:
    pages = -(-size // 4096)
    subprocess.run(["mount", "-o", f"remount,size={4 * pages}k", str(folder)], check=True)
