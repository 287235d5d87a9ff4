"""End a run when a signal asks for it, soon and for certain."""

from __future__ import annotations

import os
import select
import signal
import threading

from bids_nodereg.errors import TemporaryError

GRACE_S = 2.0
"""How long the work may take to end by itself after the first signal."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, and the ways of a scheduler to say that time is up."""


def end_on_signals() -> None:
    """Let the first signal raise `KeyboardInterrupt` where the work is, and a second one end the process.

    What computes for long without coming back to Python, such as a filter written in C++, does not hear
    the first signal either: a thread waits beside it and ends the process after :data:`GRACE_S`. That may
    be anywhere, also in the middle of a file, which is as good as a power cut: nothing has its final name
    before it is whole (:mod:`bids_nodereg.files`). The exit code is 75 in all cases.

    To be called from the main thread, once.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_see_to_the_end, args=(reading,), name="signals", daemon=True).start()


def _interrupt(number: int, _frame: object) -> None:
    """End as Ctrl-C does: what is done stays done, the pair at work is left for the next run."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def _see_to_the_end(reading: int) -> None:
    """Wait for a signal, then for another or the end of the grace, and end the process."""
    while os.read(reading, 1)[0] not in SIGNALS:
        pass
    select.select([reading], [], [], GRACE_S)
    os.write(2, b"nodereg: ended at once; run the same command again to go on.\n")
    os._exit(TemporaryError.exit_code)
