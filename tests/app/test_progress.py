"""What a run says while it works, where the system gives no thread that draws it."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from bids_nodereg import interruption
from bids_nodereg.app.progress import LiveProgress, PlainProgress, open_progress


@pytest.fixture
def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True)


def refuse(_thread):
    msg = "can't start new thread"
    raise RuntimeError(msg)


def test_a_terminal_has_a_live_display(terminal):
    with open_progress(terminal) as progress:
        assert isinstance(progress, LiveProgress)


def test_without_a_thread_there_are_plain_lines(terminal, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with open_progress(terminal) as progress:
        assert isinstance(progress, PlainProgress)
    monkeypatch.undo()
    with open_progress(terminal) as progress:  # the console is free again
        assert isinstance(progress, LiveProgress)


def test_what_is_no_terminal_has_plain_lines():
    with open_progress(Console(file=io.StringIO())) as progress:
        assert isinstance(progress, PlainProgress)


def test_signals_are_heard_without_a_thread_too(monkeypatch):
    heard = {}
    monkeypatch.setattr(interruption.signal, "signal", lambda number, act: heard.update({number: act}))
    monkeypatch.setattr(interruption.signal, "set_wakeup_fd", lambda *_, **__: None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    interruption.end_on_signals()
    assert set(heard) == {*interruption.SIGNALS, interruption.signal.SIGALRM}
