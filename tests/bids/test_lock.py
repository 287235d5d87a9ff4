"""One holder at a time, and nothing left behind."""

from __future__ import annotations

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bids_nodereg.app.retry import trouble_of
from bids_nodereg.bids import lock
from bids_nodereg.bids.lock import LOCK, hold, let_go, locked
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


@pytest.fixture
def of_another_user(tmp_path, monkeypatch):
    """A lock file that may be read and not written, whoever runs the tests."""
    path = tmp_path / LOCK
    path.touch()
    real = os.open

    def refuse(name, flags, *rest):
        if name == path and flags & os.O_RDWR and path.exists() and not flags & os.O_EXCL:
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return real(name, flags, *rest)

    monkeypatch.setattr(lock.os, "open", refuse)
    return path


def test_the_file_of_a_dead_process_of_another_user_is_no_lock(of_another_user):
    held = hold(of_another_user)
    assert held is not None
    assert hold(of_another_user) is None
    let_go(held)
    assert not of_another_user.exists()
    assert let_go(hold(of_another_user)) is None


def test_the_lock_of_another_user_who_lives_is_one(of_another_user):
    descriptor = os.open(of_another_user, os.O_RDONLY)
    lock.fcntl.flock(descriptor, lock.fcntl.LOCK_EX)
    assert hold(of_another_user) is None
    os.close(descriptor)
    assert hold(of_another_user) is not None


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_storage_that_does_not_answer_is_no_absence_of_locks(tmp_path, monkeypatch, number):
    """The lock may be another's, so its file stays."""

    def fail(_descriptor, _how):
        raise OSError(number, "why")

    (tmp_path / LOCK).touch()
    monkeypatch.setattr(lock.fcntl, "flock", fail)
    with pytest.raises(OutputError, match="why") as caught, locked(tmp_path):
        pass
    assert trouble_of(caught.value) == "storage"
    assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_locks_the_file_of_another_machine_stays(tmp_path, monkeypatch, number):
    def refuse(_descriptor, _how):
        raise OSError(number, "no locks")

    (tmp_path / LOCK).touch()
    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with locked(tmp_path):
        pass
    assert (tmp_path / LOCK).exists()
