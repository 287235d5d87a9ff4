"""Show every candidate pair and why it was taken or left; write nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bids_nodereg.app.case_clashes import tell_cases
from bids_nodereg.app.jobs import chosen_participants, find_jobs, open_input, refuse_nothing
from bids_nodereg.app.preconditions import check_device, check_extras, check_may_write
from bids_nodereg.bids.candidates import candidate_table, candidates_as_json
from bids_nodereg.bids.output_dataset import check_output_folder
from bids_nodereg.plain_text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from bids_nodereg.config import RunConfig


def dry_run(config: RunConfig, console: Console) -> int:
    """Print the table of candidates and of files left out, or the same as JSON, to standard output.

    Raises
    ------
    NodeRegError
        If there is nothing to do, or a run would end before its first pair, for want of the device, of an
        extra or of an output folder: after the table has been printed.
    """
    dataset = open_input(config)
    participants = list(find_jobs(config, dataset, chosen_participants(config, dataset)))
    tell_cases(dataset, participants)
    candidates = [candidate for participant in participants for candidate in participant.candidates]
    left_out = [left for participant in participants for left in participant.left_out]
    if config.json_output:
        text = json.dumps(candidates_as_json(candidates, left_out), indent=2)
    else:
        jobs = [job for participant in participants for job in participant.jobs]
        composed = sum(bool(job.parts) for job in jobs)
        more = f", {composed} to compose" if composed else ""
        text = f"{candidate_table(candidates, left_out)}\n{len(jobs) - composed} pair(s) to register{more}.\n"
        text = printable(text)
    console.file.write(text + "\n")
    check_may_write(config.output_dir)
    check_output_folder(config.output_dir)
    if participants:  # else it is a part without anybody, which has nothing to do
        refuse_nothing(config, participants)
        check_device(config)
        check_extras(config)
    return 0
