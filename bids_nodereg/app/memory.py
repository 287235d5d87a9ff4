"""Plan each pair so that it fits into the memory there is: before it begins, and never half-way.

What fits is done as asked. Where memory is tight, the pair is first done alone, without the next one read and
the last one written meanwhile; then on a coarser working grid, which is said. Where not even that fits, the
pair fails with a message, and the others go on.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bids_nodereg.app.available import device_room, host_room
from bids_nodereg.app.stages import common_grid
from bids_nodereg.errors import ShortOfMemoryError
from bids_nodereg.registration.memory import alignment_bytes, peak_bytes, runtime_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bids_nodereg.app.available import Room
    from bids_nodereg.app.device import Hardware
    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.config import Settings
    from bids_nodereg.geometry import Grid

COARSER_MM = (1.25, 1.5, 2.0)
"""Working grids that are tried where memory is short, finest first."""

BYTES_TO_OPEN = 40
"""Per voxel of an image, while it is read and its brain and its bias field are found: 14 were measured
without that search, the rest is an estimate on the safe side. The next numbers were measured (resident
memory) on heads of 8 and 11 million voxels, see docs/resources.md."""

BYTES_TO_KEEP = 12
"""Per voxel of a prepared image that is kept: float32 values, with and without bias, and masks."""

BYTES_TO_SAMPLE = 60
"""Per voxel of the working grid: both images and masks there, and the displacements that come back."""

BYTES_TO_CLOSE = (90, 16)
"""Per voxel of the working grid and of the fixed image, while a pair is measured, drawn and written."""

SPARE_BYTES = 300_000_000
"""For what grows with no image: libraries that are loaded late, and what nobody counts."""

GB = 10**9

LOG = logging.getLogger("nodereg")

Kind = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Need:
    """Bytes that a pair needs beside what the process has, at most.

    Attributes
    ----------
    spacing_mm
        Of the working grid.
    alone
        On the host, where nothing is done meanwhile.
    overlapping
        On the host, where the next pair is read and the last one written meanwhile.
    gpu
        On the GPU; 0 where the pair is solved on the CPU.
    gpu_overlapping
        On the GPU, where the next pair is aligned and the last one looked at again there meanwhile.
    """

    spacing_mm: float
    alone: int
    overlapping: int
    gpu: int = 0
    gpu_overlapping: int = 0


@dataclass(frozen=True)
class Plan:
    """How a pair is done.

    Attributes
    ----------
    settings
        Those asked for, but for the working grid where memory is short.
    alone
        Whether no other pair may be under way meanwhile.
    told
        What is not as asked, in words; empty where all is.
    on_cpu
        Whether it is solved on the CPU although the run has a GPU.
    """

    settings: Settings
    alone: bool = False
    told: str = ""
    on_cpu: bool = False


def plan_pair(inputs: Inputs, settings: Settings, hardware: Hardware) -> Plan:
    """Plan a pair whose images are read, by the memory that is free now.

    Raises
    ------
    ShortOfMemoryError
        If it does not fit in any way.
    """
    kind: Kind = "cpu" if hardware.device.type == "cpu" else "cuda"
    gpu = device_room(hardware.device, hardware.gpu_processes)
    host = host_room(hardware.mem_mb, hardware.processes)
    try:
        return choose(_needs(inputs, settings, kind), settings, host, gpu)
    except ShortOfMemoryError as error:
        if gpu is None:
            raise
        return plan_on_cpu(inputs, settings, hardware, str(error))


def plan_on_cpu(inputs: Inputs, settings: Settings, hardware: Hardware, reason: str) -> Plan:
    """Plan a pair for which the GPU has no room, and say so.

    Raises
    ------
    ShortOfMemoryError
        If it does not fit in any way.
    """
    host = host_room(hardware.mem_mb, hardware.processes)
    plan = choose(_needs(inputs, settings, "cpu"), settings, host)
    told = f"{reason.rstrip('.')}. It was done on the CPU. {plan.told}".rstrip(". ")
    return replace(plan, on_cpu=True, told=told)


def wants_all(inputs: Inputs, settings: Settings, hardware: Hardware) -> bool:
    """Whether a pair needs more than is left beside others; then it is planned again when they have ended.

    An error counts as yes: a GPU that was lost is told where the pair itself is planned, and ends that pair.
    """
    try:
        plan = plan_pair(inputs, settings, hardware)
    except ShortOfMemoryError:
        return True
    except Exception as error:  # noqa: BLE001 - whatever it is, the other pairs must go on
        LOG.debug("    what memory there is cannot be told: %s", error)
        return True
    return plan.alone or bool(plan.told)


def choose(needs: Iterable[Need], settings: Settings, host: Room | None, gpu: Room | None = None) -> Plan:
    """Take the first need that there is room for, with overlap where there is room for that too.

    Parameters
    ----------
    needs
        Of the working grids that come into question; first the one that was asked for.
    settings
        Those asked for.
    host, gpu
        What is there; None where it is not known, which is no limit.

    Raises
    ------
    ShortOfMemoryError
        If there is room for none.
    """
    reasons: list[str] = []
    for need in needs:
        lack = _lack(need, host, gpu)
        if lack:
            reasons.append(lack)
            continue
        alone = not (_fits(need.overlapping, host) and _fits(need.gpu_overlapping, gpu))
        told = f"Memory is short: {reasons[0]}. It has {need.spacing_mm:g} mm instead" if reasons else ""
        return Plan(_at(settings, need.spacing_mm) if reasons else settings, alone, told)
    msg = f"Not enough memory: {reasons[-1]}. Nothing coarser is tried: give the run more."
    raise ShortOfMemoryError(msg)


def _fits(wanted: int, room: Room | None) -> bool:
    return room is None or wanted + SPARE_BYTES <= room.bytes


def _lack(need: Need, host: Room | None, gpu: Room | None) -> str:
    """What there is no room for, in words; empty where there is room."""
    for wanted, room in ((need.alone, host), (need.gpu, gpu)):
        if room is not None and not _fits(wanted, room):
            needed, free = (wanted + SPARE_BYTES) / GB, max(room.bytes, 0) / GB
            grid = f"a working grid of {need.spacing_mm:g} mm"
            return f"{grid} needs {needed:.1f} GB, there are {free:.1f} GB ({room.source})"
    return ""


def _needs(inputs: Inputs, settings: Settings, kind: Kind) -> Iterator[Need]:
    """Of the working grid that is asked for, and of the coarser ones."""
    asked = common_grid(inputs.fixed, settings).spacing[0]
    for spacing in (asked, *(coarser for coarser in COARSER_MM if coarser > asked)):
        grid = common_grid(inputs.fixed, _at(settings, spacing))
        yield need_of(grid, inputs, settings, kind)


def need_of(grid: Grid, inputs: Inputs, settings: Settings, kind: Kind) -> Need:
    """Count what one pair needs on a working grid, on a device of a kind."""
    fixed, moving = (prepared.volume.data.size for prepared in (inputs.fixed, inputs.moving))
    working = math.prod(grid.shape)
    registering = 0
    if settings.transform == "deformable":
        loaded = runtime_bytes(kind) if kind == "cpu" else 0  # the libraries are there by now
        registering = peak_bytes(grid.shape, settings.registration, kind) - loaded
    solving = BYTES_TO_SAMPLE * working + (registering if kind == "cpu" else 0)
    closing = BYTES_TO_CLOSE[0] * working + BYTES_TO_CLOSE[1] * fixed
    opening = BYTES_TO_OPEN * max(fixed, moving) + BYTES_TO_KEEP * (fixed + moving)
    aligning = 0
    if kind == "cuda":  # the affine start is found there, and another one when the pair is judged
        aligning = alignment_bytes(working * (grid.spacing[0] / settings.affine.spacings_mm[-1]) ** 3, kind)
    return Need(
        grid.spacing[0],
        alone=max(solving, closing),
        overlapping=opening + solving + closing,
        gpu=0 if kind == "cpu" else max(registering, aligning),
        gpu_overlapping=0 if kind == "cpu" else registering + 2 * aligning,
    )


def _at(settings: Settings, spacing_mm: float) -> Settings:
    return replace(settings, working_resolution_mm=spacing_mm)
