"""The compiled flows against the torch ones, finite differences and flows with a formula."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numba
import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from bids_nodereg.registration import kernels
from bids_nodereg.registration.kernels import reference
from bids_nodereg.registration.kernels.cpu import flows
from bids_nodereg.registration.tableaus import TABLEAUS, Leg
from tests.registration.fields import (
    SHAPE,
    lattice_points,
    linear_field,
    noise,
    positions_off_lattice,
    smooth_velocity,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FINE, COARSE = (47, 61, 40), (9, 13, 11)
ONCE = (Leg(0, 1, 1.0),)
THERE_AND_PART_OF_THE_WAY_BACK = (Leg(1, 2, 0.25), Leg(0, 3, -0.2))
WAYS = [("rk4", ONCE), ("rk4", THERE_AND_PART_OF_THE_WAY_BACK), ("heun", (Leg(1, 3, -0.3),)), ("euler", ONCE)]


def two_fields() -> Tensor:
    """One that rests on the boundary, and one that does not and leads out of the lattice."""
    return torch.cat([smooth_velocity(SHAPE, 2, 4.0), smooth_velocity(SHAPE, 2, 3.0, seed=4, rim=0.1)])


def with_gradient(
    function: Callable[[Tensor], Tensor], velocity: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    field = velocity.detach().clone().requires_grad_()
    moved = function(field)
    moved.backward(slope)
    assert field.grad is not None
    return moved.detach(), field.grad


@pytest.mark.parametrize("shape", [SHAPE, FINE, COARSE])
@pytest.mark.parametrize(("scheme", "legs"), WAYS)
def test_a_lattice_is_carried_as_by_torch(
    scheme: str, legs: tuple[Leg, ...], shape: tuple[int, int, int]
) -> None:
    slope = noise(1, 3, *shape, seed=9) - 0.5
    velocity, tableau = two_fields(), TABLEAUS[scheme]

    truth = with_gradient(lambda v: reference.carry_lattice(v, shape, legs, tableau), velocity, slope)
    got = with_gradient(
        lambda v: kernels.carry_lattice(v, shape, legs, tableau), velocity.float(), slope.float()
    )

    assert got[0].dtype == got[1].dtype == torch.float32
    for one, true in zip(got, truth, strict=True):
        assert float(true.abs().max()) > 0.1
        torch.testing.assert_close(one.double(), true, rtol=0, atol=3e-6 * float(true.abs().max()))


@pytest.mark.parametrize(("scheme", "legs"), WAYS)
def test_the_lattice_loop_against_finite_differences(scheme: str, legs: tuple[Leg, ...]) -> None:
    # The points of the second lattice lie between the voxels, and no stage comes near a voxel's plane.
    velocity = (0.02 + 0.1 * noise(2, 3, 4, 5, 3)).requires_grad_()

    for shape in ((4, 5, 3), (6, 7, 5)):
        assert torch.autograd.gradcheck(
            lambda v, s=shape: flows.carry_lattice(v, s, legs, TABLEAUS[scheme])[..., 1:-1, 1:-1, 1:-1],
            (velocity,),
        )


@pytest.mark.parametrize("scheme", sorted(TABLEAUS))
def test_points_anywhere_are_carried_as_by_torch(scheme: str) -> None:
    points, slope = positions_off_lattice(700, SHAPE, 5, outside=True), noise(1, 3, 700, 1, 1, seed=6) - 0.5
    results = []
    for implementation, dtype in ((reference, torch.float64), (kernels, torch.float32)):
        velocity = two_fields()[1:].to(dtype).requires_grad_()
        start = points.to(dtype, copy=True).requires_grad_()
        end = implementation.carry(velocity, start, 0.3, 3, TABLEAUS[scheme])
        end.backward(slope.to(dtype))
        results.append((end.detach(), velocity.grad, start.grad))

    for true, got in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), true, rtol=0, atol=3e-6 * float(true.abs().max()))


@pytest.mark.parametrize("wanted", ["velocity", "start"])
def test_one_gradient_of_points_alone_is_the_same(wanted: str) -> None:
    points, slope = positions_off_lattice(300, SHAPE, 5, outside=True), noise(1, 3, 300, 1, 1, seed=6) - 0.5
    gradients = []
    for alone in (False, True):
        velocity = two_fields()[1:].float().requires_grad_(not alone or wanted == "velocity")
        start = points.float().requires_grad_(not alone or wanted == "start")
        kernels.carry(velocity, start, 0.3, 2, TABLEAUS["rk4"]).backward(slope.float())
        gradients.append({"velocity": velocity.grad, "start": start.grad})

    assert torch.equal(gradients[0][wanted], gradients[1][wanted])
    del gradients[1][wanted]
    assert list(gradients[1].values()) == [None]


def flow_error(matrix: np.ndarray, scheme: str, steps: int) -> float:
    """Largest distance in the middle from the flow of ``dx/dt = A x``, which is ``exp(A)``."""
    legs = (Leg(0, steps, 1 / steps),)
    moved = flows.carry_lattice(linear_field(matrix, SHAPE), SHAPE, legs, TABLEAUS[scheme])
    offset = lattice_points(SHAPE) - (np.asarray(SHAPE) - 1) / 2
    truth = offset @ (expm(matrix) - np.eye(3)).T
    error = np.linalg.norm(moved[0].movedim(0, -1).numpy() - truth, axis=-1)
    return float(error[9:15, 12:18, 7:12].max())


@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_the_loop_tends_to_the_matrix_exponential_at_its_order(scheme: str, order: int) -> None:
    contraction = np.array([[-0.7, 0.2, 0.1], [0.15, -0.5, -0.1], [0.1, 0.05, -0.9]])

    coarse, fine = flow_error(contraction, scheme, 4), flow_error(contraction, scheme, 8)

    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_the_flow_back_of_the_negated_field_is_the_flow_to_the_last_bit() -> None:
    velocity, slope = two_fields().float(), noise(1, 3, *FINE, seed=2, dtype=torch.float32)
    back = tuple(Leg(leg.part, leg.steps, -leg.h) for leg in THERE_AND_PART_OF_THE_WAY_BACK)

    moved, gradient = with_gradient(
        lambda v: kernels.carry_lattice(v, FINE, THERE_AND_PART_OF_THE_WAY_BACK, TABLEAUS["rk4"]),
        velocity,
        slope,
    )
    same, negated = with_gradient(
        lambda v: kernels.carry_lattice(v, FINE, back, TABLEAUS["rk4"]), -velocity, slope
    )

    assert torch.equal(moved, same)
    assert torch.equal(gradient, -negated)


def test_the_number_of_threads_changes_no_bit() -> None:
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread")
    velocity, slope = two_fields().float(), noise(1, 3, *FINE, seed=2, dtype=torch.float32)
    results = []
    try:
        for threads in (1, 2, 2):
            numba.set_num_threads(threads)
            results.append(
                with_gradient(
                    lambda v: kernels.carry_lattice(v, FINE, ONCE, TABLEAUS["rk4"]), velocity, slope
                )
            )
    finally:
        numba.set_num_threads(1)

    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_points_that_no_slope_reaches_are_left_out_without_a_trace() -> None:
    velocity, slope = two_fields()[:1], noise(1, 3, *SHAPE, seed=2)
    slope[..., ::3] = 0
    slope[:, :, 4:9] = 0

    (_, truth), (_, got) = (
        with_gradient(lambda v, i=one: i.carry_lattice(v, SHAPE, ONCE, TABLEAUS["rk4"]), velocity, slope)
        for one in (reference, flows)
    )

    torch.testing.assert_close(got, truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("largest", [200.0, 1e30])
def test_a_field_that_leads_far_out_ends_on_the_edge_values(largest: float) -> None:
    velocity = smooth_velocity(SHAPE, 2, largest, rim=0.1)

    truth, got = (
        with_gradient(
            lambda v, i=one: i.carry_lattice(v, SHAPE, ONCE, TABLEAUS["heun"]),
            velocity,
            torch.ones(1, 3, *SHAPE).double(),
        )
        for one in (reference, flows)
    )

    torch.testing.assert_close(got[0], truth[0], rtol=1e-9, atol=1e-9)
    assert bool(torch.isfinite(got[1]).all())


def test_no_time_moves_nothing_and_means_nothing_for_the_field() -> None:
    slope = torch.ones(1, 3, *FINE)

    for legs in ((), (Leg(0, 2, 0.0),)):
        moved, gradient = with_gradient(
            lambda v, way=legs: kernels.carry_lattice(v, FINE, way, TABLEAUS["rk4"]),
            two_fields().float(),
            slope,
        )
        assert moved.shape == slope.shape
        assert not moved.any()
        assert not gradient.any()


def test_a_number_that_is_none_stays_one_and_harms_nothing_else() -> None:
    velocity = smooth_velocity(SHAPE, 2, 1.0).float()
    velocity[0, 1, 10, 12, 8] = float("nan")

    moved, gradient = with_gradient(
        lambda v: kernels.carry_lattice(v, SHAPE, ONCE, TABLEAUS["rk4"]), velocity, torch.ones(1, 3, *SHAPE)
    )

    assert bool(moved[0, 1, 10, 12, 8].isnan())
    assert bool(moved[..., :5].isfinite().all())
    assert gradient.shape == velocity.shape
