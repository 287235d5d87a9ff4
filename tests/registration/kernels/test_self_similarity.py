"""The compiled MIND and MIND-SSC against float64 torch."""

from __future__ import annotations

import math

import numba
import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.kernels import cpu, reference
from bids_nodereg.registration.settings import DescriptorSettings
from tests.registration.fields import SHAPE, noise, structured_image

SHAPES = [SHAPE, (67, 35, 18), (7, 3, 4)]  # blocks that end where they please, and a lattice within one
CHOICES = {
    "ssc": DescriptorSettings(),
    "ssc-wide": DescriptorSettings(offset=2, patch_radius=2),
    "ssc-voxel": DescriptorSettings(patch_radius=0),
    "mind": DescriptorSettings("mind"),
    "mind-26": DescriptorSettings("mind", search_radius=1, offset=2, patch_sigma=1.0),
    "mind-voxel": DescriptorSettings("mind", patch_sigma=0.0),
}


def describe(kernel, image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    return (kernel.mind if settings.name == "mind" else kernel.mind_ssc)(image, mask, settings)


def value_and_gradient(
    kernel, image: Tensor, mask: Tensor | None, settings: DescriptorSettings
) -> list[Tensor]:
    leaf = image.clone().requires_grad_()
    result = describe(kernel, leaf, mask, settings)
    (result * (noise(*result.shape, seed=5).to(image) - 0.5)).sum().backward()
    return [result.detach().double(), leaf.grad.double()]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("choice", sorted(CHOICES))
@pytest.mark.parametrize("has_mask", [False, True])
def test_values_and_gradients_agree_with_float64(
    choice: str, shape: tuple[int, int, int], has_mask: bool
) -> None:
    image, settings = noise(1, 1, *shape), CHOICES[choice]
    mask = (noise(1, 1, *shape, seed=1) > 0.5).double() if has_mask else None

    got = value_and_gradient(cpu, image.float(), None if mask is None else mask.float(), settings)
    truth = value_and_gradient(reference, image, mask, settings)

    assert got[0].shape == truth[0].shape
    torch.testing.assert_close(got[0], truth[0], rtol=0, atol=1e-5)
    # Squares of differences are small: float32 images lose digits in them.
    assert float((got[1] - truth[1]).norm() / truth[1].norm()) < 3e-5


@pytest.mark.parametrize("choice", ["ssc", "mind"])
def test_a_constant_patch_and_a_smooth_image_are_what_torch_makes_of_them(choice: str) -> None:
    """Nothing is least where all is the same: every channel is 1, and no gradient is none."""
    image = structured_image(SHAPE, 2.0)
    image[:, :, :12] = 0.25
    mask = torch.ones_like(image)

    got = value_and_gradient(cpu, image.float(), mask.float(), CHOICES[choice])
    truth = value_and_gradient(reference, image, mask, CHOICES[choice])

    assert bool((got[0][:, :, 3:6, 3:6, 3:6] == 1).all())
    assert bool(torch.isfinite(got[1]).all())
    torch.testing.assert_close(got[0], truth[0], rtol=0, atol=1e-4)
    assert float((got[1] - truth[1]).norm() / truth[1].norm()) < 1e-3


def test_the_channels_lie_last_in_memory() -> None:
    result = cpu.mind_ssc(noise(1, 1, *SHAPE).float(), None, DescriptorSettings())

    assert result.movedim(1, -1).is_contiguous()


def test_a_number_that_is_none_is_passed_on_to_what_sees_it() -> None:
    image = noise(1, 1, *SHAPE).float()
    image[0, 0, 9, 9, 9] = math.nan

    for settings in CHOICES.values():
        result = describe(cpu, image, None, settings)
        assert bool(result[0, :, 9, 9, 9 + settings.offset].isnan().any())


@pytest.mark.parametrize("choice", ["ssc", "mind"])
def test_the_bits_are_the_same_again_and_with_other_threads(choice: str) -> None:
    image, mask = noise(1, 1, 67, 35, 18).float(), (noise(1, 1, 67, 35, 18, seed=1) > 0.3).float()
    before = numba.get_num_threads()
    results = []
    for threads in (1, 1, 2):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        results.append(value_and_gradient(cpu, image, mask, CHOICES[choice]))
    numba.set_num_threads(before)

    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
