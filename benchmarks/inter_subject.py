"""Label overlap between two people across contrasts, for the defaults and for changes of single settings.

T1w of one subject fixed, T2w of the other moving, and the other way round; the labels of both sides
were made from the T1w images alone, without registration. All variants share the affine start.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common import ROOT, shared_data, write_results

from bids_nodereg.app.inputs import Inputs
from bids_nodereg.app.stages import common_grid, deform, find_affine
from bids_nodereg.config import PRESETS, Settings, overlay
from bids_nodereg.imaging.maps import SpatialMap, forward_map
from bids_nodereg.imaging.prepare import prepare
from bids_nodereg.imaging.resample import warp_labels
from bids_nodereg.imaging.volume import Volume, read_image, read_labels
from bids_nodereg.quality.jacobian import jacobian_measures
from bids_nodereg.quality.overlap import label_overlap

if TYPE_CHECKING:
    from bids_nodereg.geometry import Grid

SUBJECTS = ("kirby113", "openms07")
REGULARITY = ("SD log J", "smallest determinant", "folded voxels", "seconds")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """One ordered pair with its affine start and labels."""

    name: str
    inputs: Inputs
    affine: np.ndarray
    grid: Grid
    fixed_labels: np.ndarray
    moving_labels: Volume

    def dice(self, mapping: SpatialMap) -> float:
        """Mean Dice over all labels."""
        moved = warp_labels(self.moving_labels, self.grid, mapping, threads=2)
        rows = label_overlap(self.fixed_labels, moved, self.grid.spacing)
        return float(np.mean([row.dice for row in rows if row.dice is not None]))


def main() -> None:
    """Run every variant on every case and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="default", choices=tuple(PRESETS))
    parser.add_argument("--resolution-mm", type=float, default=1.5)
    parser.add_argument(
        "--variants",
        nargs="*",
        default=[],
        help="changed settings, such as registration.weights.gradient=0.3",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "inter-subject")
    arguments = parser.parse_args()
    settings = overlay(
        PRESETS[arguments.preset], {"working_resolution_mm": arguments.resolution_mm}, "option"
    )
    cases = [make_case(settings, *SUBJECTS), make_case(settings, *reversed(SUBJECTS))]
    rows: list[dict[str, Any]] = []
    for case in cases:
        dice = case.dice(SpatialMap(case.affine))
        row = {"variant": "affine only", "case": case.name, "Dice": dice}
        rows.append(row | dict.fromkeys(REGULARITY, "-"))
    for variant in ["", *arguments.variants]:
        rows += [measure(case, changed(settings, variant), variant or arguments.preset) for case in cases]
    notes = [
        f"Mean Dice over the 17 classes of seg-auto, {arguments.resolution_mm:g} mm. The labels are "
        "automatic: differences below 0.01 mean nothing on two pairs.",
    ]
    write_results(arguments.out, "Between two people, T1w to T2w", rows, notes)


def make_case(settings: Settings, fixed: str, moving: str) -> Case:
    """Read a pair and find its affine start."""
    anat = {name: shared_data("ds-brain", f"sub-{name}", "anat") for name in (fixed, moving)}
    inputs = Inputs(
        prepare(read_image(anat[fixed] / f"sub-{fixed}_T1w.nii.gz")),
        prepare(read_image(anat[moving] / f"sub-{moving}_T2w.nii.gz")),
    )
    affine = find_affine(inputs, settings, CPU, lambda _step: None)
    grid = common_grid(inputs.fixed, settings)
    fixed_labels = warp_labels(labels_of(fixed), grid, SpatialMap(np.eye(4)), threads=2)
    name = f"{fixed} T1w, {moving} T2w"
    return Case(name, inputs, affine, grid, fixed_labels, labels_of(moving))


def labels_of(subject: str) -> Volume:
    """Automatic labels made from the T1w image."""
    folder = shared_data("ds-brain", "derivatives", "seg-auto", f"sub-{subject}", "anat")
    return read_labels(folder / f"sub-{subject}_space-T1w_desc-sae18_dseg.nii.gz")


def changed(settings: Settings, variant: str) -> Settings:
    """Apply changes ``a.b.c=value``, several joined by commas."""
    for change in filter(None, variant.split(",")):
        path, _, text = change.partition("=")
        value: Any = json.loads(text) if text[:1] in "0123456789[{tf" else text
        for name in reversed(path.split(".")):
            value = {name: value}
        settings = overlay(settings, value, "--variants")
    return settings


def measure(case: Case, settings: Settings, name: str) -> dict[str, Any]:
    """One row of the table."""
    began = time.perf_counter()
    solution = deform(case.inputs, case.affine, case.grid, settings, CPU, lambda _step: None)
    seconds = time.perf_counter() - began
    field = solution.forward.field
    assert field is not None  # noqa: S101 - deform always makes one
    regularity = jacobian_measures(field.vectors, case.grid.affine, case.fixed_labels > 0)
    return {
        "variant": name,
        "case": case.name,
        "Dice": case.dice(forward_map(case.affine, field)),
        "SD log J": regularity["sd_log_jacobian"],
        "smallest determinant": regularity["jacobian_smallest_of_ten"],
        "folded voxels": int(regularity["folded_voxels"] or 0),
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
