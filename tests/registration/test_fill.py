"""Filling outside the mask: nothing of the background is left for a descriptor to see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.autograd import gradcheck

from bids_nodereg.registration.descriptors import describe
from bids_nodereg.registration.fill import fill_outside
from bids_nodereg.registration.settings import DescriptorSettings
from tests.registration.fields import SHAPE, noise, structured_image

NARROW = DescriptorSettings(name="mind-ssc")
WIDE = DescriptorSettings(name="mind-ssc", offset=2, patch_radius=2)


def image_and_mask(shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor]:
    """Texture, and a ragged mask that meets the lattice's edge."""
    mask = structured_image(shape, sigma=2.5, seed=4) > 0.55
    mask[:, :, :3, :9, :9] = True
    return structured_image(shape), mask.double()


def slow_fill(image: np.ndarray, mask: np.ndarray, reach: int) -> np.ndarray:
    """Voxel by voxel, layer by layer."""
    weights = np.multiply.outer(np.multiply.outer([1, 2, 1], [1, 2, 1]), [1, 2, 1])
    value, known = np.where(mask, image, 0.0), mask.copy()
    for _ in range(reach):
        # Edge values are repeated outside, as everywhere on the lattice.
        values, knowns = np.pad(value, 1, mode="edge"), np.pad(known, 1, mode="edge")
        following, reached = value.copy(), known.copy()
        for at in zip(*np.nonzero(~known), strict=True):
            cube = tuple(slice(x, x + 3) for x in at)
            share = weights * knowns[cube]
            if share.any():
                following[at] = (share * values[cube]).sum() / share.sum()
                reached[at] = True
        value, known = following, reached
    return np.where(known, value, image[mask].mean())


@pytest.mark.parametrize("reach", [0, 1, 3])
def test_layers_are_means_of_what_is_known_next_to_them(reach: int) -> None:
    image, mask = image_and_mask()

    got = fill_outside(image, mask, reach)[0, 0].numpy()

    truth = slow_fill(image[0, 0].numpy(), mask[0, 0].numpy() > 0, reach)
    np.testing.assert_allclose(got, truth, atol=1e-12)
    rim = (
        ndimage.binary_dilation(mask[0, 0].numpy() > 0, np.ones((3, 3, 3)), reach)
        if reach
        else mask[0, 0] > 0
    )
    assert (~np.asarray(rim)).any()
    assert got[~np.asarray(rim)] == pytest.approx(float(image[mask > 0].mean()), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inside_keeps_its_bits(dtype: torch.dtype) -> None:
    image, mask = (x.to(dtype) for x in image_and_mask())

    filled = fill_outside(image, mask, 3)

    assert filled.dtype == dtype
    assert torch.equal(filled[mask > 0], image[mask > 0])
    assert not torch.equal(filled, image)


def with_background(image: Tensor, mask: Tensor, background: str) -> Tensor:
    values = {
        "zero": torch.zeros_like(image),
        "seven": torch.full_like(image, 7),
        "noise": noise(*image.shape, seed=5, dtype=image.dtype),
        "nan": torch.full_like(image, math.nan),
    }
    return torch.where(mask > 0, image, values[background])


@pytest.mark.parametrize("settings", [NARROW, WIDE])
def test_a_descriptor_in_the_mask_sees_no_background(settings: DescriptorSettings) -> None:
    image, mask = image_and_mask()
    inside = (mask > 0).expand(1, 12, *SHAPE)
    reach = settings.offset + settings.patch_radius

    def described(background: str, *, fill: bool) -> Tensor:
        seen = with_background(image, mask, background)
        seen = fill_outside(seen, mask, reach) if fill else seen
        return describe(seen, mask, settings)[inside]

    truth = described("zero", fill=True)

    for background in ("seven", "noise", "nan"):
        assert torch.equal(described(background, fill=True), truth)
    # Without filling the background is seen, so the equality above says something.
    assert not torch.allclose(described("zero", fill=False), described("seven", fill=False), atol=0.1)


def test_the_documented_reach_is_enough_and_one_less_is_not() -> None:
    # What stands beyond the layers must not be seen either.
    image, mask = image_and_mask()
    inside = (mask > 0).expand(1, 12, *SHAPE)

    def described(reach: int) -> Tensor:
        return describe(fill_outside(image, mask, reach), mask, WIDE)[inside]

    enough = WIDE.offset + WIDE.patch_radius
    torch.testing.assert_close(described(enough), described(enough + 3), rtol=0, atol=1e-12)
    assert not torch.allclose(described(enough - 1), described(enough), atol=1e-4)


def test_a_constant_inside_is_continued_as_it_is() -> None:
    _, mask = image_and_mask()

    filled = fill_outside(torch.full_like(mask, 0.3).masked_fill(mask == 0, 9), mask, 2)

    torch.testing.assert_close(filled, torch.full_like(mask, 0.3), rtol=0, atol=1e-14)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_an_empty_and_a_full_mask_leave_the_image_as_it_is(level: float) -> None:
    image, mask = image_and_mask()

    assert torch.equal(fill_outside(image, torch.full_like(mask, level), 3), image)


def test_it_is_differentiable_and_no_slope_goes_to_the_background() -> None:
    image, mask = image_and_mask((5, 6, 4))
    mask[:, :, 3:] = 0
    leaf = image.requires_grad_()

    assert gradcheck(lambda x: fill_outside(x, mask, 2), (leaf,))
    fill_outside(leaf, mask, 2).sum().backward()
    assert (leaf.grad[mask == 0] == 0).all()
    assert (leaf.grad[mask > 0] >= 1).all()
