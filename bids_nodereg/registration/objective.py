"""The terms of the objective, one function each.

``L = D + lambda_fold mean relu(eps - det J)^2 + lambda_grad ||grad||^2 + lambda_mag ||v||^2``, with ``D`` the
similarity ``D(F, M o phi)``, or its mean with ``D(M, F o phi^-1)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration import kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def objective(
    similarity: Tensor,
    velocity: Tensor,
    displacements: Sequence[Tensor],
    weights: LossWeights,
    stiffness: Tensor | None = None,
) -> Terms:
    """Add the regularising terms to the similarity.

    Parameters
    ----------
    similarity
        Scalar distance of the descriptors.
    velocity
        ``n 3 i j k`` in voxels of its lattice.
    displacements
        Its flow, and the inverse flow where the objective is symmetric: ``1 3 i j k`` in voxels.
    weights
        Weights and the barrier's epsilon.
    stiffness
        Relative weight of the gradient penalty in space, ``1 1 i j k``.
    """
    folding = mean([folding_barrier(u, weights.folding_epsilon) for u in displacements])
    rough = [velocity] if weights.gradient_of == "velocity" else displacements
    gradient = mean([squared_gradient(field, stiffness) for field in rough])
    magnitude = _mean_of_parts(velocity.square().sum(1).flatten(1).mean(1))
    loss = (
        similarity + weights.folding * folding + weights.gradient * gradient + weights.magnitude * magnitude
    )
    return Terms(similarity, folding, gradient, magnitude, loss)


def folding_barrier(displacement: Tensor, epsilon: float) -> Tensor:
    """Mean of ``relu(epsilon - det J)^2`` over all corner determinants of the lattice.

    Zero while every determinant is above ``epsilon``; the barrier acts before a fold is there.
    """
    return kernels.folding_barrier(displacement, epsilon)


def squared_gradient(field: Tensor, stiffness: Tensor | None = None) -> Tensor:
    """Mean over voxels of the squared Frobenius norm of the gradient (forward differences).

    Parameters
    ----------
    field
        ``n 3 i j k``; the mean is over ``n`` too.
    stiffness
        Weight of each voxel, ``1 1 i j k``; a difference takes the mean of its two ends.
    """
    parts = [kernels.squared_gradient(field[n : n + 1], stiffness) for n in range(field.shape[0])]
    return _mean_of_parts(torch.stack(parts))


def _mean_of_parts(parts: Tensor) -> Tensor:
    """Mean of numbers, one for each part of the time, that may be reversed without a change of a bit."""
    return (parts + parts.flip(0)).mean() / 2


def mean(terms: Sequence[Tensor]) -> Tensor:
    """Mean in which two terms may change places without a change of a bit."""
    return sum(terms[1:], start=terms[0]) / len(terms)
