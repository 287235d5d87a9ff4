"""Loaded by dask workers of the tests: small pictures, and pairs that kill their worker if so asked."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from tests.reliability.forker import make_pictures_small

if TYPE_CHECKING:
    from bids_nodereg.app.jobs import Job

POISON = "poison"
"""File beside the output folder that holds the label of a participant whose pairs are deadly."""


def dask_setup(_worker: Any) -> None:
    """What dask calls in each worker."""
    from bids_nodereg.app import attempt

    make_pictures_small()
    usual = attempt.open_pair

    def open_pair(job: Job, *more: Any) -> Any:
        poison = job.outputs.out_dir.parent / POISON
        if poison.is_file() and poison.read_text() == job.pair.moving.subject:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(job, *more)

    attempt.open_pair = open_pair
