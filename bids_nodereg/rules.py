"""What must hold for settings to make sense: each rule in words, and whether it holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.registration.settings import (
        AffineSettings,
        CaptureSettings,
        DescriptorSettings,
        RegistrationSettings,
        SolverSettings,
        VelocitySettings,
    )


def affine_rules(affine: AffineSettings) -> dict[str, bool]:
    """Rules of the affine start, and whether they hold."""
    return {
        "affine.spacings_mm has two values or more, all above 0": len(affine.spacings_mm) >= 2
        and all(0 < value < math.inf for value in affine.spacings_mm),
        "affine.spacings_mm are whole multiples of the last one": _are_multiples(affine.spacings_mm),
        "affine.iterations has one value for each of spacings_mm, all 1 or more": len(affine.iterations)
        == len(affine.spacings_mm)
        and all(value >= 1 for value in affine.iterations),
        "affine.angles_deg has one value or more": bool(affine.angles_deg),
        "affine.keep is 1 or more": affine.keep >= 1,
    }


def registration_rules(registration: RegistrationSettings) -> dict[str, bool]:
    """Rules of the deformable registration, and whether they hold."""
    return {
        **_descriptor_rules(registration.descriptor),
        **_velocity_rules(registration.velocity, registration.solver),
        **_capture_rules(registration.capture),
        **_optimisation_rules(registration),
    }


def _descriptor_rules(descriptor: DescriptorSettings) -> dict[str, bool]:
    radii = descriptor.patch_radius, descriptor.search_radius
    return {
        "descriptor.offset is 1 or more": descriptor.offset >= 1,
        "descriptor.patch_radius and search_radius are 0 or more": min(radii) >= 0,
        "descriptor.patch_sigma is above 0": 0 < descriptor.patch_sigma < math.inf,
        "descriptor.window_radius is 1 or more": descriptor.window_radius >= 1,
        "descriptor.bins is 4 or more": descriptor.bins >= 4,
        "descriptor.lmi_weight is 0 or more": 0 <= descriptor.lmi_weight < math.inf,
        "descriptor.learned_weight is between 0 and 1": 0 <= descriptor.learned_weight <= 1,
    }


def _velocity_rules(velocity: VelocitySettings, solver: SolverSettings) -> dict[str, bool]:
    squares = solver.scheme == "squaring"
    sizes = velocity.channels, velocity.bottleneck, velocity.latent_shrink
    return {
        "velocity.lattice is 1 or more": velocity.lattice >= 1,
        "velocity.channels, bottleneck and latent_shrink are 1 or more": min(sizes) >= 1,
        "velocity.smoothing_sigma is 0 or more": 0 <= velocity.smoothing_sigma < math.inf,
        "velocity.time_parts is 1 or more": velocity.time_parts >= 1,
        "solver.steps is 1 or more": solver.steps >= 1,
        "solver.steps is 4 or more squarings for the scheme squaring": not squares or solver.steps >= 4,
        "solver.gradient is not adjoint for the scheme squaring": not squares or solver.gradient != "adjoint",
    }


def _capture_rules(capture: CaptureSettings) -> dict[str, bool]:
    return {
        "capture.reach is 0 or more": capture.reach >= 0,
        "capture.shrink is 1 or more": capture.shrink >= 1,
        "capture.smoothing_sigma is above 0": 0 < capture.smoothing_sigma < math.inf,
    }


def _optimisation_rules(registration: RegistrationSettings) -> dict[str, bool]:
    weights, levels = registration.weights, registration.levels
    return {
        "registration.levels has one level or more": bool(levels),
        "shrink is 1 or more": all(level.shrink >= 1 for level in levels),
        "iterations are 0 or more": all(level.iterations >= 0 for level in levels),
        "convergence_window is 1 or more": registration.convergence_window >= 1,
        "convergence_tolerance is 0 or more": 0 <= registration.convergence_tolerance < math.inf,
        "weights.folding_epsilon is below 1": weights.folding_epsilon < 1,
        "weights are 0 or more": all(
            0 <= value < math.inf for value in (weights.folding, weights.gradient, weights.magnitude)
        ),
        "final_steps is 1 or more": registration.final_steps >= 1,
        "learning_rate is above 0": 0 < registration.rate < math.inf,
    }


def _are_multiples(spacings: Sequence[float]) -> bool:
    """Whether each spacing is a whole multiple of the last; the pyramid shrinks by whole numbers."""
    ratios = [value / spacings[-1] for value in spacings if spacings[-1] > 0]
    return all(math.isfinite(ratio) and abs(ratio - round(ratio)) < 1e-6 for ratio in ratios)
