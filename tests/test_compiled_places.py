"""Compiled loops are kept where something can be written, and run where nothing can."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
sys.path[:0] = {path!r}
import tempfile
tempfile.tempdir = {temporary!r}
import numba.core.caching as caching
for name in {unwritable!r}:
    def refuse(self):
        raise OSError(30, "read-only")
    if hasattr(caching, name):
        getattr(caching, name).ensure_cache_path = refuse
{more}
import loops
print(loops.twice(21), sum(loops.twice.stats.cache_hits.values()))
"""

LOOPS = """
from bids_nodereg.compiled import compiled

@compiled()
def twice(number):
    return 2 * number
"""

EVERYWHERE = (
    *("InTreeCacheLocator", "InTreeCacheLocatorFsAgnostic", "UserWideCacheLocator"),
    *("_InTreeCacheLocator", "_UserWideCacheLocator"),  # as numba called them before 0.62
)


@pytest.fixture
def place(tmp_path):
    """A folder with a loop, and one for temporary files."""
    for name in ("source", "temporary"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "loops.py").write_text(LOOPS)
    return tmp_path


def run(place: Path, unwritable=(), more="", **environment: str) -> tuple[int, int]:
    """The result in a new process, and how many compilations the kept code has spared."""
    path = [str(place / "source"), str(Path(__file__).parents[1])]
    temporary = str(place / "temporary")
    program = PROGRAM.format(path=path, temporary=temporary, unwritable=tuple(unwritable), more=more)
    clean = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    result, spared = map(int, told.stdout.split())
    return result, spared


def kept(folder: Path) -> list[Path]:
    return list(folder.rglob("*.nbi"))


def test_the_folder_of_the_environment_comes_first_and_serves_the_next_process(place):
    chosen = place / "chosen"
    assert run(place, NUMBA_CACHE_DIR=str(chosen)) == (42, 0)
    assert kept(chosen)
    assert not kept(place / "source")
    assert run(place, NUMBA_CACHE_DIR=str(chosen)) == (42, 1)


def test_without_any_other_place_a_private_folder_is_used(place):
    assert run(place, EVERYWHERE) == (42, 0)
    (folder,) = (place / "temporary").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert kept(folder)


@pytest.mark.parametrize("prepared", ["open to others", "a link", "a file"])
def test_a_folder_that_another_may_have_prepared_is_not_used(place, prepared):
    folder = place / "temporary" / f"nodereg-numba-{os.getuid()}"
    other = place / "other"
    other.mkdir(mode=0o700)
    if prepared == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif prepared == "a link":
        folder.symlink_to(other)
    else:
        folder.touch()
    assert run(place, EVERYWHERE) == (42, 0)
    assert not kept(place)


def test_where_nothing_can_be_written_the_loop_runs(place):
    (place / "temporary").rmdir()
    assert run(place, EVERYWHERE) == (42, 0)


def test_a_full_disk_does_not_stop_the_program(place):
    full = """
def full(*_rest):
    raise OSError(28, "No space left on device")
caching.IndexDataCacheFile.save = full
"""
    assert run(place, more=full) == (42, 0)
    assert not kept(place)
