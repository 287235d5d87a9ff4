"""Every row of the table of similarities, held against the same truths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.descriptors import DESCRIPTORS
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.intensity import INTENSITY_MEASURES
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.settings import DescriptorSettings
from bids_nodereg.registration.similarity import SIMILARITIES, Weight, similarity_of
from bids_nodereg.registration.warp import sample
from tests.registration.fields import ball, noise, smooth_velocity, structured_image

SHAPE = (20, 23, 18)
NAMES = sorted(SIMILARITIES)
STRUCTURAL = sorted(DESCRIPTORS)


def image_pair(dtype: torch.dtype = torch.float64) -> ImagePair:
    """Two unlike textures with unlike masks."""
    fixed, moving = (structured_image(SHAPE, 1.5, seed).to(dtype) for seed in (0, 1))
    masks = [torch.zeros(1, 1, *SHAPE, dtype=dtype) for _ in range(2)]
    masks[0][..., 4:-4, 4:-5, 4:-4] = 1
    masks[1][..., 5:-4, 4:-4, 3:-4] = 1
    return ImagePair(fixed, moving, *masks)


def off_lattice(largest: float = 0.8) -> Tensor:
    """Displacement that keeps away from the lattice, where the slope of the interpolation jumps."""
    smooth = smooth_velocity(SHAPE, 3, largest, seed=4)
    return smooth.floor() + 0.2 + 0.6 * (smooth - smooth.floor())


@pytest.mark.parametrize("name", NAMES)
def test_equal_images_are_nearest_where_they_lie_on_each_other(name: str) -> None:
    pair = image_pair(torch.float32)
    same = replace(pair, moving=pair.fixed, moving_mask=pair.fixed_mask)

    for distance in similarity_of(same, DescriptorSettings(name, lmi_weight=0.0)):
        at_rest = float(distance(torch.zeros(1, 3, *SHAPE)))
        for axis in range(3):
            for voxels in (-2, 2):
                shift = torch.zeros(1, 3, *SHAPE)
                shift[:, axis] = voxels
                assert float(distance(shift)) > at_rest + 1e-3
        if name != "lmi":  # information has no zero
            assert abs(at_rest) < 2e-3  # local correlation adds a floor to variances


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("recompute", [False, True])
def test_the_gradient_against_finite_differences(name: str, recompute: bool) -> None:
    pair = image_pair()  # without cost masks: the weight they make is held still, whatever moves
    displacement = off_lattice()
    directions = [noise(1, 3, *SHAPE, seed=seed) - 0.5 for seed in range(3)]

    for distance in similarity_of(pair, DescriptorSettings(name, recompute=recompute)):
        u = displacement.clone().requires_grad_()
        distance(u).backward()
        for direction in directions:
            ahead, behind = (float(distance(displacement + h * direction)) for h in (1e-6, -1e-6))
            slope = float((u.grad * direction).sum())
            assert slope == pytest.approx((ahead - behind) / 2e-6, rel=1e-5, abs=1e-8)
        assert float(u.grad.abs().max()) > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_backward_is_forward_of_the_swapped_pair(name: str) -> None:
    pair = replace(image_pair(torch.float32), moving_cost=1 - ball(SHAPE, (8, 9, 8), 2).float())
    u, settings = off_lattice().float(), DescriptorSettings(name)

    there, back = similarity_of(pair, settings), similarity_of(pair.swapped(), settings)

    assert float(there.backward(u)) == float(back.forward(u))
    assert float(there.forward(u)) == float(back.backward(u)) != float(there.backward(u))


@pytest.mark.parametrize("name", NAMES)
def test_where_the_weight_is_zero_a_displacement_has_no_slope(name: str) -> None:
    hole = ball(SHAPE, (9, 11, 9), 3)
    pair = replace(image_pair(torch.float32), fixed_cost=1 - hole.float())
    settings = DescriptorSettings(name)
    u = off_lattice().float().requires_grad_()

    similarity_of(pair, settings).forward(u).backward()

    counts = (Weight(pair)(u) > 0).expand_as(u)
    assert not bool(counts[hole.expand_as(u)].any())
    assert not bool(u.grad[~counts].any())
    assert bool((u.grad[counts] != 0).float().mean() > 0.9)


@pytest.mark.parametrize("name", STRUCTURAL)
def test_computing_anew_is_warping_once_where_nothing_moves(name: str) -> None:
    pair = image_pair(torch.float32)
    at_rest = torch.zeros(1, 3, *SHAPE)
    # Statistics are over the mask of each image's own; anew, over the fixed one.
    pair = replace(pair, moving_mask=pair.fixed_mask)

    once, anew = (similarity_of(pair, DescriptorSettings(name, recompute=again)) for again in (False, True))

    for way in ("forward", "backward"):
        value = float(getattr(anew, way)(at_rest))
        # Descriptors that are computed once are kept as bytes.
        assert value == pytest.approx(float(getattr(once, way)(at_rest)), rel=1e-3)
        moved = [float(getattr(route, way)(off_lattice().float())) for route in (once, anew)]
        assert value > 1e-3
        assert moved[0] != moved[1]


def test_the_table_has_every_descriptor_and_measure_once() -> None:
    assert set(SIMILARITIES) == set(DESCRIPTORS) | set(INTENSITY_MEASURES)
    assert not set(DESCRIPTORS) & set(INTENSITY_MEASURES)


def test_the_weight_is_the_fixed_mask_less_what_either_image_excludes() -> None:
    pair = image_pair(torch.float32)
    u = off_lattice().float().requires_grad_()
    assert torch.equal(Weight(pair)(u), pair.fixed_mask)

    costs = [1 - ball(SHAPE, centre, 2).float() for centre in ((7, 8, 8), (12, 14, 10))]
    weight = Weight(replace(pair, fixed_cost=costs[0], moving_cost=costs[1]))(u)

    there = sample(costs[1], identity(SHAPE, u) + u)
    torch.testing.assert_close(weight, pair.fixed_mask * costs[0] * there)
    assert not weight.requires_grad
    assert 0 < float(weight.sum()) < float((pair.fixed_mask * costs[0]).sum())


@pytest.mark.parametrize(
    ("settings", "reach"),
    [
        (DescriptorSettings(), 2),
        (DescriptorSettings(offset=2, patch_radius=3), 5),
        (DescriptorSettings("mind", patch_sigma=0.5), 3),
        (DescriptorSettings("mind", search_radius=1), 3),
        (DescriptorSettings("mind", offset=2, patch_sigma=0.3), 3),
    ],
)
def test_a_descriptor_sees_as_far_as_its_reach(settings: DescriptorSettings, reach: int) -> None:
    image = noise(1, 1, *SHAPE)
    changed = image.clone()
    changed[..., 9, 11, 9] += 1
    # One voxel as the mask of the statistics, far away: the only global influence is none.
    far = torch.zeros_like(image)
    far[..., 0, 0, 0] = 1

    one, other = (DESCRIPTORS[settings.name](some, far, settings) for some in (image, changed))

    seen = (one != other).any(1, keepdim=True)
    box = torch.zeros_like(seen)
    box[..., 9 - reach : 10 + reach, 11 - reach : 12 + reach, 9 - reach : 10 + reach] = True
    assert settings.reach == reach
    assert not bool(seen[~box].any())
    assert bool(seen[..., 9 - reach : 10 + reach, :, :].any())
    assert bool(seen[..., 9 - reach, :, :].any()) == bool(seen[..., 9 + reach, :, :].any())


def test_lmi_moves_its_patches_with_the_iteration() -> None:
    distance = similarity_of(image_pair(), DescriptorSettings("lmi", window_radius=3)).forward
    u = off_lattice()

    values = {float(distance(u, iteration)) for iteration in range(4)}

    assert len(values) > 1
    assert float(distance(u, 2)) == float(distance(u, 2))


@pytest.mark.parametrize("name", STRUCTURAL)
def test_information_joins_a_structural_descriptor_with_its_weight(name: str) -> None:
    pair, u = image_pair(torch.float32), off_lattice().float()
    both = similarity_of(pair, DescriptorSettings(name, lmi_weight=0.3))
    alone = similarity_of(pair, DescriptorSettings(name, lmi_weight=0.0))
    i, j, k = np.indices(pair.fixed.shape[2:])
    white = torch.from_numpy((i + j + k) % 2).to(pair.fixed_mask)[None, None]

    for iteration, colour in ((2, 1 - white), (3, white)):  # half of the voxels in turns
        half = replace(pair, fixed_mask=pair.fixed_mask * colour, moving_mask=pair.moving_mask * colour)
        information = similarity_of(half, DescriptorSettings("lmi"))
        for way in ("forward", "backward"):
            expected = getattr(alone, way)(u, iteration) + 0.3 * getattr(information, way)(u, iteration)
            assert float(getattr(both, way)(u, iteration)) == pytest.approx(float(expected), rel=1e-6)
            assert float(getattr(information, way)(u, iteration)) < -0.01


def test_nothing_joins_a_measure_on_intensities() -> None:
    pair, u = image_pair(torch.float32), off_lattice().float()
    for name in INTENSITY_MEASURES:
        settings = DescriptorSettings(name, lmi_weight=0.3)
        assert settings.added_information == 0
        alone = similarity_of(pair, replace(settings, lmi_weight=0.0)).forward(u)
        assert float(similarity_of(pair, settings).forward(u)) == float(alone)
