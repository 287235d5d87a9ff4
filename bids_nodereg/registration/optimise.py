"""The optimisation of one pair: coarse to fine, Adam on the weights of the velocity field."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.capture import capture
from bids_nodereg.registration.objective import Terms, mean, objective
from bids_nodereg.registration.ode import flow
from bids_nodereg.registration.similarity import similarity_of
from bids_nodereg.registration.smoothing import coarser_shape
from bids_nodereg.registration.stiffness import stiffness_on
from bids_nodereg.registration.velocity import VelocityField
from bids_nodereg.registration.warp import resize_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair
    from bids_nodereg.registration.settings import Level, RegistrationSettings


@dataclass(frozen=True)
class Step:
    """What one iteration did; the loss terms are unweighted, before the update."""

    stage: str
    level: int
    levels: int
    iteration: int
    iterations: int
    loss: float
    similarity: float
    folding: float
    gradient: float
    magnitude: float
    seconds: float


def optimise(pair: ImagePair, settings: RegistrationSettings, on_step: Callable[[Step], None]) -> Tensor:
    """Find the velocity field of a pair.

    Parameters
    ----------
    pair
        Both images and masks on the working grid.
    settings
        Levels, descriptor, velocity, solver, weights and optimiser.
    on_step
        Called after every iteration.

    Returns
    -------
    Tensor
        ``v`` on the lattice of the last level, ``n 3 i j k`` in voxels of that lattice.

    Raises
    ------
    FloatingPointError
        If the objective is not a finite number from the start of a level: the input is not, or the
        masks are empty. Where it becomes so later, the level's best field so far is kept.
    """
    if not settings.levels:
        msg = "optimise: settings.levels is empty, expected one level or more"
        raise ValueError(msg)
    with torch.random.fork_rng():  # the caller's random numbers stay as they are
        torch.manual_seed(settings.seed)
        return _coarse_to_fine(pair, settings, on_step)


def _coarse_to_fine(
    pair: ImagePair, settings: RegistrationSettings, on_step: Callable[[Step], None]
) -> Tensor:
    """Each level starts from the velocity of the one before."""
    working_shape = pair.fixed.shape[2:]
    parts = settings.velocity.time_parts
    velocity = pair.fixed.new_zeros(parts, 3, 2, 2, 2)
    if settings.capture.reach > 0:
        velocity = capture(pair, settings.capture, settings.descriptor).repeat(parts, 1, 1, 1, 1)
    for number, level in enumerate(settings.levels):
        lattice_shape = velocity_lattice(working_shape, level, settings.velocity.lattice)
        base = resize_vectors(velocity, lattice_shape)
        velocity = _optimise_level(pair.shrunk(level.shrink), base, number, settings, on_step)
    return velocity


def velocity_lattice(working_shape: Sequence[int], level: Level, lattice: int) -> tuple[int, int, int]:
    """Shape of the velocity lattice of a level."""
    return coarser_shape(coarser_shape(working_shape, level.shrink), lattice)


def _optimise_level(
    pair: ImagePair,
    base: Tensor,
    number: int,
    settings: RegistrationSettings,
    on_step: Callable[[Step], None],
) -> Tensor:
    """Adam on one level; returns the velocity with the least loss seen, or the last one.

    The last one where the measure changes its patches from iteration to iteration: the least loss would
    then be that of the luckiest patches.
    """
    level = settings.levels[number]
    field = VelocityField(
        base, settings.velocity, working_voxels_per_voxel=level.shrink * settings.velocity.lattice
    ).to(base.device)
    distance = _distance_of(pair, settings)
    stiffness = stiffness_on(pair, base.shape[2:], settings.weights.spatial)
    optimiser = torch.optim.Adam(field.networks.parameters(), lr=settings.learning_rate)
    image_shape = pair.fixed.shape[2:]
    best_loss, best = math.inf, base
    losses: list[float] = []
    started = time.perf_counter()
    for iteration in range(level.iterations):
        velocity = field()
        flows = _flows(velocity, settings)
        similarity = distance([resize_vectors(u, image_shape) for u in flows], iteration)
        terms = objective(similarity, velocity, flows, settings.weights, stiffness)
        losses.append(float(terms.loss.detach()))
        varies = settings.descriptor.measures_information and math.isfinite(losses[-1])
        if varies or losses[-1] < best_loss:
            best_loss, best = losses[-1], velocity.detach()
        on_step(_step_record(number, iteration, settings, terms, time.perf_counter() - started))
        if not math.isfinite(losses[-1]):
            _refuse_if_never_finite(best_loss, number)
            break
        if has_converged(losses, settings):
            break
        optimiser.zero_grad()
        terms.loss.backward()
        optimiser.step()
    return best


def _flows(velocity: Tensor, settings: RegistrationSettings) -> list[Tensor]:
    """Displacement by the flow, and by its inverse where the objective is symmetric."""
    # A node of its own: the gradients of the two flows meet here, before any other term joins. A sum of
    # two is the same in either order, so that swapped images negate the gradient to the last bit.
    velocity = velocity.view_as(velocity)
    forward = flow(velocity, settings.solver)
    return [forward, flow(velocity, settings.solver, 1.0, 0.0)] if settings.symmetric else [forward]


def _distance_of(
    pair: ImagePair, settings: RegistrationSettings
) -> Callable[[Sequence[Tensor], int], Tensor]:
    """``D(F, M o phi)``, and its mean with ``D(M, F o phi^-1)`` where the objective is symmetric."""
    similarity = similarity_of(pair, settings.descriptor)
    distances = similarity if settings.symmetric else (similarity.forward,)

    def mean_distance(displacements: Sequence[Tensor], iteration: int) -> Tensor:
        each = [distance(u, iteration) for distance, u in zip(distances, displacements, strict=True)]
        return mean(each)

    return mean_distance


def _refuse_if_never_finite(best_loss: float, number: int) -> None:
    """Tell a level that has no result from one that went too far and falls back to its best field."""
    if not math.isfinite(best_loss):
        msg = f"the objective was not finite at the first iteration of level {number + 1}"
        raise FloatingPointError(msg)


def has_converged(losses: Sequence[float], settings: RegistrationSettings) -> bool:
    """Whether the last window of losses gained nothing beside all that was gained since the first window.

    A constant added to the loss changes nothing: information has no natural zero.
    """
    window = settings.convergence_window
    if settings.convergence_tolerance == 0 or len(losses) < 2 * window:
        return False
    first, before = sum(losses[:window]), sum(losses[-2 * window : -window])
    last = sum(losses[-window:])
    return before - last <= settings.convergence_tolerance * (first - last)


def _step_record(
    number: int, iteration: int, settings: RegistrationSettings, terms: Terms, seconds: float
) -> Step:
    return Step(
        stage="deformable",
        level=number + 1,
        levels=len(settings.levels),
        iteration=iteration + 1,
        iterations=settings.levels[number].iterations,
        loss=float(terms.loss.detach()),
        similarity=float(terms.similarity.detach()),
        folding=float(terms.folding.detach()),
        gradient=float(terms.gradient.detach()),
        magnitude=float(terms.magnitude.detach()),
        seconds=seconds,
    )
