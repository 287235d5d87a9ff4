"""Write images of a finished pair on other grids of its template; nothing is searched again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bids_nodereg.app.extra_files import without_unreadable
from bids_nodereg.app.stages import Solution, common_grid
from bids_nodereg.app.status import GRIDS, Status, grid_digests, record_of
from bids_nodereg.app.write import Work, write_images
from bids_nodereg.errors import DataError
from bids_nodereg.files import write_json
from bids_nodereg.imaging.transforms import read_composite_h5
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.progress import PairProgress
    from bids_nodereg.app.shared import Run


def resample_pair(job: Job, run: Run, progress: PairProgress) -> Status:
    """Pull the images of a pair through the map that an earlier run wrote, onto every grid asked for.

    Raises
    ------
    NodeRegError
        If an input or the map cannot be read, or an output cannot be written.
    """
    began = time.perf_counter()
    out, digests = job.outputs, grid_digests(job)
    progress.stage("reading")
    inputs = run.images.of(job.pair)
    forward, inverse = (read_composite_h5(path) for path in (out.forward_h5, out.inverse_h5))
    grid = common_grid(inputs.fixed, run.settings) if forward.field is None else forward.field.grid
    progress.stage("writing images")
    solution = Solution(grid, forward.affine, forward, inverse)
    readable, _ = without_unreadable(job)
    write_images(Work(readable, inputs, solution, run.settings, run.hardware.threads))
    sidecar = _kept(out.forward_json)
    told = {GRIDS: {**sidecar.get(GRIDS, {}), **digests}, **record_of(readable, run.settings)}
    write_json(out.forward_json, {**sidecar, **told})
    verdict = str(_kept(out.qc_json).get("Verdict", ""))
    seconds = time.perf_counter() - began
    return Status(out.name, job.pair.moving.subject, "done", seconds, verdict)


def _kept(path: Path) -> dict[str, Any]:
    """What a JSON file of the pair says, which may have been damaged since it was looked at."""
    try:
        return dict(read_json(path, is_ours=True))
    except (OSError, ValueError, TypeError) as error:
        msg = f"{path}: cannot be read ({error}). Register that pair again with --force."
        raise DataError(msg) from error
