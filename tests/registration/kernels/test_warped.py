"""The warped image and the joint histograms of it: against float64 torch and finite differences."""

from __future__ import annotations

import math

import numba
import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.kernels import cpu, reference
from bids_nodereg.registration.tiling import tiling
from tests.registration.fields import SHAPE, noise, structured_image

LATTICES = [SHAPE, (13, 16, 10), (2, 2, 2)]
BINS = 13
TILES = tiling(SHAPE, 7, (2, 0, 5))


def displacement(lattice: tuple[int, ...]) -> Tensor:
    """Partly leaving the lattice of the images."""
    return 6 * (noise(1, 3, *lattice, seed=2) - 0.5)


def images() -> tuple[Tensor, Tensor, Tensor]:
    """Two images, partly outside [0, 1], and a weight with holes."""
    fixed, moving = (1.3 * structured_image(SHAPE, seed=seed) - 0.15 for seed in (0, 2))
    weight = noise(1, 1, *SHAPE, seed=3) * (noise(1, 1, *SHAPE, seed=4) > 0.45)
    return fixed, moving, weight


def warped(kernel, u: Tensor) -> Tensor:
    return kernel.warp(noise(1, 2, *SHAPE, seed=7).to(u), u)


def histograms(kernel, u: Tensor) -> Tensor:
    fixed, moving, weight = (image.to(u) for image in images())
    return kernel.warped_histograms(fixed, moving, u, weight, BINS, TILES)


def value_and_gradient(operation, kernel, u: Tensor) -> list[Tensor]:
    u = u.clone().requires_grad_()
    value = operation(kernel, u)
    (value * (noise(*value.shape, seed=5).to(u) - 0.5)).sum().backward()
    return [value.detach().double(), u.grad.double()]


@pytest.mark.parametrize("operation", [warped, histograms])
@pytest.mark.parametrize("lattice", LATTICES)
def test_values_and_gradients_agree_with_float64(operation, lattice: tuple[int, int, int]) -> None:
    got = value_and_gradient(operation, cpu, displacement(lattice).float())
    truth = value_and_gradient(operation, reference, displacement(lattice))

    for mine, true in zip(got, truth, strict=True):
        torch.testing.assert_close(mine, true, rtol=0, atol=2e-5 * float(true.abs().max()))
        assert float(true.abs().max()) > 1e-3


@pytest.mark.parametrize("lattice", [(4, 5, 3), (3, 2, 2)])
def test_the_reference_warp_against_finite_differences(lattice: tuple[int, int, int]) -> None:
    image, u = noise(1, 2, 4, 5, 3), (0.1 + 0.3 * noise(1, 3, *lattice, seed=2)).requires_grad_()

    assert torch.autograd.gradcheck(lambda d: reference.warp(image, d), (u,))


def test_the_reference_histograms_against_finite_differences() -> None:
    shape = (4, 5, 3)
    fixed, moving = (0.1 + 0.8 * noise(1, 1, *shape, seed=seed) for seed in (0, 1))
    weight, tiles = noise(1, 1, *shape, seed=3), tiling(shape, 3, (1, 0, 2))
    u = (0.1 + 0.3 * noise(1, 3, 3, 2, 2, seed=2)).requires_grad_()

    assert torch.autograd.gradcheck(
        lambda d: reference.warped_histograms(fixed, moving, d, weight, 6, tiles), (u,)
    )


def test_the_bins_of_a_patch_sum_to_its_weight() -> None:
    _, _, weight = images()

    joint = histograms(cpu, displacement((13, 16, 10)).float())

    for (i0, i1, j0, j1, k0, k1), bins in zip(TILES.boxes, joint, strict=True):
        of_patch = float(weight[0, 0, i0:i1, j0:j1, k0:k1].sum())
        assert float(bins.sum()) == pytest.approx(of_patch, rel=1e-5, abs=1e-6)


def test_what_is_no_number_is_passed_on() -> None:
    u = displacement((13, 16, 10)).float()
    u[0, 2, 6, 8, 5] = math.nan

    assert warped(cpu, u).isnan().any()
    assert histograms(cpu, u).isnan().any()
    assert bool(torch.isfinite(histograms(cpu, 1e6 * u.nan_to_num())).all())


@pytest.mark.parametrize("operation", [warped, histograms])
def test_the_bits_are_the_same_again_and_with_other_threads(operation) -> None:
    before = numba.get_num_threads()
    results = []
    for threads in (1, 1, 2):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        results.append(value_and_gradient(operation, cpu, displacement((13, 16, 10)).float()))
    numba.set_num_threads(before)

    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
