from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_nodereg.registration.smoothing import (
    box,
    coarser_shape,
    downsample,
    gaussian,
    gaussian_kernel,
    separable,
)
from tests.registration.fields import SHAPE, linear_field, noise


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
def test_gaussian_is_scipys_with_edges_replicated(sigma: float) -> None:
    image = noise(1, 2, *SHAPE)

    got = gaussian(image, sigma)

    radius = math.ceil(3 * sigma)
    for channel in range(2):
        truth = ndimage.gaussian_filter(image[0, channel].numpy(), sigma, mode="nearest", radius=radius)
        np.testing.assert_allclose(got[0, channel].numpy(), truth, atol=1e-12)


@pytest.mark.parametrize("radius", [1, 2])
def test_box_is_scipys_uniform_filter(radius: int) -> None:
    image = noise(1, 1, *SHAPE)

    truth = ndimage.uniform_filter(image[0, 0].numpy(), 2 * radius + 1, mode="nearest")

    np.testing.assert_allclose(box(image, radius)[0, 0].numpy(), truth, atol=1e-12)


def test_separable_correlates_and_does_not_mirror_its_taps() -> None:
    image, taps = noise(1, 1, *SHAPE), torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)

    truth = image[0, 0].numpy()
    for axis in range(3):
        truth = ndimage.correlate1d(truth, taps.numpy(), axis, mode="nearest")

    np.testing.assert_allclose(separable(image, taps)[0, 0].numpy(), truth, atol=1e-12)


def test_no_width_changes_nothing() -> None:
    image = noise(1, 1, *SHAPE)

    assert torch.equal(gaussian(image, 0.0), image)
    assert torch.equal(box(image, 0), image)
    assert torch.equal(downsample(image, 1), image)


def test_the_kernel_sums_to_one_and_has_its_width() -> None:
    kernel = gaussian_kernel(1.7, noise(1))
    x = torch.arange(kernel.numel(), dtype=torch.float64) - kernel.numel() // 2

    assert float(kernel.sum()) == pytest.approx(1, abs=1e-14)
    assert float((kernel * x**2).sum().sqrt()) == pytest.approx(1.7, rel=0.02)


def test_smoothing_has_the_gradient_of_its_transpose() -> None:
    image, other = noise(1, 1, 5, 6, 4).requires_grad_(), noise(1, 1, 5, 6, 4, seed=1)

    (gaussian(image, 0.8) * other).sum().backward()
    # A linear map S: <S x, y> = <x, S' y> for every x, so for one that was not differentiated too.
    probe = noise(1, 1, 5, 6, 4, seed=2)

    assert float((gaussian(probe, 0.8) * other).sum()) == pytest.approx(float((probe * image.grad).sum()))


@pytest.mark.parametrize("shrink", [2, 3, 4])
def test_downsample_is_smoothing_then_interpolation_over_the_same_extent(shrink: int) -> None:
    image = noise(1, 1, *SHAPE)
    sigma = math.sqrt(shrink**2 - 1) / 2.3548200450309493
    smooth = ndimage.gaussian_filter(
        image[0, 0].numpy(), sigma, mode="nearest", radius=max(1, math.ceil(3 * sigma))
    )

    got = downsample(image, shrink)[0, 0].numpy()

    axes = [np.linspace(0, size - 1, new) for size, new in zip(SHAPE, got.shape, strict=True)]
    truth = ndimage.map_coordinates(smooth, np.meshgrid(*axes, indexing="ij"), order=1)
    np.testing.assert_allclose(got, truth, atol=1e-12)


@pytest.mark.parametrize("shrink", [2, 3])
def test_downsample_keeps_constants_and_inside_the_edges_ramps(shrink: int) -> None:
    ramp = linear_field(np.array([[1.0, -2.0, 0.5]] * 3), SHAPE)[:, :1]

    coarse = downsample(ramp, shrink)

    axes = [np.linspace(0, size - 1, new) for size, new in zip(SHAPE, coarse.shape[2:], strict=True)]
    at = np.stack(np.meshgrid(*axes, indexing="ij"), -1) - (np.asarray(SHAPE) - 1) / 2
    # The Gaussian reaches ceil(3 sigma) <= 2 shrink voxels, so two coarse voxels, plus interpolation.
    inner = (slice(3, -3),) * 3
    np.testing.assert_allclose(
        coarse[0, 0].numpy()[inner], (at @ np.array([1.0, -2.0, 0.5]))[inner], atol=1e-10
    )
    np.testing.assert_allclose(downsample(torch.full_like(ramp, 3.5), shrink), 3.5, atol=1e-12)


@pytest.mark.parametrize("shrink", [1, 2, 3, 4, 7, 50])
def test_coarser_shape_is_the_smallest_lattice_with_at_most_shrink_voxels_per_voxel(shrink: int) -> None:
    for old, new in zip(SHAPE, coarser_shape(SHAPE, shrink), strict=True):
        assert (old - 1) / (new - 1) <= shrink
        assert new == 2 or (old - 1) / (new - 2) > shrink


def test_coarser_shape_by_hand() -> None:
    assert coarser_shape((24, 31, 19), 1) == (24, 31, 19)
    assert coarser_shape((24, 31, 19), 2) == (13, 16, 10)
    assert coarser_shape((2, 3, 4), 9) == (2, 2, 2)
