"""Local mutual information against dense histograms, exact distributions and finite differences."""

from __future__ import annotations

import math
from itertools import product

import numba
import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor
from torch.autograd import gradcheck

from bids_nodereg.registration.intensity import INTENSITY_MEASURES
from bids_nodereg.registration.intensity.correlation import local_correlation, mean_squared_error
from bids_nodereg.registration.intensity.local_mi import (
    LEAST_SHARE,
    local_mutual_information,
    patch_origin,
)
from bids_nodereg.registration.kernels import warp
from bids_nodereg.registration.kernels.reference import histograms
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.settings import DescriptorSettings
from bids_nodereg.registration.tiling import tiling
from bids_nodereg.registration.warp import sample
from tests.registration.fields import SHAPE, noise, structured_image

SMALL = (6, 7, 5)
ONE_PATCH = 99


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The torch operations take small images in more than one piece, too."""
    monkeypatch.setattr(histograms, "CHUNK", 5001)


def dense_windows(values: np.ndarray, bins: int) -> np.ndarray:
    """Share of every voxel in every bin, ``n bins``: the spline around each bin, from its knots."""
    position = 1 + np.clip(values, 0, 1) * (bins - 3)
    away = position[:, None] - np.arange(bins)
    return np.nan_to_num(BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)(away))


def entropy(probability: np.ndarray) -> float:
    positive = probability[probability > 0]
    return float(-(positive * np.log(positive)).sum())


def slow_information(
    fixed: Tensor, moving: Tensor, weight: Tensor, bins: int, patch: int, origin: tuple[int, ...]
) -> tuple[float, float]:
    """Mean over patches of ``I`` and of ``2 I / (H + H)``, from dense histograms, patch by patch."""
    f, m, w = (image[0, 0].numpy() for image in (fixed, moving, weight))
    starts = [range(start % patch - patch, size, patch) for start, size in zip(origin, f.shape, strict=True)]
    rows = []
    for corner in product(*starts):
        box = tuple(slice(max(c, 0), max(c + patch, 0)) for c in corner)
        a, b = (dense_windows(image[box].ravel(), bins) for image in (f, m))
        joint = np.einsum("n,na,nb->ab", w[box].ravel(), a, b)
        if joint.sum() > 0:
            p = joint / joint.sum()
            marginals = entropy(p.sum(1)) + entropy(p.sum(0))
            information = marginals - entropy(p)
            rows.append((joint.sum(), information, 2 * information / marginals))
    share, *values = np.array(rows).T
    share = np.where(share >= LEAST_SHARE * share.max(), share, 0)
    return tuple(float((share * value).sum() / share.sum()) for value in values)


def three_images(shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor, Tensor]:
    """Two related images, partly outside [0, 1], and a soft foreground with a hole."""
    fixed = 1.3 * structured_image(shape) - 0.1
    moving = (fixed - 0.4).square() + 0.2 * noise(1, 1, *shape, seed=1)
    weight = noise(1, 1, *shape, seed=2) * (structured_image(shape, seed=3) > 0.45)
    return fixed, moving, weight


def leaf(tensor: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return tensor.detach().to(dtype).requires_grad_()


@pytest.mark.parametrize(
    ("bins", "patch", "origin"), [(16, 11, (0, 0, 0)), (12, 7, (3, -2, 40)), (6, 5, (1, 1, 1))]
)
def test_it_is_the_dense_histograms_information(bins: int, patch: int, origin: tuple[int, int, int]) -> None:
    images = three_images()

    truth, share = slow_information(*images, bins, patch, origin)

    settings = {"bins": bins, "patch": patch, "origin": origin}
    assert truth > 0.005
    assert float(local_mutual_information(*images, **settings)) == pytest.approx(-truth, abs=1e-12)
    normalised = local_mutual_information(*images, **settings, normalised=True)
    assert float(normalised) == pytest.approx(1 - share, abs=1e-12)


@pytest.mark.parametrize("normalised", [False, True])
def test_gradients_of_both_images_against_finite_differences(normalised: bool) -> None:
    fixed, moving, weight = three_images(SMALL)
    # A difference quotient must not straddle the clamp's corners at 0 and 1.
    for image in (fixed, moving):
        near = torch.minimum(image.abs(), (image - 1).abs()) < 1e-4
        image[near] += 3e-4

    def distance(f: Tensor, m: Tensor) -> Tensor:
        return local_mutual_information(
            f, m, weight, bins=8, patch=4, origin=(2, 1, 3), normalised=normalised
        )

    assert gradcheck(distance, (leaf(fixed), leaf(moving)))


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("lattice", [SHAPE, (13, 16, 10)])
def test_with_a_displacement_it_is_that_of_the_warped_image(
    normalised: bool, lattice: tuple[int, int, int]
) -> None:
    fixed, moving, weight = three_images()
    u = 6 * (noise(1, 3, *lattice, seed=8) - 0.5)
    settings = {"bins": 13, "patch": 7, "origin": (2, 0, 5), "normalised": normalised}
    truth = leaf(u)
    expected = local_mutual_information(fixed, warp(moving, truth), weight, **settings)
    expected.backward()

    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-4)):
        mine = leaf(u, dtype)
        got = local_mutual_information(*(x.to(dtype) for x in (fixed, moving, weight)), mine, **settings)
        got.backward()

        assert float(got.detach()) == pytest.approx(float(expected.detach()), rel=tolerance)
        largest = float(truth.grad.abs().max())
        torch.testing.assert_close(mine.grad.double(), truth.grad, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize(
    ("patch", "origin"), [(11, (0, 0, 0)), (7, (3, -2, 40)), (99, (5, 0, 98)), (1, (0, 0, 0))]
)
def test_every_voxel_lies_in_one_patch_and_a_patch_starts_at_the_origin(
    patch: int, origin: tuple[int, int, int]
) -> None:
    tiles = tiling(SHAPE, patch, origin)

    number = np.full(SHAPE, -1)
    for row, (i0, i1, j0, j1, k0, k1) in enumerate(tiles.boxes):
        assert (number[i0:i1, j0:j1, k0:k1] == -1).all()
        number[i0:i1, j0:j1, k0:k1] = row

    assert set(np.unique(number)) == set(range(tiles.patches))
    np.testing.assert_array_equal(number.ravel(), tiles.patch_of(torch.arange(number.size)).numpy())
    for axis, start in enumerate(origin):
        line = np.moveaxis(number, axis, 0)[:, 0, 0]
        starts = {int(x) for x in np.flatnonzero(np.diff(line)) + 1}
        assert starts == {x for x in range(1, SHAPE[axis]) if (x - start) % patch == 0}


def discrete_pair(counts: np.ndarray, bins: int) -> tuple[Tensor, Tensor]:
    """Images whose intensities are levels three bins apart, as often together as ``counts`` says."""
    first, second = np.nonzero(counts)
    pairs = np.repeat(np.stack([first, second], 1), counts[first, second], axis=0)
    pairs = np.random.default_rng(0).permutation(pairs)
    levels = torch.from_numpy(pairs * 3 / (bins - 3))
    fixed, moving = levels.T.reshape(2, 1, 1, -1, 5, 4)
    return fixed, moving


def test_levels_whose_windows_do_not_meet_give_the_information_of_the_distribution() -> None:
    # P(a, b) smoothed by windows without overlap: given the levels, the bins are independent.
    counts = np.array([[90, 10, 0, 0, 5], [0, 70, 30, 0, 0], [0, 0, 0, 80, 15], [40, 0, 0, 0, 60]])
    fixed, moving = discrete_pair(counts, 16)
    p = counts / counts.sum()
    marginals = entropy(p.sum(1)) + entropy(p.sum(0))
    information = marginals - entropy(p)
    window = entropy(np.array([1, 4, 1]) / 6)

    weight = torch.full_like(fixed, 0.3)
    got = local_mutual_information(fixed, moving, weight, patch=ONE_PATCH)
    normalised = local_mutual_information(fixed, moving, weight, patch=ONE_PATCH, normalised=True)

    assert information > 0.5
    assert float(got) == pytest.approx(-information, abs=1e-12)
    assert float(normalised) == pytest.approx(1 - 2 * information / (marginals + 2 * window), abs=1e-12)


def test_a_product_distribution_has_no_information() -> None:
    fixed, moving = discrete_pair(np.outer([1, 3, 2, 4], [5, 1, 2, 2]), 16)

    got = local_mutual_information(fixed, moving, torch.ones_like(fixed), patch=ONE_PATCH)

    assert float(got) == pytest.approx(0, abs=1e-12)


def test_independent_noise_has_little_information_and_an_image_most_with_itself() -> None:
    fixed, other = noise(1, 1, *SHAPE), noise(1, 1, *SHAPE, seed=1)
    weight = torch.ones_like(fixed)

    def information(moving: Tensor) -> float:
        return -float(local_mutual_information(fixed, moving, weight, patch=ONE_PATCH))

    permuted = fixed.flatten()[torch.randperm(fixed.numel(), generator=torch.Generator().manual_seed(0))]

    assert 0 < information(other) < 0.02
    assert 0 < information(permuted.view_as(fixed)) < 0.02
    assert information(fixed) > 1


@pytest.mark.parametrize("normalised", [False, True])
def test_inverting_one_image_or_swapping_both_changes_nothing(normalised: bool) -> None:
    fixed, moving, weight = three_images()

    def distance(f: Tensor, m: Tensor) -> float:
        return float(local_mutual_information(f, m, weight, normalised=normalised))

    assert distance(fixed, 1 - moving) == pytest.approx(distance(fixed, moving), abs=1e-12)
    assert distance(moving, fixed) == pytest.approx(distance(fixed, moving), abs=1e-12)


def test_the_right_place_of_another_contrast_is_the_best() -> None:
    fixed = structured_image(SHAPE, sigma=2.5)
    moving = (fixed - 0.5).square() * 4
    points = identity(SHAPE, fixed)
    weight = torch.zeros_like(fixed)
    weight[:, :, 4:-4, 4:-4, 4:-4] = 1
    u = torch.zeros(1, 3, 1, 1, 1, dtype=torch.float64)
    distances = {}
    for step in (-2.0, -0.5, 0.0, 0.5, 2.0):
        u[:, 1] = step
        shift = leaf(u)
        distance = local_mutual_information(fixed, sample(moving, points + shift), weight)
        distance.backward()
        distances[step] = float(distance.detach())
        if step:
            assert math.copysign(1, float(shift.grad[0, 1])) == math.copysign(1, step)

    assert min(distances, key=distances.__getitem__) == 0
    assert distances[-0.5] < distances[-2]
    assert distances[0.5] < distances[2]


def test_the_background_does_not_matter() -> None:
    fixed, moving, weight = three_images()
    background = weight == 0
    results = []
    for value in (0.0, 7.0, math.nan):
        f, m = leaf(fixed.masked_fill(background, value)), leaf(moving.masked_fill(background, value))
        distance = local_mutual_information(f, m, weight)
        distance.backward()
        assert (f.grad[background] == 0).all()
        assert (m.grad[background] == 0).all()
        results.append((distance.detach(), f.grad, m.grad))

    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            assert torch.equal(got, expected)


def test_a_patch_of_little_foreground_is_left_out() -> None:
    fixed, moving = noise(1, 1, 10, 5, 5), noise(1, 1, 10, 5, 5, seed=1)
    weight = torch.zeros_like(fixed)
    weight[:, :, :5] = 1
    alone = local_mutual_information(fixed, moving, weight, patch=5)
    moving[:, :, 5:] = fixed[:, :, 5:]
    few, enough = weight.clone(), weight.clone()
    few[:, :, 5] = 0.99 * 5 * LEAST_SHARE
    enough[:, :, 5] = 1.01 * 5 * LEAST_SHARE

    assert torch.equal(local_mutual_information(fixed, moving, few, patch=5), alone)
    assert local_mutual_information(fixed, moving, enough, patch=5) < alone - 0.05


def test_intensities_outside_count_as_the_ends_and_have_no_slope() -> None:
    fixed, moving, _ = three_images()
    weight = torch.ones_like(fixed)
    f, m = leaf(fixed), leaf(moving)
    outside = (fixed < 0) | (fixed > 1)

    distance = local_mutual_information(f, m, weight)
    distance.backward()

    clamped = local_mutual_information(fixed.clamp(0, 1), moving.clamp(0, 1), weight)
    assert torch.equal(distance.detach(), clamped)
    assert outside.any()
    assert (f.grad[outside] == 0).all()
    assert (f.grad[~outside] != 0).double().mean() > 0.9


def test_the_bits_are_the_same_again_and_with_other_threads() -> None:
    images = [image.float() for image in three_images()]

    def everything(threads: int) -> list[Tensor]:
        before = numba.get_num_threads()
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        f, m = leaf(images[0], torch.float32), leaf(images[1], torch.float32)
        distance = local_mutual_information(f, m, images[2], patch=5)
        distance.backward()
        numba.set_num_threads(before)
        return [distance.detach(), f.grad, m.grad]

    first = everything(1)

    assert first[0].dtype == torch.float32
    for threads in (1, 2):
        assert all(torch.equal(a, b) for a, b in zip(first, everything(threads), strict=True))


def test_float32_is_as_good_as_its_digits() -> None:
    images = three_images()
    results = []
    for dtype in (torch.float32, torch.float64):
        f, m = leaf(images[0], dtype), leaf(images[1], dtype)
        distance = local_mutual_information(f, m, images[2].to(dtype))
        distance.backward()
        results.append([x.double() for x in (distance.detach(), f.grad, m.grad)])

    for got, truth in zip(*results, strict=True):
        torch.testing.assert_close(got, truth, rtol=0, atol=2e-5 * float(truth.abs().max()))


@pytest.mark.parametrize("where", ["fixed", "moving"])
def test_a_number_that_is_none_is_passed_on(where: str) -> None:
    images = dict(zip(("fixed", "moving", "weight"), three_images(), strict=True))
    images["weight"] += 1
    images[where][0, 0, 3, 4, 5] = math.nan

    assert local_mutual_information(**images).isnan()


def test_no_foreground_is_no_number() -> None:
    fixed, moving, weight = three_images(SMALL)

    assert local_mutual_information(fixed, moving, 0 * weight).isnan()


@pytest.mark.parametrize("wrong", [{"bins": 3}, {"patch": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"bins >= 4 and patch >= 1"):
        local_mutual_information(*three_images(SMALL), **wrong)


def test_origins_of_the_patches_spread_over_a_patch() -> None:
    patch, iterations = 11, 330
    origins = np.array([patch_origin(iteration, patch) for iteration in range(iterations)])

    for axis in range(3):
        visits = np.bincount(origins[:, axis], minlength=patch)
        assert len(visits) == patch
        assert visits.min() >= 0.8 * iterations / patch
    # No plane of origins is preferred: the axes are uncorrelated, and few origins come twice.
    assert np.abs(np.corrcoef(origins.T) - np.eye(3)).max() < 0.1
    assert len(np.unique(origins, axis=0)) > 0.8 * iterations


def test_the_table_hands_the_settings_on() -> None:
    fixed, moving, weight = three_images()
    u = 2 * (noise(1, 3, 5, 6, 4, seed=8) - 0.5)
    warped = warp(moving, u)
    settings = DescriptorSettings(name="lmi", window_radius=3, bins=12)
    expected = {
        "mse": mean_squared_error(fixed, warped, weight),
        "lncc": local_correlation(fixed, warped, weight, radius=3),
        "lmi": local_mutual_information(fixed, warped, weight, bins=12, patch=7, origin=patch_origin(5, 7)),
    }

    def value(name: str, iteration: int) -> float:
        return float(INTENSITY_MEASURES[name](fixed, moving, u, weight, iteration, settings))

    for name in INTENSITY_MEASURES:
        assert value(name, 5) == float(expected.pop(name))
    assert not expected
    assert value("lmi", 0) != value("lmi", 1)
