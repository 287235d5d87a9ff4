from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from bids_nodereg.registration.ode import TABLEAUS, flow, integrate, squaring
from bids_nodereg.registration.settings import SolverSettings
from tests.registration.fields import SHAPE, lattice_points, linear_field, noise, smooth_velocity

MIDDLE = (np.asarray(SHAPE) - 1) / 2
TURN = 0.9 * np.array([[0.0, -0.6, 0.5], [0.6, 0.0, -0.62], [-0.5, 0.62, 0.0]])
SHEAR = np.array([[0.3, -0.9, 0.2], [0.5, -0.4, 0.3], [0.1, 0.6, 0.2]])
# Draws every point towards the middle, so that even the lattice's corners stay inside.
CONTRACTION = np.array([[-0.7, 0.2, 0.1], [0.15, -0.5, -0.1], [0.1, 0.05, -0.9]])


def points_near_the_middle(count: int = 60) -> np.ndarray:
    return MIDDLE + np.random.default_rng(0).uniform(-3, 3, (count, 3))


def as_positions(points: np.ndarray) -> Tensor:
    return torch.from_numpy(points.T.copy()).view(1, 3, -1, 1, 1)


def linear_flow_error(matrix: np.ndarray, solver: SolverSettings) -> float:
    """Largest distance (voxels) to the matrix exponential for v = A (x - c)."""
    points = points_near_the_middle()
    end = integrate(linear_field(matrix, SHAPE), as_positions(points), solver)
    truth = MIDDLE + (points - MIDDLE) @ expm(matrix).T
    return float(np.linalg.norm(end.flatten(1).view(3, -1).T.numpy() - truth, axis=1).max())


def order_of(errors: list[float], steps: list[int]) -> float:
    """Slope of log(error) over log(step size)."""
    return float(-np.polyfit(np.log(steps), np.log(errors), 1)[0])


@pytest.mark.parametrize("matrix", [TURN, SHEAR, CONTRACTION], ids=["turn", "shear", "contraction"])
def test_the_flow_of_a_linear_field_is_its_matrix_exponential(matrix: np.ndarray) -> None:
    assert linear_flow_error(matrix, SolverSettings("rk4", 40)) < 3e-7


def test_a_rotation_field_turns_by_its_angle() -> None:
    angle = 0.8
    field = linear_field(angle * np.array([[0, -1, 0], [1, 0, 0], [0, 0, 0]]), SHAPE)
    start = MIDDLE + np.array([[3.0, 0.0, 2.0]])

    end = integrate(field, as_positions(start), SolverSettings("rk4", 20)).flatten().numpy()

    turned = np.array([3 * np.cos(angle), 3 * np.sin(angle), 2])
    np.testing.assert_allclose(end, MIDDLE + turned, atol=1e-6)


@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
@pytest.mark.parametrize("matrix", [TURN, SHEAR], ids=["turn", "shear"])
def test_schemes_converge_at_their_order(scheme: str, order: int, matrix: np.ndarray) -> None:
    steps = [8, 16, 32, 64]

    errors = [linear_flow_error(matrix, SolverSettings(scheme, n)) for n in steps]

    assert order_of(errors, steps) == pytest.approx(order, abs=0.12)
    assert TABLEAUS[scheme].order == order


@pytest.mark.parametrize("squarings", [1, 3, 6])
def test_squaring_a_linear_field_is_euler_with_as_many_steps(squarings: int) -> None:
    # (I + A / 2^K)^(2^K) x is both, as compositions of linear displacements are exact.
    field = linear_field(CONTRACTION, SHAPE)

    squared = squaring(field, squarings)

    stepped = flow(field, SolverSettings("euler", 2**squarings))
    torch.testing.assert_close(squared, stepped, rtol=0, atol=1e-10)


def test_squaring_tends_to_the_matrix_exponential() -> None:
    points = lattice_points(SHAPE) - MIDDLE
    truth = points @ (expm(CONTRACTION) - np.eye(3)).T

    got = flow(linear_field(CONTRACTION, SHAPE), SolverSettings("squaring", 14))[0].movedim(0, -1).numpy()

    assert np.abs(got - truth).max() < 1e-3 < np.abs(truth).max()


def test_two_steps_of_rk4_beat_two_hundred_of_euler_on_a_rough_field() -> None:
    field = smooth_velocity(SHAPE, 4, 6.0)
    truth = flow(field, SolverSettings("rk4", 64))
    gap = {
        name: (flow(field, solver) - truth).norm(dim=1)
        for name, solver in {
            "rk4": SolverSettings("rk4", 2),
            "euler": SolverSettings("euler", 200),
            "one euler step": SolverSettings("euler", 1),
            "squaring": SolverSettings("squaring", 7),
        }.items()
    }

    means = {name: float(error.mean()) for name, error in gap.items()}
    assert means["rk4"] < means["euler"] < means["squaring"] < means["one euler step"]
    assert means["rk4"] < 0.005
    assert means["one euler step"] > 0.2


def test_a_zero_field_moves_nothing_and_the_flow_starts_at_any_point() -> None:
    zero = torch.zeros(1, 3, *SHAPE, dtype=torch.float64)
    points = as_positions(points_near_the_middle())
    for scheme in ("euler", "heun", "rk4", "squaring"):
        assert not flow(zero, SolverSettings(scheme, 3)).any()
    assert torch.equal(integrate(zero, points, SolverSettings("rk4", 3)), points)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scheme", ["euler", "heun", "rk4", "squaring"])
def test_checkpoint_is_backprop(scheme: str, dtype: torch.dtype) -> None:
    weights = noise(1, 3, *SHAPE, seed=4).to(dtype)
    results = []
    for route in ("backprop", "checkpoint"):
        field = smooth_velocity(SHAPE, 3, 3.0).to(dtype).requires_grad_()
        end = flow(field, SolverSettings(scheme, 3, route))
        (end * weights).sum().backward()
        results.append((end.detach(), field.grad))

    if dtype == torch.float64:
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])
    # The compiled loop takes all steps of a point at once, and rounds its displacement, not its position.
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=2e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)
    assert float(results[0][1].abs().max()) > 0.1


@pytest.mark.parametrize("route", ["backprop", "checkpoint"])
@pytest.mark.parametrize("scheme", ["euler", "heun", "rk4", "squaring"])
def test_the_gradient_against_finite_differences(scheme: str, route: str) -> None:
    shape = (4, 5, 3)
    # No stage comes near a lattice plane, where the slope of the interpolation jumps.
    field = (0.1 + 0.2 * noise(1, 3, *shape)).requires_grad_()
    weights = noise(1, 3, *shape, seed=1)

    assert torch.autograd.gradcheck(
        lambda v: (flow(v, SolverSettings(scheme, 2, route)) * weights).sum(), (field,)
    )


def gradients(scheme: str, steps: int, route: str) -> tuple[Tensor, Tensor]:
    """Gradient to field and start of points that stay in one cell, where the field is analytic."""
    field = (0.7 * (noise(1, 3, 3, 4, 2, seed=9) - 0.5)).requires_grad_()
    start = as_positions(np.array([[0.4, 1.5, 0.5], [1.6, 2.4, 0.6], [0.6, 0.5, 0.4]])).requires_grad_()
    end = integrate(field, start, SolverSettings(scheme, steps, route))
    assert bool((end.floor() == start.floor()).all())
    (end * noise(1, 3, 3, 1, 1, seed=2)).square().sum().backward()
    return field.grad, start.grad


@pytest.mark.parametrize(
    ("scheme", "order", "counts"),
    [("euler", 1, (16, 32, 64)), ("heun", 2, (8, 16, 32)), ("rk4", 4, (2, 4, 8))],
)
def test_the_adjoint_tends_to_backprop_at_the_schemes_order(
    scheme: str, order: int, counts: tuple[int, ...]
) -> None:
    gaps = {"field": [], "start": []}
    for steps in counts:
        for name, one, other in zip(
            gaps, gradients(scheme, steps, "backprop"), gradients(scheme, steps, "adjoint"), strict=True
        ):
            gaps[name].append(float((one - other).norm() / one.norm()))

    for errors in gaps.values():
        # Some constants vanish, so that the gap may fall faster, never slower.
        assert order_of(errors, list(counts)) > order - 0.25
        assert 0 < errors[-1] < errors[0] < 0.2


def test_both_routes_tend_to_the_gradient_of_the_true_flow() -> None:
    truth = gradients("rk4", 64, "backprop")
    for scheme, steps in (("euler", 400), ("heun", 40), ("rk4", 8)):
        for route in ("backprop", "adjoint"):
            for got, true in zip(gradients(scheme, steps, route), truth, strict=True):
                assert float((got - true).norm() / true.norm()) < 2e-3


def test_the_adjoint_has_the_same_forward_flow_and_keeps_only_the_end_point() -> None:
    field = smooth_velocity(SHAPE, 3, 3.0)
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        for steps in (2, 9):
            kept.clear()
            v = field.clone().requires_grad_()
            end = flow(v, SolverSettings("rk4", steps, "adjoint"))
            assert sum(kept) == 2 * field.numel()
    assert torch.equal(end.detach(), flow(field, SolverSettings("rk4", 9)))


def test_the_adjoint_of_squaring_is_refused() -> None:
    with pytest.raises(ValueError, match="choose backprop or checkpoint"):
        flow(torch.zeros(1, 3, 4, 4, 4), SolverSettings("squaring", 3, "adjoint"))
