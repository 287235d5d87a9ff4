"""The participant level: all pairs of all chosen participants, one after the other."""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_nodereg import __version__
from bids_nodereg.app.device import choose_hardware
from bids_nodereg.app.jobs import chosen_participants, find_jobs, open_input, refuse_nothing
from bids_nodereg.app.log import log_to_file
from bids_nodereg.app.pair import register_pair
from bids_nodereg.app.present import methods_facts, write_report
from bids_nodereg.app.progress import open_progress
from bids_nodereg.app.provenance import new_run_id
from bids_nodereg.app.status import NOT_YET, Status, why_not_done, write_status
from bids_nodereg.app.validate import validate_input
from bids_nodereg.bids.output_dataset import check_output_folder, write_dataset_files
from bids_nodereg.config import as_toml
from bids_nodereg.errors import NodeRegError
from bids_nodereg.files import write_text
from bids_nodereg.quality.methods import methods_markdown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from bids_nodereg.app.device import Hardware
    from bids_nodereg.app.jobs import Job, Participant
    from bids_nodereg.app.progress import Progress
    from bids_nodereg.bids.dataset import Dataset
    from bids_nodereg.config import RunConfig

LOG = logging.getLogger("nodereg")


def run_participants(config: RunConfig, console: Console) -> int:
    """Register every pair; returns the exit code.

    A pair that fails is recorded and does not stop the others, unless `fail_fast`.

    Raises
    ------
    NodeRegError
        If the input, the selection or the output folder cannot be used at all.
    """
    dataset = open_input(config)
    # Only a run over the whole data set validates it: ten thousand array tasks must not.
    if not config.skip_bids_validation and not config.selection.participant_label:
        validate_input(config.bids_dir)
    check_output_folder(config.output_dir)
    participants = list(find_jobs(config, dataset, chosen_participants(config, dataset)))
    refuse_nothing(config, participants)
    hardware = choose_hardware(config.resources)
    run_id = new_run_id()
    folder = config.output_dir / "logs" / run_id
    with log_to_file(folder / "run.log"):
        LOG.info("nodereg %s, run %s", __version__, run_id)
        write_text(folder / "config.toml", as_toml(config, nodereg_version=__version__, run_id=run_id))
        _write_dataset_level(config, dataset, participants)
        if config.boilerplate_only:
            LOG.info("Methods text: %s", config.output_dir / "logs" / "CITATION.md")
            return 0
        if config.reports_only:
            return _reports_only(participants, run_id)
        LOG.info("Device: %s", hardware.name)
        if hardware.note:
            LOG.warning(hardware.note)
        return _register_all(config, participants, Run(run_id, folder, hardware), console)


@dataclass(frozen=True)
class Run:
    """What all pairs of a run share."""

    run_id: str
    folder: Path
    """Of its log, configuration and status files."""
    hardware: Hardware


def _register_all(config: RunConfig, participants: Sequence[Participant], run: Run, console: Console) -> int:
    count = sum(len(participant.jobs) for participant in participants)
    statuses: list[Status] = []
    with open_progress(console) as progress:
        for participant in participants:
            if participant.message:
                LOG.warning(participant.message)
            mine: list[Status] = []
            for job in participant.jobs:
                progress.start_pair(job.title, len(statuses) + len(mine) + 1, count)
                mine.append(_one(job, config, run, progress))
                write_status(run.folder, mine[-1])
                if config.fail_fast and mine[-1].status == "failed":
                    break
            if participant.jobs and not _has_report(participant, mine):
                _write_page(participant, mine, run.run_id)
            statuses += mine
            if config.fail_fast and any(status.status == "failed" for status in mine):
                break
    return _summary(statuses, count, config)


def _one(job: Job, config: RunConfig, run: Run, progress: Progress) -> Status:
    """Register one pair unless it is done; an error becomes a status."""
    name, subject = job.outputs.name, job.pair.moving.subject
    began = time.perf_counter()
    try:
        reason = "--force" if config.force else why_not_done(job, config.settings)
        if not reason:
            LOG.info("    already done")
            return Status(name, subject, "already done")
        LOG.log(logging.DEBUG if reason == NOT_YET else logging.INFO, "    to do: %s", reason)
        status = register_pair(job, config.settings, run.hardware, run.run_id, progress)
    except NodeRegError as error:
        LOG.error("    %s failed: %s", name, error)  # noqa: TRY400 - the message is for the user, no traceback
        return Status(name, subject, "failed", time.perf_counter() - began, "", str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other pairs must go on
        LOG.error("    %s failed by a fault of nodereg: %s: %s", name, type(error).__name__, error)  # noqa: TRY400
        LOG.debug(traceback.format_exc())
        reason = (
            f"{type(error).__name__}: {error}. This is a fault of nodereg: please report it with run.log."
        )
        return Status(name, subject, "failed", time.perf_counter() - began, "", reason, 1)
    LOG.info("    done in %.0f s, quality: %s", status.seconds, status.verdict)
    return status


def _write_page(participant: Participant, statuses: Sequence[Status], run_id: str) -> None:
    """Write a participant's page; a page that cannot be made does not stop the others."""
    page = participant.jobs[0].outputs.report_html
    try:
        write_report(participant.subject, participant.jobs, statuses, run_id)
        LOG.info("Report: %s", page)
    except NodeRegError as error:
        LOG.error("Report %s could not be written: %s", page, error)  # noqa: TRY400


def _has_report(participant: Participant, statuses: Sequence[Status]) -> bool:
    """Whether the page is there and nothing has happened that it does not tell."""
    is_quiet = all(status.status == "already done" for status in statuses)
    return is_quiet and participant.jobs[0].outputs.report_html.is_file()


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
    codes = {status.exit_code for status in failed}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 and len(failed) == count else 1


def _reports_only(participants: Sequence[Participant], run_id: str) -> int:
    for participant in participants:
        if participant.jobs:
            _write_page(participant, (), run_id)
    return 0


def _write_dataset_level(config: RunConfig, dataset: Dataset, participants: Sequence[Participant]) -> None:
    """Files of the whole output data set, and the methods text."""
    jobs = [job for participant in participants for job in participant.jobs]
    descriptions = {
        job.outputs.carried_desc(
            label_map.desc
        ): f"{label_map.desc} labels of the {job.pair.moving.suffix} image"
        for job in jobs
        for label_map in job.pair.moving_dseg
    }
    write_dataset_files(dataset, config.output_dir, version=__version__, descriptions=descriptions)
    pairs = [job.pair for job in jobs]
    facts = methods_facts(
        config.settings, [pair.fixed for pair in pairs], [pair.moving for pair in pairs], pairs=pairs
    )
    write_text(config.output_dir / "logs" / "CITATION.md", methods_markdown(facts))
