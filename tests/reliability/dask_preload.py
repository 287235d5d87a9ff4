"""Loaded by dask workers of the tests: small pictures; pairs that kill their worker, GPUs that are lost."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.reliability.forker import make_pictures_small

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.app.jobs import Job

POISON = "poison"
"""File beside the output folder that holds the label of a participant whose pairs are deadly."""
LOST = "lost"
"""File beside the output folder that says which GPUs are lost: ``first`` that has a pair, or ``all``."""
FIRST, MET = "lost-first", "lost-met"
"""Link beside it that names the first, and a file with a line for each pair that has come to a lost one."""


def dask_setup(_worker: Any) -> None:
    """What dask calls in each worker. One that is told to take a GPU takes the CPU."""
    from bids_nodereg.app import attempt, executors

    make_pictures_small()
    usual, choose = attempt.open_pair, executors.choose_hardware
    executors.choose_hardware = lambda resources: choose(replace(resources, device="cpu"))

    def open_pair(job: Job, *more: Any) -> Any:
        poison = job.outputs.out_dir.parent / POISON
        if poison.is_file() and poison.read_text() == job.pair.moving.subject:
            os.kill(os.getpid(), signal.SIGKILL)
        if _is_gpu_lost(job.outputs.out_dir.parent):
            msg = "CUDA error: unspecified launch failure"
            raise RuntimeError(msg)
        return usual(job, *more)

    attempt.open_pair = open_pair


def _is_gpu_lost(folder: Path) -> bool:
    """Whether the GPU of this process is to be lost; without GPUs each process stands for one."""
    if not (folder / LOST).is_file():
        return False
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", str(os.getpid()))
    with suppress(FileExistsError):  # a link is made as a whole, and once
        (folder / FIRST).symlink_to(gpu)
    is_lost = (folder / LOST).read_text() == "all" or str((folder / FIRST).readlink()) == gpu
    if is_lost:
        with (folder / MET).open("a") as file:
            file.write(f"{gpu}\n")
    return is_lost
