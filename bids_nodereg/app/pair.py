"""One pair from files to files: the whole story in one function."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from bids_nodereg.app.device import peak_device_memory_mib
from bids_nodereg.app.doubts import doubt_measures
from bids_nodereg.app.extra_files import without_unreadable
from bids_nodereg.app.inputs import head_note, lesion_note
from bids_nodereg.app.judge import judge
from bids_nodereg.app.kinds import kind_of, limits_of
from bids_nodereg.app.present import present_pair
from bids_nodereg.app.provenance import peak_memory_mib, software
from bids_nodereg.app.stages import solve
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
    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.shared import Run
    from bids_nodereg.registration.affine import Freedom
    from bids_nodereg.registration.optimise import Step


LOG = logging.getLogger("nodereg")


def register_pair(job: Job, run: Run) -> Status:
    """Read, prepare, align, deform, measure, write and draw one pair.

    Raises
    ------
    NodeRegError
        If an input cannot be used or an output cannot be written. The sidecar that marks a pair as
        done is written last, so a pair that failed is never taken for a finished one.
    """
    began = time.perf_counter()
    history: list[Step] = []

    def heard(step: Step) -> None:
        history.append(step)
        run.progress.step(step)

    # The quality file goes too: the group level must not list a result that is being replaced.
    remove(job.outputs.forward_json)
    remove(job.outputs.qc_json)
    remove(report_data(job))
    remove(viewer_page(job))
    run.progress.stage("reading and preparing")
    identity = fingerprint(job, run.settings)
    job, left_out = without_unreadable(job)
    inputs = run.images.of(job.pair)
    run.images.write_found_masks(job.pair, inputs, job.outputs.out_dir)
    _say_what_was_read(job, inputs)
    solving = time.perf_counter()
    try:
        solution = solve(inputs, run.settings, run.hardware.device, heard)
    except FloatingPointError as error:
        msg = f"{error}. Look at both images and their masks: is there anything in them?"
        raise DataError(msg) from error
    solved = time.perf_counter()

    run.progress.stage("writing transforms and images")
    work = Work(job, inputs, solution, run.settings, run.hardware.threads)
    write_transforms(work)
    write_images(work)
    write_jacobian(work)
    run.progress.stage("measuring")
    judged = judge(job.pair, inputs, solution, job.truth, run.hardware.threads)
    freedom: Freedom = "rigid" if run.settings.transform == "rigid" else "affine"
    judged.measures.update(doubt_measures(inputs, solution, freedom, run.hardware.device))
    judged.measures.update(
        time_registration_s=solved - solving,
        time_total_s=time.perf_counter() - began,
        memory_peak_mib=peak_memory_mib(),
        memory_peak_device_mib=peak_device_memory_mib(run.hardware),
    )
    outcome = with_doubts(verdict(judged.measures, limits_of(job.pair)), kind_of(job.pair), judged.measures)
    write_quality(job.outputs.qc_json, job.pair, judged.measures, outcome)
    provenance = {
        "Run": run.run_id,
        "Device": run.hardware.name,
        **{name: str(version) for name, version in software().items()},
        "Registration": f"{solved - solving:.1f} s",
        "Peak memory": f"{peak_memory_mib():.0f} MiB",
    }
    if (parts := judged.arrays.affine_parts) is not None:
        provenance["Affine, seen from the headers"] = affine_words(parts)
    run.progress.stage("drawing the report")
    present_pair(work, judged, outcome, history, provenance)
    details = {
        **identity,
        **left_out,
        **template_told(job.pair),
        "Settings": as_plain(run.settings),
        "Software": software(),
        "Device": run.hardware.name,
        "Threads": run.hardware.threads,
        "RunID": run.run_id,
        "Verdict": outcome.status,
        "SecondsRegistration": round(solved - solving, 2),
        "PeakMemoryMiB": round(peak_memory_mib()),
        "FixedMask": inputs.fixed.mask_origin,
        "MovingMask": inputs.moving.mask_origin,
        "HeaderNotes": [*inputs.fixed.volume.notes, *inputs.moving.volume.notes],
    }
    write_sidecars(work, details)
    return Status(
        job.outputs.name, job.pair.moving.subject, "done", time.perf_counter() - began, outcome.status
    )


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
