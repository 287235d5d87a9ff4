from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_nodereg.registration.objective import folding_barrier, objective, squared_gradient
from bids_nodereg.registration.settings import LossWeights
from tests.registration.fields import SHAPE, linear_field, noise, smooth_velocity


def constant_field(*vector: float) -> torch.Tensor:
    return torch.tensor(vector, dtype=torch.float64).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE).clone()


def test_the_terms_by_hand() -> None:
    velocity = constant_field(1, 2, 2)  # |v|^2 = 9, no gradient
    displacement = linear_field(np.diag([-0.8, 0.0, 0.0]), SHAPE)  # det = 0.2, |grad|^2 = 0.64
    similarity = torch.tensor(2.0, dtype=torch.float64)
    weights = LossWeights(
        folding=10, folding_epsilon=0.5, gradient=3, gradient_of="displacement", magnitude=0.1
    )

    terms = objective(similarity, velocity, [displacement], weights)

    assert float(terms.similarity) == 2.0
    assert float(terms.folding) == pytest.approx(0.3**2)
    assert float(terms.gradient) == pytest.approx(0.64)
    assert float(terms.magnitude) == pytest.approx(9.0)
    assert float(terms.loss) == pytest.approx(2 + 10 * 0.09 + 3 * 0.64 + 0.1 * 9)


def test_the_gradient_is_taken_of_the_chosen_field() -> None:
    velocity, displacement = (linear_field(np.eye(3) * s, SHAPE) for s in (0.1, 0.2))
    similarity = torch.zeros((), dtype=torch.float64)

    of = {
        name: float(objective(similarity, velocity, [displacement], LossWeights(gradient_of=name)).gradient)
        for name in ("velocity", "displacement")
    }

    assert of == {"velocity": pytest.approx(0.03), "displacement": pytest.approx(0.12)}


def test_the_weight_of_a_term_can_be_zero() -> None:
    field = smooth_velocity(SHAPE, 1.5, 4.0)
    similarity = torch.tensor(0.7, dtype=torch.float64)

    terms = objective(similarity, field, [field], LossWeights(folding=0, gradient=0, magnitude=0))

    assert float(terms.loss) == 0.7
    assert min(float(terms.folding), float(terms.gradient), float(terms.magnitude)) > 0


def test_the_gradient_of_a_linear_field_is_its_frobenius_norm() -> None:
    matrix = np.random.default_rng(3).normal(size=(3, 3))

    assert float(squared_gradient(linear_field(matrix, SHAPE))) == pytest.approx((matrix**2).sum())
    assert float(squared_gradient(constant_field(3, -1, 4))) == 0


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.99])
def test_the_barrier_is_nothing_for_the_identity_and_for_growth(epsilon: float) -> None:
    assert float(folding_barrier(constant_field(0, 0, 0), epsilon)) == 0
    assert float(folding_barrier(linear_field(np.diag([0.5, 0.2, 0.0]), SHAPE), epsilon)) == 0


@pytest.mark.parametrize("scale", [0.95, 1.2, 2.5])
def test_the_barrier_grows_with_the_square_of_the_shortfall(scale: float) -> None:
    determinant = 1 - scale
    field = linear_field(np.diag([0.0, -scale, 0.0]), SHAPE)

    assert float(folding_barrier(field, 0.1)) == pytest.approx((0.1 - determinant) ** 2)


def test_the_barrier_is_a_mean_over_all_corners() -> None:
    # One plane pushed past its neighbour: all 8 corners of one layer of cells have det 1 - 1.5.
    field = constant_field(0, 0, 0)
    field[:, 0, :9] = 1.5

    assert float(folding_barrier(field, 0.1)) == pytest.approx(0.6**2 / (SHAPE[0] - 1))


def test_the_barrier_against_finite_differences() -> None:
    field = (0.9 * noise(1, 3, 3, 4, 3)).requires_grad_()

    assert float(folding_barrier(field.detach(), 0.9)) > 0
    assert torch.autograd.gradcheck(lambda u: folding_barrier(u, 0.9), (field,))


def test_the_whole_objective_against_finite_differences() -> None:
    velocity, displacement = (noise(1, 3, 3, 4, 3, seed=n).requires_grad_() for n in (1, 2))
    similarity = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    weights = LossWeights(folding=2.0, folding_epsilon=0.8, gradient=0.4, magnitude=0.7)

    def loss(s: torch.Tensor, v: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return objective(s, v, [u], weights).loss

    assert torch.autograd.gradcheck(loss, (similarity, velocity, displacement))
