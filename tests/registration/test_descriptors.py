"""The descriptors against slow NumPy versions, written from the papers' formulas, offset by offset."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from bids_nodereg.registration.descriptors import DESCRIPTORS, describe
from bids_nodereg.registration.settings import DescriptorSettings
from tests.registration.fields import SHAPE, noise, structured_image

MIND = DescriptorSettings(name="mind")
DENSE = DescriptorSettings(name="mind", search_radius=1, patch_sigma=0.8)
FAR = DescriptorSettings(name="mind", offset=2)
SSC = DescriptorSettings(name="mind-ssc")
WIDE = DescriptorSettings(name="mind-ssc", offset=2, patch_radius=2)
POINT = DescriptorSettings(name="mind-ssc", patch_radius=0)
ALL = [MIND, DENSE, FAR, SSC, WIDE, POINT]
CHANNELS = [6, 26, 6, 12, 12, 12]

FACES = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]


def read_at(image: np.ndarray, offset: tuple[int, ...]) -> np.ndarray:
    """``I(x + offset)`` with edges replicated."""
    index = [np.clip(np.arange(n) + o, 0, n - 1) for n, o in zip(image.shape, offset, strict=True)]
    return image[np.ix_(*index)]


def slow_mind(image: np.ndarray, mask: np.ndarray, settings: DescriptorSettings) -> np.ndarray:
    """Heinrich et al. 2012, equations 2 to 4; a channel per offset, in the order of the loops."""
    radius = max(1, int(np.ceil(3 * settings.patch_sigma)))

    def patch_distance(step: tuple[int, ...]) -> np.ndarray:
        offset = tuple(settings.offset * s for s in step)
        squared = (image - read_at(image, offset)) ** 2
        return ndimage.gaussian_filter(squared, settings.patch_sigma, mode="nearest", radius=radius)

    local = sum(patch_distance(step) for step in FACES) / 6
    mean = local[mask].mean()
    local = np.clip(local, min(mean**0.5, mean**2), max(mean**0.5, mean**2))
    steps = FACES
    if settings.search_radius:
        reach = range(-settings.search_radius, settings.search_radius + 1)
        steps = [step for step in product(reach, repeat=3) if any(step)]
    channels = np.stack([np.exp(-patch_distance(step) / local) for step in steps])
    return channels / channels.max(0)


def slow_ssc(image: np.ndarray, mask: np.ndarray, settings: DescriptorSettings) -> np.ndarray:
    """Heinrich et al. 2013: the 12 edges of the octahedron of face neighbours, as a set."""
    distances = []
    for a, b in product(FACES, FACES):
        if a < b and sum(p * q for p, q in zip(a, b, strict=True)) == 0:
            first, second = (read_at(image, tuple(settings.offset * s for s in step)) for step in (a, b))
            squared = (first - second) ** 2
            distances.append(ndimage.uniform_filter(squared, 2 * settings.patch_radius + 1, mode="nearest"))
    above = np.stack(distances) - np.min(distances, axis=0)
    local = above.mean(0)
    mean = local[mask].mean()
    return np.exp(-above / np.clip(local, 1e-3 * mean, 1e3 * mean))


SLOW = {"mind": slow_mind, "mind-ssc": slow_ssc}


def half_mask(shape: tuple[int, ...]) -> Tensor:
    mask = torch.zeros(1, 1, *shape, dtype=torch.float64)
    mask[:, :, : shape[0] // 2, 3:-4] = 1
    return mask


def clamped_image() -> Tensor:
    """Structure, a flat corner and a noisy corner: less variance than the clamps allow, and more."""
    image = structured_image(SHAPE)
    image[..., :9, :9, :] = 0.4
    image[..., -9:, -9:, :] *= 6 * noise(1, 1, 9, 9, SHAPE[2], seed=8)
    return image


@pytest.mark.parametrize("gain", [1.0, 4.0])  # below and above a mean variance of 1 the clamp turns round
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("settings", "channels"), list(zip(ALL, CHANNELS, strict=True)))
def test_every_voxel_agrees_with_the_papers_formulas(
    settings: DescriptorSettings, channels: int, masked: bool, gain: float
) -> None:
    image = gain * clamped_image()
    mask = half_mask(SHAPE) if masked else None
    where = np.ones(SHAPE, bool) if mask is None else mask[0, 0].numpy() > 0

    got = describe(image, mask, settings)

    assert got.shape == (1, channels, *SHAPE)
    truth = SLOW[settings.name](image[0, 0].numpy(), where, settings)
    # Pairs of neighbours have no order of their own: each channel needs a true one to itself.
    unmatched = list(range(channels))
    for channel in got[0].numpy():
        errors = [np.abs(channel - truth[n]).max() for n in unmatched]
        assert min(errors) < 1e-9
        unmatched.pop(int(np.argmin(errors)))
    assert float(got.min()) >= 0
    assert float(got.max()) == 1.0


def test_the_mask_enters_through_the_global_statistic_alone() -> None:
    image, mask = clamped_image(), half_mask(SHAPE)
    changed = image.clone()
    changed[..., -4:, :, :] += 5 * noise(1, 1, 4, *SHAPE[1:], seed=3)

    for settings in (MIND, SSC):
        before, after = describe(image, mask, settings), describe(changed, mask, settings)
        far = (..., slice(0, 12), slice(None), slice(None))
        # A change outside the mask leaves the inside alone, but without a mask it shifts the clamp.
        assert torch.equal(before[far], after[far])
        free_before, free_after = describe(image, None, settings), describe(changed, None, settings)
        assert not torch.equal(free_before[far], free_after[far])


@pytest.mark.parametrize("settings", ALL)
@pytest.mark.parametrize(("gain", "shift"), [(2.0, 0.3), (-1.0, 1.0), (-1.7, -2.0)])
def test_the_contrast_may_be_scaled_shifted_and_inverted(
    settings: DescriptorSettings, gain: float, shift: float
) -> None:
    # Faint white noise: no voxel reaches the clamp of MIND's variance, which alone knows the scale.
    image = 0.2 * noise(1, 1, *SHAPE)

    here, there = describe(image, None, settings), describe(gain * image + shift, None, settings)

    torch.testing.assert_close(here, there, rtol=0, atol=1e-9)


@pytest.mark.parametrize("settings", ALL)
@pytest.mark.parametrize("power", [0.5, 2.0])
def test_a_bent_contrast_changes_little_beside_another_anatomy(
    settings: DescriptorSettings, power: float
) -> None:
    image, other = 0.2 + structured_image(SHAPE, 2.0), 0.2 + structured_image(SHAPE, 2.0, seed=1)
    here = describe(image, None, settings)

    bent = float((describe(1.5 - image**power, None, settings) - here).square().mean())
    foreign = float((describe(other, None, settings) - here).square().mean())

    assert bent < 0.1 * foreign


@pytest.mark.parametrize("settings", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_lie_in_zero_to_one_and_flat_images_are_finite(
    settings: DescriptorSettings, dtype: torch.dtype
) -> None:
    for image in (torch.full((1, 1, *SHAPE), 0.7, dtype=dtype), structured_image(SHAPE).to(dtype)):
        values = describe(image, None, settings)
        assert values.dtype == dtype
        assert bool(torch.isfinite(values).all())
        assert 0 < float(values.min()) <= float(values.max()) <= 1
    flat = torch.full((1, 1, *SHAPE), 0.7, dtype=dtype, requires_grad=True)
    describe(flat, None, settings).sum().backward()
    assert bool(torch.isfinite(flat.grad).all())


@pytest.mark.parametrize("settings", [MIND, replace(DENSE, patch_sigma=0.5), SSC, POINT])
def test_the_gradient_against_finite_differences(settings: DescriptorSettings) -> None:
    # Faint, so that no variance is clamped: the clamp's bounds count as constants of the image.
    image = (0.3 * noise(1, 1, 4, 5, 3, seed=6)).requires_grad_()
    weights = noise(*describe(image, None, settings).shape, seed=7)

    assert torch.autograd.gradcheck(lambda i: (describe(i, None, settings) * weights).sum(), (image,))


def test_an_empty_mask_gives_finite_values() -> None:
    image = structured_image(SHAPE)

    for settings in (MIND, SSC):
        assert bool(torch.isfinite(describe(image, torch.zeros_like(image), settings)).all())


def test_the_register_holds_every_structural_descriptor() -> None:
    assert set(DESCRIPTORS) == {"mind", "mind-ssc", "contrastive", "contrastive+mind-ssc"}


def test_the_fused_descriptor_weighs_its_two_parts() -> None:
    one, other = structured_image(SHAPE).float(), structured_image(SHAPE, seed=1).float()
    distances = {}
    for name in ("contrastive", "mind-ssc", "contrastive+mind-ssc"):
        settings = DescriptorSettings(name=name, learned_weight=0.3)
        here, there = (describe(image, None, settings) for image in (one, other))
        distances[name] = float((here - there).square().mean())

    expected = 0.3 * distances["contrastive"] + 0.7 * distances["mind-ssc"]
    assert distances["contrastive+mind-ssc"] == pytest.approx(expected, rel=1e-4)
