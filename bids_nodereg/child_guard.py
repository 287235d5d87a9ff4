"""A small program between this one and another that it starts: the other one never outlives this one.

Arguments: a folder that goes when the end comes early (empty for none), and the words of the other program.
The standard input is the lifeline: a pipe whose other end only the parent holds, so that it ends with the
parent however that dies. Then the other program and all that it has started are killed, and the folder
is removed. Otherwise this program ends as the other one does, by the same exit code or signal. Where this
program itself is killed, which leaves it no time for anything, Linux ends the other one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial

NOT_STARTED = 126
"""Exit code where the other program cannot be started, as shells have it."""

PR_SET_PDEATHSIG = 1
"""Number of the request of ``prctl(2)`` for a signal at the parent's death."""

SIGNALS = tuple(getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, n))
"""What a scheduler sends to all processes of a job: it is for the parent to end."""


def main(arguments: list[str]) -> int:
    """Start the other program and stay with it; returns the exit code where it cannot be started."""
    folder, words = arguments[0], arguments[1:]
    for number in SIGNALS:
        signal.signal(number, _let_the_parent_decide)
    try:
        other = subprocess.Popen(  # noqa: S603
            words,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(_end_with, os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
        )
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror or error}")
        return NOT_STARTED
    ending = threading.Lock()
    watch = threading.Thread(target=_end_with_parent, args=(other, folder, ending), daemon=True)
    try:
        watch.start()
    except RuntimeError as error:  # the system gives no more threads: nobody would end the other program
        _kill(other)
        sys.stderr.write(f"{words[0]}: {error}")
        return NOT_STARTED
    code = other.wait()
    with ending:  # while the watch clears away, this process must stay
        _kill(other)  # what it has left running
        if code < 0:
            _die_of(-code)
        os._exit(code)


def _end_with(guard: int) -> None:
    """Let Linux end the process that calls this when the guard, its parent, dies. There is one thread yet."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (ImportError, OSError, AttributeError):  # no such call here: its own limits have to do
        return
    if os.getppid() != guard:  # it has died before
        os._exit(1)


def _let_the_parent_decide(_number: int, _frame: object) -> None:
    """Do nothing. To ignore a signal would make the other program ignore it too."""


def _end_with_parent(other: subprocess.Popen[bytes], folder: str, ending: threading.Lock) -> None:
    """Wait for the end of the lifeline, and clear away."""
    while os.read(0, 1):
        pass
    with ending:
        _kill(other)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _kill(other: subprocess.Popen[bytes]) -> None:
    """End the other program and all of its session that did not leave it."""
    try:
        os.killpg(other.pid, signal.SIGKILL)
    except AttributeError:  # not a Unix
        other.kill()
    except OSError:  # nobody is left
        return


def _die_of(number: int) -> None:
    """End this process by a signal, and leave no core of it."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        return
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
