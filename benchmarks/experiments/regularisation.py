"""How much does the strength of the smoothness matter? The default and the paper's set-up.

The gradient weight is multiplied by 1/8 to 8. The paper claims robustness to the regularisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from folding_epsilon import NODEO_GRADIENT
from harness import (
    COLOURS,
    changed,
    columns_of,
    default_settings,
    experiment_parser,
    panels,
    paper_settings,
    real_case,
    registered,
    report,
    without_deforming,
)

if TYPE_CHECKING:
    import argparse

    from matplotlib.figure import Figure

    from bids_nodereg.config import Settings

COLUMNS = (
    "Dice",
    "SD log J",
    "folded %, central",
    "folded %, ten determinants",
    "smallest determinant",
    "mean displacement mm",
    "CPU s",
)


def main() -> None:
    """Register with every strength in every set-up; write table and figure."""
    parser = experiment_parser(__doc__, "regularisation", 3.0)
    parser.add_argument("--factors", nargs="+", type=float, default=[0.125, 0.25, 0.5, 1, 2, 4, 8])
    parser.add_argument("--iterations", type=int, default=60, help="of the paper's set-up, which does 300")
    parser.add_argument("--steps", type=int, default=20, help="Euler steps of the paper's set-up as a flow")
    arguments = parser.parse_args()
    case = real_case(default_settings(arguments))
    start = columns_of(without_deforming(case), *COLUMNS)
    rows: list[dict[str, Any]] = [{"set-up": "affine only", "factor": "-", "gradient weight": "-"} | start]
    for name in ("default", "paper, 1 step", f"paper, {arguments.steps} steps"):
        for factor in arguments.factors:
            settings, weight = set_up(name, factor, arguments)
            row = {"set-up": name, "factor": factor, "gradient weight": weight}
            rows.append(row | columns_of(registered(case, settings), *COLUMNS))
    notes = [
        f"{case.name} at {arguments.resolution_mm:g} mm. Paper set-up: {arguments.iterations} iterations, "
        "barrier epsilon 0.5, factor 1 is NODEO's weight in our sum. Maps before any repair; folds in per "
        "cent of the brain's voxels.",
    ]
    report(arguments.out, "Strength of the regularisation", rows, draw(rows), notes)


def set_up(name: str, factor: float, arguments: argparse.Namespace) -> tuple[Settings, float]:
    """Settings of a set-up with its gradient weight multiplied, and the weight."""
    if name == "default":
        settings = default_settings(arguments)
        weight = factor * settings.registration.weights.gradient
        return changed(settings, {"weights": {"gradient": weight}}), weight
    weight = factor * NODEO_GRADIENT
    steps = 1 if name == "paper, 1 step" else arguments.steps
    weights = {"gradient": weight}
    return paper_settings(arguments.resolution_mm, steps, arguments.iterations, weights), weight


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Dice, spread of log J and folds against the factor, one line for each set-up."""
    columns = {
        "Dice": "mean Dice of 13 structures",
        "SD log J": "standard deviation of ln det J",
        "folded %, ten determinants": "voxels that fold (%), ten determinants",
    }
    figure, axes = panels(len(columns))
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        for colour, name in zip(COLOURS, dict.fromkeys(row["set-up"] for row in rows[1:]), strict=False):
            series = [row for row in rows if row["set-up"] == name]
            factors, values = [row["factor"] for row in series], [row[column] for row in series]
            axis.plot(factors, values, "o-", color=colour, label=name)
        axis.set_xscale("log", base=2)
        axis.set_xticks(factors, [f"{factor:g}" for factor in factors])
        axis.set_xlabel("factor on the gradient weight")
        axis.set_ylabel(label)
    axes[0].axhline(rows[0]["Dice"], color="0.5", linestyle=":", label="affine only")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
