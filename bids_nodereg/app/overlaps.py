"""Overlap of the label maps of a pair under some maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.imaging.maps import SpatialMap
from bids_nodereg.imaging.resample import warp_labels
from bids_nodereg.quality.overlap import label_overlap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.volume import Volume
    from bids_nodereg.quality.overlap import LabelOverlap

IDENTITY = SpatialMap(np.eye(4))


def overlaps_under(
    maps: tuple[SpatialMap, SpatialMap],
    labels: tuple[Volume, Volume],
    grid: Grid,
    names: Mapping[int, str],
    threads: int,
) -> tuple[tuple[LabelOverlap, ...], tuple[LabelOverlap, ...]]:
    """Compare the labels of a pair on one grid, under each of two maps.

    Parameters
    ----------
    maps
        Before and after; each takes fixed points to moving points (RAS+ mm).
    labels
        Fixed and moving label map, each on its own grid.
    grid
        Where they are compared.
    names
        Name of each code, as far as known.
    threads
        Number of slabs worked on at a time.
    """
    fixed, moving = labels
    if not fixed.grid.is_close(grid):
        fixed = replace(fixed, data=warp_labels(fixed, grid, IDENTITY, threads=threads), grid=grid)
    before, after = (
        label_overlap(fixed.data, warp_labels(moving, grid, mapping, threads=threads), grid.spacing, names)
        for mapping in maps
    )
    return before, after
