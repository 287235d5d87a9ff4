"""How long the workers of a dask cluster are waited for, and when there is nothing to wait for."""

from __future__ import annotations

import time

from bids_nodereg.errors import TemporaryError

PATIENCE_S = 300.0
"""How long a cluster without a worker is waited for."""
MOST_FALSE_STARTS = 5
"""Workers that may be lost one after the other before one is ready."""


class Patience:
    """What is known of the workers that are missing.

    Parameters
    ----------
    is_ours
        Whether the workers are of this run alone, so that nobody else starts any.
    """

    def __init__(self, *, is_ours: bool) -> None:
        self._is_ours = is_ours
        self._false_starts = 0
        self._may_come = True
        self._useful = time.monotonic()
        """When there was a worker of use last."""

    def see(self, *, is_useful: bool, may_come: bool) -> None:
        """Take note of a look at the workers.

        Parameters
        ----------
        is_useful
            Whether there is one that takes tasks.
        may_come
            Whether any is there, or may still come.
        """
        self._may_come = may_come
        if is_useful:
            self._useful = time.monotonic()

    def begun(self) -> None:
        """Take note that a worker is ready."""
        self._false_starts = 0

    def lose(self, worker: str) -> None:
        """Take note that a worker died before it was ready; another may take its place, but not for ever.

        Raises
        ------
        TemporaryError
            If it is the last of :data:`MOST_FALSE_STARTS`.
        """
        self._false_starts += 1
        if self._false_starts >= MOST_FALSE_STARTS:
            msg = (
                f"{self._false_starts} dask workers were lost before they were ready, the last was "
                f"{worker}. Look into their logs, and for the kernel's out-of-memory messages (dmesg)."
            )
            raise TemporaryError(msg)

    def check(self, paused: int) -> None:
        """Make sure that there is something to wait for.

        Parameters
        ----------
        paused
            How many workers there are that take no tasks.

        Raises
        ------
        TemporaryError
            If no worker can come any more, or none was of use for :data:`PATIENCE_S`.
        """
        if not self._may_come:
            msg = (
                "no dask worker of this machine is left, and none is started again. Look for the kernel's "
                "out-of-memory messages (dmesg), and run the same command again to go on."
            )
            raise TemporaryError(msg)
        if time.monotonic() - self._useful > PATIENCE_S:
            told = f", and {paused} that are paused (--memory-limit)" if paused else ""
            advice = "Run" if self._is_ours else "Start workers (dask worker ADDRESS), and run"
            msg = (
                f"the dask scheduler has had no worker of use for {PATIENCE_S / 60:.0f} min{told}. "
                f"{advice} the same command again to go on."
            )
            raise TemporaryError(msg)
