"""What must hold for settings to make sense: each rule in words, and whether it holds.

The upper ends of the ranges lie far beyond what is of use, and before what no memory, time or type can hold.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_nodereg.registration.settings import (
        AffineSettings,
        CaptureSettings,
        DescriptorSettings,
        RegistrationSettings,
        SolverSettings,
        VelocitySettings,
    )

    Ranges = Mapping[str, tuple[float, float, float]]
    """Of a value by its name: the value, the least and the most."""

MOST_ITERATIONS = 1_000_000
MOST_STEPS = 10_000
MOST_SQUARINGS = 30
MOST_WEIGHT = 1_000_000
MOST_RADIUS = 100
MOST_SHRINK = 1000


def in_ranges(ranges: Ranges) -> dict[str, bool]:
    """Rules that values lie in their ranges, ends included; what is no number lies in none."""
    return {
        f"{name} is between {least} and {most}": least <= value <= most
        for name, (value, least, most) in ranges.items()
    }


def affine_rules(affine: AffineSettings) -> dict[str, bool]:
    """Rules of the affine start, and whether they hold."""
    return {
        "affine.spacings_mm has two values or more, all between 0.01 and 1000": len(affine.spacings_mm) >= 2
        and all(0.01 <= value <= 1000 for value in affine.spacings_mm),
        "affine.spacings_mm are whole multiples of the last one": _are_multiples(affine.spacings_mm),
        f"affine.iterations has one value for each of spacings_mm, all between 1 and {MOST_ITERATIONS}": len(
            affine.iterations
        )
        == len(affine.spacings_mm)
        and all(1 <= value <= MOST_ITERATIONS for value in affine.iterations),
        "affine.angles_deg has 1 to 36 values, all between -360 and 360": 1 <= len(affine.angles_deg) <= 36
        and all(abs(value) <= 360 for value in affine.angles_deg),
        **in_ranges({"affine.keep": (affine.keep, 1, 1000)}),
    }


def registration_rules(registration: RegistrationSettings) -> dict[str, bool]:
    """Rules of the deformable registration, and whether they hold."""
    return {
        **_descriptor_rules(registration.descriptor),
        **_velocity_rules(registration.velocity),
        **_solver_rules(registration.solver),
        **_capture_rules(registration.capture),
        **_level_rules(registration),
        **_optimisation_rules(registration),
    }


def _descriptor_rules(descriptor: DescriptorSettings) -> dict[str, bool]:
    return in_ranges(
        {
            "descriptor.offset": (descriptor.offset, 1, MOST_RADIUS),
            "descriptor.patch_radius": (descriptor.patch_radius, 0, MOST_RADIUS),
            "descriptor.search_radius": (descriptor.search_radius, 0, MOST_RADIUS),
            "descriptor.patch_sigma": (descriptor.patch_sigma, 0.01, MOST_RADIUS),
            "descriptor.window_radius": (descriptor.window_radius, 1, MOST_RADIUS),
            "descriptor.bins": (descriptor.bins, 4, 1024),
            "descriptor.lmi_weight": (descriptor.lmi_weight, 0, MOST_WEIGHT),
            "descriptor.learned_weight": (descriptor.learned_weight, 0, 1),
        }
    )


def _velocity_rules(velocity: VelocitySettings) -> dict[str, bool]:
    return in_ranges(
        {
            "velocity.lattice": (velocity.lattice, 1, MOST_SHRINK),
            "velocity.channels": (velocity.channels, 1, 4096),
            "velocity.bottleneck": (velocity.bottleneck, 1, 4096),
            "velocity.latent_shrink": (velocity.latent_shrink, 1, MOST_SHRINK),
            "velocity.smoothing_sigma": (velocity.smoothing_sigma, 0, MOST_RADIUS),
            "velocity.time_parts": (velocity.time_parts, 1, 1000),
        }
    )


def _solver_rules(solver: SolverSettings) -> dict[str, bool]:
    if solver.scheme != "squaring":
        return in_ranges({"solver.steps": (solver.steps, 1, MOST_STEPS)})
    return {
        **in_ranges({"solver.steps for the scheme squaring": (solver.steps, 4, MOST_SQUARINGS)}),
        "solver.gradient is not adjoint for the scheme squaring": solver.gradient != "adjoint",
    }


def _capture_rules(capture: CaptureSettings) -> dict[str, bool]:
    return in_ranges(
        {
            "capture.reach": (capture.reach, 0, MOST_RADIUS),
            "capture.shrink": (capture.shrink, 1, MOST_SHRINK),
            "capture.smoothing_sigma": (capture.smoothing_sigma, 0.01, MOST_RADIUS),
        }
    )


def _level_rules(registration: RegistrationSettings) -> dict[str, bool]:
    levels = registration.levels
    return {
        "registration.levels has 1 to 20 levels": 1 <= len(levels) <= 20,
        f"shrink of each level is between 1 and {MOST_SHRINK}": all(
            1 <= level.shrink <= MOST_SHRINK for level in levels
        ),
        f"iterations of each level are between 0 and {MOST_ITERATIONS}": all(
            0 <= level.iterations <= MOST_ITERATIONS for level in levels
        ),
    }


def _optimisation_rules(registration: RegistrationSettings) -> dict[str, bool]:
    weights = registration.weights
    return {
        **in_ranges(
            {
                "convergence_window": (registration.convergence_window, 1, MOST_ITERATIONS),
                "convergence_tolerance": (registration.convergence_tolerance, 0, MOST_WEIGHT),
                "weights.folding": (weights.folding, 0, MOST_WEIGHT),
                "weights.gradient": (weights.gradient, 0, MOST_WEIGHT),
                "weights.magnitude": (weights.magnitude, 0, MOST_WEIGHT),
                "final_steps": (registration.final_steps, 1, MOST_STEPS),
                "seed": (registration.seed, -(2**63), 2**63 - 1),
            }
        ),
        "weights.folding_epsilon is 0 or more, and below 1": 0 <= weights.folding_epsilon < 1,
        "learning_rate is between 0 (the usual one) and 1000": 0 <= registration.learning_rate <= 1000,
    }


def _are_multiples(spacings: Sequence[float]) -> bool:
    """Whether each spacing is a whole multiple of the last; the pyramid shrinks by whole numbers."""
    ratios = [value / spacings[-1] for value in spacings if spacings[-1] > 0]
    return all(math.isfinite(ratio) and abs(ratio - round(ratio)) < 1e-6 for ratio in ratios)
