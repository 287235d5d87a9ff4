"""The distance of stored descriptors: against float64 torch, finite differences, and formulas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.kernels import cpu, reference
from bids_nodereg.registration.lattice import identity
from tests.registration.fields import SHAPE, noise

if TYPE_CHECKING:
    from bids_nodereg.registration.stored import Stored

HALF = (13, 16, 10)
BOUNDS = (0.0, 1.0)


def displacement(lattice: tuple[int, ...], seed: int = 2) -> Tensor:
    """Off the lattice planes, partly leaving the lattice of the images."""
    return 6 * (noise(1, 3, *lattice, seed=seed) - 0.5)


def weights() -> Tensor:
    """Zero in nearly half of the voxels, fractions elsewhere."""
    return noise(1, 1, *SHAPE, seed=3) * (noise(1, 1, *SHAPE, seed=4) > 0.45)


def value_and_gradient(kernel, fixed: Stored, moving: Stored, u: Tensor, weight: Tensor) -> list[Tensor]:
    u = u.clone().requires_grad_()
    value = kernel.descriptor_distance(fixed, moving, u, weight)
    (3 * value).backward()
    return [value.detach().double(), u.grad.double()]


def as_numbers(descriptor: Stored, bounds: tuple[float, float]) -> Stored:
    """What the bytes stand for, in float64, as the reference takes it."""
    numbers = (
        descriptor.values[..., : descriptor.channels].movedim(-1, 1).double() * descriptor.unit + bounds[0]
    )
    return reference.stored(numbers, bounds)


@pytest.mark.parametrize("channels", [5, 12, 24])
@pytest.mark.parametrize("lattice", [SHAPE, HALF, (2, 2, 2), (5, 31, 40)])
def test_value_and_gradient_agree_with_float64(lattice: tuple[int, int, int], channels: int) -> None:
    bounds = (-0.5, 1.0)
    fixed, moving = (cpu.stored(noise(1, channels, *SHAPE, seed=seed).float(), bounds) for seed in (0, 1))
    u, weight = displacement(lattice), weights()

    value, gradient = value_and_gradient(cpu, fixed, moving, u.float(), weight.float())
    truth, true_gradient = value_and_gradient(
        reference, as_numbers(fixed, bounds), as_numbers(moving, bounds), u, weight
    )

    torch.testing.assert_close(value, truth, rtol=2e-6, atol=0)
    # At eight corners the slopes of all voxels cancel each other, and so do leading digits.
    tolerance = 3e-4 if lattice == (2, 2, 2) else 3e-5
    torch.testing.assert_close(
        gradient, true_gradient, rtol=0, atol=tolerance * float(true_gradient.abs().max())
    )


def test_the_reference_against_finite_differences() -> None:
    shape = (4, 5, 3)
    fixed, moving = (reference.stored(noise(1, 2, *shape, seed=seed), BOUNDS) for seed in (0, 1))
    weight = noise(1, 1, *shape, seed=3)

    for lattice in (shape, (3, 2, 2)):
        u = (0.1 + 0.3 * noise(1, 3, *lattice, seed=2)).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda d: reference.descriptor_distance(fixed, moving, d, weight), (u,)
        )


def test_bytes_change_value_and_gradient_by_little() -> None:
    """Noise is the hardest case: a step of a byte moves a difference of neighbours by 1 / 255 at most."""
    both = [noise(1, 12, *SHAPE, seed=seed) for seed in (0, 1)]
    u, weight = displacement(HALF), weights()

    stored = [cpu.stored(one.float(), BOUNDS) for one in both]
    got = value_and_gradient(cpu, *stored, u.float(), weight.float())
    truth = value_and_gradient(reference, *(reference.stored(one, BOUNDS) for one in both), u, weight)

    for one, descriptor in zip(both, stored, strict=True):
        numbers = as_numbers(descriptor, BOUNDS).values.movedim(-1, 1)
        assert float((numbers - one).abs().max()) <= 0.5 / 255 + 1e-6
        assert descriptor.values.shape[-1] == 16
        assert not descriptor.values[..., 12:].any()
    assert float(got[0] / truth[0]) == pytest.approx(1, abs=1e-4)
    assert float((got[1] - truth[1]).norm() / truth[1].norm()) < 0.005


@pytest.mark.parametrize(("kernel", "dtype"), [(cpu, torch.float32), (reference, torch.float64)])
def test_the_mean_is_over_the_masks_sum_and_the_channels(kernel, dtype: torch.dtype) -> None:
    # A difference of 0.6 in every channel is a distance of 0.36, whatever part the mask takes.
    fixed = torch.full((1, 3, *SHAPE), 0.2, dtype=dtype)
    u = torch.zeros(1, 3, *HALF, dtype=dtype)
    for part in (slice(0, 1), slice(0, 2), slice(0, 20)):  # one voxel thick, too
        weight = torch.zeros(1, 1, *SHAPE, dtype=dtype)
        weight[:, :, part] = 0.7
        # The mask's outside differs wildly and must not count.
        other = fixed + 0.6
        other[:, :, part.stop + 1 :] = 0

        stored = [kernel.stored(descriptor, BOUNDS) for descriptor in (fixed, other)]

        assert float(kernel.descriptor_distance(*stored, u, weight)) == pytest.approx(0.36, rel=1e-5)


def test_an_affine_map_is_said_by_its_corners() -> None:
    fixed, moving = (cpu.stored(noise(1, 12, *SHAPE, seed=seed).float(), BOUNDS) for seed in (0, 1))
    matrix, shift = 0.05 * (noise(3, 3, seed=5) - 0.5), noise(3, seed=6) - 0.5

    def value(lattice: tuple[int, int, int]) -> float:
        step = torch.tensor([(n - 1) / (m - 1) for n, m in zip(SHAPE, lattice, strict=True)]).view(
            1, 3, 1, 1, 1
        )
        points = identity(lattice, noise(1)) * step.double()
        u = torch.einsum("mn,bnijk->bmijk", matrix, points) + shift.view(1, 3, 1, 1, 1)
        return float(cpu.descriptor_distance(fixed, moving, (u / step).float(), weights().float()))

    assert value((2, 2, 2)) == pytest.approx(value(SHAPE), rel=1e-5)
    assert value(HALF) == pytest.approx(value(SHAPE), rel=1e-5)


def test_what_does_not_count_has_no_slope() -> None:
    fixed, moving = (cpu.stored(noise(1, 12, *SHAPE, seed=seed).float(), BOUNDS) for seed in (0, 1))
    weight = weights().float()

    _, gradient = value_and_gradient(cpu, fixed, moving, displacement(SHAPE).float(), weight)

    assert not gradient[(weight == 0).expand_as(gradient)].any()
    assert bool((gradient != 0).any())


def test_the_bits_are_the_same_again_and_with_other_threads() -> None:
    fixed, moving = (cpu.stored(noise(1, 12, *SHAPE, seed=seed).float(), BOUNDS) for seed in (0, 1))
    before = numba.get_num_threads()
    results = []
    for threads in (1, 1, 2):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        results.append(value_and_gradient(cpu, fixed, moving, displacement(HALF).float(), weights().float()))
    numba.set_num_threads(before)

    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_swapped_images_have_the_same_distance_where_nothing_moves() -> None:
    fixed, moving = (cpu.stored(noise(1, 12, *SHAPE, seed=seed).float(), BOUNDS) for seed in (0, 1))
    at_rest = torch.zeros(1, 3, *HALF)

    there, back = (
        float(cpu.descriptor_distance(*pair, at_rest, weights().float()))
        for pair in ((fixed, moving), (moving, fixed))
    )

    assert there == back


def test_what_is_no_number_is_passed_on() -> None:
    one, other = (noise(1, 12, *SHAPE, seed=seed).float() for seed in (0, 1))
    fixed, moving = (cpu.stored(descriptor, BOUNDS) for descriptor in (one, other))
    u, weight = displacement(HALF).float(), weights().float()
    broken = u.clone()
    broken[0, 1, 6, 8, 5] = math.nan
    other[0, 3, 4, 5, 6] = math.nan

    assert math.isnan(float(cpu.descriptor_distance(fixed, moving, broken, weight)))
    assert math.isnan(float(cpu.descriptor_distance(fixed, cpu.stored(other, BOUNDS), u, weight)))
    assert math.isnan(float(cpu.descriptor_distance(fixed, moving, u, 0 * weight)))
    assert np.isfinite(float(cpu.descriptor_distance(fixed, moving, 1e6 * u, weight)))
