"""Swapping the images negates the velocity: bit for bit on one thread of a CPU for a stationary field.

With several parts of the time the parts change places, and a convolution on other memory may sum in
another order: there it holds up to rounding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.objective import objective
from bids_nodereg.registration.optimise import Step, optimise
from bids_nodereg.registration.register import register
from bids_nodereg.registration.settings import (
    CaptureSettings,
    DescriptorSettings,
    Level,
    LossWeights,
    RegistrationSettings,
    SolverSettings,
    VelocitySettings,
)
from bids_nodereg.registration.similarity import similarity_of
from bids_nodereg.registration.velocity import VELOCITIES
from tests.registration.fields import PAIR_SHAPE, ball, inverse_consistency, known_pair, noise

if TYPE_CHECKING:
    from bids_nodereg.registration.image_pair import ImagePair

SHORT = RegistrationSettings(levels=(Level(2, 6), Level(1, 4)), symmetric=True, seed=3)


def everything_given() -> ImagePair:
    """The known pair with excluded regions, unlike masks and a map of the stiffness."""
    pair, _ = known_pair()
    moving_mask = pair.moving_mask.clone()
    moving_mask[..., :5] = 0
    return replace(
        pair,
        moving_mask=moving_mask,
        fixed_cost=1 - ball(PAIR_SHAPE, (10, 10, 10), 4).float(),
        moving_cost=1 - ball(PAIR_SHAPE, (22, 20, 18), 3).float(),
        stiffness=0.5 + noise(1, 1, *PAIR_SHAPE, seed=8, dtype=torch.float32),
    )


def both_velocities(pair: ImagePair, settings: RegistrationSettings) -> tuple[Tensor, Tensor]:
    """Velocity of the pair, and that of the swapped pair told as if it were of the pair."""
    steps: tuple[list[Step], list[Step]] = ([], [])
    there = optimise(pair, settings, steps[0].append).velocity
    back = optimise(pair.swapped(), settings, steps[1].append).velocity
    assert float(there.abs().max()) > 0.01
    if settings.symmetric:
        losses = [[step.loss for step in of_one] for of_one in steps]
        exact = settings.velocity.time_parts == 1
        assert losses[0] == (losses[1] if exact else pytest.approx(losses[1], rel=1e-5, abs=1e-7))
    # Backwards in time the parts come in reverse order, each with the opposite sign.
    return there, -back.flip(0)


def assert_same(there: Tensor, back: Tensor, parts: int) -> None:
    if parts == 1:
        assert torch.equal(there, back)
    else:
        assert float((there - back).norm()) < 1e-3 * float(there.norm())


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("name", sorted(VELOCITIES))
def test_swapped_images_negate_every_kind_of_velocity(name: str, parts: int) -> None:
    settings = replace(SHORT, velocity=VelocitySettings(name=name, time_parts=parts))

    assert_same(*both_velocities(known_pair()[0], settings), parts)


ROUTES = {
    "adjoint": {"solver": SolverSettings("rk4", 2, "adjoint")},
    "squaring": {"solver": SolverSettings("squaring", 4, "checkpoint")},
    "capture": {"capture": CaptureSettings(reach=2, shrink=2)},
    "displacement": {"weights": LossWeights(gradient_of="displacement", magnitude=1e-2)},
    "confidence": {"weights": LossWeights(magnitude=1e-2, spatial="confidence")},
    "recomputed": {"descriptor": DescriptorSettings(recompute=True, fill_outside=True)},
    "lmi": {"descriptor": DescriptorSettings("lmi", window_radius=4)},
    "lncc": {"descriptor": DescriptorSettings("lncc", window_radius=2)},
    "mse": {"descriptor": DescriptorSettings("mse")},
}


@pytest.mark.parametrize("route", sorted(ROUTES))
@pytest.mark.parametrize("parts", [1, 2])
def test_it_holds_with_masks_and_stiffness_on_every_route(route: str, parts: int) -> None:
    settings = replace(SHORT, **ROUTES[route], velocity=VelocitySettings(time_parts=parts))

    assert_same(*both_velocities(everything_given(), settings), parts)


@pytest.mark.parametrize("parts", [1, 2])
def test_one_direction_alone_is_not_symmetric(parts: int) -> None:
    settings = replace(SHORT, symmetric=False, velocity=VelocitySettings(time_parts=parts))

    there, back = both_velocities(known_pair()[0], settings)

    assert float((there - back).norm() / there.norm()) > 0.05


@pytest.mark.parametrize("parts", [1, 2])
def test_the_map_of_one_is_the_inverse_of_the_other(parts: int) -> None:
    settings = replace(
        SHORT, levels=(Level(2, 30), Level(1, 10)), velocity=VelocitySettings(time_parts=parts)
    )

    there, back = (register(pair, settings) for pair in (known_pair()[0], known_pair()[0].swapped()))

    assert float(there.forward.norm(dim=1).max()) > 1
    # The stored inverse is polished to fit the stored map, which moves it by this little.
    for one, other in ((there.forward, back.inverse), (there.inverse, back.forward)):
        assert float((one - other).norm(dim=1).mean()) < 0.01
        assert float((one - other).norm(dim=1).max()) < 0.1
    assert float(inverse_consistency(there.forward, back.forward).mean()) < 0.01


def test_the_objective_is_the_mean_of_both_directions() -> None:
    pair = everything_given()
    steps: list[Step] = []
    optimise(pair, replace(SHORT, levels=(Level(1, 2),)), steps.append)

    both = similarity_of(pair, SHORT.descriptor)
    at_rest = torch.zeros(1, 3, *PAIR_SHAPE)
    one, other = float(both.forward(at_rest)), float(both.backward(at_rest))
    assert abs(one - other) > 1e-5
    assert steps[0].similarity == pytest.approx((one + other) / 2, rel=1e-5)


def test_both_maps_count_in_the_penalties() -> None:
    calm, rough = torch.zeros(1, 3, 5, 6, 4), 2 * noise(1, 3, 5, 6, 4, dtype=torch.float32)
    nothing = torch.zeros(())
    weights = LossWeights(gradient_of="displacement")

    pairs = [objective(nothing, calm, us, weights) for us in ([calm, rough], [rough, calm], [rough])]

    for term in ("folding", "gradient"):
        one, swapped, alone = (float(getattr(terms, term)) for terms in pairs)
        assert one == swapped == pytest.approx(alone / 2)
        assert one > 0


def test_the_direction_back_gets_better_too() -> None:
    pair, _ = known_pair()
    result = register(pair, replace(SHORT, levels=(Level(2, 30), Level(1, 10))))
    backward = similarity_of(pair, SHORT.descriptor).backward

    at_rest, found = float(backward(torch.zeros_like(result.inverse))), float(backward(result.inverse))

    assert found < 0.8 * at_rest
