"""Large ventricles: which similarity finds them? MIND, MIND-SSC, learned, local mutual information.

The ventricles of the moving T2w are made larger by a known diffeomorphism. Once the fixed T1w is of
the same person (real images; the true map is known), once of another one (painted images; labels exact).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from cases import VENTRICLE, between, brain, moved_by, with_truth
from harness import compared, default_settings, draw_compared, experiment_parser, panels, report, similarities
from ventricle_growth import growing_motion

if TYPE_CHECKING:
    from cases import Case, Scan
    from matplotlib.figure import Figure

    from bids_nodereg.config import Settings
    from bids_nodereg.data.demo_motion import Motion

AROUND = ("thalamus", "caudate", "hippocampus", "white matter")
COLUMNS = (
    "Dice",
    "Dice lateral ventricle",
    *(f"Dice {name}" for name in AROUND),
    "error mean mm",
    "error where moved mm",
    "SD log J",
    "folded %, ten determinants",
    "CPU s",
)


def main() -> None:
    """Compare the similarities on both cases; write table and figure."""
    parser = experiment_parser(__doc__, "ventricles", 3.0)
    parser.add_argument("--growth", type=float, default=2.5, help="new ventricle volume / old one")
    parser.add_argument("--similarities", nargs="+", default=similarities())
    arguments = parser.parse_args()
    settings = default_settings(arguments)
    cases, facts = [], []
    for make in (same_person, two_people):
        case, fact = make(arguments.growth, settings)
        cases.append(case)
        facts.append(fact)
    groups = [compared(case, arguments.similarities, settings, COLUMNS) for case in cases]
    # A case without a truth has no error: the table wants the column all the same.
    rows = [row | {name: row.get(name, "-") for name in COLUMNS} for group in groups for row in group]
    notes = [
        *facts,
        f"Default set-up at {arguments.resolution_mm:g} mm; only the similarity and its smoothness change. "
        "Maps before any repair. Error: mean endpoint error in the brain, and where the truth is above 2 mm.",
    ]
    report(arguments.out, "Large ventricles, T1w to T2w", rows, draw(groups), notes)


def same_person(growth: float, settings: Settings) -> tuple[Case, str]:
    """Real T1w, and the same person's T2w with larger ventricles: the true map is known."""
    fixed, other = brain("kirby113", "T1w"), brain("kirby113", "T2w")
    motion = growing_motion(_labels(other), growth)
    case = with_truth("real: kirby113 T1w, its T2w grown", fixed, other, motion, settings)
    return case, f"kirby113: {_reach(other, motion)}"


def two_people(growth: float, settings: Settings) -> tuple[Case, str]:
    """Painted T1w, and another person's painted T2w with larger ventricles."""
    other = brain("synth02", "T2w")
    motion = growing_motion(_labels(other), growth)
    name = "exact: synth01 T1w, synth02 T2w grown"
    case = between(name, brain("synth01", "T1w"), moved_by(other, motion), settings)
    return case, f"synth02: {_reach(other, motion)}"


def _labels(scan: Scan) -> Any:
    if scan.labels is None:
        msg = f"{scan.volume.path}: has no labels to find the ventricles by"
        raise ValueError(msg)
    return scan.labels


def _reach(scan: Scan, motion: Motion) -> str:
    """How far the growth moves the brain, in words."""
    labels = _labels(scan)
    points = labels.grid.to_world(np.argwhere(labels.data > 0)[::50])
    moved = np.linalg.norm(motion.forward(points) - points, axis=-1)
    millilitres = np.sum(labels.data == VENTRICLE) * np.prod(labels.grid.spacing) / 1000
    return (
        f"ventricles of {millilitres:.0f} ml grown; the brain moves by {moved.mean():.1f} mm on average, "
        f"{moved.max():.1f} mm at most."
    )


def draw(groups: list[list[dict[str, Any]]]) -> Figure:
    """Error of the first case, ventricle Dice of both, Dice of all of the second."""
    figure, axes = panels(3)
    draw_compared(axes[0], groups[0], "error where moved mm", "endpoint error (mm)")
    axes[0].set_title("same person, real: error where moved", fontsize=10)
    draw_compared(axes[1], groups[0], "Dice lateral ventricle", "Dice of the lateral ventricles")
    axes[1].set_title("same person, real", fontsize=10)
    draw_compared(axes[2], groups[1], "Dice lateral ventricle", "Dice of the lateral ventricles")
    axes[2].set_title("two people, painted contrasts", fontsize=10)
    for axis in axes[1:]:
        axis.set_ylim(0, 1)
    axes[0].set_ylim(0, 1.35 * groups[0][0]["error where moved mm"])
    axes[0].legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    return figure


if __name__ == "__main__":
    main()
