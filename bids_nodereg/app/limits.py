"""The time that a run may take: no pair is begun that would probably not end in it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MARGIN_S = 30.0
"""Time that is kept for the end of the run: pages, methods text, and whatever a container needs to go."""
FACTOR = 1.25
"""How much longer the next pair may take than the longest so far."""


class TimeLimit:
    """Tells whether there is time for another pair. Any thread may ask and tell.

    A pair is begun only while the time left is at least :data:`MARGIN_S` and :data:`FACTOR` times the longest
    that a pair of this run has taken, from being begun to being written; so what it waits for in between
    counts too. Before one has ended, nothing is known of that, and the margin alone is kept.

    Parameters
    ----------
    seconds
        That the process may take; None for no limit.
    age_s
        How long it has been running.
    clock
        Gives a time in seconds that only grows.
    """

    def __init__(
        self, seconds: float | None = None, age_s: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end = None if seconds is None else clock() - age_s + seconds
        self._begun: dict[int, float] = {}
        self._longest = 0.0
        self._lock = Lock()
        self._is_reached = False

    @property
    def is_reached(self) -> bool:
        """Whether a pair was not begun for want of time."""
        return self._is_reached

    def allows(self) -> bool:
        """Whether a pair that waits may be begun; once refused, all are."""
        if self._end is not None and not self._is_reached:
            left = self._end - self._clock()
            self._is_reached = left < MARGIN_S + FACTOR * self._longest
        return not self._is_reached

    def begin(self, number: int) -> None:
        """Take note that the pair with a number is begun."""
        with self._lock:
            self._begun[number] = self._clock()

    def end(self, number: int) -> None:
        """Take note that it has ended."""
        with self._lock:
            began = self._begun.pop(number, None)
            if began is not None:
                self._longest = max(self._longest, self._clock() - began)


def process_age_s() -> float:
    """How long this process has been running, in seconds; 0 where the system does not tell."""
    with suppress(OSError, AttributeError):
        text = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(text.rpartition(")")[2].split()[19])  # since the machine started
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return 0.0
