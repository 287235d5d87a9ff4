"""Names cannot command a terminal, nor forge a line of the log."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bids_nodereg.app.log import log_to_console, log_to_file
from bids_nodereg.cli import main
from bids_nodereg.files import write_json, write_text
from bids_nodereg.plain_text import printable
from tests.bids.make import make_dataset

FORGED = "x_T2w.nii.gz\n2026-01-01 00:00:00,000 INFO    all is well\x1b[2J\x9b31m\u202e"


@pytest.fixture
def quiet():
    """The logger as it was before."""
    log = logging.getLogger("nodereg")
    handlers, filters = log.handlers[:], log.filters[:]
    yield log
    log.handlers[:], log.filters[:] = handlers, filters


@given(st.text())
def test_what_is_printable_stays_and_nothing_else_is_left(text):
    shown = printable(text)
    assert all(each.isprintable() or each in "\n\t" for each in shown)
    shown.encode("utf-8")
    if text.isprintable():
        assert shown == text


def test_neither_log_nor_terminal_take_commands(tmp_path, quiet, outcome):
    screen = io.StringIO()
    log_to_console(Console(file=screen), 0)
    with log_to_file(tmp_path / "run.log"):
        quiet.warning("%s: passed over", FORGED)
    for text in (screen.getvalue(), (tmp_path / "run.log").read_text("utf-8")):
        assert "\x1b" not in text
        assert "\x9b" not in text
        assert "\u202e" not in text
        assert not [line for line in text.splitlines() if line.startswith("2026-01-01")]
    outcome(
        "hostile", "line breaks and commands to the terminal in a name, in log and console", "shown as text"
    )


@pytest.mark.parametrize("form", [[], ["json"]])
def test_the_dry_run_prints_names_as_text(tmp_path, capsys, form, outcome):
    root = make_dataset(
        tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-01_acq-\x1b[2J\x9b\u202e\na_T2w.nii.gz"
    )
    assert main([str(root), str(tmp_path / "out"), "participant", "--dry-run", *form]) == 0
    told = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\u202e"} & set(told)
    if form:
        assert len([row for row in json.loads(told) if not row["taken"]]) >= 1
    outcome("hostile", "commands to the terminal in a file name, in the dry run", "shown as text", 0)


def test_half_a_character_does_not_stop_a_file_from_being_written(tmp_path, outcome):
    write_json(tmp_path / "a.json", {"Name": "\ud800 é \udcff"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"Name": "\ud800 é \udcff"}
    write_text(tmp_path / "a.txt", "\udcff")
    assert (tmp_path / "a.txt").read_bytes() == b"\\udcff"
    outcome("hostile", "half a character of Unicode in a JSON field", "written as JSON spells it")
