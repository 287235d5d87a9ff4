"""Write images of a finished pair on one more grid of its template; nothing is searched again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from bids_nodereg.app.stages import Solution, common_grid
from bids_nodereg.app.status import Status
from bids_nodereg.app.write import Work, write_images
from bids_nodereg.imaging.transforms import read_composite_h5

if TYPE_CHECKING:
    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.shared import Run


def resample_pair(job: Job, run: Run) -> Status:
    """Pull the images of a pair through the map that an earlier run wrote, onto every grid asked for.

    Raises
    ------
    NodeRegError
        If an input or the map cannot be read, or an output cannot be written.
    """
    began = time.perf_counter()
    run.progress.stage("reading")
    inputs = run.images.of(job.pair)
    forward, inverse = (read_composite_h5(path) for path in (job.outputs.forward_h5, job.outputs.inverse_h5))
    grid = common_grid(inputs.fixed, run.settings) if forward.field is None else forward.field.grid
    run.progress.stage("writing images")
    solution = Solution(grid, forward.affine, forward, inverse)
    write_images(Work(job, inputs, solution, run.settings, run.hardware.threads))
    verdict = json.loads(job.outputs.qc_json.read_text(encoding="utf-8"))["Verdict"]
    seconds = time.perf_counter() - began
    return Status(job.outputs.name, job.pair.moving.subject, "done", seconds, verdict)
