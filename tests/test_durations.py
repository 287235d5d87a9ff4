"""Lengths of time as Slurm writes them."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_nodereg.durations import as_slurm, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 60),
        ("90", 5400),
        ("0:40", 40),
        ("90:05", 5405),
        ("4:00:00", 14400),
        ("1-0", 86400),
        ("2-12", 216000),
        ("1-02:03", 93780),
        ("1-02:03:04", 93784),
    ],
)
def test_a_length_of_time_is_read_as_slurm_reads_it(text, seconds):
    """The forms of --time in the manual of sbatch."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0:00", "soon", "-5", "1.5", "1:2:3:4", "1-", "1-2:3:4:5", "1 h"])
def test_what_is_none_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected a length of time as M, M:SS"):
        seconds_of(text)


@given(st.integers(1, 10**7))
def test_what_is_written_is_read_as_the_same(seconds):
    assert seconds_of(as_slurm(seconds)) == seconds
