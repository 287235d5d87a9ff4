"""Choose the device and the number of threads."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import torch

from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    from bids_nodereg.config import Resources


@dataclass(frozen=True)
class Hardware:
    """What the run computes on.

    Attributes
    ----------
    device
        The torch device.
    name
        The device in words.
    threads
        CPU threads of every library.
    note
        What the user should know about the choice; empty when it is what was asked for.
    """

    device: torch.device
    name: str
    threads: int
    note: str = ""


def peak_device_memory_mib(hardware: Hardware) -> float | None:
    """Largest memory that torch has held on the GPU so far; None on a CPU."""
    if hardware.device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(hardware.device) / (1 << 20)


def _usual_threads() -> int:
    """Threads where the options say nothing: ``OMP_NUM_THREADS``, else the cores this process may use.

    Not every system tells which cores those are; then all of them.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_hardware(resources: Resources) -> Hardware:
    """Find the device that was asked for and set the thread counts of torch and numba.

    Raises
    ------
    UsageError
        If a CUDA device was asked for and is not there, or the name is unknown.
    """
    threads = resources.omp_nthreads or _usual_threads()
    torch.set_num_threads(threads)
    # numba sets this attribute of its configuration when it starts.
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    there = torch.cuda.is_available()
    if resources.device == "cpu" or (resources.device == "auto" and not there):
        note = "" if resources.device == "cpu" else "No CUDA device was found: computing on the CPU."
        return Hardware(torch.device("cpu"), f"CPU, {threads} threads", threads, note)
    name = "cuda" if resources.device == "auto" else resources.device
    if (
        not there
        or not re.fullmatch(r"cuda(:\d+)?", name)
        or (torch.device(name).index or 0) >= torch.cuda.device_count()
    ):
        msg = (
            f"--device {resources.device}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "device(s). Give the container access to the GPU (docker --gpus all, apptainer --nv), or use "
            "--device cpu or auto."
        )
        raise UsageError(msg)
    return Hardware(torch.device(name), torch.cuda.get_device_name(name), threads)
