from __future__ import annotations

import json
import os

import pytest

from bids_nodereg.errors import DataError, MissingInputError, OutputError
from bids_nodereg.tables import read_table, write_table


def test_cells_by_column_with_line_numbers(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b'\xef\xbb\xbfa\tb\r\n1\tn/a\r\n\r\n "x" \r\n')
    assert read_table(tmp_path / "a.tsv", ["a"]) == [(2, {"a": "1", "b": ""}), (4, {"a": '"x"', "b": ""})]


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"a\ta\n", "each name once"), (b"b\n", "expected a"), (b"", "expected a"), (b"\xff\xfe", "UTF-8")],
)
def test_what_is_no_such_table(tmp_path, content, told):
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_table(tmp_path / "a.tsv", ["a"])


def test_what_is_written_is_read_again(tmp_path):
    rows = [{"a": "1", "b": "two\twords\n"}, {"b": ""}]
    write_table(tmp_path / "t.tsv", rows, {"a": {"Description": "A"}, "b": {"Description": "B"}})
    assert (tmp_path / "t.tsv").read_text() == "a\tb\n1\ttwo words\nn/a\tn/a\n"
    assert list(json.loads((tmp_path / "t.json").read_text())) == ["a", "b"]
    assert read_table(tmp_path / "t.tsv") == [(2, {"a": "1", "b": "two words"}), (3, {"a": "", "b": ""})]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_table(tmp_path / "file" / "t.tsv", [], {"a": {}})


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_a_file_that_is_larger_than_any_table_is_refused_before_it_is_read(tmp_path, delimiter):
    path = tmp_path / "sessions.tsv"
    with path.open("wb") as file:
        file.truncate(12 * 10**9)  # takes no place on the disk
    with pytest.raises(DataError, match=r"sessions\.tsv: the table cannot be read: it is larger than"):
        read_table(path, delimiter=delimiter)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_nobody_is_waited_for_who_could_write_to_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "sessions.tsv")
    with pytest.raises(MissingInputError, match="no regular file"):
        read_table(tmp_path / "sessions.tsv")
