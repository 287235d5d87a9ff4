"""Run the program many times in processes of its own, with everything imported once; and kill some.

``python -m tests.reliability.forker`` reads a request a line (JSON) and answers each with a line. A request
is done in a fork of a process that has imported and once run the program, which takes most of the time. All
libraries have one thread there, so that none is lost in the fork.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.reliability import tiny

if TYPE_CHECKING:
    from collections.abc import Sequence

WRITES = {"open", "os.rename", "os.remove", "os.mkdir"}
"""Audit events of a run that change its output."""


@dataclass(frozen=True)
class Request:
    """One run.

    Attributes
    ----------
    arguments
        Of the command line.
    out
        Output folder; what happens there is counted.
    log
        File for what the run prints.
    kill_after_s
        Send `number` after this time; None for never.
    kill_at
        Kill by SIGKILL in the process itself when it is about to change the output for the n-th time;
        None for never.
    number
        Signal that is sent.
    prepare
        ``module:function`` of the tests, called first in the process.
    """

    arguments: Sequence[str]
    out: str
    log: str
    kill_after_s: float | None = None
    kill_at: int | None = None
    number: int = signal.SIGKILL
    prepare: str = ""


@dataclass(frozen=True)
class Answer:
    """How it ended: exit code (negative: by that signal), seconds in all and since the signal, changes."""

    code: int
    seconds: float
    seconds_since_signal: float
    changes: int


class Forker:
    """The other side of this module: a process to send requests to."""

    def __init__(self) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        threads["NUMBA_THREADING_LAYER"] = "workqueue"  # it stands a fork
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.forker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **threads},
        )

    def ask(self, request: Request) -> Answer:
        """Do one run, and wait for its end."""
        sent, heard = self._process.stdin, self._process.stdout
        assert sent is not None
        assert heard is not None
        sent.write(json.dumps(asdict(request)) + "\n")
        sent.flush()
        return Answer(**json.loads(heard.readline()))

    def close(self) -> None:
        self._process.communicate()


def _serve(requests: IO[str], answers: IO[str]) -> None:
    for line in requests:
        answer = _run(Request(**json.loads(line)))
        answers.write(json.dumps(asdict(answer)) + "\n")
        answers.flush()


def _run(request: Request) -> Answer:
    began = time.monotonic()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_the_run(request, writing)
    os.close(writing)
    signalled = began
    if request.kill_after_s is not None:
        _wait(pid, request.kill_after_s)
        signalled = time.monotonic()
        _send(pid, request.number)
    _, status = os.waitpid(pid, 0)
    now = time.monotonic()
    counted = os.read(reading, 1 << 20)
    os.close(reading)
    return Answer(os.waitstatus_to_exitcode(status), now - began, now - signalled, len(counted))


def _wait(pid: int, seconds: float) -> None:
    """Wait so long, or until the process has ended, and leave it to be waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(min(0.002, max(deadline - time.monotonic(), 0)))


def _send(pid: int, number: int) -> None:
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        os.kill(pid, number)


def _be_the_run(request: Request, writing: int) -> None:
    log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((null, log, log)):
        os.dup2(descriptor, number)
    os.set_blocking(writing, False)
    _count_changes(request, writing)
    if request.prepare:
        module, _, name = request.prepare.partition(":")
        getattr(importlib.import_module(module), name)()
    from bids_nodereg.cli import entry_point

    sys.argv = ["bids-nodereg", *request.arguments]
    try:
        code = entry_point()
    except BaseException as error:  # noqa: BLE001 - what escapes is an exit code too
        sys.stderr.write(f"escaped: {error!r}\n")
        code = 99
    sys.stderr.flush()
    os._exit(code)


def _count_changes(request: Request, writing: int) -> None:
    """Tell a byte for each change of the output, and end before the one that is asked for."""
    count = 0
    lock = threading.Lock()

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in WRITES or not str(arguments[0]).startswith(request.out):
            return
        if event == "open" and not (arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        with lock:
            count += 1
            if count == request.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        os.write(writing, b".")

    sys.addaudithook(hear)


def make_pictures_small() -> None:
    """Draw the figures of the report small: they take most of the time of a tiny run."""
    from bids_nodereg.quality.figures import grid, mosaic

    mosaic.WIDTH = grid.WIDTH = 240


def _warm_up() -> None:
    """Import everything, and load what is compiled."""
    from bids_nodereg.cli import main

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        raw = tiny.make(Path(folder) / "data")
        code = main(tiny.arguments(raw, Path(folder) / "out", "-q"))
    if code:
        msg = f"the program ended with exit code {code} where nothing disturbed it"
        raise RuntimeError(msg)


if __name__ == "__main__":
    make_pictures_small()
    _warm_up()
    _serve(sys.stdin, sys.stdout)
