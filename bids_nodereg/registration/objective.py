"""The terms of the objective, one function each.

``L = D(F, M o phi) + lambda_fold mean relu(eps - det J)^2 + lambda_grad ||grad||^2 + lambda_mag ||v||^2``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import relu

from bids_nodereg.registration.warp import corner_determinants

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.settings import LossWeights


@dataclass(frozen=True)
class Terms:
    """The unweighted terms of the objective and their weighted sum, as scalars."""

    similarity: Tensor
    folding: Tensor
    gradient: Tensor
    magnitude: Tensor
    loss: Tensor


def objective(similarity: Tensor, velocity: Tensor, displacement: Tensor, weights: LossWeights) -> Terms:
    """Add the regularising terms to the similarity.

    Parameters
    ----------
    similarity
        Scalar distance of the descriptors.
    velocity, displacement
        ``1 3 i j k`` in voxels of the velocity lattice: the field and its flow.
    weights
        Weights and the barrier's epsilon.
    """
    folding = folding_barrier(displacement, weights.folding_epsilon)
    gradient = squared_gradient(velocity if weights.gradient_of == "velocity" else displacement)
    magnitude = velocity.square().sum(1).mean()
    loss = (
        similarity + weights.folding * folding + weights.gradient * gradient + weights.magnitude * magnitude
    )
    return Terms(similarity, folding, gradient, magnitude, loss)


def folding_barrier(displacement: Tensor, epsilon: float) -> Tensor:
    """Mean of ``relu(epsilon - det J)^2`` over all corner determinants of the lattice.

    Zero while every determinant is above ``epsilon``; the barrier acts before a fold is there.
    """
    return relu(epsilon - corner_determinants(displacement)).square().mean()


def squared_gradient(field: Tensor) -> Tensor:
    """Mean over voxels of the squared Frobenius norm of the gradient (forward differences)."""
    return sum(
        (field.diff(dim=axis).square().sum(1).mean() for axis in (2, 3, 4)),
        start=field.new_zeros(()),
    )
