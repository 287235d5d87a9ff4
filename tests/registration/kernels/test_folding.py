"""The compiled barrier and test for folds against the torch ones and finite differences."""

from __future__ import annotations

import numba
import pytest
import torch
from torch import Tensor

from bids_nodereg.registration import kernels
from bids_nodereg.registration.determinants import corner_determinants
from bids_nodereg.registration.kernels import reference
from bids_nodereg.registration.kernels.cpu import folding
from tests.registration.fields import SHAPE, noise, smooth_velocity


def barrier(where, field: Tensor, dtype: torch.dtype, epsilon: float) -> tuple[Tensor, Tensor]:
    u = field.to(dtype, copy=True).requires_grad_()
    value = where.folding_barrier(u, epsilon)
    (3 * value).backward()
    assert u.grad is not None
    return value.detach().double(), u.grad.double()


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("largest", [2.5, 6.0])
def test_the_barrier_is_that_of_torch(largest: float, epsilon: float) -> None:
    field = smooth_velocity(SHAPE, 1.5, largest, rim=0.1)

    truth, got = (
        barrier(reference, field, torch.float64, epsilon),
        barrier(kernels, field, torch.float32, epsilon),
    )

    assert float(truth[0]) > 0
    torch.testing.assert_close(got[0], truth[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(got[1], truth[1], rtol=0, atol=1e-5 * float(truth[1].abs().max()))


def test_the_barrier_against_finite_differences() -> None:
    field = (noise(1, 3, 4, 5, 3) - 0.5).requires_grad_()

    assert torch.autograd.gradcheck(lambda u: folding.folding_barrier(u, 0.6), (field,))


def test_far_from_folding_the_barrier_and_its_slope_are_exactly_zero() -> None:
    value, slope = barrier(kernels, smooth_velocity(SHAPE, 4, 1.0), torch.float32, 0.1)

    assert float(value) == 0
    assert not slope.any()


def test_one_cell_that_is_none_makes_the_barrier_none() -> None:
    field = torch.zeros(1, 3, *SHAPE)
    field[0, 2, 5, 6, 7] = float("nan")

    assert bool(kernels.folding_barrier(field, 0.1).isnan())


@pytest.mark.parametrize("largest", [1.0, 2.5, 6.0])
def test_folded_cells_are_those_of_torch(largest: float) -> None:
    field = smooth_velocity(SHAPE, 1.5, largest, rim=0.1)

    truth, got = reference.folded_cells(field), kernels.folded_cells(field.float())

    assert got.shape == truth.shape == (1, 1, *(size - 1 for size in SHAPE))
    assert bool(truth.any())
    assert torch.equal(got, truth)


def test_folds_that_only_the_inner_tetrahedra_see_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    field = 0.4 * torch.randn(1, 3, *SHAPE, generator=generator, dtype=torch.float64)

    got = folding.folded_cells(field)

    assert torch.equal(got, reference.folded_cells(field))
    assert bool((got[:, 0] & (corner_determinants(field).amin(1) > 0)).any())


def test_the_number_of_threads_changes_no_bit() -> None:
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread")
    field = smooth_velocity(SHAPE, 1.5, 6.0, rim=0.1)
    try:
        results = []
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(barrier(kernels, field, torch.float32, 0.3))
    finally:
        numba.set_num_threads(1)

    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
