"""The search over whole displacements that starts where gradients do not see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.capture import capture, logarithm, search
from bids_nodereg.registration.diffeomorphism import flow_on, folded_cells
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.ode import flow
from bids_nodereg.registration.register import register
from bids_nodereg.registration.settings import (
    CaptureSettings,
    DescriptorSettings,
    Level,
    LossWeights,
    RegistrationSettings,
    SolverSettings,
)
from bids_nodereg.registration.smoothing import coarser_shape
from bids_nodereg.registration.velocity import boundary_window
from bids_nodereg.registration.warp import sample
from tests.registration.fields import (
    PAIR_SHAPE,
    SHAPE,
    ball,
    known_pair,
    noise,
    other_contrast,
    smooth_velocity,
    structured_image,
)

DESCRIPTOR = DescriptorSettings()
NEAR = CaptureSettings(reach=2, shrink=2)


@pytest.mark.parametrize("name", ["mind-ssc", "mind", "mse"])
def test_swapped_images_negate_the_start_to_the_last_bit(name: str) -> None:
    pair = replace(
        known_pair()[0],
        fixed_cost=1 - ball(PAIR_SHAPE, (10, 10, 10), 3).float(),
        moving_mask=1 - ball(PAIR_SHAPE, (22, 20, 18), 6).float(),
    )

    there, back = (capture(some, NEAR, DescriptorSettings(name)) for some in (pair, pair.swapped()))

    assert torch.equal(there, -back)
    assert there.shape == (1, 3, *coarser_shape(PAIR_SHAPE, NEAR.shrink))
    assert float(there.abs().max()) > 0.5


def test_an_image_that_did_not_move_starts_at_rest() -> None:
    pair, _ = known_pair()

    start = capture(replace(pair, moving=pair.fixed), NEAR, DESCRIPTOR)

    assert float(start.abs().max()) < 1e-6


def test_the_start_vanishes_on_the_boundary() -> None:
    start = capture(known_pair()[0], NEAR, DESCRIPTOR)

    assert float(start.norm(dim=1).max()) > 0.5
    for axis in (2, 3, 4):
        for end in (0, -1):
            assert not start.select(axis, end).any()


@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_a_mask_with_nothing_in_it_finds_nothing(which: str) -> None:
    pair, _ = known_pair()
    descriptors = noise(1, 12, *SHAPE), noise(1, 12, *SHAPE, seed=1)

    assert not search(*descriptors, torch.zeros(1, 1, *SHAPE), CaptureSettings(reach=1)).any()
    for field in ("mask", "cost"):
        empty = replace(pair, **{f"{which}_{field}": torch.zeros_like(pair.fixed)})
        assert bool(torch.isfinite(capture(empty, NEAR, DESCRIPTOR)).all())


@pytest.mark.parametrize("shift", [(2, 0, 0), (0, -3, 0), (1, 2, -1)])
def test_the_search_finds_a_whole_shift(shift: tuple[int, int, int]) -> None:
    fixed = noise(1, 12, *SHAPE)
    moving = torch.roll(fixed, shift, (2, 3, 4))  # moving(x + shift) = fixed(x)
    inside = torch.zeros(1, 1, *SHAPE, dtype=torch.float64)
    inside[..., 4:-4, 4:-4, 4:-4] = 1

    found = search(fixed, moving, inside, CaptureSettings(reach=3))

    expected = torch.tensor(shift, dtype=torch.float64).view(3, 1)
    torch.testing.assert_close(
        found[0][:, inside[0, 0] > 0], expected.expand(3, int(inside.sum())), rtol=0, atol=1e-9
    )


def flow_of(velocity: Tensor) -> Tensor:
    return flow(velocity, SolverSettings("rk4", 16))


@pytest.mark.parametrize(("largest", "bound"), [(1.0, 0.002), (3.0, 0.02)])
def test_the_logarithm_of_a_flow_flows_the_same_way(largest: float, bound: float) -> None:
    window = boundary_window(SHAPE, 4.0).double()
    displacement = flow_of(smooth_velocity(SHAPE, 4, largest, rim=4.0))

    velocity = logarithm(displacement, window)

    inner = (..., *[slice(4, -4)] * 3)
    error, taken_as_velocity = (
        float((flow_of(v) - displacement).norm(dim=1)[inner].mean())
        for v in (velocity, window * displacement)
    )
    assert error < bound
    assert error < 0.2 * taken_as_velocity
    assert float(displacement.norm(dim=1).max()) > 0.7 * largest
    assert not velocity[:, :, 0].any()


LONG_SHAPE = (88, 52, 52)


def displaced_block() -> tuple[ImagePair, Tensor]:
    """A texture with a block that is 20 voxels away in the other contrast, and the true displacement."""
    profiles = []
    for size, first, width in zip(LONG_SHAPE, (0, 2, 2), (32, 10, 10), strict=True):
        index = torch.arange(size, dtype=torch.float64)
        ramp = ((torch.minimum(index, size - 1 - index) - first) / width).clamp(0, 1)
        profiles.append(ramp**2 * (3 - 2 * ramp))
    velocity = torch.zeros(1, 3, *LONG_SHAPE, dtype=torch.float64)
    velocity[0, 0] = 20 * torch.einsum("i,j,k->ijk", *profiles)
    image = structured_image(LONG_SHAPE, 2.0)
    there = identity(LONG_SHAPE, image) + flow_on(-velocity, LONG_SHAPE, 8)
    mask = torch.zeros(1, 1, *LONG_SHAPE)
    mask[..., 2:-2, 2:-2, 2:-2] = 1
    moving = other_contrast(sample(image, there))
    pair = ImagePair(image.float(), moving.float(), mask, mask)
    return pair, flow_on(velocity, LONG_SHAPE, 8).float()


def test_a_block_that_is_far_away_is_found_where_the_levels_alone_are_lost() -> None:
    pair, truth = displaced_block()
    far = truth.norm(dim=1, keepdim=True) > 15
    levels, weights = (Level(2, 40), Level(1, 20)), LossWeights(gradient=0.03)
    errors = {}
    for reach in (0, 5):
        capture_settings = CaptureSettings(reach=reach)
        # MIND-SSC alone: information in patches of 11 voxels sees a good part of the way by itself.
        settings = RegistrationSettings(
            levels=levels,
            weights=weights,
            capture=capture_settings,
            descriptor=DescriptorSettings(lmi_weight=0.0),
        )
        result = register(pair, settings)
        assert not folded_cells(result.forward).any()
        errors[reach] = (result.forward - truth).norm(dim=1, keepdim=True)[far]

    assert float(truth.norm(dim=1).max()) > 19.9
    assert float(errors[0].mean()) > 10
    assert float(errors[5].median()) < 1
    assert float(errors[5].mean()) < 2  # the sheared border of the block is the hard part
