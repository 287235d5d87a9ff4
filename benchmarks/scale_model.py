"""What a cohort will take: the arithmetic of a plan, from what one pair and one query were measured to take.

Everything is linear in pairs but the index, whose cost has three parts: see :class:`Index`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.bids.dataset import BATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR_S = 3600.0
CHUNKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Participants of a task that are considered."""
MOST_TASKS = 1000
"""Of one array: what many sites allow."""
MOST_OVERHEAD = 0.05
"""Part of a task that may go into its start."""


@dataclass(frozen=True)
class Index:
    """Processor seconds until the pairs are known: ``start + asked * each + batches * present * listed``.

    Attributes
    ----------
    start_s
        Start of the program.
    each_s
        For each participant that is asked for.
    listed_s
        For each participant that is present, in each batch of those that are asked for: pybids lists the
        whole folder each time.
    """

    start_s: float
    each_s: float
    listed_s: float

    def seconds(self, asked: int, present: int) -> float:
        """Cost of asking for so many of those that are present."""
        batches = math.ceil(asked / BATCH)
        return self.start_s + asked * self.each_s + batches * present * self.listed_s


def fit_index(rows: Sequence[tuple[int, int, float]]) -> Index:
    """Fit the parts to measurements, each counted by its relative error.

    Parameters
    ----------
    rows
        Participants asked for, participants present, processor seconds.

    Raises
    ------
    ValueError
        If there are fewer than three.
    """
    if len(rows) < 3:
        msg = f"{len(rows)} measurement(s) of the index, expected three or more."
        raise ValueError(msg)
    parts = np.array([[1, asked, math.ceil(asked / BATCH) * present] for asked, present, _ in rows], float)
    seconds = np.array([row[2] for row in rows])
    found = np.linalg.lstsq(parts / seconds[:, None], np.ones(len(rows)), rcond=None)[0]
    return Index(*(max(0.0, float(value)) for value in found))


@dataclass(frozen=True)
class PairCost:
    """What one pair takes.

    Attributes
    ----------
    core_s
        Processor seconds on the CPU.
    gpu_s
        Seconds of a GPU with the cores beside it; 0 where none is used.
    memory_mb
        Peak of the process, 2^20 bytes.
    read_mb, written_mb, stored_mb
        10^6 bytes that are read, written, and left.
    files, folders
        That are left; folders are those of a participant.
    """

    core_s: float
    gpu_s: float
    memory_mb: float
    read_mb: float
    written_mb: float
    stored_mb: float
    files: float
    folders: float


@dataclass(frozen=True)
class Site:
    """Where it runs.

    Attributes
    ----------
    cores, gpus
        Of a task; with a GPU a pair takes ``gpu_s``, without one ``core_s / cores``.
    at_once
        Tasks that run at the same time.
    container_s
        Seconds that a container takes to start.
    """

    cores: int
    gpus: int
    at_once: int
    container_s: float


@dataclass(frozen=True)
class Group:
    """The group level: seconds and memory (2^20 bytes), and the bytes that a pair adds to its page."""

    start_s: float
    pair_s: float
    start_mb: float
    pair_mb: float
    pair_page_bytes: float


@dataclass(frozen=True)
class Costs:
    """Everything that was measured or assumed; ``start_s`` is spent once by a task beside the index."""

    pair: PairCost
    index: Index
    start_s: float
    done_pair_s: float
    group: Group


@dataclass(frozen=True)
class Demand:
    """What a cohort takes on a site.

    Attributes
    ----------
    pairs, tasks, chunk
        Pairs; tasks of an array; participants of a task.
    overhead
        Part of a task that is no pair.
    task_h, hours
        Hours of a task, and of all with so many tasks at the same time.
    core_h, gpu_h
        Hours of cores and of GPUs that are taken, idle or not.
    read_mb_s, written_mb_s
        Mean over the run, of all tasks together.
    stored_tb
        10^12 bytes that are left.
    files, folders
        That are left, logs included.
    again_h
        Hours of one core to find everything done.
    group_s, group_mb, page_mb
        The group level; its page in 10^6 bytes.
    """

    pairs: int
    tasks: int
    chunk: int
    overhead: float
    task_h: float
    hours: float
    core_h: float
    gpu_h: float
    read_mb_s: float
    written_mb_s: float
    stored_tb: float
    files: int
    folders: int
    again_h: float
    group_s: float
    group_mb: float
    page_mb: float


LOG_FILES = 2
"""Of a task: its settings and its log; a status a pair comes to them."""


def demand(participants: int, pairs_each: int, costs: Costs, site: Site, chunk: int | None = None) -> Demand:
    """Say what a cohort takes.

    Parameters
    ----------
    participants, pairs_each
        Of the cohort, and pairs of each.
    costs, site
        What was measured, and where it runs.
    chunk
        Participants of a task; None for that of :func:`best_chunk`.
    """
    size = best_chunk(participants, pairs_each, costs, site) if chunk is None else chunk
    size = min(size, participants)
    pairs, tasks = participants * pairs_each, math.ceil(participants / size)
    start_s = task_start_s(size, participants, costs, site)
    total_s = pairs * pair_s(costs.pair, site) + tasks * start_s
    hours = total_s / min(site.at_once, tasks) / HOUR_S
    again_s = tasks * start_s + pairs * costs.done_pair_s
    return Demand(
        pairs=pairs,
        tasks=tasks,
        chunk=size,
        overhead=tasks * start_s / total_s,
        task_h=total_s / tasks / HOUR_S,
        hours=hours,
        core_h=total_s * site.cores / HOUR_S,
        gpu_h=total_s * site.gpus / HOUR_S,
        read_mb_s=pairs * costs.pair.read_mb / (hours * HOUR_S),
        written_mb_s=pairs * costs.pair.written_mb / (hours * HOUR_S),
        stored_tb=pairs * costs.pair.stored_mb / 1e6,
        files=round(pairs * (costs.pair.files + 1) + tasks * LOG_FILES),
        folders=round(participants * costs.pair.folders + tasks),
        again_h=again_s / HOUR_S,
        group_s=costs.group.start_s + pairs * costs.group.pair_s,
        group_mb=costs.group.start_mb + pairs * costs.group.pair_mb,
        page_mb=pairs * costs.group.pair_page_bytes / 1e6,
    )


def pair_s(pair: PairCost, site: Site) -> float:
    """Seconds between two pairs of a task, whose cores are all kept busy."""
    return pair.gpu_s if site.gpus else pair.core_s / site.cores


def task_start_s(chunk: int, participants: int, costs: Costs, site: Site) -> float:
    """Seconds of a task before its first pair: container, libraries, index."""
    return site.container_s + costs.start_s + costs.index.seconds(chunk, participants)


def best_chunk(participants: int, pairs_each: int, costs: Costs, site: Site) -> int:
    """Fewest participants of a task whose start is a small part of it, in an array that is not too long."""
    for chunk in CHUNKS:
        start_s = task_start_s(chunk, participants, costs, site)
        work_s = chunk * pairs_each * pair_s(costs.pair, site)
        if start_s <= MOST_OVERHEAD * (work_s + start_s) and math.ceil(participants / chunk) <= MOST_TASKS:
            return chunk
    return CHUNKS[-1]


@dataclass(frozen=True)
class Bounds:
    """What is usual; beyond, somebody has to be asked or something to be changed."""

    hours: float = 72.0
    written_mb_s: float = 1000.0
    stored_tb: float = 10.0
    files: float = 1e6
    group_mb: float = 4000.0
    page_mb: float = 50.0


WORDS = {
    "hours": "time",
    "written_mb_s": "bandwidth",
    "stored_tb": "storage",
    "files": "number of files",
    "group_mb": "memory of the group level",
    "page_mb": "size of the group page",
}


def bottleneck(needed: Demand, bounds: Bounds) -> tuple[str, float]:
    """What comes first to its bound, in words, and which part of the bound is taken."""
    parts = {
        "hours": needed.hours / bounds.hours,
        "written_mb_s": needed.written_mb_s / bounds.written_mb_s,
        "stored_tb": needed.stored_tb / bounds.stored_tb,
        "files": (needed.files + needed.folders) / bounds.files,
        "group_mb": needed.group_mb / bounds.group_mb,
        "page_mb": needed.page_mb / bounds.page_mb,
    }
    first = max(parts, key=lambda name: parts[name])
    return WORDS[first], parts[first]
