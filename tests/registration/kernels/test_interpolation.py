"""Sampling: the compiled loop and torch against SciPy, float64 and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from bids_nodereg.registration import kernels
from bids_nodereg.registration.kernels import cpu, reference
from bids_nodereg.registration.warp import sample as checked_sample
from tests.registration.fields import SHAPE, noise, positions_off_lattice

POINTS = 500


def leaf(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(dtype).requires_grad_()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_sample_is_linear_interpolation_with_edge_values_outside(
    dtype: torch.dtype, tolerance: float
) -> None:
    image = noise(1, 2, *SHAPE)
    at = positions_off_lattice(POINTS, SHAPE, 1, outside=True)

    got = kernels.sample(image.to(dtype), at.to(dtype))

    assert got.dtype == dtype
    assert got.shape == (1, 2, POINTS, 1, 1)
    for channel in range(2):
        truth = ndimage.map_coordinates(
            image[0, channel].numpy(), at[0, :, :, 0, 0].numpy(), order=1, mode="nearest"
        )
        # A float32 position near 30 is exact to 2e-6 voxel.
        np.testing.assert_allclose(got[0, channel, :, 0, 0].numpy(), truth, atol=tolerance * 5)


def test_the_numba_kernels_serve_float32_and_torch_serves_the_rest() -> None:
    image, at = noise(1, 2, *SHAPE, dtype=torch.float32), positions_off_lattice(9, SHAPE, 1, outside=False)
    at = at.float()
    two = torch.cat([image, 1 - image])

    assert torch.equal(kernels.sample(image, at), cpu.sample(image, at))
    assert torch.equal(
        kernels.sample(image.double(), at.double()), reference.sample(image.double(), at.double())
    )
    batch = kernels.sample(two, torch.cat([at, at]))
    torch.testing.assert_close(batch, torch.cat([cpu.sample(one[None], at) for one in two]))


def test_on_a_lattice_point_the_value_is_the_voxels_own() -> None:
    image = noise(1, 1, *SHAPE, dtype=torch.float32)
    axes = [torch.arange(n, dtype=torch.float32) for n in SHAPE]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]

    got = cpu.sample(image, points)

    inner = (..., *(slice(0, -1),) * 3)
    assert torch.equal(got[inner], image[inner])
    # The last voxel of an axis is reached from the one before it, with one rounding.
    torch.testing.assert_close(got, image, rtol=0, atol=3e-7)


@pytest.mark.parametrize("kernel", [cpu, reference])
def test_sample_gradients_agree_with_float64(kernel) -> None:
    image, at = noise(1, 3, *SHAPE), positions_off_lattice(POINTS, SHAPE, 2, outside=True)
    cotangent = noise(1, 3, POINTS, 1, 1, seed=5) - 0.5
    gradients = []
    for implementation, dtype in ((kernel, torch.float32), (reference, torch.float64)):
        values, points = leaf(image, dtype), leaf(at, dtype)
        (implementation.sample(values, points) * cotangent.to(dtype)).sum().backward()
        gradients.append((values.grad, points.grad))

    (image_grad, at_grad), (image_truth, at_truth) = gradients

    torch.testing.assert_close(image_grad.double(), image_truth, rtol=0, atol=2e-5)
    torch.testing.assert_close(at_grad.double(), at_truth, rtol=0, atol=2e-5)
    assert at_truth.abs().max() > 0.1


def test_a_position_outside_has_no_slope_across_the_edge() -> None:
    image = leaf(noise(1, 1, *SHAPE), torch.float32)
    at = leaf(torch.tensor([-1.4, 3.3, 5.2]).view(1, 3, 1, 1, 1), torch.float32)

    cpu.sample(image, at).sum().backward()

    across, *along = at.grad.flatten().tolist()
    assert across == 0
    assert all(slope != 0 for slope in along)


def test_reference_sample_against_finite_differences() -> None:
    shape = (5, 6, 4)
    image = noise(1, 2, *shape).requires_grad_()
    at = positions_off_lattice(9, shape, 3, outside=True).requires_grad_()

    assert torch.autograd.gradcheck(reference.sample, (image, at))


def test_two_calls_give_the_same_bits() -> None:
    points = positions_off_lattice(POINTS, SHAPE, 4, outside=True)
    image = noise(1, 4, *SHAPE)

    def everything() -> list[Tensor]:
        at, values = leaf(points, torch.float32), leaf(image, torch.float32)
        sampled = kernels.sample(values, at)
        sampled.square().sum().backward()
        return [sampled.detach(), at.grad, values.grad]

    for first, second in zip(everything(), everything(), strict=True):
        assert torch.equal(first, second)


def test_on_the_edge_itself_there_is_no_slope_across_it() -> None:
    image = noise(1, 1, *SHAPE)
    at = torch.tensor([0.0, 30.0, 5.2], dtype=torch.float64).view(1, 3, 1, 1, 1)
    slopes = []
    for implementation, dtype in ((reference, torch.float64), (cpu, torch.float32)):
        point = leaf(at, dtype)
        implementation.sample(image.to(dtype), point).sum().backward()
        slopes.append(point.grad.double())

    torch.testing.assert_close(slopes[1], slopes[0], rtol=0, atol=1e-6)
    assert slopes[0].flatten()[:2].tolist() == [0, 0]


def test_an_axis_of_one_voxel_is_refused_by_the_door() -> None:
    with pytest.raises(ValueError, match="2 voxels or more"):
        checked_sample(noise(1, 1, 5, 1, 4), torch.zeros(1, 3, 1, 1, 1, dtype=torch.float64))
