"""The mean squared gradient: the compiled loop against torch, finite differences and a formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_nodereg.registration import kernels
from bids_nodereg.registration.kernels import reference
from bids_nodereg.registration.kernels.cpu import roughness
from tests.registration.fields import SHAPE, linear_field, noise, smooth_velocity

STIFFNESS = 0.2 + noise(1, 1, *SHAPE, seed=5)


@pytest.mark.parametrize("stiffness", [None, STIFFNESS])
def test_it_is_that_of_torch(stiffness: Tensor | None) -> None:
    results = []
    for where, dtype in ((reference, torch.float64), (kernels, torch.float32)):
        field = smooth_velocity(SHAPE, 2, 3.0, rim=0.1).to(dtype, copy=True).requires_grad_()
        value = where.squared_gradient(field, None if stiffness is None else stiffness.to(dtype))
        (3 * value).backward()
        results.append((value.detach().double(), field.grad.double()))

    (truth, true_slope), (value, slope) = results
    torch.testing.assert_close(value, truth, rtol=1e-6, atol=0)
    torch.testing.assert_close(slope, true_slope, rtol=0, atol=1e-6 * float(true_slope.abs().max()))


def test_it_is_the_squared_norm_of_a_linear_field() -> None:
    matrix = np.array([[0.3, -0.9, 0.2], [0.5, -0.4, 0.3], [0.1, 0.6, 0.2]])

    value = float(kernels.squared_gradient(linear_field(matrix, SHAPE).float(), None))

    assert value == pytest.approx((matrix**2).sum(), rel=1e-5)


@pytest.mark.parametrize("uniform", [True, False])
def test_against_finite_differences(uniform: bool) -> None:
    field = noise(1, 3, 3, 4, 2).requires_grad_()
    stiffness = None if uniform else noise(1, 1, 3, 4, 2, seed=1)

    assert torch.autograd.gradcheck(lambda v: roughness.squared_gradient(v, stiffness), (field,))


def test_the_negated_field_has_the_negated_slope_to_the_last_bit() -> None:
    slopes = []
    for sign in (1, -1):
        field = (sign * smooth_velocity(SHAPE, 2, 3.0).float()).requires_grad_()
        kernels.squared_gradient(field, STIFFNESS.float()).backward()
        slopes.append(field.grad)

    assert torch.equal(slopes[0], -slopes[1])
