"""Programs of others that this one starts, and that end with it, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bids_nodereg import child_guard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def child(words: Sequence[str], folder: str = "", **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside the block; when the block ends, so does the program.

    Parameters
    ----------
    words
        The program and its arguments.
    folder
        What the program writes into, removed too where this process is killed meanwhile.
    **streams
        ``stdout``, ``stderr`` and ``env`` of :class:`subprocess.Popen`. The standard input is taken.

    Yields
    ------
    subprocess.Popen
        To read from and to wait for: it ends as the program does (:mod:`bids_nodereg.child_guard`).

    Raises
    ------
    OSError
        If no process can be started.
    """
    guard = [sys.executable, "-I", "-S", child_guard.__file__, folder, *words]
    theirs, lifeline = os.pipe()
    try:
        try:
            # a session of its own: what a terminal sends to all is for this process alone
            process = subprocess.Popen(guard, stdin=theirs, start_new_session=True, **streams)  # noqa: S603
        finally:
            os.close(theirs)
    except BaseException:
        os.close(lifeline)
        raise
    with process:  # waits for the end
        try:
            yield process
        finally:
            os.close(lifeline)
