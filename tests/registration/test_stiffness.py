"""Smoothness that varies in space: the weight itself, the penalty it weighs, and what it does to a field."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.objective import squared_gradient
from bids_nodereg.registration.optimise import optimise
from bids_nodereg.registration.settings import Level, LossWeights, RegistrationSettings
from bids_nodereg.registration.stiffness import SOFTEST, from_confidence, stiffness_on
from bids_nodereg.registration.warp import resize
from tests.registration.fields import PAIR_SHAPE, SHAPE, known_pair, noise, smooth_velocity

LATTICE = (9, 11, 7)


def edge_pair() -> ImagePair:
    """A fixed image with edges at voxels 8 and 16 along i, a moving one with an edge at 8 only."""
    fixed, moving = torch.zeros(1, 1, *SHAPE), torch.zeros(1, 1, *SHAPE)
    fixed[:, :, 8:16], moving[:, :, 8:] = 1, 1
    mask = torch.zeros(1, 1, *SHAPE)
    mask[..., 2:-2, 2:-2, 2:-2] = 1
    return ImagePair(fixed, moving, mask, mask)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_mean_over_the_masks_is_one(seed: int) -> None:
    pair = replace(
        edge_pair(),
        fixed=noise(1, 1, *SHAPE, seed=seed, dtype=torch.float32),
        fixed_mask=(noise(1, 1, *SHAPE, seed=7) > 0.6).float(),
    )

    either = torch.maximum(pair.fixed_mask, pair.moving_mask) > 0
    for some in (pair, edge_pair()):
        stiffness = from_confidence(some)
        assert float(stiffness[either if some is pair else some.fixed_mask > 0].mean()) == pytest.approx(1)
        assert float(stiffness.std()) > 0.02
        assert float(stiffness.min() / stiffness.max()) >= SOFTEST - 1e-6


def test_only_structure_in_both_images_softens() -> None:
    stiffness = from_confidence(edge_pair())[0, 0, :, 15, 9]

    shared, flat = stiffness[7:9], stiffness[[3, 4, 12, 20]]
    assert float(shared.max()) < 0.6 * float(flat.min())
    torch.testing.assert_close(stiffness[15:17], flat[:2])  # the edge of the fixed image alone
    assert float(flat.max() - flat.min()) < 1e-6


def test_a_change_of_contrast_changes_nothing() -> None:
    pair = edge_pair()
    other = replace(pair, fixed=0.3 - 0.2 * pair.fixed, moving=5 * pair.moving)

    torch.testing.assert_close(from_confidence(other), from_confidence(pair), rtol=1e-4, atol=1e-6)


def test_flat_images_are_equally_stiff_everywhere() -> None:
    pair = edge_pair()
    flat = replace(pair, fixed=torch.full_like(pair.fixed, 0.4), moving=torch.zeros_like(pair.moving))

    assert torch.equal(from_confidence(flat), torch.ones_like(flat.fixed))


def test_swapping_the_images_changes_no_bit() -> None:
    pair, _ = known_pair()

    for some in (pair, edge_pair()):
        assert torch.equal(from_confidence(some), from_confidence(some.swapped()))


def test_a_uniform_penalty_without_a_map_has_no_weight() -> None:
    assert stiffness_on(edge_pair(), LATTICE, "uniform") is None


def test_the_map_given_counts_alone_or_times_the_confidence() -> None:
    given = 0.5 + noise(1, 1, *SHAPE, dtype=torch.float32)
    pair = replace(edge_pair(), stiffness=given)

    alone, both = (stiffness_on(pair, LATTICE, spatial) for spatial in ("uniform", "confidence"))

    assert alone is not None
    assert both is not None
    assert torch.equal(alone, resize(given, LATTICE))
    assert torch.equal(both, resize(from_confidence(pair) * given, LATTICE))
    assert not torch.equal(alone, both)


def slow_penalty(field: np.ndarray, stiffness: np.ndarray) -> float:
    """The definition, edge by edge: ``field`` is ``n 3 i j k``."""
    total = 0.0
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        values = []
        for part, *voxel in product(*(range(n) for n in (len(field), *field.shape[2:]))):
            ahead = tuple(voxel + step)
            if ahead[axis] < field.shape[2 + axis]:
                jump = field[(part, slice(None), *ahead)] - field[(part, slice(None), *voxel)]
                values.append((jump**2).sum() * (stiffness[ahead] + stiffness[tuple(voxel)]) / 2)
        total += np.mean(values)
    return total


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_penalty_is_its_definition(parts: int) -> None:
    field, stiffness = noise(parts, 3, 5, 4, 6), 0.2 + noise(1, 1, 5, 4, 6, seed=1)

    got = float(squared_gradient(field, stiffness))

    assert got == pytest.approx(slow_penalty(field.numpy(), stiffness[0, 0].numpy()), rel=1e-12)
    assert float(squared_gradient(field, torch.ones_like(stiffness))) == pytest.approx(
        float(squared_gradient(field)), rel=1e-12
    )
    assert got != pytest.approx(float(squared_gradient(field)), rel=1e-2)


def test_the_penalty_against_finite_differences() -> None:
    field = noise(2, 3, 3, 4, 3).requires_grad_()
    stiffness = 0.2 + noise(1, 1, 3, 4, 3, seed=1)

    assert torch.autograd.gradcheck(lambda v: squared_gradient(v, stiffness), (field,))


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_the_penalty_of_reversed_parts_is_the_same_to_the_last_bit(parts: int) -> None:
    for seed in range(20):
        field = torch.cat([smooth_velocity(LATTICE, 1, 2.0, seed=seed * parts + n) for n in range(parts)])
        for some in (field, field.float()):
            assert float(squared_gradient(some)) == float(squared_gradient(some.flip(0)))


def roughness(velocity: Tensor) -> tuple[float, float]:
    """Squared gradient of the lower and of the upper half along i."""
    half = velocity.shape[2] // 2
    return float(squared_gradient(velocity[:, :, :half])), float(squared_gradient(velocity[:, :, half:]))


@pytest.mark.parametrize("spatial", ["uniform", "confidence"])
def test_a_stiff_half_gets_a_smoother_field(spatial: str) -> None:
    pair, _ = known_pair()
    stiff = torch.ones(1, 1, *PAIR_SHAPE)
    stiff[:, :, : PAIR_SHAPE[0] // 2] = 10
    settings = RegistrationSettings(
        levels=(Level(2, 30),), weights=LossWeights(gradient=0.1, spatial=spatial)
    )

    plain, held = (
        roughness(optimise(some, settings, lambda _step: None).velocity)
        for some in (pair, replace(pair, stiffness=stiff))
    )

    assert plain[0] > 0.001
    assert held[0] < 0.4 * plain[0]
    assert held[0] / plain[0] < 0.5 * held[1] / plain[1]  # the other half feels it through its neighbours
