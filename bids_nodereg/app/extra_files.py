"""Files that are carried along with a moving image, written onto the fixed grid."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from bids_nodereg.app.status import NOT_CARRIED
from bids_nodereg.bids.sidecars import extra_sidecar
from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.files import remove, write_json
from bids_nodereg.imaging.carry import HOW, carry, read_through
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.bids.derivatives import Outputs
    from bids_nodereg.bids.extras import Extra
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.imaging.carry import Target

LOG = logging.getLogger("nodereg")


def write_extras(pair: Pair, out: Outputs, target: Target, *, skull_stripped: bool) -> None:
    """Carry the files of the moving image onto a grid, each interpolated once, with sidecars.

    Parameters
    ----------
    pair
        Names the files.
    out
        Where they go.
    target
        The grid, and the map from it to the moving image.
    skull_stripped
        Whether the moving image is; said of images whose own sidecar does not say it.
    """
    for extra in pair.moving_extras:
        notes = carry(extra.path, extra.kind, target, out.extra_nii(extra))
        for note in notes:
            LOG.warning("    %s: %s", extra.path.name, note)
        how = HOW.get(extra.kind, target.interpolation)
        sidecar = extra_sidecar(pair, out, extra, skull_stripped=skull_stripped, interpolation=how)
        write_json(out.extra_json(extra), sidecar)


def without_unreadable(job: Job) -> tuple[Job, dict[str, list[str]]]:
    """Leave out files that are carried by default and cannot be read, before time is spent on the map.

    Returns
    -------
    job
        With the files that can be carried.
    told
        For the sidecar: which files were left out; empty where none was.

    Raises
    ------
    MissingInputError, DataError
        If a file that the user asked for cannot be read.
    """
    pair = job.pair
    left_out = [extra for extra in pair.moving_extras if not _is_readable(extra)]
    if not left_out:
        return job, {}
    kept = tuple(extra for extra in pair.moving_extras if extra not in left_out)
    told = {NOT_CARRIED: [extra.uri for extra in left_out]}
    return replace(job, pair=replace(pair, moving_extras=kept)), told


def _is_readable(extra: Extra) -> bool:
    try:
        read_through(extra.path, extra.kind)
    except (DataError, MissingInputError) as error:
        if extra.asked:
            raise
        LOG.warning("    Not carried along: %s", error)
        return False
    return True


def remove_stale(pair: Pair, out: Outputs) -> None:
    """Remove what an earlier run carried through this pair's map, and this run will not.

    It came through another map than the one that is written now. A file is known by its sidecar, which
    names the transform among its sources.
    """
    descs = [label_map.desc for label_map in pair.moving_dseg]
    kept = set(out.paths(descs, pair.moving_extras))
    mark = out.uri(out.forward_h5)
    for sidecar in out.folder.glob("*.json"):
        is_image = not sidecar.name.endswith(("_xfm.json", "_qc.json"))
        if is_image and sidecar not in kept and mark in _sources(sidecar):
            for ending in (".nii.gz", ".tsv", ".json"):  # the sidecar last: it is what tells of the others
                remove(sidecar.with_suffix(ending))


def _sources(sidecar: Path) -> list[object]:
    try:
        sources = read_json(sidecar, is_ours=True)["Sources"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return sources if isinstance(sources, list) else []
