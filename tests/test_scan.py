"""The scans of the project: one that could not be done is never taken for a clean one."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

SCAN = Path(__file__).parents[1] / ".ci" / "scan.py"
MISSING = "python: No module named it"


@pytest.fixture
def scan():
    if not (SCAN.is_file() and (SCAN.parents[1] / ".git").exists()):
        pytest.skip("only in a checkout")
    spec = importlib.util.spec_from_file_location("scan", SCAN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(code, out="", told=""):
    return lambda *words: subprocess.CompletedProcess(words, code, out, told)


@pytest.mark.parametrize(
    ("name", "code", "out", "told", "ending"),
    [
        ("code", 0, "", "", "CLEAN"),
        ("code", 1, "Issue: exec", "", "FOUND"),
        ("code", 1, "", MISSING, "BROKEN"),
        ("code", 124, "", "took more than 240 s", "BROKEN"),
        ("secrets", 0, '{"results": {}}', "", "CLEAN"),
        ("secrets", 1, "", MISSING, "BROKEN"),
        ("vulnerabilities", 1, "", MISSING, "BROKEN"),
        ("vulnerabilities", 1, "", "requests.exceptions.ConnectionError: it", "SKIPPED"),
        ("vulnerabilities", 124, "", "took more than 240 s", "SKIPPED"),
    ],
)
def test_what_could_not_be_done_is_not_clean(scan, monkeypatch, name, code, out, told, ending):
    monkeypatch.setattr(scan, "run", answer(code, out, told))
    assert getattr(scan, name)()[0] == getattr(scan, ending)


@pytest.mark.parametrize(("ending", "code"), [("CLEAN", 0), ("SKIPPED", 0), ("FOUND", 1), ("BROKEN", 1)])
def test_a_scan_that_broke_fails_as_a_find_does(scan, monkeypatch, capsys, ending, code):
    monkeypatch.setattr(scan, "SCANS", {"it": lambda: (getattr(scan, ending), "why")})
    assert scan.main() == code
    assert "why" in capsys.readouterr().out
