"""What the experiments share: a registration with its measures, settings in one place, a figure's frame."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from cases import STRUCTURES, between, brain
from common import ROOT, write_results

from bids_nodereg.app.stages import to_world
from bids_nodereg.config import PRESETS, Settings, overlay
from bids_nodereg.imaging.maps import DisplacementField, forward_map
from bids_nodereg.imaging.resample import warp_labels
from bids_nodereg.quality.jacobian import digital_diffeomorphism, jacobian_measures
from bids_nodereg.quality.overlap import dice
from bids_nodereg.registration.descriptors import DESCRIPTORS
from bids_nodereg.registration.ode import flow
from bids_nodereg.registration.optimise import optimise
from bids_nodereg.registration.warp import resize_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cases import Case
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

NODEO_LATTICE_MM = 4.0
"""Spacing of NODEO's velocity lattice: a quarter of the resolution of a 1 mm image."""

LARGEST_LATTICE_MM = 6.0
"""Its smoothing leaves 8 % of the amplitude of the shortest wave on such a lattice: nothing much is lost."""

MOVED_MM = 2.0
"""Where the true displacement is larger than this, the error is also reported alone."""

SMOOTHNESS = {"lmi": (0.5, 1.5, 5.0)}
"""Gradient weights to try, where a similarity's numbers are on another scale than MIND's."""

MIND_SMOOTHNESS = (0.05, 0.15, 0.5)
"""Around 0.15, which suits MIND-SSC alone."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind readers can tell apart."""


def experiment_parser(text: str | None, name: str, resolution_mm: float) -> argparse.ArgumentParser:
    """Make a parser with the options that all experiments have."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "experiments" / name)
    parser.add_argument("--resolution-mm", type=float, default=resolution_mm, help="working grid")
    parser.add_argument(
        "--one-way", action="store_true", help="default set-up without the symmetric objective: half the cost"
    )
    return parser


def default_settings(arguments: argparse.Namespace) -> Settings:
    """Build the default preset on the working grid of the command line, with the descriptor alone.

    The mutual information that joins it by default would blur what the descriptors differ in; without it
    the smoothness of the middle of :data:`MIND_SMOOTHNESS` is the right one.
    """
    settings = overlay(PRESETS["default"], {"working_resolution_mm": arguments.resolution_mm}, "experiment")
    alone = {"descriptor": {"lmi_weight": 0.0}, "weights": {"gradient": MIND_SMOOTHNESS[1]}}
    settings = changed(settings, alone)
    return changed(settings, {"symmetric": False}) if arguments.one_way else settings


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Change values of the ``registration`` table."""
    return overlay(settings, {"registration": dict(changes)}, "experiment")


def paper_settings(
    resolution_mm: float, steps: int, iterations: int, weights: Mapping[str, float]
) -> Settings:
    """Build the paper's set-up, with the smoothing of its velocity kept in mm.

    The preset counts smoothing and lattice in voxels, of an image of 1 mm. On a coarser grid that would
    make the field smoother than the paper's and hide the folds that are looked for. The gradient is
    that of the discrete flow, not the adjoint's, which is inexact with few steps.
    """
    paper = PRESETS["paper"]
    lattice = max(1, min(paper.registration.velocity.lattice, int(LARGEST_LATTICE_MM / resolution_mm)))
    sigma_mm = paper.registration.velocity.smoothing_sigma * NODEO_LATTICE_MM
    registration = {
        "levels": [{"shrink": 1, "iterations": iterations}],
        "velocity": {"lattice": lattice, "smoothing_sigma": sigma_mm / (lattice * resolution_mm)},
        "solver": {"steps": steps, "gradient": "backprop"},
        "weights": dict(weights),
    }
    return overlay(
        paper, {"working_resolution_mm": resolution_mm, "registration": registration}, "experiment"
    )


def similarities() -> list[str]:
    """Names of the similarities to compare; the learned descriptor where its weights are there."""
    return ["mind", "mind-ssc", *(name for name in DESCRIPTORS if name.startswith("contrastive")), "lmi"]


def smoothness_of(similarity: str) -> tuple[float, ...]:
    """Gradient weights at which a similarity is tried, so that none is judged by another's weight."""
    return SMOOTHNESS.get(similarity, MIND_SMOOTHNESS)


def compared(
    case: Case, names: Sequence[str], settings: Settings, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Register a case with each similarity at every smoothness; the affine start comes first."""
    start = {"pair": case.name, "similarity": "affine only", "smoothness": "-"}
    rows = [start | columns_of(without_deforming(case), *columns)]
    for similarity in names:
        for weight in smoothness_of(similarity):
            changes = {"descriptor": {"name": similarity}, "weights": {"gradient": weight}}
            found = registered(case, changed(settings, changes))
            row = {"pair": case.name, "similarity": similarity, "smoothness": weight}
            rows.append(row | columns_of(found, *columns))
    return rows


def draw_compared(axis: Any, rows: Sequence[dict[str, Any]], column: str, label: str) -> None:
    """One group of bars for each similarity, one bar for each smoothness, weak to strong."""
    names = list(dict.fromkeys(row["similarity"] for row in rows[1:]))
    words = ("weak smoothness", "middle", "strong")
    for place, (shade, word) in enumerate(zip(("#9ecae1", "#4292c6", "#084594"), words, strict=True)):
        heights = [[row[column] for row in rows if row["similarity"] == name][place] for name in names]
        axis.bar(np.arange(len(names)) + 0.26 * (place - 1), heights, 0.26, color=shade, label=word)
    axis.axhline(rows[0][column], color="0.4", linestyle=":", label="without deforming")
    axis.set_xticks(range(len(names)), [name.replace("+", "\n+ ") for name in names])
    axis.set_ylabel(label)


def real_case(settings: Settings) -> Case:
    """Two people, T1w fixed and T2w moving, both real."""
    return between(
        "real: kirby113 T1w, openms07 T2w", brain("kirby113", "T1w"), brain("openms07", "T2w"), settings
    )


def exact_case(settings: Settings) -> Case:
    """Two people with exact labels; the contrasts are painted."""
    return between(
        "exact: synth01 T1w, synth02 T2w", brain("synth01", "T1w"), brain("synth02", "T2w"), settings
    )


def registered(case: Case, settings: Settings) -> dict[str, float]:
    """Register a case and measure the map as the optimiser left it: no repair, no finer integration.

    Times are those of the processor, so that other work on the machine does not count.
    """
    began = time.process_time()
    velocity = optimise(case.pair, settings.registration, lambda _step: None).velocity
    seconds = time.process_time() - began
    with torch.no_grad():
        displacement = flow(velocity, settings.registration.solver)
        displacement = resize_vectors(displacement, case.grid.shape)
    vectors = to_world(displacement, case.grid)
    return measures(case, vectors) | {"CPU s": seconds}


def measures(case: Case, vectors: NDArray[np.float32]) -> dict[str, float]:
    """Folds, size, error and overlap of a displacement in mm, inside the fixed brain."""
    mask = case.mask
    jacobian = jacobian_measures(digital_diffeomorphism(vectors, case.grid.affine), mask)
    result = {
        "folded %, central": 100 * jacobian["central_folded_fraction"],
        "folded %, ten determinants": 100 * jacobian["folded_fraction"],
        "smallest determinant": jacobian["jacobian_smallest_of_ten"],
        "SD log J": jacobian["sd_log_jacobian"],
        "mean displacement mm": float(np.linalg.norm(vectors[mask], axis=-1).mean()),
    }
    if case.truth_mm is not None:
        error = np.linalg.norm(vectors - case.truth_mm, axis=-1)[mask]
        result["error mean mm"] = float(error.mean())
        result["error p95 mm"] = float(np.percentile(error, 95))
        moved = np.linalg.norm(case.truth_mm, axis=-1)[mask] > MOVED_MM
        result["error where moved mm"] = float(error[moved].mean())
    return result | structure_dice(case, vectors)


def structure_dice(case: Case, vectors: NDArray[np.float32]) -> dict[str, float]:
    """Mean Dice and that of each structure, on the fixed image's own grid."""
    if case.fixed_labels is None or case.moving_labels is None:
        return {}
    mapping = forward_map(case.affine, DisplacementField(case.grid, vectors))
    moved = warp_labels(case.moving_labels, case.labels_grid, mapping)
    each = {}
    for code, name in STRUCTURES.items():
        each[f"Dice {name}"] = dice(case.fixed_labels == code, moved == code) or 0.0
    return {"Dice": float(np.mean(list(each.values())))} | each


def without_deforming(case: Case) -> dict[str, float]:
    """Measure the affine start alone."""
    return measures(case, np.zeros((*case.grid.shape, 3), np.float32)) | {"CPU s": 0.0}


def report(
    stem: Path, title: str, rows: Sequence[dict[str, Any]], figure: Figure, notes: Sequence[str]
) -> None:
    """Write table, numbers and figure; all three have the same name."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(stem.with_suffix(".png"), dpi=130)
    spaced = [line for note in (f"![{title}]({stem.name}.png)", *notes) for line in (note, "")]
    write_results(stem, title, rows, spaced[:-1])


def panels(count: int, width: float = 4.2, height: float = 3.4) -> tuple[Figure, list[Any]]:
    """Figure with some panels in a row, plain and with room for their labels."""
    figure, axes = plt.subplots(
        1, count, figsize=(width * count, height), layout="constrained", squeeze=False
    )
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="0.9")
        axis.set_axisbelow(True)
    return figure, list(axes[0])


def columns_of(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Some columns of a row of measures, in the order asked for."""
    return {name: row[name] for name in names if name in row}
