"""Local correlation and squared difference against slow NumPy versions and finite differences."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.autograd import gradcheck

from bids_nodereg.registration.intensity.correlation import (
    VARIANCE_FLOOR,
    box_sum,
    local_correlation,
    mean_squared_error,
)
from tests.registration.fields import SHAPE, noise, structured_image

SMALL = (6, 7, 5)


def leaf(tensor: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return tensor.detach().to(dtype).requires_grad_()


def three_images(shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor, Tensor]:
    """Two related images and a soft foreground with a hole."""
    fixed = structured_image(shape)
    moving = 0.6 * fixed + 0.1 * noise(1, 1, *shape, seed=1)
    weight = noise(1, 1, *shape, seed=2) * (structured_image(shape, seed=3) > 0.45)
    return fixed, moving, weight


def slow_correlation(fixed: Tensor, moving: Tensor, weight: Tensor, radius: int) -> float:
    """One minus the mean coefficient, cube by cube from ``numpy.cov`` with weights."""
    f, m, w = (image[0, 0].numpy() for image in (fixed, moving, weight))
    floors = [VARIANCE_FLOOR * np.cov(image.ravel(), aweights=w.ravel(), ddof=0) for image in (f, m)]
    total = 0.0
    for centre in product(*map(range, f.shape)):
        if w[centre] > 0:
            cube = tuple(slice(max(c - radius, 0), c + radius + 1) for c in centre)
            cov = np.cov(f[cube].ravel(), m[cube].ravel(), aweights=w[cube].ravel(), ddof=0)
            total += w[centre] * cov[0, 1] / math.sqrt((cov[0, 0] + floors[0]) * (cov[1, 1] + floors[1]))
    return 1 - total / w.sum()


@pytest.mark.parametrize("radius", [0, 1, 2, 4])
def test_it_is_the_weighted_correlation_of_every_cube(radius: int) -> None:
    images = three_images((11, 12, 10))

    got = float(local_correlation(*images, radius=radius))

    assert got == pytest.approx(slow_correlation(*images, radius), abs=1e-9)


def test_gradients_of_both_images_against_finite_differences() -> None:
    fixed, moving, weight = three_images(SMALL)

    def distance(f: Tensor, m: Tensor) -> Tensor:
        return local_correlation(f, m, weight, radius=2)

    assert gradcheck(distance, (leaf(fixed), leaf(moving)))


def test_the_sign_of_the_contrast_counts() -> None:
    fixed, _, weight = three_images()

    def distance(moving: Tensor) -> float:
        return float(local_correlation(fixed, moving, weight))

    assert distance(fixed) == pytest.approx(0, abs=0.05)
    assert distance(0.3 * fixed + 0.5) == pytest.approx(distance(fixed), abs=1e-9)
    assert distance(1 - fixed) == pytest.approx(2 - distance(fixed), abs=1e-9)
    assert distance(noise(1, 1, *SHAPE, seed=7)) == pytest.approx(1, abs=0.1)


def test_noise_in_a_flat_region_has_little_say() -> None:
    fixed = torch.full((1, 1, *SHAPE), 0.5, dtype=torch.float64)
    fixed[:, :, 12:] = structured_image(SHAPE)[:, :, 12:]
    std = float(fixed.std())
    weight = torch.ones_like(fixed)
    noisy = fixed.clone()
    grain = 0.003 * std * (noise(1, 1, *SHAPE) - 0.5)
    noisy[:, :, :12] += grain[:, :, :12]
    # The same grain in both, and the opposite one: without a floor these would be 0 and 1 / 3.
    other = fixed.clone()
    other[:, :, :12] -= grain[:, :, :12]

    same, opposite = (float(local_correlation(noisy, m, weight, radius=2)) for m in (noisy, other))

    assert opposite - same < 0.01
    assert same == pytest.approx(0.5, abs=0.1)


def test_the_background_does_not_matter() -> None:
    fixed, moving, weight = three_images()
    background = weight == 0
    results = []
    for value in (0.0, 7.0):
        f, m = leaf(fixed.masked_fill(background, value)), leaf(moving.masked_fill(background, value))
        distance = local_correlation(f, m, weight)
        distance.backward()
        assert (f.grad[background] == 0).all()
        assert (m.grad[background] == 0).all()
        results.append((distance.detach(), f.grad, m.grad))

    for got, expected in zip(*results, strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("level", [0.0, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_image_correlates_with_nothing(level: float, dtype: torch.dtype) -> None:
    fixed, _, weight = (image.to(dtype) for image in three_images())
    moving = leaf(torch.full_like(fixed, level), dtype)

    distance = local_correlation(fixed, moving, weight)
    distance.backward()

    assert float(distance.detach()) == pytest.approx(1, abs=1e-3)
    assert moving.grad.isfinite().all()


def test_float32_is_as_good_as_its_digits() -> None:
    images = three_images()
    results = []
    for dtype in (torch.float32, torch.float64):
        f, m = leaf(images[0], dtype), leaf(images[1], dtype)
        distance = local_correlation(f, m, images[2].to(dtype))
        distance.backward()
        results.append([x.double() for x in (distance.detach(), f.grad, m.grad)])

    for got, truth in zip(*results, strict=True):
        torch.testing.assert_close(got, truth, rtol=0, atol=2e-5 * float(truth.abs().max()))


def test_two_calls_give_the_same_bits() -> None:
    def everything() -> list[Tensor]:
        fixed, moving, weight = (image.float() for image in three_images())
        f, m = leaf(fixed, torch.float32), leaf(moving, torch.float32)
        distance = local_correlation(f, m, weight)
        distance.backward()
        return [distance.detach(), f.grad, m.grad]

    assert all(torch.equal(a, b) for a, b in zip(everything(), everything(), strict=True))


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 5, 7, 30])
def test_box_sum_is_scipys_filter_with_zeros_outside_and_its_own_transpose(radius: int) -> None:
    image, other = leaf(noise(1, 2, *SHAPE)), noise(1, 2, *SHAPE, seed=1)
    width = 2 * radius + 1

    got = box_sum(image, radius)
    (got * other).sum().backward()

    for channel in range(2):
        truth = image[0, channel].detach().numpy()
        for axis in range(3):
            truth = ndimage.correlate1d(truth, np.ones(width), axis, mode="constant")
        np.testing.assert_allclose(got[0, channel].detach().numpy(), truth, rtol=1e-12)
    torch.testing.assert_close(image.grad, box_sum(other, radius), rtol=1e-12, atol=0)


def test_squared_error_is_the_mean_over_the_weight() -> None:
    fixed, moving, weight = three_images(SMALL)
    f, m, w = (image.numpy() for image in (fixed, moving, weight))

    got = mean_squared_error(fixed, moving, weight)

    assert float(got) == pytest.approx(np.average((f - m) ** 2, weights=w), rel=1e-12)
    assert gradcheck(lambda a, b: mean_squared_error(a, b, weight), (leaf(fixed), leaf(moving)))


@pytest.mark.parametrize("measure", [local_correlation, mean_squared_error])
def test_no_foreground_is_no_number(measure) -> None:
    fixed, moving, weight = three_images(SMALL)

    assert measure(fixed, moving, 0 * weight).isnan()
