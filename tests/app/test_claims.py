"""Of several runs on one output folder, one at a time does a pair."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading

import pytest

from bids_nodereg.app import claims
from bids_nodereg.app.claims import Claims, remove_dead_claims
from bids_nodereg.errors import OutputError

HOLD = """
import sys, pathlib
from bids_nodereg.app.claims import Claims
print(Claims(pathlib.Path(sys.argv[1])).take("pair"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def another(tmp_path):
    """A process that has claimed ``pair``."""
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_a_pair_is_one_runs_until_it_is_given_back(tmp_path):
    with Claims(tmp_path) as one, Claims(tmp_path) as two:
        assert one.take("pair")
        assert not two.take("pair")
        assert two.take("other")
        one.give_back("pair")
        one.give_back("pair")
        assert two.take("pair")
    assert list((tmp_path / "logs").iterdir()) == []


def test_a_claim_ends_with_the_process_whatever_ends_it(tmp_path, another):
    with Claims(tmp_path) as own:
        assert not own.take("pair")
        remove_dead_claims(tmp_path)
        assert len(list((tmp_path / "logs").iterdir())) == 1
        another.kill()
        another.wait()
        assert len(list((tmp_path / "logs").iterdir())) == 1
        remove_dead_claims(tmp_path)
        assert list((tmp_path / "logs").iterdir()) == []
        assert own.take("pair")


def test_the_patient_wait(tmp_path, another, monkeypatch):
    monkeypatch.setattr(claims, "_PAUSE_S", 0.01)
    threading.Timer(0.2, another.kill).start()
    with Claims(tmp_path) as own:
        assert own.take("pair", patient=True)


def test_the_patience_ends_and_who_was_waited_for_is_told(tmp_path, another, monkeypatch, caplog):
    monkeypatch.setattr(claims, "_PAUSE_S", 0.01)
    monkeypatch.setattr(claims, "PATIENCE_S", 0.05)
    with Claims(tmp_path) as own, caplog.at_level("INFO", "nodereg"):
        assert not own.take("pair", patient=True)
    who = f"({platform.node()}, process {another.pid})"
    assert f"waiting for another run that has it {who}" in caplog.text
    assert f"the other run {who} has it still" in caplog.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "it does not say who it is"),
        (b"\xff\x1b[2J", "\\x1b[2J"),
        (b"x" * 10**6, "x" * 200),
    ],
)
def test_a_claim_may_hold_anything(tmp_path, text, told):
    path = tmp_path / "claim"
    path.write_bytes(text)
    shown = claims._holder(path)
    assert shown.endswith(told)
    assert len(shown) < 300


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "logs").touch()
    with pytest.raises(OutputError, match=r"\.pair\.claim: cannot be written"):
        Claims(tmp_path).take("pair")
