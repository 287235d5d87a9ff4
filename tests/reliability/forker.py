"""Run the program many times in processes of its own, with everything imported once; and kill some.

``python -m tests.reliability.forker`` reads a request a line (JSON) and answers each with a line. A request
is done in a fork of a process that has imported and once run the program, which takes most of the time. All
libraries have one thread there, so that none is lost in the fork. Where the runs are to have more threads
(``forker threads``) the process has imported what a run imports, and computed nothing: no thread was started.
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
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.reliability import tiny
from tests.reliability.processes import alive_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KILLED = b"k"
"""What a process tells that is about to kill itself."""
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
    kill_when
        Pattern of a file under `out`; the time counts from when there is one.
    kill_at
        Kill by SIGKILL the process itself, or its forked worker, which is about to change the output for
        the n-th time; None for never.
    number
        Signal that is sent.
    prepare
        ``module:function`` of the tests, called first in the process.
    """

    arguments: Sequence[str]
    out: str
    log: str
    kill_after_s: float | None = None
    kill_when: str = ""
    kill_at: int | None = None
    number: int = signal.SIGKILL
    prepare: str = ""


@dataclass(frozen=True)
class Answer:
    """How a run ended.

    Attributes
    ----------
    code
        Exit code; negative: by that signal.
    seconds, seconds_since_signal
        In all, and since the signal was sent.
    changes
        How often the output was changed.
    killed
        Whether a process of the run was killed before its end.
    group
        Process group of the run and its workers.
    workers
        How many were alive when the signal was sent.
    """

    code: int
    seconds: float
    seconds_since_signal: float
    changes: int
    killed: bool
    group: int
    workers: int


class Forker:
    """The other side of this module: a process to send requests to.

    Parameters
    ----------
    threads
        Of each run. With one, runs begin sooner.
    """

    def __init__(self, threads: int = 1) -> None:
        names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(threads)), "OPENBLAS_NUM_THREADS": "1"}
        # numba's own threads stand a fork, and not two callers at a time; OpenMP the other way round
        environment["NUMBA_THREADING_LAYER"] = "workqueue" if threads == 1 else "omp"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.forker", *(["threads"] if threads > 1 else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=environment,
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
    signalled, workers = began, 0
    if request.kill_after_s is not None:
        if request.kill_when:
            _wait(pid, lambda: any(Path(request.out).glob(request.kill_when)))
        deadline = time.monotonic() + request.kill_after_s
        _wait(pid, lambda: time.monotonic() >= deadline)
        signalled, workers = time.monotonic(), len(alive_in(pid) - {pid})
        if _is_running(pid):
            os.kill(pid, request.number)
    _, status = os.waitpid(pid, 0)
    now = time.monotonic()
    counted = os.read(reading, 1 << 20)
    os.close(reading)
    code = os.waitstatus_to_exitcode(status)
    killed = code == -signal.SIGKILL or KILLED in counted
    return Answer(code, now - began, now - signalled, len(counted), killed, pid, workers)


def _wait(pid: int, is_time: Callable[[], bool]) -> None:
    """Wait until something is so, or until the process has ended, and leave it to be waited for."""
    while _is_running(pid) and not is_time():
        time.sleep(0.002)


def _is_running(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _be_the_run(request: Request, writing: int) -> None:
    os.setpgid(0, 0)
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
            if count == request.kill_at and _is_first(request):
                os.write(writing, KILLED)
                os.kill(os.getpid(), signal.SIGKILL)
        os.write(writing, b".")

    sys.addaudithook(hear)


def _is_first(request: Request) -> bool:
    """Whether no process of the run was killed before: a worker's successor counts as far as it did."""
    log = Path(request.log)
    mark = log.with_name(f"killed-{log.name}")  # not below the output, whose changes are counted
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def make_pictures_small() -> None:
    """Draw the figures of the report small: they take most of the time of a tiny run."""
    from bids_nodereg.quality.figures import grid, mosaic

    mosaic.WIDTH = grid.WIDTH = 240


@contextmanager
def small_pictures() -> Iterator[None]:
    """Draw small here, and as before after it: this process has other tests to do."""
    from bids_nodereg.quality.figures import grid, mosaic

    before = mosaic.WIDTH
    make_pictures_small()
    try:
        yield
    finally:
        mosaic.WIDTH = grid.WIDTH = before


def _warm_up() -> None:
    """Import everything, and load what is compiled."""
    from bids_nodereg.cli import main

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        raw = tiny.make(Path(folder) / "data")
        code = main(tiny.arguments(raw, Path(folder) / "out", "-q"))
    if code:
        msg = f"the program ended with exit code {code} where nothing disturbed it"
        raise RuntimeError(msg)


def _import_all() -> None:
    """Import what a run imports, which a run in a fork tells."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        _warm_up()
        with os.fdopen(writing, "w") as told:
            told.write("\n".join(sys.modules))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as heard:
        names = heard.read().splitlines()
    os.wait()
    for name in names:
        if not name.startswith("__"):
            with suppress(ImportError):
                importlib.import_module(name)


if __name__ == "__main__":
    make_pictures_small()
    if sys.argv[1:] == ["threads"]:
        _import_all()
    else:
        _warm_up()
    _serve(sys.stdin, sys.stdout)
