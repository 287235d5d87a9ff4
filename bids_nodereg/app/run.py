"""The participant level: all pairs of all chosen participants."""

from __future__ import annotations

import logging
from threading import Event
from typing import TYPE_CHECKING

from bids_nodereg import __version__
from bids_nodereg.app.begun import Begun
from bids_nodereg.app.case_clashes import refuse_clash_on_disk, tell_cases
from bids_nodereg.app.claims import Claims
from bids_nodereg.app.device import own_hardware
from bids_nodereg.app.executors import executors_of
from bids_nodereg.app.extras import labels_used
from bids_nodereg.app.facts import methods_facts
from bids_nodereg.app.gate import EXIT_CODE, kept_verdict, refused
from bids_nodereg.app.gpus import with_gpus
from bids_nodereg.app.images import PreparedImages, room_of
from bids_nodereg.app.jobs import chosen_participants, find_jobs, open_input, refuse_nothing
from bids_nodereg.app.leftovers import clear_leftovers
from bids_nodereg.app.limits import TimeLimit, process_age_s
from bids_nodereg.app.log import log_to_file
from bids_nodereg.app.pages import Pages, is_registered, write_pages
from bids_nodereg.app.preconditions import check_extras, check_may_write
from bids_nodereg.app.present import kept_facts
from bids_nodereg.app.progress import open_progress
from bids_nodereg.app.provenance import new_run_id
from bids_nodereg.app.rounds import register_all
from bids_nodereg.app.shared import Run
from bids_nodereg.app.status import Status, report_data, why_not_done
from bids_nodereg.app.validate import validate_input
from bids_nodereg.bids.inside import refuse_links_out
from bids_nodereg.bids.output_dataset import check_output_folder, dataset_link, write_dataset_files
from bids_nodereg.bids.templates import TEMPLATEFLOW_LINK
from bids_nodereg.config import as_toml
from bids_nodereg.errors import MissingInputError, TemporaryError
from bids_nodereg.files import write_text
from bids_nodereg.plain_text import first_of
from bids_nodereg.quality.methods import methods_markdown
from bids_nodereg.quality.viewer import viewer_library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bids_nodereg.app.device import Hardware
    from bids_nodereg.app.jobs import Participant
    from bids_nodereg.bids.dataset import Dataset
    from bids_nodereg.config import RunConfig

LOG = logging.getLogger("nodereg")

MOST_NAMED = 10
"""Most pairs that the last lines name for what is doubtful in them."""


def run_participants(config: RunConfig, console: Console) -> int:
    """Register every pair; returns the exit code.

    A pair that fails is recorded and does not stop the others, unless `fail_fast`.

    Raises
    ------
    NodeRegError
        If the input, the selection or the output folder cannot be used at all.
    """
    limit = TimeLimit(config.resources.time_limit_s, process_age_s())
    dataset = open_input(config)
    # Only a run over the whole data set validates it: ten thousand array tasks must not.
    whole = not config.selection.participant_label and config.selection.shard == (1, 1)
    if whole and not config.skip_bids_validation:
        validate_input(config.bids_dir)
    check_may_write(config.output_dir)
    check_output_folder(config.output_dir)
    participants = list(find_jobs(config, dataset, chosen_participants(config, dataset)))
    if not participants:
        return 0
    refuse_nothing(config, participants)
    config, gpus = with_gpus(config)
    hardware = own_hardware(config.resources)
    check_extras(config)
    library = viewer_library() if config.interactive_report else ""
    run_id = new_run_id()
    pages = Pages(run_id, hardware.threads, library)
    folder = config.output_dir / "logs" / run_id
    refuse_links_out(config.output_dir, [folder])
    with log_to_file(folder / "run.log"):
        LOG.info("nodereg %s, run %s", __version__, run_id)
        write_text(folder / "config.toml", as_toml(config, nodereg_version=__version__, run_id=run_id))
        clashing = tell_cases(dataset, participants)
        _write_dataset_level(config, dataset, participants)
        refuse_clash_on_disk(clashing, config.output_dir)
        _write_citation(config, participants)
        if config.boilerplate_only:
            LOG.info("Methods text: %s", config.output_dir / "logs" / "CITATION.md")
            return 0
        if config.reports_only:
            return _reports_only(config, participants, pages)
        _tell(hardware, config.resources.n_procs, gpus, participants)
        clear_leftovers(participants, config.output_dir)
        images = PreparedImages(config.settings, hardware.device, room_of(hardware))
        claims, begun = Claims(config.output_dir), Begun(config.output_dir, run_id)
        with open_progress(console) as progress, claims, begun:
            run = Run(run_id, folder, config.settings, hardware, images, pages, Event(), claims, begun, limit)
            execute, apart = executors_of(config, run, progress, gpus)
            statuses, page_codes = register_all(config, participants, run, execute, apart)
        _write_citation(config, participants)
        count = sum(len(participant.jobs) for participant in participants)
        code = _summary(statuses, count, config) or _one_code(page_codes)
        if limit.is_reached and _is_any_left(participants, statuses, config):
            left = count - len(statuses)
            LOG.warning("Time limit: %d pair(s) were not begun. Run the same command again to go on.", left)
            return TemporaryError.exit_code
        return code


def _is_any_left(participants: Sequence[Participant], statuses: Sequence[Status], config: RunConfig) -> bool:
    """Whether a pair that was not begun for want of time is still to do; looks at no more after one."""
    ended = {status.pair for status in statuses}
    jobs = (job for participant in participants for job in participant.jobs if job.outputs.name not in ended)
    return any(config.force or why_not_done(job, config.settings) for job in jobs)


def _tell(hardware: Hardware, n_procs: int, gpus: Sequence[str], participants: Sequence[Participant]) -> None:
    """Say what the run computes on, and which participants have no pair or images that cannot be used."""
    LOG.info("Device: %s", hardware.name)
    if hardware.note:
        LOG.warning(hardware.note)
    if gpus:
        LOG.info("%d process(es) on the GPUs %s", n_procs, ", ".join(gpus))
    for participant in participants:
        if participant.message:
            LOG.warning(participant.message)


def _summary(statuses: Sequence[Status], count: int, config: RunConfig) -> int:
    """Say how the run ended and choose the exit code: that of the failures when they agree, else 1."""
    failed = [status for status in statuses if status.status == "failed"]
    done = sum(status.status == "done" for status in statuses)
    before = sum(status.status == "already done" for status in statuses)
    LOG.info(
        "%d of %d pair(s) registered, %d already done, %d failed. Results: %s",
        done,
        count,
        before,
        len(failed),
        config.output_dir,
    )
    if failed:
        LOG.error("Failed: %s", ", ".join(status.pair for status in failed))
    if doubtful := refused(statuses, "check"):
        LOG.info("To look at, for the reasons in the reports: %s", first_of(doubtful, MOST_NAMED))
    if any(status.trouble == "device lost" for status in failed):
        return TemporaryError.exit_code
    refusal = _refuse(statuses, config)
    codes = {status.exit_code for status in failed}
    if not codes:
        return refusal
    return codes.pop() if len(codes) == 1 and len(failed) == count else 1


def _refuse(statuses: Sequence[Status], config: RunConfig) -> int:
    """Say which pairs `--fail-on-qc` refuses; the exit code."""
    flagged = refused(statuses, config.fail_on_qc)
    if flagged:
        LOG.error("Refused by --fail-on-qc %s, outputs kept: %s", config.fail_on_qc, ", ".join(flagged))
    return EXIT_CODE if flagged else 0


def _one_code(codes: set[int]) -> int:
    """Exit code of several: that of the failures where they agree, else 1."""
    failures = codes - {0}
    return max(failures, default=0) if len(failures) < 2 else 1


def _reports_only(config: RunConfig, participants: Sequence[Participant], pages: Pages) -> int:
    """Write the pages again; returns the exit code.

    Raises
    ------
    MissingInputError
        If no participant has a registered pair.
    """
    registered = [participant for participant in participants if is_registered(participant)]
    if not registered:
        msg = f"{config.output_dir}: no registered pair to report. Run without --reports-only first."
        raise MissingInputError(msg)
    known = {participant.subject for participant in registered}
    for subject in (participant.subject for participant in participants if participant.subject not in known):
        LOG.warning("sub-%s has no registered pair: no report.", subject)
    codes = {write_pages(participant, (), pages, anyway=True) for participant in registered}
    statuses = [
        Status(job.outputs.name, job.pair.moving.subject, "already done", verdict=kept_verdict(job))
        for participant in registered
        for job in participant.jobs
        if report_data(job).is_file()  # a pair that is not registered yet has no verdict to refuse
    ]
    return _refuse(statuses, config) or _one_code(codes)


def _write_dataset_level(config: RunConfig, dataset: Dataset, participants: Sequence[Participant]) -> None:
    """Files of the whole output data set, and the methods text."""
    jobs = [job for participant in participants for job in participant.jobs]
    links = {
        template.dataset: dataset_link(template.folder, config.output_dir)
        if template.folder is not None
        else TEMPLATEFLOW_LINK
        for participant in participants
        for template in participant.templates
    }
    write_dataset_files(
        dataset,
        config.output_dir,
        version=__version__,
        descriptions=labels_used(jobs, config.settings),
        links=links,
    )


def _write_citation(config: RunConfig, participants: Sequence[Participant]) -> None:
    """Write the methods text: of what was done, or where nothing is registered of what is asked for."""
    jobs = [job for participant in participants for job in participant.jobs]
    facts = kept_facts(jobs) or [methods_facts(config.settings, [job.pair for job in jobs])]
    write_text(config.output_dir / "logs" / "CITATION.md", methods_markdown(facts))
