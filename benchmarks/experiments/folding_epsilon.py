"""Sweep the folding barrier's epsilon in the paper's set-up, with one Euler step and with many.

The paper says that the map tends to the identity and the folds vanish as epsilon grows to 0.5. Its
h = 0.005 can mean one step of NODEO's kind (no flow: a displacement) or a flow in small steps, so both
are done. Folds are counted in the map that the optimiser itself saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import (
    COLOURS,
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

NODEO_GRADIENT = 0.05 / 9
"""NODEO's 0.05 is of a mean over three components and three axes, where ours is of the sum."""

COLUMNS = (
    "folded %, central",
    "folded %, ten determinants",
    "smallest determinant",
    "mean displacement mm",
    "SD log J",
    "Dice",
    "CPU s",
)


def main() -> None:
    """Register at every epsilon with every number of steps; write table and figure."""
    parser = experiment_parser(__doc__, "folding_epsilon", 3.0)
    parser.add_argument("--epsilons", nargs="+", type=float, default=[0, 0.1, 0.2, 0.3, 0.5, 0.9])
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 20], help="Euler steps; 200 is h = 0.005")
    parser.add_argument("--iterations", type=int, default=60, help="the paper does 300")
    parser.add_argument("--gradient-weight", type=float, default=NODEO_GRADIENT)
    arguments = parser.parse_args()
    rows = measured_rows(arguments)
    notes = [
        f"{rows[0]['pair']} at {arguments.resolution_mm:g} mm, paper set-up with {arguments.iterations} "
        f"iterations, gradient weight {arguments.gradient_weight:.2g} (NODEO's 0.05 in our sum). Folds in % "
        "of the brain's voxels, before any repair. Mean displacement is that after the affine.",
        "Epsilon `off`: no barrier.",
    ]
    report(arguments.out, "Folding barrier: epsilon and the number of Euler steps", rows, draw(rows), notes)


def measured_rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for the affine, then one for each number of steps and epsilon."""
    case = real_case(default_settings(arguments))
    start = {"pair": case.name, "Euler steps": "-", "epsilon": "affine only"}
    rows = [start | columns_of(without_deforming(case), *COLUMNS)]
    gradient = {"gradient": arguments.gradient_weight}
    for steps in arguments.steps:
        for epsilon in (None, *arguments.epsilons):
            barrier = {"folding": 0.0} if epsilon is None else {"folding_epsilon": float(epsilon)}
            settings = paper_settings(
                arguments.resolution_mm, steps, arguments.iterations, gradient | barrier
            )
            row = {"pair": case.name, "Euler steps": steps, "epsilon": "off" if epsilon is None else epsilon}
            rows.append(row | columns_of(registered(case, settings), *COLUMNS))
    return rows


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Folds, displacement and Dice against epsilon, one line for each number of steps."""
    shown = ("folded %, ten determinants", "mean displacement mm", "Dice")
    labels = ("voxels that fold (%)", "mean displacement (mm)", "mean Dice of 13 structures")
    figure, axes = panels(len(shown))
    for colour, steps in zip(COLOURS, sorted({row["Euler steps"] for row in rows[1:]}), strict=False):
        series = [row for row in rows[1:] if row["Euler steps"] == steps]
        ticks = range(len(series))
        words = "1 Euler step" if steps == 1 else f"{steps} Euler steps"
        central = [row["folded %, central"] for row in series]
        axes[0].plot(ticks, central, "--", color=colour, label=f"{words}, central differences")
        for axis, name, label in zip(axes, shown, labels, strict=True):
            words_here = f"{words}, ten determinants" if axis is axes[0] else words
            axis.plot(ticks, [row[name] for row in series], "o-", color=colour, label=words_here)
            axis.set_xticks(ticks, [str(row["epsilon"]) for row in series])
            axis.set_xlabel("barrier epsilon")
            axis.set_ylabel(label)
    axes[1].set_ylim(0, 1.1 * max(row["mean displacement mm"] for row in rows))
    axes[2].axhline(rows[0]["Dice"], color="0.5", linestyle=":", label="affine only")
    for axis in axes[::2]:
        axis.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
