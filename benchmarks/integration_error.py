"""Error, folds and cost of each way to integrate a velocity field, against a fine reference.

Random smooth velocities, zero at the border; the reference is RK4 with 64 steps on the same
trilinear field. The cost is the number of times a vector field is interpolated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, write_results

from bids_nodereg.registration.diffeomorphism import folded_cells
from bids_nodereg.registration.ode import TABLEAUS, flow
from bids_nodereg.registration.settings import SolverSettings
from bids_nodereg.registration.smoothing import gaussian
from bids_nodereg.registration.velocity import boundary_window

SHAPE = (80, 96, 80)
FIELDS = ((6.0, 12.0), (4.0, 12.0), (8.0, 20.0))
SCHEMES = (
    *(("euler", steps) for steps in (1, 2, 5, 20, 50, 200)),
    *(("heun", steps) for steps in (2, 4, 8)),
    *(("rk4", steps) for steps in (1, 2, 4)),
    *(("squaring", steps) for steps in (4, 6, 7)),
)


def main() -> None:
    """Measure every scheme on every field and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "integration-error")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for sigma, largest in FIELDS:
        velocity = smooth_velocity(sigma, largest)
        reference = flow(velocity, SolverSettings("rk4", 64))
        rows += [measure(velocity, reference, f"{sigma:g} / {largest:g}", *scheme) for scheme in SCHEMES]
    notes = [
        "Field: standard deviation of its smoothing / largest velocity, in voxels. Errors in voxels, more "
        "than 4 voxels from the border. Folded: cells with one of ten determinants not positive; central: by "
        "central differences.",
    ]
    write_results(arguments.out, "Integrating a velocity field", rows, notes)


def smooth_velocity(sigma: float, largest: float) -> torch.Tensor:
    """White noise, smoothed, tapered and scaled to the largest norm; ``1 3 i j k`` in voxels."""
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, *SHAPE)).astype(np.float32))
    velocity = gaussian(noise, sigma) * boundary_window(SHAPE, 0.7)
    return velocity * (largest / velocity.norm(dim=1).max())


def measure(
    velocity: torch.Tensor, reference: torch.Tensor, name: str, scheme: str, steps: int
) -> dict[str, Any]:
    """One row of the table."""
    displacement = flow(velocity, SolverSettings(scheme, steps))  # type: ignore[arg-type]
    inside = (slice(None), slice(None), *(slice(4, -4),) * 3)
    error = (displacement - reference)[inside].norm(dim=1).flatten().numpy()
    stages = 1 if scheme == "squaring" else len(TABLEAUS[scheme].a)
    return {
        "field": name,
        "scheme": scheme,
        "steps": steps,
        "interpolations": steps * stages,
        "error mean": float(error.mean()),
        "error p99": float(np.percentile(error, 99)),
        "folded %": 100 * float(folded_cells(displacement).double().mean()),
        "folded, central %": 100 * central_folds(displacement[0].numpy()),
    }


def central_folds(displacement: np.ndarray) -> float:
    """Fraction of voxels where the central-difference Jacobian is not positive."""
    jacobian = (
        np.stack([np.stack(np.gradient(part)) for part in displacement]) + np.eye(3)[..., None, None, None]
    )
    determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
    return float((determinant <= 0).mean())


if __name__ == "__main__":
    main()
