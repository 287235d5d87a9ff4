"""A start that sees far: search over whole displacements on a coarse lattice, then smooth.

Gradients of a descriptor distance see about one voxel of the level they are taken on. Here the distance
is evaluated for every displacement within a cube, at every coarse lattice point in the mask, and the
choice of all points is made smooth by coupled convex optimisation: M. P. Heinrich et al., "Non-parametric
discrete registration with convex optimisation", WBIR 2014, equations 3 to 5. The smooth displacement is
then written as the flow of a velocity field, so that what starts is a diffeomorphism too. Both directions
are searched and averaged with opposite signs: swapping the images negates the start.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.registration.descriptors import DESCRIPTORS
from bids_nodereg.registration.ode import flow
from bids_nodereg.registration.settings import DescriptorSettings, SolverSettings
from bids_nodereg.registration.similarity import described
from bids_nodereg.registration.smoothing import box, coarser_shape, gaussian
from bids_nodereg.registration.velocity import boundary_window
from bids_nodereg.registration.warp import resize

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair
    from bids_nodereg.registration.settings import CaptureSettings

COUPLINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weight of the squared distance to the smooth field, relative to the mean cost, in each pass."""

LOGARITHM_PASSES = 20


def capture(pair: ImagePair, settings: CaptureSettings, descriptor: DescriptorSettings) -> Tensor:
    """Find a coarse velocity field by exhaustive search.

    Parameters
    ----------
    pair
        Images and masks on the working grid.
    settings
        Lattice, reach and smoothness.
    descriptor
        What is compared; for a measure on intensities MIND-SSC stands in.

    Returns
    -------
    Tensor
        ``1 3 i j k`` in voxels of its lattice per unit time, zero on the boundary.
    """
    chosen = descriptor if descriptor.name in DESCRIPTORS else DescriptorSettings()
    half = pair.shrunk(max(1, settings.shrink // 2))
    shape = coarser_shape(pair.fixed.shape[2:], settings.shrink)
    fixed = _pooled(described(half.fixed, half.fixed_mask, chosen), shape)
    moving = _pooled(described(half.moving, half.moving_mask, chosen), shape)
    weights = [_pooled(role.fixed_weight, shape) for role in (half, half.swapped())]
    window = boundary_window((shape[0], shape[1], shape[2]), settings.shrink).to(fixed)
    there = logarithm(search(fixed, moving, weights[0], settings), window)
    back = logarithm(search(moving, fixed, weights[1], settings), window)
    return (there - back) / 2


def _pooled(values: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Mean of the values around each point of a coarser lattice over the same extent."""
    ratio = (values.shape[2] - 1) / (shape[0] - 1)
    return resize(gaussian(values, 0.42 * ratio), shape)


def search(fixed: Tensor, moving: Tensor, weight: Tensor, settings: CaptureSettings) -> Tensor:
    """Smooth displacement that brings the moving descriptor onto the fixed one.

    Parameters
    ----------
    fixed, moving
        Descriptors ``1 c i j k`` on the coarse lattice.
    weight
        Where it is compared, ``1 1 i j k`` in [0, 1]; the field is continued smoothly elsewhere.
    settings
        Reach of the cube in voxels of this lattice, and smoothness.

    Returns
    -------
    Tensor
        ``1 3 i j k`` in voxels of this lattice.
    """
    inside = weight[0, 0] > 0.5
    steps = range(-settings.reach, settings.reach + 1)
    candidates = fixed.new_tensor(list(product(steps, repeat=3)))
    costs = _costs(fixed, moving, weight, settings.reach)[inside]
    scale = costs.mean().clamp_min(torch.finfo(costs.dtype).tiny)
    smooth = fixed.new_zeros(1, 3, *fixed.shape[2:])
    for coupling in COUPLINGS:
        anchor = smooth[0, :, inside].T
        apart = torch.cdist(anchor, candidates).square()
        chosen = candidates[(costs + coupling * scale * apart).argmin(1)]
        field = torch.zeros_like(smooth)
        field[0, :, inside] = chosen.T
        smooth = _continued(field, inside, settings.smoothing_sigma)
    return smooth


def _costs(fixed: Tensor, moving: Tensor, weight: Tensor, reach: int) -> Tensor:
    """Mean squared difference of the descriptors in a box of three points, ``i j k`` by displacements.

    The box lets neighbours vote together before each point chooses: one point alone is often wrong.
    """
    padded = functional.pad(moving, [reach] * 6, mode="replicate")
    ni, nj, nk = fixed.shape[2:]
    share = box(weight, 1).clamp_min(torch.finfo(weight.dtype).tiny)
    columns = []
    for i, j, k in product(range(2 * reach + 1), repeat=3):
        difference = padded[..., i : i + ni, j : j + nj, k : k + nk] - fixed
        columns.append(box(difference.square().mean(1, keepdim=True) * weight, 1) / share)
    return torch.cat(columns, 1)[0].movedim(0, -1)


def _continued(field: Tensor, inside: Tensor, sigma_vox: float) -> Tensor:
    """Smooth a field that is known inside only, and continue it outside (normalised averaging)."""
    known = inside.to(field.dtype)[None, None]
    share = gaussian(known, sigma_vox)
    return gaussian(field * known, sigma_vox) / share.clamp_min(0.01)


def logarithm(displacement: Tensor, window: Tensor) -> Tensor:
    """Velocity field whose flow comes close to a displacement, by ``v <- v + w (u - (Exp(v) - id))``.

    Parameters
    ----------
    displacement
        ``u``, ``1 3 i j k`` in voxels, smooth.
    window
        ``w``, ``1 1 i j k``: zero where the velocity must be zero.

    Returns
    -------
    Tensor
        ``1 3 i j k``. Where ``u`` folds no flow equals it; the passes then end near the closest one.
    """
    solver = SolverSettings(scheme="rk4", steps=2)
    velocity = window * displacement
    with torch.no_grad():
        for _ in range(LOGARITHM_PASSES):
            residual = displacement - flow(velocity, solver)
            velocity = velocity + 0.5 * window * gaussian(residual, 1.0)
    return velocity
