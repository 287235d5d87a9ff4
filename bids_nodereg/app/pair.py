"""One pair from files to files: opened, solved and closed."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from bids_nodereg.app.device import on_stream, peak_device_memory_mib
from bids_nodereg.app.doubts import doubt_measures
from bids_nodereg.app.extra_files import without_unreadable
from bids_nodereg.app.images import room_of
from bids_nodereg.app.inputs import head_note, lesion_note
from bids_nodereg.app.judge import judge
from bids_nodereg.app.kinds import kind_of, limits_of
from bids_nodereg.app.labels import refuse_damaged_labels
from bids_nodereg.app.memory import plan_on_cpu, plan_pair
from bids_nodereg.app.present import present_pair
from bids_nodereg.app.provenance import peak_memory_mib, software
from bids_nodereg.app.stages import find_affine, solve
from bids_nodereg.app.status import Status, fingerprint, report_data
from bids_nodereg.app.viewer import viewer_page
from bids_nodereg.app.write import (
    Work,
    write_images,
    write_jacobian,
    write_quality,
    write_sidecars,
    write_transforms,
)
from bids_nodereg.bids.sidecars import template_told
from bids_nodereg.config import as_plain
from bids_nodereg.errors import DataError
from bids_nodereg.files import remove
from bids_nodereg.quality.alignment import affine_words
from bids_nodereg.quality.plausible import with_doubts
from bids_nodereg.quality.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.judge import Judgement
    from bids_nodereg.app.memory import Plan
    from bids_nodereg.app.progress import PairProgress
    from bids_nodereg.app.shared import Run
    from bids_nodereg.app.stages import Solution
    from bids_nodereg.quality.verdict import Verdict
    from bids_nodereg.registration.affine import Freedom
    from bids_nodereg.registration.optimise import Step


LOG = logging.getLogger("nodereg")


@dataclass(frozen=True, eq=False)
class OpenedPair:
    """A pair that is ready to be solved.

    Attributes
    ----------
    job
        The pair, without the files that cannot be carried along.
    inputs
        Both images, prepared.
    told
        For the sidecar: what the result depends on, and what was left out.
    affine
        4 x 4, fixed world to moving world (RAS+ mm), where it was found in advance; else None.
    history
        Iterations so far.
    seconds
        Time spent, and the part of it that was registration.
    """

    job: Job
    inputs: Inputs
    told: Mapping[str, Any]
    affine: NDArray[np.float64] | None
    history: tuple[Step, ...]
    seconds: float
    seconds_registration: float


@dataclass(frozen=True, eq=False)
class SolvedPair:
    """A pair whose map is found; nothing is written yet.

    Attributes
    ----------
    opened
        What it was found for.
    plan
        How it fitted into the memory.
    solution
        The map.
    history
        All iterations.
    seconds
        Time spent since the pair was begun, without waiting, and the part of it that was registration.
    """

    opened: OpenedPair
    plan: Plan
    solution: Solution
    history: tuple[Step, ...]
    seconds: float
    seconds_registration: float


def open_pair(job: Job, run: Run, progress: PairProgress) -> OpenedPair:
    """Read and prepare both images of a pair; on a GPU also find the affine start.

    Raises
    ------
    NodeRegError
        If an input cannot be used or an output of an earlier run cannot be removed.
    """
    began = time.perf_counter()
    # The quality file goes too: the group level must not list a result that is being replaced.
    for mark in (job.outputs.forward_json, job.outputs.qc_json, report_data(job), viewer_page(job)):
        remove(mark)
    progress.stage("reading and preparing")
    told = dict(fingerprint(job, run.settings))
    job, left_out = without_unreadable(job)
    refuse_damaged_labels(job.pair, room_of(run.hardware))
    history: list[Step] = []
    device = run.hardware.device
    with on_stream(device, "opening"):
        inputs = run.images.of(job.pair)
        run.images.write_found_masks(job.pair, inputs, job.outputs.out_dir)
        _say_what_was_read(job, inputs)
        aligning = time.perf_counter()
        affine = None
        if device.type == "cuda":  # it has room for two pairs, and a CPU has none to spare
            with _numbers_needed():
                affine = find_affine(inputs, run.settings, device, _heard_by(history, progress))
    now = time.perf_counter()
    return OpenedPair(job, inputs, {**told, **left_out}, affine, tuple(history), now - began, now - aligning)


def solve_pair(opened: OpenedPair, run: Run, progress: PairProgress) -> SolvedPair:
    """Align and deform one pair, as the memory allows.

    Where a GPU runs out of memory all the same, as others may use it too, the pair is tried once more on it
    with all that was kept there given back, and then on the CPU.

    Raises
    ------
    DataError
        If there is nothing to register in the images.
    ShortOfMemoryError
        If there is too little memory for it in any way.
    """
    began = time.perf_counter()
    plan = plan_pair(opened.inputs, run.settings, run.hardware)
    history = list(opened.history)
    try:
        solution = _solution(opened, plan, run, _heard_by(history, progress))
    except torch.OutOfMemoryError as error:
        if run.hardware.device.type == "cpu" or plan.on_cpu:
            raise
        history = list(opened.history)
        plan, solution = _again(opened, plan, run, _heard_by(history, progress), str(error))
    if plan.told:
        LOG.warning("    %s.", plan.told)
    for remark in solution.remarks:
        LOG.warning("    %s.", remark)
    took = time.perf_counter() - began
    spent = opened.seconds + took
    return SolvedPair(opened, plan, solution, tuple(history), spent, opened.seconds_registration + took)


def close_pair(solved: SolvedPair, run: Run, progress: PairProgress) -> Status:
    """Write, measure and draw one pair; the sidecar that marks it as done comes last.

    Raises
    ------
    NodeRegError
        If an output cannot be written. A pair that failed is never taken for a finished one.
    """
    began = time.perf_counter()
    opened, solution = solved.opened, solved.solution
    job, inputs = opened.job, opened.inputs
    work = Work(job, inputs, solution, solved.plan.settings, run.hardware.threads)
    progress.stage("writing transforms and images")
    write_transforms(work)
    write_images(work)
    write_jacobian(work)
    progress.stage("measuring")
    judged = _judged(work, solved.plan, run)
    judged.measures.update(
        time_registration_s=solved.seconds_registration,
        time_total_s=solved.seconds + time.perf_counter() - began,
        memory_peak_mib=peak_memory_mib(),
        memory_peak_device_mib=peak_device_memory_mib(run.hardware),
    )
    outcome = with_doubts(verdict(judged.measures, limits_of(job.pair)), kind_of(job.pair), judged.measures)
    write_quality(job.outputs.qc_json, job.pair, judged.measures, outcome, _memory_told(solved.plan))
    progress.stage("drawing the report")
    present_pair(work, judged, outcome, solved.history, _provenance(solved, judged, run))
    progress.stage("writing the sidecars")
    write_sidecars(work, _details(solved, outcome, run))
    spent = solved.seconds + time.perf_counter() - began
    return Status(job.outputs.name, job.pair.moving.subject, "done", spent, outcome.status)


def _solution(opened: OpenedPair, plan: Plan, run: Run, heard: Callable[[Step], None]) -> Solution:
    device = _device(plan, run)
    with _numbers_needed(), on_stream(device, "solving"):
        return solve(opened.inputs, plan.settings, device, heard, opened.affine)


def _device(plan: Plan, run: Run) -> torch.device:
    return torch.device("cpu") if plan.on_cpu else run.hardware.device


def _again(
    opened: OpenedPair, plan: Plan, run: Run, heard: Callable[[Step], None], reason: str
) -> tuple[Plan, Solution]:
    """Once more on the GPU, and then on the CPU; with the plan that it came to."""
    LOG.warning("    The GPU is out of memory (%s). Trying once more.", reason)
    torch.cuda.empty_cache()
    with suppress(torch.OutOfMemoryError):
        return plan, _solution(opened, plan, run, heard)
    torch.cuda.empty_cache()
    plan = plan_on_cpu(opened.inputs, run.settings, run.hardware, "The GPU was out of memory twice")
    LOG.warning("    The GPU is out of memory again: the pair is done on the CPU.")
    return plan, _solution(opened, plan, run, heard)


@contextmanager
def _numbers_needed() -> Iterator[None]:
    """Images in which there is nothing to register are unusable data, and no fault."""
    try:
        yield
    except FloatingPointError as error:
        msg = f"{error}. Look at both images and their masks: is there anything in them?"
        raise DataError(msg) from error


def _heard_by(history: list[Step], progress: PairProgress) -> Callable[[Step], None]:
    """Keep every iteration, and tell it on."""

    def heard(step: Step) -> None:
        history.append(step)
        progress.step(step)

    return heard


def _judged(work: Work, plan: Plan, run: Run) -> Judgement:
    """Measures of the pair, and what another look at its images says."""
    judged = judge(work.job.pair, work.inputs, work.solution, work.job.truth, work.threads)
    freedom: Freedom = "rigid" if run.settings.transform == "rigid" else "affine"
    device = _device(plan, run)
    with on_stream(device, "closing"):
        judged.measures.update(doubt_measures(work.inputs, work.solution, freedom, device))
    return judged


def _provenance(solved: SolvedPair, judged: Judgement, run: Run) -> dict[str, str]:
    """What the report says of where the result came from."""
    told = {
        "Run": run.run_id,
        "Device": run.hardware.name,
        **{name: str(version) for name, version in software().items()},
        "Registration": f"{solved.seconds_registration:.1f} s",
        "Peak memory": f"{peak_memory_mib():.0f} MiB",
        **({"Memory": solved.plan.told} if solved.plan.told else {}),
    }
    if (parts := judged.arrays.affine_parts) is not None:
        told["Affine, seen from the headers"] = affine_words(parts)
    return told


def _memory_told(plan: Plan) -> dict[str, str]:
    """For the sidecar and the quality file: what is not as asked, as memory was short."""
    return {"MemoryPlan": plan.told} if plan.told else {}


def _details(solved: SolvedPair, outcome: Verdict, run: Run) -> dict[str, Any]:
    """What the forward sidecar says of the pair."""
    opened = solved.opened
    fixed, moving = opened.inputs.fixed, opened.inputs.moving
    return {
        **opened.told,
        **template_told(opened.job.pair),
        **_memory_told(solved.plan),
        "Settings": as_plain(solved.plan.settings),
        "Software": software(),
        "Device": run.hardware.name,
        "Threads": run.hardware.threads,
        "RunID": run.run_id,
        "Verdict": outcome.status,
        "SecondsRegistration": round(solved.seconds_registration, 2),
        "PeakMemoryMiB": round(peak_memory_mib()),
        "FixedMask": fixed.mask_origin,
        "MovingMask": moving.mask_origin,
        "HeaderNotes": [*fixed.volume.notes, *moving.volume.notes],
    }


def _say_what_was_read(job: Job, inputs: Inputs) -> None:
    """What a user has to know about the masks."""
    for prepared in (inputs.fixed, inputs.moving):
        if note := head_note(prepared):
            LOG.warning("    %s", note)
    lesions = {
        "fixed": (job.pair.fixed_lesion, inputs.fixed),
        "moving": (job.pair.moving_lesion, inputs.moving),
    }
    for role, (lesion, prepared) in lesions.items():
        if note := lesion_note(lesion, prepared):
            LOG.info("    %s image: %s", role, note)
