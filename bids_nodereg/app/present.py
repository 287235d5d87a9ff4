"""What the report says of a pair and of a run: from results to the records of `quality`."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel

from bids_nodereg import __version__
from bids_nodereg.app.facts import VELOCITY_WORDS, methods_facts
from bids_nodereg.app.inputs import lesion_note
from bids_nodereg.app.status import REPORT_DATA, report_data
from bids_nodereg.app.viewer import VIEWER
from bids_nodereg.errors import DataError
from bids_nodereg.files import write_json
from bids_nodereg.json_files import read_json
from bids_nodereg.quality.figures.charts import Trace
from bids_nodereg.quality.figures.pair import FigureNames, draw_pair
from bids_nodereg.quality.methods import by_settings
from bids_nodereg.quality.records import (
    FailedPair,
    InputImage,
    OutputFiles,
    PairReport,
    from_json,
    to_json,
)
from bids_nodereg.quality.report import render_subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.judge import Judgement
    from bids_nodereg.app.status import Status
    from bids_nodereg.app.write import Work
    from bids_nodereg.bids.image import Image, LabelMap, SideFile
    from bids_nodereg.config import Settings
    from bids_nodereg.imaging.prepare import Prepared
    from bids_nodereg.quality.records import MethodsFacts
    from bids_nodereg.quality.verdict import Verdict
    from bids_nodereg.registration.optimise import Step
    from bids_nodereg.registration.settings import CaptureSettings, RegistrationSettings

LOG = logging.getLogger("nodereg")


def present_pair(
    work: Work, judged: Judgement, verdict: Verdict, history: Sequence[Step], provenance: Mapping[str, str]
) -> PairReport:
    """Draw the figures of a pair and keep its section of the report as JSON beside them."""
    pair, out = work.job.pair, work.job.outputs
    names = FigureNames(out.figures_dir, out.name, out.moving_suffix)
    figures = draw_pair(judged.arrays, names, trace_of(history, work.settings))
    report = PairReport(
        key=out.name.replace("_", "-"),
        title=_title(work.job),
        rule=pair.rule,
        fixed=_input(pair.fixed, work.inputs.fixed, pair.fixed_dseg, pair.fixed_lesion),
        moving=_input(pair.moving, work.inputs.moving, pair.moving_dseg, pair.moving_lesion),
        measures=judged.measures,
        verdict=verdict,
        figures={name: path.relative_to(out.out_dir).as_posix() for name, path in figures.items()},
        outputs=_outputs(work),
        facts=replace(
            methods_facts(work.settings, [pair], work.inputs),
            spacing_mm=round(work.solution.grid.spacing[0], 4),
        ),
        labels_before=judged.labels_before,
        labels_after=judged.labels_after,
        settings=_settings_words(work.settings, work.solution.grid.spacing[0]),
        provenance=dict(provenance),
    )
    write_json(report_data(work.job), to_json(report))
    return report


def write_report(subject: str, jobs: Sequence[Job], statuses: Sequence[Status], run_id: str) -> None:
    """Write the page of one subject from what its pairs left beside their figures.

    Raises
    ------
    DataError
        If there is nothing to show.
    NodeRegError
        If a figure is not there or the page cannot be written.
    """
    failed_names = {status.pair: status for status in statuses if status.status == "failed"}
    failed = [
        _failed(job, failed_names[job.outputs.name], run_id)
        for job in jobs
        if job.outputs.name in failed_names
    ]
    kept = sections_of(jobs)
    pairs = [pair for pair in map(_kept_pair, kept) if pair is not None]
    if not pairs and not failed:
        folder = jobs[0].outputs.figures_dir
        msg = f"{folder}: none of {len(kept)} *{REPORT_DATA} can be shown. Register with --force."
        raise DataError(msg)
    page = jobs[0].outputs.report_html
    render_subject(f"sub-{subject}", pairs, page, version=__version__, failed=failed, run=run_id)


def kept_facts(jobs: Iterable[Job]) -> list[MethodsFacts]:
    """What was done to the pairs that are registered, once for each set of settings."""
    pairs = (_kept_pair(path) for path in map(report_data, jobs) if path.is_file())
    return by_settings(pair.facts for pair in pairs if pair is not None)


def sections_of(jobs: Sequence[Job]) -> list[Path]:
    """Sections of the page of one subject, each with the data of a registered pair.

    Pairs of earlier runs stay on the page: another session or another pairs file must not remove them.
    """
    return sorted(jobs[0].outputs.figures_dir.glob(f"*{REPORT_DATA}"))


def _kept_pair(path: Path) -> PairReport | None:
    """Section of an earlier pair; one that is damaged or of another version is left out with a warning."""
    try:
        pair = from_json(read_json(path, is_ours=True))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        LOG.warning("%s cannot be shown (%s): register that pair again with --force.", path, error)
        return None
    viewer = path.with_name(path.name.removesuffix(REPORT_DATA) + VIEWER)
    address = viewer.relative_to(path.parents[2]).as_posix()
    return replace(pair, viewer=address if viewer.is_file() else "")


def _similarity_words(registration: RegistrationSettings) -> str:
    """What was compared, in a few words for the table of settings."""
    information = registration.descriptor.added_information
    added = f" + {information:g} local mutual information" if information > 0 else ""
    return f"{registration.descriptor.name}{added}{', both ways' if registration.symmetric else ''}"


def trace_of(history: Sequence[Step], settings: Settings) -> Trace | None:
    """The deformable part of the history as weighted terms, with the first iteration of each level."""
    steps = [step for step in history if step.stage == "deformable"]
    if not steps:
        return None
    weights = settings.registration.weights
    levels = [
        (index, f"level {step.level} of {step.levels}")
        for index, step in enumerate(steps)
        if step.iteration == 1
    ]
    terms = {
        "similarity": [step.similarity for step in steps],
        "folding barrier": [weights.folding * step.folding for step in steps],
        "gradient": [weights.gradient * step.gradient for step in steps],
        "magnitude": [weights.magnitude * step.magnitude for step in steps],
    }
    return Trace(
        [step.loss for step in steps], {name: row for name, row in terms.items() if any(row)}, levels
    )


def _input(
    image: Image, prepared: Prepared, labels: Sequence[LabelMap], lesion: SideFile | None
) -> InputImage:
    grid = prepared.volume.grid
    masks = (prepared.mask_origin, lesion_note(lesion, prepared))
    return InputImage(
        path=image.relative,
        contrast=image.suffix,
        shape=grid.shape,
        spacing_mm=grid.spacing,
        orientation="".join(nibabel.aff2axcodes(grid.affine)),
        mask_origin="; ".join(filter(None, masks)),
        labels=", ".join(label_map.path.name for label_map in labels),
        notes=prepared.volume.notes,
    )


def _outputs(work: Work) -> OutputFiles:
    out = work.job.outputs
    has_parts = not work.job.parts  # a composed map is one file only
    deformed = has_parts and work.solution.forward.field is not None
    return OutputFiles(
        forward=out.forward_h5.relative_to(out.out_dir).as_posix(),
        inverse=out.inverse_h5.relative_to(out.out_dir).as_posix(),
        affine=out.affine_txt.relative_to(out.out_dir).as_posix() if has_parts else "",
        warp=out.warp_nii.relative_to(out.out_dir).as_posix() if deformed else "",
        warped=out.warped_nii.relative_to(out.out_dir).as_posix(),
    )


def _title(job: Job) -> str:
    """The pair in words, with what tells the moving image from others of its contrast."""
    entities = [f"{key}-{value}" for key, value in job.outputs.lead if key != "sub"]
    described = f" ({' '.join(entities)})" if entities else ""
    return f"{job.outputs.from_label}{described} onto {job.outputs.to_label}"


def _failed(job: Job, status: Status, run_id: str) -> FailedPair:
    return FailedPair(
        key=job.outputs.name.replace("_", "-"),
        title=_title(job),
        fixed=job.pair.fixed.relative,
        moving=job.pair.moving.relative,
        error=status.error,
        log=f"logs/{run_id}/run.log",
    )


def _settings_words(settings: Settings, spacing_mm: float) -> dict[str, str]:
    registration = settings.registration
    weights = registration.weights
    levels = ", ".join(
        f"{spacing_mm * level.shrink:.3g} mm x {level.iterations}" for level in registration.levels
    )
    return {
        "Transform": settings.transform,
        "Working resolution": f"{spacing_mm:.3g} mm",
        "Similarity": _similarity_words(registration),
        "Search before the first level": _capture_words(registration.capture, spacing_mm),
        "Velocity field": VELOCITY_WORDS[registration.velocity.name]
        + (f", {parts} parts of the time" if (parts := registration.velocity.time_parts) > 1 else ""),
        "Solver": f"{registration.solver.scheme}, {registration.solver.steps} steps, gradient by "
        f"{registration.solver.gradient}",
        "Levels and most iterations": levels,
        "Folding barrier": f"weight {weights.folding:g}, epsilon {weights.folding_epsilon:g}",
        "Smoothness": f"weight {weights.gradient:g} on the gradient of the {weights.gradient_of}, "
        f"{weights.magnitude:g} on its magnitude; {weights.spatial} in space",
        "Learning rate": f"{registration.rate:g}",
        "Seed": str(registration.seed),
    }


def _capture_words(capture: CaptureSettings, spacing_mm: float) -> str:
    reach_mm = capture.reach * capture.shrink * spacing_mm
    return f"displacements of up to {reach_mm:.3g} mm along each axis" if capture.reach > 0 else "none"
