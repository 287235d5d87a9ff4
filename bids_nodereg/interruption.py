"""End a run when a signal asks for it, soon and for certain."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from bids_nodereg.errors import TemporaryError

if TYPE_CHECKING:
    from types import FrameType

GRACE_S = 2.0
"""How long the work may take to end by itself after the first signal."""

TOGETHER_S = 0.1
"""Signals within this time count as one: a scheduler signals all processes of a job, and its script and the
container pass on what they get."""

AGAIN_S = 0.01
"""After this time a signal is raised again where nobody would have heard of it."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, and the ways of a scheduler to say that time is up."""


def end_on_signals() -> None:
    """Let the first signal raise `KeyboardInterrupt` where the work is, and a later one end the process.

    What computes for long without coming back to Python, such as a filter written in C++, does not hear
    the first signal either: a thread waits beside it and ends the process after :data:`GRACE_S`. That may
    be anywhere, also in the middle of a file, which is as good as a power cut: nothing has its final name
    before it is whole (:mod:`bids_nodereg.files`). The exit code is 75 in all cases.

    To be called from the main thread, once.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    interrupt = _Interrupt()
    for number in (*SIGNALS, signal.SIGALRM):
        signal.signal(number, interrupt)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    with suppress(RuntimeError):  # the system gives no more threads: then the first signal has to be heard
        threading.Thread(target=_see_to_the_end, args=(reading,), name="signals", daemon=True).start()


class _Interrupt:
    """End as Ctrl-C does: what is done stays done, the pair at work is left for the next run."""

    def __init__(self) -> None:
        self._first = float("-inf")
        self._number = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise it for a signal, unless it has just been raised and the end is under way."""
        if number != signal.SIGALRM:
            now = time.monotonic()
            if now - self._first < TOGETHER_S:
                return
            self._first, self._number = now, number
        if _is_deaf(frame):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        else:
            raise KeyboardInterrupt(signal.Signals(self._number).name)


def _is_deaf(frame: FrameType | None) -> bool:
    """Whether Python would drop what is raised in a frame: it clears away an object there."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False


def _see_to_the_end(reading: int) -> None:
    """Wait for a signal, then for another one or the end of the grace, and end the process."""
    while os.read(reading, 1)[0] not in SIGNALS:
        pass
    began = time.monotonic()
    while (passed := time.monotonic() - began) < GRACE_S:
        ready, _, _ = select.select([reading], [], [], GRACE_S - passed)
        if ready and os.read(reading, 1)[0] in SIGNALS and time.monotonic() - began >= TOGETHER_S:
            break
    os.write(2, b"nodereg: ended at once; run the same command again to go on.\n")
    os._exit(TemporaryError.exit_code)
