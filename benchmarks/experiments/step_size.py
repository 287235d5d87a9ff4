"""How large may a step of the ODE solver be? Folds, error and cost from h = 1 to h = 0.005.

A pair is registered once with each solver, without a folding barrier and with little smoothness, so
that nothing but the integration keeps the map from folding. The map is the solver's own; the error is
its distance from the exact flow of the velocity that was found (RK4 with 64 steps).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from harness import (
    COLOURS,
    changed,
    default_settings,
    experiment_parser,
    measures,
    panels,
    real_case,
    report,
    without_deforming,
)

from bids_nodereg.app.stages import to_world
from bids_nodereg.registration.ode import TABLEAUS, flow
from bids_nodereg.registration.optimise import optimise
from bids_nodereg.registration.settings import SolverSettings
from bids_nodereg.registration.warp import resize_vectors

if TYPE_CHECKING:
    from cases import Case
    from matplotlib.figure import Figure

    from bids_nodereg.config import Settings

SOLVERS = (
    *(("euler", steps) for steps in (1, 2, 5, 10, 20, 50, 200)),
    *(("heun", steps) for steps in (1, 2, 4)),
    *(("rk4", steps) for steps in (1, 2, 4)),
)
REFERENCE = SolverSettings("rk4", 64)
MEASURED = (
    "folded %, central",
    "folded %, ten determinants",
    "smallest determinant",
    "mean displacement mm",
    "SD log J",
    "Dice",
)


def main() -> None:
    """Register with every solver; write table and figure."""
    parser = experiment_parser(__doc__, "step_size", 3.0)
    parser.add_argument("--gradient-weight", type=float, default=0.02)
    parser.add_argument("--most-steps", type=int, default=200, help="leave out solvers with more steps")
    arguments = parser.parse_args()
    settings = default_settings(arguments)
    case = real_case(settings)
    weights = {"folding": 0.0, "gradient": arguments.gradient_weight}
    rows = [
        measure(case, changed(settings, {"weights": weights}), scheme, steps)
        for scheme, steps in SOLVERS
        if steps <= arguments.most_steps
    ]
    start = without_deforming(case)
    notes = [
        f"{case.name} at {arguments.resolution_mm:g} mm, default set-up without a barrier, gradient weight "
        f"{arguments.gradient_weight:g}. Affine only: Dice {start['Dice']:.3f}. Folds in per cent of the "
        "brain's voxels, before any repair. Error: from the exact flow of the same velocity, in the brain. "
        "`exact flow folds`: what the same velocity gives, integrated well. Iteration: processor time of a "
        "registration over its number of iterations.",
    ]
    report(arguments.out, "Step size of the ODE solver", rows, draw(rows), notes)


def measure(case: Case, base: Settings, scheme: str, steps: int) -> dict[str, Any]:
    """Register with one solver and compare its map with the exact flow of its velocity."""
    solver = {"scheme": scheme, "steps": steps}
    settings = changed(base, {"solver": solver}).registration
    iterations: list[int] = []
    began = time.process_time()
    velocity = optimise(case.pair, settings, lambda step: iterations.append(step.iteration)).velocity
    seconds = time.process_time() - began
    found, exact = (_map(case, velocity, each) for each in (settings.solver, REFERENCE))
    error = np.linalg.norm(found - exact, axis=-1)[case.mask]
    values, exactly = measures(case, found), measures(case, exact)
    row: dict[str, Any] = {"scheme": scheme, "steps": steps, "h": 1 / steps}
    row["interpolations"] = steps * len(TABLEAUS[scheme].a)
    row |= {name: values[name] for name in MEASURED}
    row["exact flow folds %, ten"] = exactly["folded %, ten determinants"]
    row |= {"error mean mm": float(error.mean()), "error p99 mm": float(np.percentile(error, 99))}
    return row | {"iteration ms": 1000 * seconds / len(iterations), "CPU s": seconds}


def _map(case: Case, velocity: torch.Tensor, solver: SolverSettings) -> np.ndarray:
    """Displacement in mm on the working grid, from a flow on the velocity's own lattice."""
    with torch.no_grad():
        return to_world(resize_vectors(flow(velocity, solver), case.grid.shape), case.grid)


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Folds, error and cost against the step size, one line for each scheme."""
    columns = {
        "folded %, ten determinants": "voxels that fold (%), ten determinants",
        "error mean mm": "mean error of the map (mm)",
        "iteration ms": "processor time of an iteration (ms)",
    }
    names = {"euler": "Euler", "heun": "Heun", "rk4": "RK4"}
    figure, axes = panels(len(columns))
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        for colour, (scheme, name) in zip(COLOURS, names.items(), strict=False):
            series = [row for row in rows if row["scheme"] == scheme]
            axis.plot(
                [row["h"] for row in series], [row[column] for row in series], "o-", color=colour, label=name
            )
        axis.set_xscale("log")
        axis.set_xlabel("step size h")
        axis.set_ylabel(label)
    axes[1].set_yscale("log")
    axes[2].set_ylim(bottom=0)
    axes[1].legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
