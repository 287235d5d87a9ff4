"""Transforms in HDF5 that are odd by their structure: the fuzzer's reader ends as the program's own does."""

from __future__ import annotations

import random

import pytest

from bids_nodereg.errors import NodeRegError
from bids_nodereg.imaging.chain_files import read_chain
from fuzz import h5_files
from fuzz.h5_files import ODDITIES, sound
from fuzz.h5_server import forked_reader


def made(oddity, seed):
    """A file in which this is odd; None where h5py does not write it."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    try:
        return h5_files._file(chance.choice(h5_files.VERSIONS), lambda group: oddity(group, chance))
    except (ValueError, TypeError, OSError):
        return None


def ending(path) -> str:
    try:
        return f"{len(read_chain([path]).parts)} parts"
    except NodeRegError as error:
        return str(error)


def test_sound_files_of_all_forms_are_read(tmp_path):
    with forked_reader() as endings:
        for number, content in enumerate(sound()):
            path = tmp_path / f"{number}.h5"
            path.write_bytes(content)
            assert ending(path) in {"1 parts", "2 parts"}
    assert endings == {"read": len(sound())}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_fork_reads_as_the_program_does(tmp_path, oddity):
    path = tmp_path / "x.h5"
    path.write_bytes(next(content for seed in range(20) if (content := made(oddity, seed)) is not None))
    with forked_reader() as endings:
        forked = ending(path)
    assert sum(endings.values()) == 1
    assert ending(path) == forked


def test_what_is_changed_is_refused_in_many_ways(tmp_path):
    """The fuzzer reaches what it is for: files that are read, refused, and refused for different reasons."""
    chance, said = random.Random(4), set()  # noqa: S311 - no secret
    path = tmp_path / "x.h5"
    with forked_reader() as endings:
        for _ in range(60):
            path.write_bytes(h5_files.odd(chance.choice(sound()), chance))
            said.add(ending(path)[:200])
    assert endings["read"] > 5
    assert endings["refused"] > 20
    assert len(said) > 15
