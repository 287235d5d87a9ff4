"""The table of outcomes."""

from __future__ import annotations

import pytest

from tests.outcomes import VARIABLE, Outcome, append, lacking, main, read, table


def test_rows_survive_the_file_and_equal_ones_are_counted_together(tmp_path):
    rows = [Outcome("fault", "killed", "resumed", None, 60), Outcome("fault", "killed", "resumed", None, 40)]
    for row in rows:
        append(tmp_path / "rows.jsonl", row)
    assert read(tmp_path / "rows.jsonl") == rows
    assert main([str(tmp_path / "rows.jsonl"), str(tmp_path / "table.md")]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "| killed | 100 | resumed | — |" in text
    assert "1 cases, 100 tries" in text


def test_markup_and_control_characters_are_shown():
    text = table([Outcome("hostile", "label a|b\0<script>\u202e", "refused", 65)], "2026-01-01")
    assert "| label a\\|b\\x00&lt;script>\\u202e | 1 | refused | 65 |" in text


def test_rows_stand_in_one_order_whatever_their_code():
    rows = [Outcome("fault", "case", "ended", code) for code in (75, None, 1)]
    text = table(rows, "today")
    assert text == table(rows[::-1], "today")
    rows_shown = [line.split("|") for line in text.splitlines() if "| ended |" in line]
    assert [row[-2].strip() for row in rows_shown] == ["—", "1", "75"]


def test_lacking_names_what_the_table_does_not():
    known, unknown = Outcome("fault", "disk | full", "said"), Outcome("fault", "disk lost", "said")
    assert lacking(table([known], "today"), [known, unknown]) == ["disk lost"]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of fault"):
        Outcome("mishap", "x", "y")


def test_a_case_that_the_committed_table_lacks_fails_its_test(outcome, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(AssertionError, match="make outcomes"):
        outcome("fault", "a case that nobody ever tried", "said")
