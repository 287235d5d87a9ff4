"""The optimisation of one pair: coarse to fine, Adam on the weights of the velocity field."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeVar

from bids_nodereg.registration.capture import capture
from bids_nodereg.registration.draws import Draws
from bids_nodereg.registration.graphs import recorder_on, runner_of
from bids_nodereg.registration.guard import SMALLER, Rescue, remedy_for
from bids_nodereg.registration.iteration import Iteration, LevelProblem, level_problem, velocity_field
from bids_nodereg.registration.journal import Row, Step
from bids_nodereg.registration.settings import Execution
from bids_nodereg.registration.smoothing import coarser_shape
from bids_nodereg.registration.stopping import ends_window, has_converged
from bids_nodereg.registration.warp import resize_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import torch
    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair
    from bids_nodereg.registration.settings import Level, RegistrationSettings

__all__ = ["Optimum", "Step", "optimise", "optimising", "velocity_lattice"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Optimum:
    """What the optimisation found.

    Attributes
    ----------
    velocity
        ``v`` on the lattice of the last level, ``n 3 i j k`` in voxels of that lattice.
    rescues
        What was done where a loss was not finite, in order; empty where all of them were.
    remarks
        What is to be said of the way it was computed; empty where nothing is.
    """

    velocity: Tensor
    rescues: tuple[Rescue, ...] = ()
    remarks: tuple[str, ...] = ()


def optimise(
    pair: ImagePair,
    settings: RegistrationSettings,
    on_step: Callable[[Step], None],
    execution: Execution = Execution(),  # noqa: B008 - a frozen record
) -> Optimum:
    """Find the velocity field of a pair.

    Parameters
    ----------
    pair
        Both images and masks on the working grid.
    settings
        Levels, descriptor, velocity, solver, weights and optimiser.
    on_step
        Hears of every iteration with a finite loss, in order: on the CPU when it is done, on a GPU when its
        window ends, with the seconds spread evenly over the window.
    execution
        How the device is used.

    Returns
    -------
    Optimum
        The velocity is finite whatever the losses are; see :mod:`.guard` for what is done where they are not.

    Raises
    ------
    ValueError
        If there is no level.
    """
    return _finished(optimising(pair, settings, on_step, execution))


def _finished(work: Generator[None, None, Result]) -> Result:
    """Do all of a work that can pause."""
    results: list[Result] = []

    def whole() -> Generator[None, None, None]:
        results.append((yield from work))

    deque(whole(), maxlen=0)
    return results[0]


def optimising(
    pair: ImagePair,
    settings: RegistrationSettings,
    on_step: Callable[[Step], None],
    execution: Execution,
) -> Generator[None, None, Optimum]:
    """:func:`optimise` with a pause each time before the host waits for the device."""
    if not settings.levels:
        msg = "optimise: settings.levels is empty, expected one level or more"
        raise ValueError(msg)
    working_shape = pair.fixed.shape[2:]
    parts = settings.velocity.time_parts
    nothing = velocity = pair.fixed.new_zeros(parts, 3, 2, 2, 2)
    if settings.capture.reach > 0:
        velocity = capture(pair, settings.capture, settings.descriptor).repeat(parts, 1, 1, 1, 1)
    attempts = _Attempts(settings, on_step, execution, Draws(settings.seed))
    rescues: list[Rescue] = []
    remarks: list[str] = []
    for number, level in enumerate(settings.levels):
        lattice_shape = velocity_lattice(working_shape, level, settings.velocity.lattice)
        problem = level_problem(pair, lattice_shape, number, settings)
        base = resize_vectors(velocity, lattice_shape)
        found = yield from _optimise_level(problem, base, attempts)
        rescues.extend(found.rescues)
        remarks.extend(found.remarks)
        attempts = attempts.after(found.remarks)
        velocity = found.velocity
        if rescues and rescues[-1].remedy == "affine alone":
            velocity = nothing
            break
    return Optimum(velocity, tuple(rescues), tuple(dict.fromkeys(remarks)))


def velocity_lattice(working_shape: Sequence[int], level: Level, lattice: int) -> tuple[int, int, int]:
    """Shape of the velocity lattice of a level."""
    return coarser_shape(coarser_shape(working_shape, level.shrink), lattice)


def _optimise_level(
    problem: LevelProblem, base: Tensor, attempts: _Attempts
) -> Generator[None, None, Optimum]:
    """Attempts at one level, until one meets no loss that is not finite, or there were enough of them."""
    rate, done, velocity = attempts.settings.rate, 0, base
    rescues: list[Rescue] = []
    remarks: list[str] = []
    while True:
        attempt = yield from attempts.at(problem, velocity, rate, done)
        velocity, done = attempt.velocity, done + attempt.good
        remarks.extend(attempt.remarks)
        attempts = attempts.after(attempt.remarks)
        if attempt.stayed_finite:
            break
        remedy = remedy_for(len(rescues), problem.number + 1, ever_finite=done > 0)
        rescues.append(Rescue(problem.number + 1, done + 1, rate, remedy))
        if remedy != "smaller step":
            break
        rate *= SMALLER
    return Optimum(velocity, tuple(rescues), tuple(remarks))


@dataclass(frozen=True)
class _Attempt:
    """What came of an attempt: its best velocity, and how many iterations had a finite loss."""

    velocity: Tensor
    good: int
    stayed_finite: bool
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Attempts:
    """What all attempts at all levels have in common."""

    settings: RegistrationSettings
    on_step: Callable[[Step], None]
    execution: Execution
    draws: Draws

    def after(self, remarks: Sequence[str]) -> _Attempts:
        """Those that follow: what could not be recorded once is not tried again."""
        return replace(self, execution=replace(self.execution, graphs=False)) if remarks else self

    def at(
        self, problem: LevelProblem, base: Tensor, rate: float, done: int
    ) -> Generator[None, None, _Attempt]:
        """Adam from ``base`` for what is left of the level's iterations, ``done`` of which were good."""
        with self.draws.here():
            field = velocity_field(base, problem.level, self.settings, self.execution)
        left = problem.level.iterations - done
        iteration = Iteration(field, problem, self.settings, rate, left)
        runner = runner_of(iteration, recorder_on(base.device, self.execution))
        hearing = _Hearing(problem, self.settings, self.on_step, done)
        stayed_finite = True
        for number in range(left):
            runner.evaluate(number)
            count = number + 1
            if count == left or _is_read_after(count, base.device, self.settings):
                yield
                stayed_finite = hearing.hear(iteration.journal.read(len(hearing.losses), count))
                if not stayed_finite or hearing.is_enough():
                    break
            if count < left:
                runner.update()
        remarks = (runner.remark,) if runner.remark else ()
        return _Attempt(iteration.best, len(hearing.losses), stayed_finite, remarks)


def _is_read_after(count: int, device: torch.device, settings: RegistrationSettings) -> bool:
    """Whether the host reads the journal after this many iterations: a CPU has nothing to wait for."""
    return device.type == "cpu" or ends_window(count, settings)


class _Hearing:
    """The host's side of an attempt: the losses it has read, and when."""

    def __init__(
        self,
        problem: LevelProblem,
        settings: RegistrationSettings,
        on_step: Callable[[Step], None],
        done: int,
    ) -> None:
        self.losses: list[float] = []
        self._problem, self._settings, self._on_step, self._done = problem, settings, on_step, done
        self._started = self._heard = time.perf_counter()

    def hear(self, rows: Sequence[Row]) -> bool:
        """Pass on the rows up to one that is not finite, and say whether all of them are."""
        before, self._heard = self._heard, time.perf_counter()
        for number, row in enumerate(rows, start=1):
            if not math.isfinite(row.loss):
                return False
            self.losses.append(row.loss)
            when = before + (self._heard - before) * number / len(rows)
            self._on_step(self._step(row, when - self._started))
        return True

    def is_enough(self) -> bool:
        """Whether a window has ended, and the level has converged."""
        return ends_window(len(self.losses), self._settings) and has_converged(self.losses, self._settings)

    def _step(self, row: Row, seconds: float) -> Step:
        terms = {term.name: getattr(row, term.name) for term in fields(Row)}
        return Step(
            stage="deformable",
            level=self._problem.number + 1,
            levels=len(self._settings.levels),
            iteration=self._done + len(self.losses),
            iterations=self._problem.level.iterations,
            seconds=seconds,
            **terms,
        )
