"""Measure a solved pair: everything the QC file and the report say about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.app.kinds import kind_of
from bids_nodereg.app.labels import label_names, shared_labels
from bids_nodereg.app.overlaps import IDENTITY, overlaps_under
from bids_nodereg.imaging.maps import SpatialMap, inverse_map
from bids_nodereg.imaging.prepare import mask_onto_grid
from bids_nodereg.imaging.resample import warp_image, warp_stack
from bids_nodereg.imaging.transforms import read_displacement_nifti
from bids_nodereg.imaging.volume import read_labels
from bids_nodereg.quality.measures import RegisteredPair, json_ready, measure_pair
from bids_nodereg.quality.overlap import LabelOverlap, overlap_measures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.app.stages import Solution
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.geometry import Grid
    from bids_nodereg.registration.guard import Rescue


@dataclass(frozen=True)
class Judgement:
    """Measures of a pair, and the arrays on the working grid that the figures are drawn from."""

    measures: dict[str, float | None]
    arrays: RegisteredPair
    labels_before: tuple[LabelOverlap, ...] = ()
    labels_after: tuple[LabelOverlap, ...] = ()


def judge(pair: Pair, inputs: Inputs, solution: Solution, truth: Path | None, threads: int) -> Judgement:
    """Carry images, masks and labels onto the working grid and the fixed grid, and measure.

    Every image is interpolated once from its original, before and after alike.
    """
    arrays = replace(_on_working_grid(inputs, solution, threads), same_contrast=kind_of(pair).same_contrast)
    if truth is not None:
        arrays = replace(arrays, truth_mm=_true_displacement(truth, solution))
    measures = measure_pair(arrays)
    if solution.distances is not None:
        before, after = solution.distances
        measures.update(json_ready({"mind_distance_before": before, "mind_distance_after": after}))
    if solution.repair is not None:
        measures.update(_rescue_measures(solution.rescues))
    labels_before, labels_after = _label_overlaps(pair, inputs, solution, threads)
    if labels_after:
        measures.update(overlap_measures(labels_before, "before"))
        measures.update(overlap_measures(labels_after, "after"))
    return Judgement(measures, arrays, labels_before, labels_after)


def _rescue_measures(rescues: Sequence[Rescue]) -> dict[str, float]:
    """How often the optimisation met a number that is none, and whether the affine alone was left."""
    alone = any(rescue.remedy == "affine alone" for rescue in rescues)
    return {"nonfinite_attempts": float(len(rescues)), "affine_alone": float(alone)}


def _on_working_grid(inputs: Inputs, solution: Solution, threads: int) -> RegisteredPair:
    grid, moving = solution.grid, inputs.moving
    affine_only, total = SpatialMap(solution.affine), solution.forward
    mask = mask_onto_grid(inputs.fixed, grid)
    fixed = warp_image(inputs.fixed.volume, grid, IDENTITY, threads=threads)
    everywhere = np.ones(moving.volume.grid.shape, np.float32)
    stack = np.stack([moving.volume.data, moving.mask.astype(np.float32), everywhere], axis=-1)
    before, after = (
        warp_stack(stack, moving.volume.grid, grid, mapping, threads=threads)
        for mapping in (affine_only, total)
    )
    return RegisteredPair(
        affine=grid.affine,
        alignment=solution.affine,
        mask=mask,
        fixed=fixed,
        before=before[..., 0],
        after=after[..., 0],
        forward_mm=_vectors(total, grid),
        inverse_mm=None if solution.inverse.field is None else solution.inverse.field.vectors,
        before_mask=before[..., 1] > 0.5,
        after_mask=after[..., 1] > 0.5,
        moving_view=after[..., 2] > 0.5,
    )


def _vectors(mapping: SpatialMap, grid: Grid) -> NDArray[np.float32]:
    """Displacement field of a map, or zeros where the map is an affine alone."""
    if mapping.field is None:
        return np.zeros((*grid.shape, 3), np.float32)
    return mapping.field.vectors


def _true_displacement(path: Path, solution: Solution) -> NDArray[np.float32]:
    """The true ``u`` on the working grid, given the true total displacement and the affine found."""
    points = solution.grid.to_world(np.moveaxis(np.indices(solution.grid.shape), 0, -1))
    moved = points + read_displacement_nifti(path).at(points)
    aligned = inverse_map(solution.affine)(moved)
    return np.asarray(aligned - points, np.float32)


Overlaps = tuple[LabelOverlap, ...]


def _label_overlaps(
    pair: Pair, inputs: Inputs, solution: Solution, threads: int
) -> tuple[Overlaps, Overlaps]:
    """Overlap of the first label map that both images have, by the affine alone and by the whole map."""
    shared = shared_labels(pair)
    if shared is None:
        return (), ()
    names = label_names(shared[0].lookup)
    fixed, moving = (read_labels(label_map.path) for label_map in shared)
    maps = SpatialMap(solution.affine), solution.forward
    return overlaps_under(maps, (fixed, moving), inputs.fixed.volume.grid, names, threads)
