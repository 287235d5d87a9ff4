"""Every figure of one pair, in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.quality.displacement import (
    endpoint_error_mm,
    magnitude_mm,
)
from bids_nodereg.quality.figures.anatomy import write_anatomy, write_checkerboard, write_edges
from bids_nodereg.quality.figures.charts import Trace, write_convergence, write_jacobian_histogram
from bids_nodereg.quality.figures.grid import write_grid
from bids_nodereg.quality.figures.maps import write_distance, write_log_jacobian
from bids_nodereg.quality.figures.masks import write_mask
from bids_nodereg.quality.figures.mosaic import layout_for
from bids_nodereg.quality.figures.slices import Convention, view_of_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.quality.figures.mosaic import Layout
    from bids_nodereg.quality.figures.slices import View
    from bids_nodereg.quality.measures import RegisteredPair


@dataclass(frozen=True)
class FigureNames:
    """How the figures of a pair are called: ``<folder>/<prefix>_desc-<figure>_<suffix>.<extension>``."""

    folder: Path
    prefix: str
    suffix: str

    def path(self, figure: str, extension: str) -> Path:
        """Name of one figure."""
        return self.folder / f"{self.prefix}_desc-{figure}_{self.suffix}.{extension}"


def draw_pair(
    pair: RegisteredPair,
    names: FigureNames,
    trace: Trace | None = None,
    convention: Convention = "neurological",
) -> dict[str, Path]:
    """Write all figures of a registered pair.

    Parameters
    ----------
    pair
        Arrays on one canonical (RAS) grid.
    names
        Where the files go.
    trace
        History of the optimisation; without it the convergence chart is left out.
    convention
        Which side of the screen the left of the head is on.

    Returns
    -------
    dict
        Path by figure: ``fixed``, ``before``, ``after``, ``edgesbefore``, ``edgesafter``, ``fixedmask``,
        ``logjacobian``, ``checkerboard``, ``histogram``, ``displacement``, ``grid``, and where there is data
        ``movingmask``, ``inverse`` (what forward and inverse map leave), ``error`` (to the truth) and
        ``convergence``.
    """
    view = view_of_mask(pair.mask, pair.affine, convention=convention)
    layout = layout_for(view, pair.mask)
    paths = {
        name: write_anatomy(names.path(name, "webp"), volume, pair.mask, layout)
        for name, volume in (("fixed", pair.fixed), ("before", pair.before), ("after", pair.after))
    }
    for name, moving in (("edgesbefore", pair.before), ("edgesafter", pair.after)):
        paths[name] = write_edges(names.path(name, "webp"), pair.fixed, moving, pair.mask, layout)
    paths["checkerboard"] = write_checkerboard(
        names.path("checkerboard", "webp"), pair.fixed, pair.after, pair.mask, layout
    )
    paths.update(_draw_masks(pair, names, layout))
    paths.update(_draw_deformation(pair, names, layout))
    paths.update(_draw_errors(pair, names, layout))
    if trace is not None and len(trace.total) > 1:
        paths["convergence"] = write_convergence(names.path("convergence", "svg"), trace)
    return paths


def _draw_masks(pair: RegisteredPair, names: FigureNames, layout: Layout) -> dict[str, Path]:
    """Write each image with the outline of its own mask, the moving one as the whole map carries it."""
    masks = {"fixedmask": (pair.fixed, pair.mask), "movingmask": (pair.after, pair.after_mask)}
    return {
        name: write_mask(names.path(name, "webp"), volume, mask, pair.mask, layout)
        for name, (volume, mask) in masks.items()
        if mask is not None
    }


def _draw_deformation(pair: RegisteredPair, names: FigureNames, layout: Layout) -> dict[str, Path]:
    """Write what shows the map itself."""
    mask, fixed, view = pair.mask, pair.fixed, layout.view
    determinant, folded = pair.determinants.central, pair.determinants.folded & mask
    through = _through_folds(folded, view, mask) or layout
    return {
        "logjacobian": write_log_jacobian(
            names.path("logjacobian", "webp"), fixed, determinant, folded, mask, through
        ),
        "histogram": write_jacobian_histogram(
            names.path("histogram", "svg"), determinant[mask], int(folded.sum())
        ),
        "displacement": write_distance(
            names.path("displacement", "webp"),
            fixed,
            magnitude_mm(pair.forward_mm),
            mask,
            layout,
            "displacement, mm",
        ),
        "grid": write_grid(names.path("grid", "webp"), fixed, pair.forward_mm, mask, view),
    }


def _draw_errors(pair: RegisteredPair, names: FigureNames, layout: Layout) -> dict[str, Path]:
    """Write where the two maps disagree, and where the forward one is off the truth."""
    found = {}
    if pair.inverse_error_mm is not None:
        found["inverse"] = (pair.inverse_error_mm, "inverse consistency error, mm")
    if pair.truth_mm is not None:
        found["error"] = (endpoint_error_mm(pair.forward_mm, pair.truth_mm), "endpoint error, mm")
    return {
        name: write_distance(names.path(name, "webp"), pair.fixed, error, pair.mask, layout, title)
        for name, (error, title) in found.items()
    }


def _through_folds(folded: NDArray[np.bool_], view: View, mask: NDArray[np.bool_]) -> Layout | None:
    """Choose slices that show the most folded voxels, so that rare folds are seen; None without folds."""
    if not folded.any():
        return None
    planes = [folded.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    i, j, k = (int(np.argmax(counts)) for counts in planes)
    return layout_for(view, mask, include=(i, j, k))
