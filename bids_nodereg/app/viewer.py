"""Interactive pages of finished pairs, made from the files they left behind."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_nodereg import __version__
from bids_nodereg.app.overlaps import IDENTITY
from bids_nodereg.errors import NodeRegError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.resample import warp_image
from bids_nodereg.imaging.volume import read_image
from bids_nodereg.json_files import read_json
from bids_nodereg.quality.viewer import ViewedPair, render_viewer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bids_nodereg.app.jobs import Job

LOG = logging.getLogger("nodereg")

VIEWER = "_viewer.html"
"""End of the name of the interactive page of a pair, beside its figures."""


def viewer_page(job: Job) -> Path:
    """Where the interactive page of a pair is kept."""
    return job.outputs.figures_dir / f"{job.outputs.name}{VIEWER}"


def lacks_viewer(job: Job) -> bool:
    """Whether a pair is done and has no interactive page."""
    return job.outputs.forward_json.is_file() and not viewer_page(job).is_file()


def write_viewers(jobs: Sequence[Job], library: str, threads: int) -> None:
    """Write the interactive page of each finished pair that has none.

    A page that cannot be made does not stop the others: the registration is there all the same.
    """
    for job in filter(lacks_viewer, jobs):
        _write_viewer(job, library, threads)


def _write_viewer(job: Job, library: str, threads: int) -> None:
    try:
        job.outputs.refuse_links_out()
        viewed = _viewed(job, threads)
        path = render_viewer(viewed, viewer_page(job), library=library, version=__version__)
        LOG.info("Viewer: %s", path)
    except (NodeRegError, OSError, ValueError, KeyError) as error:
        LOG.error("Viewer of %s could not be written: %s", job.outputs.name, error)  # noqa: TRY400


def _sidecar(job: Job) -> dict[str, Any]:
    content: dict[str, Any] = read_json(job.outputs.forward_json, is_ours=True)
    return content


def _viewed(job: Job, threads: int) -> ViewedPair:
    """Read a pair again, on the working grid: that is canonical, and no finer than is worth looking at."""
    out, pair = job.outputs, job.pair
    sidecar = _sidecar(job)
    # Of a map that is composed, the part onto the same fixed image has the grid.
    told = (_sidecar(job.parts[-1]) if job.parts else sidecar)["DisplacementGrid"]
    grid = Grid(tuple(told["Shape"]), np.array(told["AffineRAS"]))
    paths = [pair.fixed.path, out.warped_nii]
    # An affine has one Jacobian for all places; a map that is composed has no file of it.
    if sidecar["Type"] != "affine" and out.jacobian_nii.is_file():
        paths.append(out.jacobian_nii)
    fixed, registered, *determinant = (
        warp_image(read_image(path), grid, IDENTITY, threads=threads) for path in paths
    )
    return ViewedPair(
        title=f"sub-{pair.moving.subject}: {out.from_label} onto {out.to_label}",
        affine=grid.affine,
        fixed=fixed,
        registered=registered,
        determinant=determinant[0] if determinant else None,
        fixed_name=pair.fixed.suffix,
        moving_name=pair.moving.suffix,
        report=f"../../{out.report_html.name}#{out.name.replace('_', '-')}",
    )
