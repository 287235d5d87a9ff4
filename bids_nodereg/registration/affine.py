"""Rigid, then affine, start on the structural descriptors.

Both images lie on isotropic grids of their own with the same voxel size. The parameters are small
numbers of about equal effect at the brain's edge (rotation in rad, translation in units of
:data:`LEVER_MM`, logarithm of the scales, shears), so that one learning rate serves them all:

``x_m = c_m + t + R S H R_0 (x_f - c_f)``, with ``c`` the centres of mass of the masks and ``R_0`` the
rotation between the axes of both grids that the images' headers tell.

On the coarser levels the descriptor is computed anew on the resampled moving image, because
MIND is not invariant to rotation. On the finest level the moving image is first resampled through
the affine so far; what is left is small enough to warp its descriptor.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

import torch

from bids_nodereg.registration.adam import Adam, cosine
from bids_nodereg.registration.descriptors import bounds, describe, masked_distance
from bids_nodereg.registration.kernels import descriptor_distance, stored
from bids_nodereg.registration.lattice import identity, lattice_ratio
from bids_nodereg.registration.optimise import Step
from bids_nodereg.registration.settings import DescriptorSettings
from bids_nodereg.registration.similarity import Weight
from bids_nodereg.registration.warp import sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair
    from bids_nodereg.registration.settings import AffineSettings

Freedom = Literal["rigid", "affine"]

LEVER_MM = 70.0
"""Distance from the centre to the edge of a brain: what turns an angle into a displacement."""

MASK_WEIGHT = 0.25
"""Weight of the mask mismatch beside the descriptor distance on the levels that may be far off."""

START_TRIALS = 12
"""Iterations given to each of the kept starts before the best one goes on."""

LEARNING_RATE_VOX = 0.25
"""Adam's step: how many voxels of the level a point at the brain's edge may move in one iteration."""

DESCRIPTOR = DescriptorSettings(name="mind-ssc", offset=1, patch_radius=1)


@dataclass(frozen=True)
class Alignment:
    """The affine start.

    Attributes
    ----------
    matrix
        4 x 4 float64: voxel index of the fixed grid to voxel index of the moving grid.
    loss
        Descriptor distance at the end of the finest level.
    starts
        How many starting positions were tried.
    """

    matrix: Tensor
    loss: float
    starts: int


@dataclass(frozen=True)
class _Frame:
    """What turns parameters into a matrix: centres (finest voxel index), voxel size, and ``R_0``."""

    fixed_centre: Tensor
    moving_centre: Tensor
    spacing_mm: float
    axes: Tensor

    def matrix(self, parameters: Tensor) -> Tensor:
        """4 x 4 matrix from fixed to moving voxel index.

        ``parameters``: rotation vector, translation, logarithms of the scales, shears; 3 each.
        """
        rotation, translation, log_scale, shear = parameters.split(3)
        turn = torch.linalg.matrix_exp(_from_entries(rotation, _CROSS))
        slant = torch.eye(3, dtype=shear.dtype, device=shear.device) + _from_entries(shear, _UPPER)
        linear = turn @ torch.diag(log_scale.exp()) @ slant @ self.axes.to(shear.dtype)
        shift = translation * (LEVER_MM / self.spacing_mm)
        fixed_centre, moving_centre = (c.to(linear.dtype) for c in (self.fixed_centre, self.moving_centre))
        offset = moving_centre + shift - linear @ fixed_centre
        bottom = torch.tensor([[0, 0, 0, 1]], dtype=linear.dtype, device=linear.device)
        return torch.cat([torch.cat([linear, offset[:, None]], 1), bottom])


# Where (row, column, sign) each of three numbers goes in a 3 x 3 matrix.
_CROSS = ((0, 2, 1, 1), (0, 1, 2, -1), (1, 0, 2, 1), (1, 2, 0, -1), (2, 1, 0, 1), (2, 0, 1, -1))
_UPPER = ((0, 0, 1, 1), (1, 0, 2, 1), (2, 1, 2, 1))


def _from_entries(numbers: Tensor, entries: tuple[tuple[int, int, int, int], ...]) -> Tensor:
    """Place ``numbers[which] * sign`` at (row, column) of a 3 x 3 matrix of zeros."""
    basis = torch.zeros(3, 3, 3, dtype=numbers.dtype, device=numbers.device)
    for which, row, column, sign in entries:
        basis[which, row, column] = sign
    return torch.einsum("n,nrc->rc", numbers, basis)


@dataclass(frozen=True)
class _Level:
    """One resolution: the pair, the fixed descriptor, and its voxels' size in finest voxels."""

    number: int
    pair: ImagePair
    described: Tensor
    fixed_scale: Tensor
    moving_scale: Tensor

    def distance(self, matrix: Tensor) -> Tensor:
        """Descriptor distance and mask mismatch of the moving image resampled through ``matrix``."""
        points = identity(self.pair.fixed.shape[2:], self.pair.fixed) * self.fixed_scale
        mapped = transform(matrix, points) / self.moving_scale
        warped, mask = sample(self.pair.moving, mapped), sample(self.pair.moving_mask, mapped)
        weight = self.pair.fixed_mask
        compared = Weight(self.pair).at(mapped)
        similarity = masked_distance(self.described, describe(warped, weight, DESCRIPTOR), compared)
        mismatch = (mask - weight).square().sum() / weight.sum()
        return similarity + MASK_WEIGHT * mismatch


def align(
    pair: ImagePair,
    spacing_mm: float,
    settings: AffineSettings,
    freedom: Freedom,
    on_step: Callable[[Step], None] = lambda _step: None,
    told: Tensor | None = None,
) -> Alignment:
    """Find the rigid or affine map that brings the structures of two images together.

    Parameters
    ----------
    pair
        Images and masks, the fixed ones on the fixed grid, the moving ones on the moving grid,
        both of isotropic voxels of ``spacing_mm``; the shapes may differ.
    spacing_mm
        Voxel size of both grids: that of the finest level.
    settings
        Levels, iterations and starts.
    freedom
        ``rigid`` (6 parameters) or ``affine`` (12).
    on_step
        Hears of every iteration.
    told
        What is believed beforehand, from the headers: a rigid 4 x 4 matrix from fixed to moving voxel
        index, or None for none. Its rotation is where the starts turn from; its position is one more
        start beside the centres of mass, as two scans of one session are often in place already.
    """
    pair = pair.without_excluded().contiguous()
    told = torch.eye(4, dtype=torch.float64) if told is None else told
    axes = told[:3, :3].to(pair.fixed.device)
    frame = _Frame(centre_of_mass(pair.fixed_mask), centre_of_mass(pair.moving_mask), spacing_mm, axes)
    levels = [_level(pair, n, size / spacing_mm) for n, size in enumerate(settings.spacings_mm[:-1])]
    rates = [LEARNING_RATE_VOX * size / LEVER_MM for size in settings.spacings_mm]
    starts = [*_starts(settings.angles_deg, pair.fixed), _told_start(told.to(axes), frame)]
    six, all_free = 6, 6 if freedom == "rigid" else 12

    def search(
        level: _Level,
        start: Tensor,
        free: int,
        iterations: int,
        listener: Callable[[int, int, float, float], None],
    ) -> _Found:
        return _adam(
            lambda p: level.distance(frame.matrix(p)), start, free, iterations, rates[level.number], listener
        )

    with torch.no_grad():
        ranked = sorted(starts, key=lambda p: float(levels[0].distance(frame.matrix(p))))
    kept = ranked[: settings.keep]
    hear_trials = _reporter(on_step, "rigid start", 0, settings)
    trials = [
        search(levels[0], p, six, START_TRIALS, _of_trial(n, len(kept), hear_trials))
        for n, p in enumerate(kept)
    ]
    found = min(trials, key=lambda trial: trial.loss)
    for level, iterations in zip(levels, settings.iterations, strict=False):
        listener = _reporter(on_step, "rigid", level.number, settings)
        found = search(level, found.parameters, six, iterations, listener)
    if freedom == "affine":
        listener = _reporter(on_step, "affine", levels[-1].number, settings)
        found = search(levels[-1], found.parameters, all_free, settings.iterations[-2], listener)
    coarse = frame.matrix(found.parameters.double())
    listener = _reporter(on_step, freedom, len(settings.spacings_mm) - 1, settings)
    unturned = torch.eye(3, device=axes.device)
    around_fixed = _Frame(frame.fixed_centre, frame.fixed_centre, spacing_mm, unturned)
    fine = _adam(
        _residual_distance(pair, coarse, around_fixed),
        torch.zeros_like(found.parameters),
        all_free,
        settings.iterations[-1],
        rates[-1],
        listener,
    )
    return Alignment(coarse @ around_fixed.matrix(fine.parameters.double()), fine.loss, len(starts))


def transform(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply a 4 x 4 matrix to positions ``1 3 i j k``."""
    matrix = matrix.to(points.dtype)
    return torch.einsum("mn,bnijk->bmijk", matrix[:3, :3], points) + matrix[:3, 3].view(1, 3, 1, 1, 1)


def centre_of_mass(mask: Tensor) -> Tensor:
    """Mean voxel index (3) of a mask ``1 1 i j k``."""
    points = identity(mask.shape[2:], mask)
    return (points * mask).sum((0, 2, 3, 4)) / mask.sum()


@dataclass(frozen=True)
class _Found:
    """The best parameters an optimisation saw, and their loss."""

    parameters: Tensor
    loss: float


def _level(pair: ImagePair, number: int, shrink: float) -> _Level:
    """Shrink the pair (by a whole number of voxels) and describe the fixed image."""
    coarse = pair.shrunk(max(1, round(shrink)))
    return _Level(
        number,
        coarse,
        describe(coarse.fixed, coarse.fixed_mask, DESCRIPTOR),
        lattice_ratio(coarse.fixed.shape[2:], pair.fixed.shape[2:], pair.fixed),
        lattice_ratio(coarse.moving.shape[2:], pair.moving.shape[2:], pair.fixed),
    )


def _starts(angles_deg: tuple[float, ...], like: Tensor) -> list[Tensor]:
    """Parameters of all combinations of the angles about the three axes, no turn first."""
    combinations = sorted(product(angles_deg, repeat=3), key=lambda angles: sum(a * a for a in angles))
    return [
        torch.tensor([math.radians(a) for a in angles] + [0.0] * 9, dtype=like.dtype, device=like.device)
        for angles in combinations
    ]


def _told_start(told: Tensor, frame: _Frame) -> Tensor:
    """Parameters that put the fixed centre where the headers say it lies in the moving image."""
    centre = frame.fixed_centre.to(told.dtype)
    offset = told[:3, :3] @ centre + told[:3, 3] - frame.moving_centre.to(told.dtype)
    start = frame.fixed_centre.new_zeros(12)
    start[3:6] = offset.to(start.dtype) * (frame.spacing_mm / LEVER_MM)
    return start


def _residual_distance(pair: ImagePair, matrix: Tensor, frame: _Frame) -> Callable[[Tensor], Tensor]:
    """Distance as a function of a small further transform, with both descriptors computed once."""
    points = identity(pair.fixed.shape[2:], pair.fixed)
    mapped = transform(matrix, points)
    moving, mask = sample(pair.moving, mapped), sample(pair.moving_mask, mapped)
    fixed, there = (
        stored(describe(image, where, DESCRIPTOR), bounds(DESCRIPTOR))
        for image, where in ((pair.fixed, pair.fixed_mask), (moving, (mask > 0.5).to(mask.dtype)))
    )

    compared = Weight(pair).at(mapped)
    # An affine map is linear between the corners of the lattice, so what they do says all.
    last = points[..., -1:, -1:, -1:]
    corners = identity((2, 2, 2), points) * last

    def distance(parameters: Tensor) -> Tensor:
        displacement = (transform(frame.matrix(parameters), corners) - corners) / last
        return descriptor_distance(fixed, there, displacement, compared)

    return distance


def _adam(
    distance: Callable[[Tensor], Tensor],
    start: Tensor,
    free: int,
    iterations: int,
    learning_rate: float,
    listener: Callable[[int, int, float, float], None],
) -> _Found:
    """Adam over the first ``free`` parameters, with a step that falls to a tenth along a cosine."""
    parameters = start.clone().requires_grad_()
    optimiser = Adam([parameters])
    best = _Found(start, math.inf)
    began = time.perf_counter()
    for iteration in range(iterations):
        loss = distance(parameters)
        value = float(loss.detach())
        if value < best.loss:
            best = _Found(parameters.detach().clone(), value)
        if not math.isfinite(value):
            break
        listener(iteration + 1, iterations, value, time.perf_counter() - began)
        optimiser.forget_gradients()
        loss.backward()
        if parameters.grad is not None:
            parameters.grad[free:] = 0
        optimiser.step(cosine(learning_rate, 0.1 * learning_rate, iteration, iterations))
    if not math.isfinite(best.loss):
        msg = "the distance of the images was not finite at the start of the affine registration"
        raise FloatingPointError(msg)
    return best


def _of_trial(
    number: int, trials: int, listener: Callable[[int, int, float, float], None]
) -> Callable[[int, int, float, float], None]:
    """Tell the iterations of one of several trials, numbered from 0, as part of one count over all.

    The seconds of a trial stand for those of the trials before it, which take as long.
    """

    def heard(iteration: int, iterations: int, loss: float, seconds: float) -> None:
        so_far = number * iterations + iteration
        listener(so_far, trials * iterations, loss, seconds / iteration * so_far)

    return heard


def _reporter(
    on_step: Callable[[Step], None], stage: str, number: int, settings: AffineSettings
) -> Callable[[int, int, float, float], None]:
    """Turn an iteration into a Step record."""

    def report(iteration: int, iterations: int, loss: float, seconds: float) -> None:
        levels = len(settings.spacings_mm)
        on_step(Step(stage, number + 1, levels, iteration, iterations, loss, loss, 0.0, 0.0, 0.0, seconds))

    return report
