"""Contrasts that the paper did not report: T1w to FLAIR between people, T1w to PDw with a known warp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from cases import between, brain, spm_average, with_truth
from common import random_motion
from harness import compared, default_settings, draw_compared, experiment_parser, panels, report, similarities

from bids_nodereg.imaging.prepare import prepare

if TYPE_CHECKING:
    from cases import Case
    from matplotlib.figure import Figure

    from bids_nodereg.config import Settings

COLUMNS = (
    "Dice",
    "Dice lateral ventricle",
    "Dice hippocampus",
    "error mean mm",
    "error p95 mm",
    "SD log J",
    "folded %, ten determinants",
    "CPU s",
)


def main() -> None:
    """Compare the similarities on both contrasts; write table and figure."""
    parser = experiment_parser(__doc__, "other_contrasts", 3.0)
    parser.add_argument("--reach-mm", type=float, default=8.0, help="largest true displacement")
    parser.add_argument("--seed", type=int, default=0, help="of the random warp")
    parser.add_argument("--similarities", nargs="+", default=similarities())
    arguments = parser.parse_args()
    settings = default_settings(arguments)
    flair = between(
        "kirby113 T1w, openms07 FLAIR",
        brain("kirby113", "T1w"),
        brain("openms07", "FLAIR"),
        settings,
    )
    groups = [
        compared(case, arguments.similarities, settings, COLUMNS)
        for case in (flair, density_case(arguments.reach_mm, arguments.seed, settings))
    ]
    # One case has labels, the other a truth: the table wants all columns.
    rows = [{"pair": row["pair"]} | {n: row.get(n, "-") for n in NAMES} for group in groups for row in group]
    notes = [
        f"Default set-up at {arguments.resolution_mm:g} mm; only the similarity and its smoothness change. "
        "Maps before any repair. FLAIR: real people, automatic labels. PDw: SPM's average of 152 heads, "
        f"moved by a random diffeomorphism of at most {arguments.reach_mm:g} mm; endpoint error in the head.",
    ]
    report(arguments.out, "Other contrasts: FLAIR and proton density", rows, draw(groups), notes)


NAMES = ("similarity", "smoothness", *COLUMNS)


def density_case(reach_mm: float, seed: int, settings: Settings) -> Case:
    """T1w average fixed, PDw average of the same people moved by a known warp."""
    fixed, other = spm_average("T1w"), spm_average("PDw")
    grid = other.volume.grid
    head = grid.to_world(np.argwhere(prepare(other.volume).mask)[::200])
    motion = random_motion(grid, head, reach_mm, seed)
    return with_truth("SPM average T1w, PDw", fixed, other, motion, settings)


def draw(groups: list[list[dict[str, Any]]]) -> Figure:
    """Dice of the FLAIR case, endpoint error of the PDw case."""
    figure, axes = panels(2, width=4.8)
    draw_compared(axes[0], groups[0], "Dice", "mean Dice of 13 structures")
    axes[0].set_ylim(0, 1)
    axes[0].set_title(groups[0][0]["pair"], fontsize=10)
    draw_compared(axes[1], groups[1], "error mean mm", "mean endpoint error (mm)")
    axes[1].set_title(f"{groups[1][0]['pair']}, known warp", fontsize=10)
    axes[1].set_ylim(0, 1.35 * groups[1][0]["error mean mm"])
    axes[1].legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    return figure


if __name__ == "__main__":
    main()
