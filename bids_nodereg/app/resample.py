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
    from bids_nodereg.app.device import Hardware
    from bids_nodereg.app.images import PreparedImages
    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.progress import Progress
    from bids_nodereg.config import Settings


def resample_pair(
    job: Job,
    settings: Settings,
    hardware: Hardware,
    _run_id: str,
    progress: Progress,
    images: PreparedImages,
) -> Status:
    """Pull the images of a pair through the map that an earlier run wrote, onto every grid asked for.

    Raises
    ------
    NodeRegError
        If an input or the map cannot be read, or an output cannot be written.
    """
    began = time.perf_counter()
    progress.stage("reading")
    inputs = images.of(job.pair)
    forward, inverse = (read_composite_h5(path) for path in (job.outputs.forward_h5, job.outputs.inverse_h5))
    grid = common_grid(inputs.fixed, settings) if forward.field is None else forward.field.grid
    progress.stage("writing images")
    solution = Solution(grid, forward.affine, forward, inverse)
    write_images(Work(job, inputs, solution, settings, hardware.threads))
    verdict = json.loads(job.outputs.qc_json.read_text(encoding="utf-8"))["Verdict"]
    seconds = time.perf_counter() - began
    return Status(job.outputs.name, job.pair.moving.subject, "done", seconds, verdict)
