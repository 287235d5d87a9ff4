"""The digest of an input is read once while the file stays as it is."""

import hashlib
import os
import time

import pytest

from bids_nodereg.app import provenance


@pytest.fixture
def reads(monkeypatch):
    """Which files are read."""
    seen, real = [], provenance.sha256

    def counted(path):
        seen.append(path.name)
        return real(path)

    monkeypatch.setattr(provenance, "sha256", counted)
    return seen


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "image.nii.gz"
    path.write_bytes(b"voxels")
    os.utime(path, (1e9, 1e9))
    return path


def test_a_file_that_stays_is_read_once(old, reads):
    digests = {provenance.file_digest(old) for _ in range(3)}
    assert digests == {hashlib.sha256(b"voxels").hexdigest()}
    assert reads == [old.name]


@pytest.mark.parametrize("change", ["size", "time", "another file in its place"])
def test_a_file_that_changes_is_read_again(old, reads, change):
    provenance.file_digest(old)
    content = {"size": b"more voxels"}.get(change, b"VOXELS")
    if change == "another file in its place":
        other = old.with_name("other")
        other.write_bytes(content)
        other.replace(old)
        os.utime(old, (1e9, 1e9))
    else:
        old.write_bytes(content)
        seconds = 1e9 + 10 * (change == "time")
        os.utime(old, (seconds, seconds))
    assert provenance.file_digest(old) == hashlib.sha256(content).hexdigest()
    assert len(reads) == 2


@pytest.mark.parametrize("age", [0, -3600])
def test_a_file_that_was_just_written_or_comes_from_the_future_is_always_read(old, reads, age):
    now = time.time() - age
    os.utime(old, (now, now))
    provenance.file_digest(old)
    old.write_bytes(b"VOXELS")
    os.utime(old, (now, now))
    assert provenance.file_digest(old) == hashlib.sha256(b"VOXELS").hexdigest()
