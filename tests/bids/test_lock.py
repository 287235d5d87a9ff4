"""One holder at a time, and nothing left behind."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bids_nodereg.bids import lock
from bids_nodereg.bids.lock import LOCK, locked
from bids_nodereg.errors import OutputError


def test_one_holder_at_a_time(tmp_path):
    inside: list[int] = []
    seen: list[int] = []

    def work(number):
        for _ in range(3):
            with locked(tmp_path / "out"):
                inside.append(number)
                time.sleep(0.002)
                seen.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(6) as workers:
        list(workers.map(work, range(6)))
    assert seen == [1] * 18
    assert list((tmp_path / "out").iterdir()) == []


def test_it_is_free_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path, patience_s=5):
        assert (tmp_path / LOCK).is_file()


def test_a_file_that_a_dead_process_left_is_no_lock(tmp_path):
    (tmp_path / LOCK).touch()
    before = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - before < 5
    assert not (tmp_path / LOCK).exists()


def test_nobody_waits_for_ever(tmp_path):
    is_held, is_over = threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path):
            is_held.set()
            is_over.wait(30)

    with ThreadPoolExecutor(1) as worker:
        worker.submit(hold)
        assert is_held.wait(30)
        with locked(tmp_path, patience_s=0.1):
            assert not is_over.is_set()
        assert (tmp_path / LOCK).is_file()  # the holder's, still
        is_over.set()


@pytest.mark.parametrize("system", ["no module", "no support"])
def test_without_locks_the_work_is_done_all_the_same(tmp_path, monkeypatch, system):
    if system == "no module":
        monkeypatch.setattr(lock, "fcntl", None)
    else:

        def refuse(_descriptor, _how):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with locked(tmp_path / "out"):
        assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), locked(tmp_path / "file" / "out"):
        pass
