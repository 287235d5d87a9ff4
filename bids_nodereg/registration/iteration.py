"""One iteration of a level: forward, objective, backward and the step of the optimiser.

All that outlives an iteration stays in buffers that never move, and nothing asks the device for a number. The
same calls can therefore be made by the host each time, or be recorded once and replayed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.adam import Adam
from bids_nodereg.registration.intensity import ORIGINS
from bids_nodereg.registration.journal import Journal
from bids_nodereg.registration.objective import Terms, mean, objective
from bids_nodereg.registration.ode import flow
from bids_nodereg.registration.precision import network_dtype, reduced
from bids_nodereg.registration.similarity import similarity_of
from bids_nodereg.registration.stiffness import stiffness_on
from bids_nodereg.registration.velocity import VelocityField

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair
    from bids_nodereg.registration.settings import Execution, Level, RegistrationSettings


@dataclass(frozen=True, eq=False)
class LevelProblem:
    """What is optimised on one level.

    Attributes
    ----------
    number
        Of the level, from 0.
    level
        Its size and most iterations.
    distance
        From the flow, and the inverse flow of a symmetric objective, and the iteration to a scalar.
    stiffness
        Relative weight of the gradient penalty, ``1 1 i j k`` on the velocity lattice, or None.
    """

    number: int
    level: Level
    distance: Callable[[Sequence[Tensor], int], Tensor]
    stiffness: Tensor | None


def level_problem(
    pair: ImagePair, lattice_shape: Sequence[int], number: int, settings: RegistrationSettings
) -> LevelProblem:
    """Prepare a level of a pair: its images, descriptors and stiffness on their lattices."""
    level = settings.levels[number]
    shrunk = pair.shrunk(level.shrink)
    stiffness = stiffness_on(shrunk, lattice_shape, settings.weights.spatial)
    return LevelProblem(number, level, _distance_of(shrunk, settings), stiffness)


def velocity_field(
    base: Tensor, level: Level, settings: RegistrationSettings, execution: Execution
) -> VelocityField:
    """A field that starts at ``base``, on its device; draws its first weights."""
    field = VelocityField(
        base, settings.velocity, working_voxels_per_voxel=level.shrink * settings.velocity.lattice
    )
    field.networks = reduced(field.networks, network_dtype(base.device, execution))
    return field.to(base.device)


class Iteration:
    """The iterations of one attempt at a level.

    Attributes
    ----------
    journal
        The terms of every iteration so far.
    best
        The velocity with the least loss seen, or the last one, ``n 3 i j k``; the start until there is one.
        The last one where the measure moves its patches: the least loss would be that of the luckiest
        patches. None of an iteration counts that comes after a loss that was not finite.
    variants
        How many different iterations there are; they take turns.
    """

    def __init__(
        self,
        field: VelocityField,
        problem: LevelProblem,
        settings: RegistrationSettings,
        learning_rate: float,
        iterations: int,
    ) -> None:
        base = field.base
        self.journal = Journal.of(iterations, base)
        self.best = base.clone()
        self.variants = ORIGINS if settings.descriptor.measures_information else 1
        self._takes_last = settings.descriptor.measures_information
        self._best_loss = base.new_full((), math.inf)
        self._alive = torch.ones((), dtype=torch.bool, device=base.device)
        self._field, self._problem, self._settings = field, problem, settings
        self._optimiser = Adam(field.networks.parameters())
        self._rate = learning_rate
        self._loss: Tensor | None = None

    def evaluate(self, number: int) -> None:
        """Compute the objective of iteration ``number`` (from 0) and keep what came of it."""
        velocity = self._field()
        flows = _flows(velocity, self._settings)
        similarity = self._problem.distance(flows, number)
        terms = objective(similarity, velocity, flows, self._settings.weights, self._problem.stiffness)
        self._keep(terms, velocity.detach())
        self._loss = terms.loss

    def update(self) -> None:
        """Take the optimiser's step from what was evaluated last."""
        if self._loss is None:
            msg = "Iteration.update: nothing was evaluated since the last update"
            raise RuntimeError(msg)
        loss, self._loss = self._loss, None
        self._optimiser.forget_gradients()
        loss.backward()
        self._optimiser.step(self._rate)

    @torch.no_grad()
    def _keep(self, terms: Terms, velocity: Tensor) -> None:
        self.journal.write(terms)
        self._alive.logical_and_(terms.loss.isfinite())
        taken = self._alive
        if not self._takes_last:
            taken = taken & (terms.loss < self._best_loss)
        self._best_loss.copy_(torch.where(taken, terms.loss, self._best_loss))
        self.best.copy_(torch.where(taken, velocity, self.best))


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
