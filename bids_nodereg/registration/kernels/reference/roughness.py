"""The mean squared gradient of a field, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def squared_gradient(field: Tensor, stiffness: Tensor | None) -> Tensor:
    """Sum over the axes of the mean squared forward difference of ``1 3 i j k``; a scalar.

    Parameters
    ----------
    field
        Vectors; differentiable.
    stiffness
        Weight of each voxel, ``1 1 i j k``; a difference takes the mean of its two ends.
    """
    total = field.new_zeros(())
    for axis in (2, 3, 4):
        squared = field.diff(dim=axis).square().sum(1, keepdim=True)
        if stiffness is not None:
            size = stiffness.shape[axis] - 1
            squared = squared * (stiffness.narrow(axis, 0, size) + stiffness.narrow(axis, 1, size)) / 2
        total = total + squared.mean()
    return total
