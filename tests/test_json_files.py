"""Reading JSON of others: what json.loads takes and nobody can write again is refused."""

from __future__ import annotations

import json
import os

import pytest

from bids_nodereg.bounded import MAX_BYTES
from bids_nodereg.files import write_json
from bids_nodereg.json_files import read_json


@pytest.mark.parametrize(
    "content", [b'{"a": [1, -2.5e3, "\xc3\xa9", null]}', b'\xef\xbb\xbf"\\ud83e\\udde0"', b"0"]
)
def test_what_is_json_is_read_as_by_the_standard_library(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert read_json(path) == json.loads(content.decode("utf-8-sig"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity"),
        (b"1e999", "1e999"),
        (b"9" * 5000, "digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b'"\\ud800"', "surrogate"),
        (b'"\xff"', "utf-8"),
        (b"", "Expecting value"),
    ],
)
def test_what_could_not_be_written_again_is_refused(tmp_path, content, told):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        read_json(path)


def test_no_more_is_read_than_a_sidecar_can_have(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ValueError, match="larger than"):
        read_json(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "absent.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_nobody_is_waited_for_who_could_write_to_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(OSError, match="no regular file"):
        read_json(tmp_path / "pipe.json")


def test_half_a_pair_of_our_own_is_kept(tmp_path):
    """It is how a name that is not UTF-8 is written."""
    path = tmp_path / "x.json"
    write_json(path, {"a": "\udcff"})
    assert read_json(path, is_ours=True) == {"a": "\udcff"}
    with pytest.raises(ValueError, match="surrogate"):
        read_json(path)
