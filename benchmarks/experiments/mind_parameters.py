"""MIND's search region and offset, MIND-SSC's patch and offset: what small structures want.

The paper discusses r = 0 and 1, d = 1 and 2 on pallidum and hippocampus. Here on two people with exact
labels (painted contrasts) and on two real ones (automatic labels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from harness import (
    COLOURS,
    changed,
    columns_of,
    default_settings,
    exact_case,
    experiment_parser,
    panels,
    real_case,
    registered,
    report,
    without_deforming,
)

if TYPE_CHECKING:
    from cases import Case
    from matplotlib.figure import Figure

    from bids_nodereg.config import Settings

SMALL = ("pallidum", "hippocampus", "amygdala", "caudate")
COLUMNS = ("Dice", *(f"Dice {name}" for name in SMALL), "SD log J", "folded %, ten determinants", "CPU s")
VARIANTS = {
    **{
        f"MIND r={radius} d={offset}": {"name": "mind", "search_radius": radius, "offset": offset}
        for radius in (0, 1)
        for offset in (1, 2)
    },
    **{
        f"SSC p={patch} d={offset}": {"name": "mind-ssc", "patch_radius": patch, "offset": offset}
        for patch in (1, 2)
        for offset in (1, 2)
    },
}


def main() -> None:
    """Register both cases with every variant; write table and figure."""
    parser = experiment_parser(__doc__, "mind_parameters", 2.0)
    parser.add_argument("--cases", nargs="+", default=["exact", "real"], choices=("exact", "real"))
    arguments = parser.parse_args()
    settings = default_settings(arguments)
    makers = {"exact": exact_case, "real": real_case}
    rows: list[dict[str, Any]] = []
    for name in arguments.cases:
        rows += measured_rows(makers[name](settings), settings)
    notes = [
        f"Default set-up at {arguments.resolution_mm:g} mm; offsets and radii are in voxels of a level, so "
        f"at the finest level d=2 is {2 * arguments.resolution_mm:g} mm. r=0: six neighbours, r=1: all 26. "
        "p: half-width of the patch. Real labels are automatic: read nothing into differences below 0.03.",
    ]
    report(arguments.out, "Parameters of MIND and MIND-SSC", rows, draw(rows), notes)


def measured_rows(case: Case, settings: Settings) -> list[dict[str, Any]]:
    """One row for the affine and one for each variant."""
    rows = [{"pair": case.name, "descriptor": "affine only"} | columns_of(without_deforming(case), *COLUMNS)]
    for name, descriptor in VARIANTS.items():
        found = registered(case, changed(settings, {"descriptor": descriptor}))
        rows.append({"pair": case.name, "descriptor": name} | columns_of(found, *COLUMNS))
    return rows


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Dice of the small structures and the mean, one panel for each pair, one mark for each variant."""
    pairs = list(dict.fromkeys(row["pair"] for row in rows))
    columns = ("Dice", *(f"Dice {name}" for name in SMALL))
    figure, axes = panels(len(pairs), width=5.5)
    for axis, pair in zip(axes, pairs, strict=True):
        series = [row for row in rows if row["pair"] == pair]
        places = np.arange(len(columns))
        start = [series[0][c] for c in columns]
        axis.hlines(start, places - 0.4, places + 0.4, color="0.4", label="affine only")
        shifts = np.linspace(-0.3, 0.3, len(series) - 1)
        for number, (row, shift) in enumerate(zip(series[1:], shifts, strict=True)):
            style = {"color": COLOURS[number % 4], "marker": "o" if number < 4 else "s"}
            axis.plot(
                places + shift,
                [row[c] for c in columns],
                linestyle="none",
                label=row["descriptor"],
                **style,
            )
        axis.set_xticks(places, ["mean of 13", *SMALL], fontsize=9)
        axis.set_title(pair, fontsize=10)
        axis.set_ylabel("Dice")
    axes[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


if __name__ == "__main__":
    main()
