"""Distances for images of the same contrast: local correlation and squared difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

VARIANCE_FLOOR = 1e-3
"""Added to local variances, as a share of the image's variance over the foreground."""


def local_correlation(fixed: Tensor, moving: Tensor, weight: Tensor, *, radius: int = 4) -> Tensor:
    """One minus the mean local correlation coefficient.

    Means, variances and the covariance are taken over a cube around each voxel, of its foreground
    only, so the background's level does not matter. The sign is kept: a squared coefficient (B. B.
    Avants et al., Medical Image Analysis 12(1), 2008) attracts inverted contrast as much, and near the
    right place images of the same contrast correlate positively.

    Parameters
    ----------
    fixed, moving
        ``1 1 i j k``, about in [0, 1].
    weight
        ``1 1 i j k``, not negative: it weighs the voxels within a cube and the cubes in the mean. It
        gets no gradient.
    radius
        Half-width of the cube: ``2 radius + 1`` voxels.

    Returns
    -------
    Tensor
        A scalar in [0, 2]: 0 for a linear relation of positive slope, 1 for none. Cubes whose
        variance is well below :data:`VARIANCE_FLOOR` of the image's count as uncorrelated, so noise
        in flat regions has little say. Not a number if ``weight`` is zero everywhere.

    Notes
    -----
    Differentiable once with respect to both images; deterministic.
    """
    fixed, moving = _centred(fixed, weight), _centred(moving, weight)
    weighted_fixed, weighted_moving = weight * fixed, weight * moving
    products = (
        weighted_fixed,
        weighted_moving,
        weighted_fixed * fixed,
        weighted_moving * moving,
        weighted_fixed * moving,
    )
    # At a voxel of the foreground the cube holds that voxel at least; elsewhere 0 / 1 is as good.
    amount = box_sum(weight, radius)
    amount = torch.where(amount > 0, amount, 1)
    mean_fixed, mean_moving, *moments = (box_sum(product, radius) / amount for product in products)
    variances = (
        _floored(moments[0] - mean_fixed.square(), fixed, weight),
        _floored(moments[1] - mean_moving.square(), moving, weight),
    )
    coefficient = (moments[2] - mean_fixed * mean_moving) * (variances[0] * variances[1]).rsqrt()
    return 1 - weighted_mean(coefficient, weight)


def mean_squared_error(fixed: Tensor, moving: Tensor, weight: Tensor) -> Tensor:
    """Mean squared difference of two images ``1 1 i j k`` over a weight ``1 1 i j k``.

    The mean is over the sum of the weight, never over all voxels: not a number if that is zero.
    """
    return weighted_mean((fixed - moving).square(), weight)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over the sum of the weight."""
    return (values * weight).sum() / weight.sum()


def box_sum(image: Tensor, radius: int) -> Tensor:
    """Sum over the cube of ``2 radius + 1`` voxels around each voxel of ``b c i j k``, zeros outside.

    Differentiable once.
    """
    result: Tensor = _BoxSum.apply(image, radius)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _BoxSum(torch.autograd.Function):
    """The sum over a cube, which is its own transpose."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, radius: int) -> Tensor:
        ctx.radius = radius
        return _sum_cubes(image, radius)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return _sum_cubes(grad_outputs[0], ctx.radius), None


def _sum_cubes(image: Tensor, radius: int) -> Tensor:
    """Sums of ``2 radius + 1`` neighbours along each axis, out of sums of 1, 2, 4, ... of them.

    A running sum would be one pass, but loses in float32 what the variance needs.
    """
    for axis in (2, 3, 4):
        size = image.shape[axis]
        padding = [0] * 6
        padding[2 * (4 - axis)] = padding[2 * (4 - axis) + 1] = radius
        power = functional.pad(image, padding)
        image = power.narrow(axis, 0, size).clone()
        start, length, rest = 1, 1, 2 * radius
        while rest:
            if rest & 1:
                image += power.narrow(axis, start, size)
                start += length
            rest >>= 1
            if rest:
                reach = power.shape[axis] - length
                power = power.narrow(axis, 0, reach) + power.narrow(axis, length, reach)
                length *= 2
    return image


def _centred(image: Tensor, weight: Tensor) -> Tensor:
    """The image less its mean over the foreground: changes no correlation, saves digits of variances."""
    return image - weighted_mean(image.detach(), weight)


def _floored(variance: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    """Local variance plus a share of that of a centred image; eps^2 keeps zero from being divided by zero."""
    overall = weighted_mean(image.square(), weight)
    return variance.clamp_min(0) + (VARIANCE_FLOOR * overall + torch.finfo(image.dtype).eps ** 2)
