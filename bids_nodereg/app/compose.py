"""One pair whose map is put together from two that were found before, and the image pulled through once.

The moving image was registered onto another image of the participant, and that one onto the template.
With ``f`` from points of the image between to the moving image, and ``g`` from points of the template to
the image between, the whole map is ``f(g(x))``, and its inverse the two inverses the other way round.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_nodereg.app.extra_files import remove_stale, without_unreadable
from bids_nodereg.app.gate import kept_verdict
from bids_nodereg.app.judge import judge
from bids_nodereg.app.kinds import limits_of
from bids_nodereg.app.present import present_pair
from bids_nodereg.app.provenance import peak_memory_mib, software
from bids_nodereg.app.stages import Solution, common_grid
from bids_nodereg.app.status import Status, fingerprint, record_of, report_data, why_not_done
from bids_nodereg.app.velocity_files import write_velocity
from bids_nodereg.app.viewer import viewer_page
from bids_nodereg.app.write import Work, write_images, write_quality
from bids_nodereg.bids.sidecars import template_told, transform_sidecar
from bids_nodereg.config import as_plain
from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.files import remove, write_json
from bids_nodereg.imaging.chain import Chain, sample_displacement
from bids_nodereg.imaging.chain_files import read_chain
from bids_nodereg.imaging.maps import DisplacementField, forward_map, inverse_map
from bids_nodereg.imaging.transforms import write_composite_h5
from bids_nodereg.quality.verdict import verdict, with_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.progress import PairProgress
    from bids_nodereg.app.shared import Run
    from bids_nodereg.config import Settings


def compose_pair(job: Job, run: Run, progress: PairProgress) -> Status:
    """Put the two maps of a job together, pull the image and its labels through, measure, and draw.

    Raises
    ------
    NodeRegError
        If one of the two maps is not there, an input cannot be used or an output cannot be written.
    """
    began = time.perf_counter()
    _check_parts(job, run.settings)
    progress.stage("composing")
    identity = fingerprint(job, run.settings)
    job, left_out = without_unreadable(job)
    forward, inverse = compose(job)
    for path in (job.outputs.forward_json, job.outputs.qc_json, report_data(job), viewer_page(job)):
        remove(path)
    for path in job.outputs.searched_only:  # of the day when this map was searched
        remove(path)
    write_velocity(job.pair, job.outputs, ())
    inputs = run.images.of(job.pair)
    solution = as_solution(forward, inverse, inputs, run.settings, run.hardware.threads)
    work = Work(job, inputs, solution, run.settings, run.hardware.threads, chain=forward)
    progress.stage("writing transforms and images")
    remove_stale(job.pair, job.outputs)
    write_composite_h5(job.outputs.forward_h5, forward)
    write_composite_h5(job.outputs.inverse_h5, inverse)
    write_images(work)
    progress.stage("measuring")
    judged = judge(job.pair, inputs, solution, None, run.hardware.threads)
    judged.measures.update(time_total_s=time.perf_counter() - began, memory_peak_mib=peak_memory_mib())
    outcome = with_parts(
        verdict(judged.measures, limits_of(job.pair)),
        {part.outputs.name: kept_verdict(part) for part in job.parts},
    )
    write_quality(job.outputs.qc_json, job.pair, judged.measures, outcome)
    provenance = {
        "Run": run.run_id,
        "Composed of": " and ".join(part.outputs.forward_h5.name for part in job.parts),
        **{name: str(version) for name, version in software().items()},
    }
    progress.stage("drawing the report")
    present_pair(work, judged, outcome, [], provenance)
    details = {
        **identity,
        **left_out,
        **template_told(job.pair),
        "Settings": as_plain(run.settings),
        "Software": software(),
        "RunID": run.run_id,
        "Verdict": outcome.status,
    }
    _write_sidecars(job, forward, details, run.settings)
    seconds = time.perf_counter() - began
    return Status(job.outputs.name, job.pair.moving.subject, "done", seconds, outcome.status)


def compose(job: Job) -> tuple[Chain, Chain]:
    """Read the maps of both parts and give the whole one and its inverse.

    Returns
    -------
    forward, inverse
        Template to moving points and back, RAS+ mm; nothing is interpolated to make them.

    Raises
    ------
    DataError
        If one of the maps is damaged.
    ShortOfMemoryError
        If the process that reads one was killed from outside.
    """
    first, second = (part.outputs for part in job.parts)
    try:
        forward = read_chain([second.forward_h5, first.forward_h5])  # acts on a point of the template first
        inverse = read_chain([first.inverse_h5, second.inverse_h5])
    except (DataError, MissingInputError) as error:
        names = " and ".join(part.outputs.name for part in job.parts)
        msg = f"{error} {job.outputs.name} is composed of {names}: run with --force to make all of them anew."
        raise DataError(msg) from error
    return forward, inverse


def as_solution(forward: Chain, inverse: Chain, inputs: Inputs, settings: Settings, threads: int) -> Solution:
    """Sample a composed map as one affine and one displacement, for measures and pictures.

    With ``A`` the product of the affines, ``u(x) = A^-1 forward(x) - x`` and ``w(z) = inverse(A z) - z``
    are sampled on the template's working grid (:mod:`bids_nodereg.imaging.maps`).
    """
    affine = forward.affine
    grid = common_grid(inputs.fixed, settings)
    if not any(isinstance(part, DisplacementField) for part in forward.parts):
        return Solution(grid, affine, forward_map(affine), inverse_map(affine))
    undo = np.asarray(np.linalg.inv(affine), np.float64)
    there = sample_displacement(Chain((*forward.parts, undo)), grid, threads=threads)
    back = sample_displacement(Chain((affine, *inverse.parts)), grid, threads=threads)
    return Solution(grid, affine, forward_map(affine, there), inverse_map(affine, back))


def _check_parts(job: Job, settings: Settings) -> None:
    """Refuse to compose what is not there, or not what this run would make."""
    names = [part.outputs.name for part in job.parts]
    for part in job.parts:
        reason = why_not_done(part, settings)
        if reason:
            msg = (
                f"{job.outputs.name} is composed of {' and '.join(names)}, and {part.outputs.name} has no "
                f"result ({reason}). The log says why it failed; mend that and run again."
            )
            raise DataError(msg)


def _what_it_is(chain: Chain) -> str:
    """Say what a composition is made of: ``composition of 2 affines and 1 displacement field``."""
    fields = sum(isinstance(part, DisplacementField) for part in chain.parts)
    counts = {"affine": len(chain.parts) - fields, "displacement field": fields}
    words = [f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count]
    return f"composition of {' and '.join(words)}"


def _write_sidecars(job: Job, forward: Chain, details: Mapping[str, Any], settings: Settings) -> None:
    """Sidecars of both transforms; the forward one is the last file and says that the pair is done."""
    pair, out = job.pair, job.outputs
    for inverse in (True, False):
        used = [part.outputs.inverse_h5 if inverse else part.outputs.forward_h5 for part in job.parts]
        shared = {"Type": _what_it_is(forward)}
        told = shared if inverse else {**shared, **details, **record_of(job, settings)}
        sidecar = transform_sidecar(pair, out, inverse=inverse, details=told)
        sidecar["Sources"] += [out.uri(path) for path in used]
        write_json(out.inverse_json if inverse else out.forward_json, sidecar)
