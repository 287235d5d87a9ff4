"""Composition and the fixed point of the inverse: the compiled loops against the torch ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from bids_nodereg.registration import kernels
from bids_nodereg.registration.kernels import reference
from bids_nodereg.registration.kernels.cpu import interpolation
from tests.registration.fields import SHAPE, linear_field, noise, smooth_velocity

if TYPE_CHECKING:
    from types import ModuleType


def two_maps() -> tuple[Tensor, Tensor]:
    """Displacements that lead out of the lattice in places and never onto a plane of voxels."""
    return smooth_velocity(SHAPE, 2, 4.0, rim=0.1), smooth_velocity(SHAPE, 2, 4.0, seed=3, rim=0.1) + 0.013


def composed(where: ModuleType, dtype: torch.dtype, *, same: bool = False) -> list[Tensor]:
    """The composition, and both gradients for a slope that is zero in part."""
    outer, inner = (u.to(dtype, copy=True).requires_grad_() for u in two_maps())
    slope = noise(1, 3, *SHAPE, seed=2) - 0.5
    slope[:, :, 5:12] = 0
    result = where.compose(outer, outer if same else inner)
    result.backward(slope.to(dtype))
    return [result.detach(), *(u.grad for u in (outer, inner) if u.grad is not None)]


@pytest.mark.parametrize("same", [False, True])
def test_composition_is_that_of_torch(same: bool) -> None:
    truth, got = composed(reference, torch.float64, same=same), composed(kernels, torch.float32, same=same)

    assert len(truth) == len(got) == (2 if same else 3)
    for true, one in zip(truth, got, strict=True):
        assert float(true.abs().max()) > 1
        torch.testing.assert_close(one.double(), true, rtol=0, atol=1e-6 * float(true.abs().max()))


@pytest.mark.parametrize("wanted", ["outer", "inner"])
def test_one_gradient_alone_is_the_same_and_the_other_is_not_made(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = composed(kernels, torch.float32)[1:]
    sizes = []
    real = interpolation.map_loops.compose_back

    def heard(*arguments: np.ndarray) -> None:
        sizes.append(tuple(each.size for each in arguments[-2:]))
        real(*arguments)

    monkeypatch.setattr(interpolation.map_loops, "compose_back", heard)
    outer, inner = (u.float() for u in two_maps())
    (outer if wanted == "outer" else inner).requires_grad_()
    slope = noise(1, 3, *SHAPE, seed=2) - 0.5
    slope[:, :, 5:12] = 0
    kernels.compose(outer, inner).backward(slope.float())

    true, got = (both[0], outer.grad) if wanted == "outer" else (both[1], inner.grad)
    # The order in which a lattice is added to depends on the tiles alone: to the last bit the same.
    assert torch.equal(got, true)
    made, spared = sizes[0] if wanted == "outer" else sizes[0][::-1]
    assert made > 0
    assert spared == 0


def test_composition_against_finite_differences() -> None:
    shape = (4, 5, 3)
    outer = noise(1, 3, *shape).requires_grad_()
    inner = (0.1 + 0.8 * noise(1, 3, *shape, seed=1)).requires_grad_()

    assert torch.autograd.gradcheck(interpolation.compose, (outer, inner))


def test_linear_maps_compose_as_their_matrices() -> None:
    rng = np.random.default_rng(0)
    outer, inner = 0.1 * rng.normal(size=(2, 3, 3))

    got = kernels.compose(linear_field(outer, SHAPE).float(), linear_field(inner, SHAPE).float())

    truth = linear_field((np.eye(3) + outer) @ (np.eye(3) + inner) - np.eye(3), SHAPE)
    core = (..., slice(8, 16), slice(10, 20), slice(6, 12))
    torch.testing.assert_close(got[core].double(), truth[core], rtol=0, atol=1e-5)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_the_inverse_is_that_of_torch(iterations: int) -> None:
    # Steep in places, so that the better of two is kept and not always the last.
    forward = smooth_velocity(SHAPE, 1.6, 3.5, seed=3)
    start = -0.5 * forward

    truth = reference.fixed_point_inverse(forward, start, iterations)
    got = kernels.fixed_point_inverse(forward.float(), start.float(), iterations)

    assert got.dtype == torch.float32
    # Two errors that are equal up to rounding may be kept either way: not everywhere the same choice.
    apart = (got.double() - truth).norm(dim=1)
    assert float((apart > 1e-5).double().mean()) < 1e-3
    assert iterations == 0 or float((truth - start).norm(dim=1).max()) > 0.5


def test_maps_do_not_depend_on_the_number_of_threads() -> None:
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread")
    try:
        results = []
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(composed(kernels, torch.float32))
    finally:
        numba.set_num_threads(1)

    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
