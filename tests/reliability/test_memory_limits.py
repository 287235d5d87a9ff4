"""Memory limits that bite: RLIMIT_AS (``ulimit -v``) and those of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from tests.reliability import tiny
from tests.reliability.conftest import Place
from tests.reliability.forker import Forker, Request
from tests.reliability.whole import check_whole, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTROL_GROUPS = Path("/sys/fs/cgroup")
AMPLE, NARROW = 1_600_000_000, 300_000_000
"""Limits of control groups: for a run and a worker, and for one that has no room for a pair."""
END_S = 270.0


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    forker = Forker()
    yield forker
    forker.close()


def refine(raw: Path, subject: str, parts: int, times: float = 1.0) -> None:
    """Cut the voxels of a participant into so many parts along each axis, and make the brain larger."""
    for path in (raw / f"sub-{subject}" / "anat").glob("*.nii.gz"):
        image = nib.load(path)
        data = np.asarray(image.dataobj)
        for axis in range(3):
            data = data.repeat(parts, axis)
        affine = image.affine @ np.diag([times / parts] * 3 + [1.0])
        affine[:3, 3] = image.affine[:3, 3] * times
        nib.save(nib.Nifti1Image(data, affine), path)


def ask(forker: Forker, place: Place, prepare: str, *more: str) -> int:
    """Run the program with an address space made narrow; the exit code."""
    arguments = tiny.arguments(place.raw, place.out, *more)
    log = str(place.out.parent / "log")
    answer = forker.ask(
        Request(arguments, str(place.out), log, prepare=f"tests.reliability.narrow:{prepare}")
    )
    assert "Traceback" not in Path(log).read_text()
    return answer.code


@pytest.mark.parametrize("limit", [100_000_000, 1_000_000_000])
def test_an_address_space_too_small_for_the_libraries_is_refused_at_once(limit, place, outcome):
    """Some libraries give no answer where they find no memory, and hear no signal."""
    script = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit})); "
        "from bids_nodereg.cli import entry_point; sys.exit(entry_point())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *tiny.arguments(place.raw, place.out)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("nodereg: error: The address space is limited to")
    assert "Lift that limit" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    outcome("fault", "memory limit (RLIMIT_AS) too small for the libraries", "refused at once", code=1)


def test_pairs_are_planned_within_the_address_space(forker, tmp_path, outcome):
    """01 fits in no way, 02 on a coarser grid, 03 as asked."""
    place = Place(tiny.make(tmp_path / "data", ("01", "02", "03")), tmp_path / "out")
    refine(place.raw, "01", 5, 1.8)
    refine(place.raw, "02", 5)
    assert ask(forker, place, "leave_little", "--working-resolution", "1") == 1
    statuses = place.statuses()
    told = statuses["01"]["error"]
    assert (statuses["01"]["status"], statuses["01"]["trouble"], statuses["01"]["tries"]) == (
        "failed",
        "memory",
        2,
    )
    assert "limit of the address space (ulimit -v)" in told
    assert "Nothing coarser is tried: give the run more" in told
    assert [statuses[subject]["status"] for subject in ("02", "03")] == ["done", "done"]
    assert "mm instead" in place.mark("02").read_text()
    assert "MemoryPlan" not in place.mark("03").read_text()
    check_whole(place.out)
    assert leftovers(place.out) == []
    outcome(
        "fault",
        "memory limit (RLIMIT_AS): three pairs of growing size",
        "one as asked, one on a coarser grid, one recorded as failed",
        code=1,
        count=3,
    )


def test_memory_that_is_not_given_fails_the_pair_alone(forker, tmp_path, outcome):
    """Real allocations that fail in the middle of a registration, where no plan saw it."""
    place = Place(tiny.make(tmp_path / "data", ("01", "02")), tmp_path / "out")
    refine(place.raw, "01", 3)
    assert ask(forker, place, "leave_crumbs_to_01", "--working-resolution", "2") == 1
    statuses = place.statuses()
    assert statuses["02"]["status"] == "done"
    found = statuses["01"]
    assert (found["status"], found["trouble"], found["tries"], found["exit_code"]) == (
        "failed",
        "memory",
        2,
        1,
    )
    assert "out of memory. Give the run more" in found["error"]
    check_whole(place.out)
    assert not place.mark("01").exists()
    outcome(
        "fault",
        "memory limit (RLIMIT_AS) hit in the middle of a registration",
        "the pair is tried again, then recorded as failed; the others finish",
        code=1,
        count=2,
    )


@pytest.fixture
def group() -> Iterator[tuple[Path, Path]]:
    """A control group of version 2 or 1, and the file of its memory limit."""
    for parent, name in (
        (CONTROL_GROUPS, "memory.max"),
        (CONTROL_GROUPS / "memory", "memory.limit_in_bytes"),
    ):
        folder = parent / f"nodereg-test-{os.getpid()}"
        with suppress(OSError):
            folder.mkdir()
        if (folder / name).is_file():
            yield folder, folder / name
            leave(folder)
            return
        with suppress(OSError):
            folder.rmdir()
    pytest.skip("control groups with a memory limit cannot be made here: that needs root and cgroups")


def leave(folder: Path) -> None:
    """Remove a control group when its last process has ended."""
    deadline = time.monotonic() + 10
    while (folder / "cgroup.procs").read_text(encoding="ascii") and time.monotonic() < deadline:
        time.sleep(0.05)
    folder.rmdir()


def run_within(group: tuple[Path, Path], most_bytes: int, place: Place, *more: str) -> str:
    """Run the program in a control group, which is to end with exit code 1; what it says."""
    folder, limit = group
    limit.write_text(str(most_bytes), encoding="ascii")
    arguments = tiny.arguments(place.raw, place.out, *more)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.reliability.confined", folder, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    check_whole(place.out)
    # the claim of a dead worker is free, and its file goes with the next run
    assert [path.name for path in leftovers(place.out) if path.suffix != ".claim"] == []
    return ended.stderr


def test_the_limit_of_a_control_group_is_planned_for(group, place, outcome):
    said = run_within(group, NARROW, place)
    statuses = place.statuses().values()
    assert {(row["status"], row["trouble"], row["tries"]) for row in statuses} == {("failed", "memory", 2)}
    assert "memory limit of the container or job (cgroup)" in said
    outcome(
        "fault",
        "memory limit (cgroup) without room for a pair",
        "recorded as failed with the reason, before the kernel kills",
        code=1,
        count=2,
    )


@pytest.mark.slow
def test_the_killer_of_a_control_group_costs_one_pair(group, place, outcome):
    """01 takes all memory in its worker, twice; 02 has room."""
    run_within(group, AMPLE, place, "--isolate")
    statuses = place.statuses()
    assert {subject: (row["status"], row["tries"]) for subject, row in statuses.items()} == {
        "01": ("failed", 2),
        "02": ("done", 1),
    }
    assert statuses["01"]["error"].startswith("killed by SIGKILL: its process was killed twice")
    assert "out-of-memory" in statuses["01"]["error"]
    outcome(
        "fault",
        "memory limit (cgroup): worker killed by the kernel (--isolate)",
        "the pair is tried again, then recorded as failed with the reason; the others finish",
        code=1,
        count=2,
    )
