"""Choose the device and the number of threads."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

import numba
import torch

from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bids_nodereg.config import Resources

Stage = Literal["opening", "solving", "closing"]


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
    mem_mb
        Most memory of the run in MB (10^6 bytes) where the user has set it, and how many processes share
        that.
    gpu_processes
        How many processes share the GPU.
    """

    device: torch.device
    name: str
    threads: int
    note: str = ""
    mem_mb: int | None = None
    processes: int = 1
    gpu_processes: int = 1


def peak_device_memory_mib(hardware: Hardware) -> float | None:
    """Largest memory that torch has held on the GPU so far; None on a CPU."""
    if hardware.device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(hardware.device) / (1 << 20)


@contextmanager
def on_stream(device: torch.device, stage: Stage) -> Iterator[None]:
    """Compute on the stream of a stage where the device is a GPU, so that no stage waits for another."""
    if device.type != "cuda":
        yield
        return
    stream = _stream(device, stage)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield
    stream.synchronize()


@cache
def _stream(device: torch.device, stage: Stage) -> torch.cuda.Stream:  # noqa: ARG001 - tells them apart
    """One for all pairs: torch keeps the memory that it has in reserve for each stream apart."""
    return torch.cuda.Stream(device)


def can_overlap(hardware: Hardware) -> bool:
    """Whether pairs may overlap: there is a core to do it on, and numba's threads allow it.

    numba's own pool of threads (``workqueue``) ends the process when two threads use it at a time; OpenMP
    and TBB may be used so. On one core nothing is gained.
    """
    has_room = hardware.threads > 1 or hardware.device.type == "cuda"
    return has_room and numba.threading_layer() != "workqueue"  # type: ignore[attr-defined] # numba sets it when it starts


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


def use_threads(threads: int) -> None:
    """Set how many threads torch and numba take for what is computed in the thread that calls this.

    Both keep the number for each thread; a new thread of Python's would have numba take all cores.
    """
    torch.set_num_threads(threads)
    # numba sets this attribute of its configuration when it starts.
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def own_hardware(resources: Resources) -> Hardware:
    """Find what the process of the run itself computes on: no GPU where dask workers do the pairs.

    Raises
    ------
    UsageError
        See :func:`choose_hardware`.
    """
    if resources.executor == "local":
        return choose_hardware(resources)
    return replace(choose_hardware(replace(resources, device="cpu")), name="that of each dask worker")


def _how_to_see_gpus() -> str:
    """What to do where no GPU can be seen: another torch, or a container that is let to it."""
    if torch.version.cuda is None:
        return "It was built without CUDA: install one that was built with it"
    return "Let a container see the GPU (docker --gpus all, apptainer --nv)"


def choose_hardware(resources: Resources) -> Hardware:
    """Find the device that was asked for and set the thread counts of torch and numba.

    Raises
    ------
    UsageError
        If a CUDA device was asked for and is not there, or the name is unknown.
    """
    threads = resources.threads or max(1, _usual_threads() // resources.n_procs)
    use_threads(threads)
    there = torch.cuda.is_available()
    gpus = resources.gpus if isinstance(resources.gpus, int) else 1
    limits = (resources.mem_mb, resources.n_procs, max(resources.n_procs // gpus, 1))
    if resources.device == "cpu" or (resources.device == "auto" and not there):
        note = "" if resources.device == "cpu" else "No CUDA device was found: computing on the CPU."
        return Hardware(torch.device("cpu"), f"CPU, {threads} threads", threads, note, *limits)
    name = "cuda" if resources.device == "auto" else resources.device
    if (
        not there
        or not re.fullmatch(r"cuda(:\d+)?", name)
        or (torch.device(name).index or 0) >= torch.cuda.device_count()
    ):
        msg = (
            f"--device {resources.device}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            f"device(s). {_how_to_see_gpus()}, or use --device cpu or auto."
        )
        raise UsageError(msg)
    from bids_nodereg.registration.kernels.choice import why_not_triton  # it brings all kernels

    device = torch.device(name)
    reason = why_not_triton(device)
    note = "" if reason is None else f"Plain torch computes on the GPU, slower than it could: {reason}."
    return Hardware(device, torch.cuda.get_device_name(name), threads, note, *limits)
