"""Fields piecewise constant in time, and flows between any two times."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.linalg import expm
from torch import Tensor

from bids_nodereg.registration.diffeomorphism import diffeomorphic_maps
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.ode import flow, integrate, time_parts
from bids_nodereg.registration.settings import SolverSettings
from tests.registration.fields import (
    SHAPE,
    inverse_consistency,
    lattice_points,
    linear_field,
    noise,
    smooth_velocity,
)

MIDDLE = (np.asarray(SHAPE) - 1) / 2
FIRST = np.array([[0.3, -0.9, 0.2], [0.5, -0.4, 0.3], [0.1, 0.6, 0.2]])
SECOND = 0.9 * np.array([[0.0, -0.6, 0.5], [0.6, 0.0, -0.62], [-0.5, 0.62, 0.0]])
SCHEMES = ("euler", "heun", "rk4")


def two_parts() -> Tensor:
    """Two unlike smooth fields, ``2 3 i j k``."""
    return torch.cat([smooth_velocity(SHAPE, 4, 6.0, seed=seed) for seed in (1, 2)])


def points_near_the_middle() -> Tensor:
    points = MIDDLE[:, None] + np.random.default_rng(0).uniform(-3, 3, (3, 60))
    return torch.from_numpy(points).view(1, 3, -1, 1, 1)


def reference_flow(parts: list[np.ndarray], steps: int) -> np.ndarray:
    """The parts one after the other, by NumPy and SciPy alone: ``3 i j k``."""
    start = np.moveaxis(lattice_points(SHAPE), -1, 0)
    position, h = start.copy(), 1 / (len(parts) * steps)

    def rate(field: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.stack([ndimage.map_coordinates(c, at, order=1, mode="nearest") for c in field])

    for field in parts:
        for _ in range(steps):
            one = rate(field, position)
            two = rate(field, position + h / 2 * one)
            three = rate(field, position + h / 2 * two)
            four = rate(field, position + h * three)
            position = position + h / 6 * (one + 2 * two + 2 * three + four)
    return position - start


@pytest.mark.parametrize(
    ("parts", "start", "end", "expected"),
    [
        (1, 0.0, 1.0, [(0, 1.0)]),
        (4, 0.0, 1.0, [(0, 0.25), (1, 0.25), (2, 0.25), (3, 0.25)]),
        (4, 1.0, 0.0, [(3, -0.25), (2, -0.25), (1, -0.25), (0, -0.25)]),
        (4, 0.375, 0.625, [(1, 0.125), (2, 0.125)]),
        (4, 0.625, 0.25, [(2, -0.125), (1, -0.25)]),
        (2, 0.5, 1.0, [(1, 0.5)]),
        (2, 0.5, 0.5, []),
    ],
)
def test_the_way_is_split_where_the_field_changes(
    parts: int, start: float, end: float, expected: list[tuple[int, float]]
) -> None:
    assert time_parts(parts, start, end) == expected


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_the_spans_add_up_and_stay_in_their_part(parts: int) -> None:
    for start, end in np.random.default_rng(0).random((20, 2)):
        spans = time_parts(parts, start, end)
        assert sum(span for _, span in spans) == pytest.approx(end - start)
        assert all(abs(span) <= 1 / parts + 1e-12 for _, span in spans)
        assert all(abs(late - early) == 1 for (early, _), (late, _) in pairwise(spans))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_flow_in_two_goes_is_the_whole_flow(scheme: str) -> None:
    # Steps of 0.1 in either case, so that only the rounding differs.
    solver, points = SolverSettings(scheme, 10), identity(SHAPE, torch.zeros((), dtype=torch.float64))
    for velocity in (two_parts()[:1], two_parts()):
        half_way = integrate(velocity, points, solver, 0.0, 0.4)
        whole = integrate(velocity, points, solver)

        torch.testing.assert_close(integrate(velocity, half_way, solver, 0.4, 1.0), whole, rtol=0, atol=1e-10)
        torch.testing.assert_close(flow(velocity, solver), whole - points, rtol=0, atol=0)
        assert float((half_way - whole).norm(dim=1).max()) > 1


@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_the_way_back_undoes_the_way_forth_at_the_schemes_order(scheme: str, order: int) -> None:
    velocity = torch.cat([linear_field(matrix, SHAPE) for matrix in (FIRST, SECOND)])
    points, counts, errors = points_near_the_middle(), (8, 16, 32), []
    for steps in counts:
        solver = SolverSettings(scheme, steps)
        there = integrate(velocity, points, solver, 0.1, 0.9)
        errors.append(float((integrate(velocity, there, solver, 0.9, 0.1) - points).norm(dim=1).max()))

    # Heun and RK4 gain an order on the round trip: errors of even power cancel.
    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] > order - 0.15
    assert errors[-1] < errors[0] < 0.5 < float((there - points).norm(dim=1).max())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_equal_parts_are_a_stationary_field(scheme: str, parts: int) -> None:
    velocity, solver = smooth_velocity(SHAPE, 4, 6.0), SolverSettings(scheme, 12)

    for start, end in ((0.0, 1.0), (1.0, 0.0)):
        whole = flow(velocity, solver, start, end)
        pieces = flow(velocity.repeat(parts, 1, 1, 1, 1), solver, start, end)
        # A half or a quarter of a number is exact, a third is not.
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-10 if parts == 3 else 1e-13)
        assert float(whole.norm(dim=1).max()) > 2


def test_two_parts_follow_the_first_and_then_the_second_field() -> None:
    velocity = two_parts()
    first, second = velocity.numpy()
    truth = torch.from_numpy(reference_flow([first, second], 32))
    other_way = torch.from_numpy(reference_flow([second, first], 4))

    # The slope of the interpolated field jumps, so the errors fall slower than the schemes' order.
    for solver, bound in (
        (SolverSettings("rk4", 16), 1e-3),
        (SolverSettings("rk4", 4), 0.02),
        (SolverSettings("heun", 32), 2e-3),
        (SolverSettings("euler", 64), 0.04),
    ):
        assert float((flow(velocity, solver)[0] - truth).norm(dim=0).max()) < bound
    assert float((other_way - truth).norm(dim=0).max()) > 1


def test_squaring_takes_the_parts_in_the_same_order() -> None:
    velocity = two_parts()

    for start, end in ((0.0, 1.0), (1.0, 0.0), (0.25, 0.75)):
        truth = flow(velocity, SolverSettings("rk4", 32), start, end)
        squared = flow(velocity, SolverSettings("squaring", 7), start, end)
        reversed_parts = flow(velocity.flip(0), SolverSettings("rk4", 32), start, end)

        error = float((squared - truth).norm(dim=1).mean())
        # Each squaring interpolates the displacement anew: an error of hundredths of a voxel.
        assert error < 0.025
        assert error < 0.2 * float((reversed_parts - truth).norm(dim=1).mean())


@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
@pytest.mark.parametrize("forth", [True, False], ids=["forth", "back"])
def test_a_piecewise_linear_field_converges_at_the_schemes_order(
    scheme: str, order: int, forth: bool
) -> None:
    velocity = torch.cat([linear_field(matrix, SHAPE) for matrix in (FIRST, SECOND)])
    points = points_near_the_middle()
    matrix = expm(SECOND / 2) @ expm(FIRST / 2)
    matrix = matrix if forth else np.linalg.inv(matrix)
    middle = torch.from_numpy(MIDDLE).view(1, 3, 1, 1, 1)
    truth = middle + torch.einsum("ab,nbxyz->naxyz", torch.from_numpy(matrix), points - middle)
    counts = (8, 16, 32, 64)

    errors = [
        float((integrate(velocity, points, SolverSettings(scheme, n), *times) - truth).norm(dim=1).max())
        for n in counts
        for times in [(0.0, 1.0) if forth else (1.0, 0.0)]
    ]

    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("route", ["backprop", "checkpoint"])
@pytest.mark.parametrize("scheme", [*SCHEMES, "squaring"])
@pytest.mark.parametrize("times", [(0.0, 1.0), (1.0, 0.0), (0.2, 0.9)])
def test_the_gradient_against_finite_differences(scheme: str, route: str, times: tuple[float, float]) -> None:
    # Drift of one sign and a fraction of a voxel: no stage comes near a lattice plane, where slopes jump.
    field = (0.1 + 0.2 * noise(2, 3, 4, 3, 3)).requires_grad_()
    weights = noise(1, 3, 4, 3, 3, seed=1)

    assert torch.autograd.gradcheck(
        lambda v: (flow(v, SolverSettings(scheme, 2, route), *times) * weights).sum(), (field,)
    )


@pytest.mark.parametrize("times", [(0.0, 1.0), (1.0, 0.0)])
def test_the_three_routes_agree(times: tuple[float, float]) -> None:
    grads = {}
    for route in ("backprop", "checkpoint", "adjoint"):
        # Points that stay in their cell, where the field is analytic.
        field = (0.7 * (noise(2, 3, 3, 4, 2, seed=9) - 0.5)).requires_grad_()
        start = torch.tensor([[0.4, 1.6, 0.6], [1.5, 2.4, 0.5], [0.5, 0.6, 0.4]], dtype=torch.float64)
        end = integrate(field, start.view(1, 3, 3, 1, 1), SolverSettings("rk4", 16, route), *times)
        (end * noise(1, 3, 3, 1, 1, seed=2)).square().sum().backward()
        grads[route] = field.grad

    assert torch.equal(grads["backprop"], grads["checkpoint"])
    gap = (grads["adjoint"] - grads["backprop"]).norm() / grads["backprop"].norm()
    assert 0 < float(gap) < 1e-8
    assert min(float(part.norm()) for part in grads["adjoint"]) > 0.1


def test_no_time_moves_nothing() -> None:
    for scheme in (*SCHEMES, "squaring"):
        assert not flow(two_parts(), SolverSettings(scheme, 3), 0.3, 0.3).any()


def test_the_final_maps_of_two_parts_undo_each_other() -> None:
    velocity = 0.5 * two_parts().float()

    maps = diffeomorphic_maps(velocity, tuple(2 * size - 1 for size in SHAPE), 4)

    assert maps.velocity.shape == velocity.shape
    assert float(maps.forward.norm(dim=1).max()) > 2
    for outer, inner in ((maps.forward, maps.inverse), (maps.inverse, maps.forward)):
        assert float(inverse_consistency(outer, inner).mean()) < 0.01
