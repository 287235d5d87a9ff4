"""The compiled filters and lattice changes against float64 torch and scipy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_nodereg.registration.kernels import cpu, reference
from bids_nodereg.registration.kernels.reference.filters import box_kernel, gaussian_kernel
from tests.registration.fields import SHAPE, noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SHAPES = [SHAPE, (5, 3, 2)]
COARSER, FINER = (7, 9, 5), (48, 60, 37)
OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "gaussian": lambda k, x: k.separable(x, gaussian_kernel(1.0, x)),
    "wide": lambda k, x: k.separable(x, gaussian_kernel(2.3, x)),
    "box": lambda k, x: k.separable(x, box_kernel(1, x)),
    "one-sided": lambda k, x: k.separable(x, torch.tensor([0.1, 0.2, 0.3, -0.1, 0.7]).to(x)),
    "coarser": lambda k, x: k.resize(x, COARSER),
    "finer": lambda k, x: k.resize(x, FINER),
    "corners": lambda k, x: k.resize(x, (2, 2, 2)),
    "down": lambda k, x: k.downsample(x, COARSER, gaussian_kernel(1.6, x)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_values_and_gradients_agree_with_float64(name: str, shape: tuple[int, int, int]) -> None:
    image, results = noise(2, 3, *shape), []
    for kernel, dtype in ((cpu, torch.float32), (reference, torch.float64)):
        leaf = image.to(dtype).requires_grad_()
        result = OPERATIONS[name](kernel, leaf)
        (result * noise(*result.shape, seed=5).to(dtype)).sum().backward()
        results.append([result.detach().double(), leaf.grad.double()])

    for got, truth in zip(*results, strict=True):
        torch.testing.assert_close(got, truth, rtol=0, atol=1e-6 * float(truth.abs().max()))


def test_a_filter_is_scipys_with_nearest_edges() -> None:
    image, taps = noise(1, 1, *SHAPE), [0.1, 0.2, 0.3, -0.1, 0.7]

    got = cpu.separable(image.float(), torch.tensor(taps))

    truth = image[0, 0].numpy()
    for axis in range(3):
        truth = ndimage.correlate1d(truth, taps, axis, mode="nearest")
    np.testing.assert_allclose(got[0, 0].numpy(), truth, atol=2e-6)


def test_a_linear_function_stays_what_it_is_on_another_lattice() -> None:
    axes = [torch.linspace(-1, 2, n) for n in SHAPE]
    i, j, k = torch.meshgrid(*axes, indexing="ij")
    ramp = (i - 2 * j + 0.5 * k)[None, None]

    for shape in (COARSER, FINER):
        i, j, k = torch.meshgrid(*(torch.linspace(-1, 2, n) for n in shape), indexing="ij")
        torch.testing.assert_close(cpu.resize(ramp, shape)[0, 0], i - 2 * j + 0.5 * k, rtol=0, atol=2e-6)


def test_the_gradient_is_the_transpose() -> None:
    """``<A x, y> = <x, A^T y>`` for every pair."""
    image = noise(1, 2, *SHAPE, dtype=torch.float32).requires_grad_()
    for operation in OPERATIONS.values():
        result = operation(cpu, image)
        other = noise(*result.shape, seed=6, dtype=torch.float32)
        (gradient,) = torch.autograd.grad(result, image, other)

        ahead, back = (
            float((a.detach().double() * b).sum()) for a, b in ((result, other), (image, gradient))
        )

        assert ahead == pytest.approx(back, rel=1e-6)
