"""The flow of a velocity field: d phi/dt = v(phi, t), phi(0) = id, over t in [0, 1].

The field is stationary, or piecewise constant in time: ``n 3 i j k`` holds the vectors of ``n`` equal
parts of [0, 1] in order. Either way the flow from any time to any other is a diffeomorphism, and the
flow back is its inverse.

A scheme is a Butcher tableau, one function steps it. The gradient with respect to the velocity
comes by one of three routes: `backprop` keeps every stage, `checkpoint` keeps the state after
each step and repeats the step backwards, `adjoint` keeps the end point only and integrates the
adjoint equation back (R. T. Q. Chen et al., "Neural ordinary differential equations", NeurIPS
2018). The first two give the gradient of the discrete flow, the last one that of the continuous
flow, discretised: they differ by the order of the scheme.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from bids_nodereg.registration import kernels
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.tableaus import TABLEAUS, Leg, advance
from bids_nodereg.registration.warp import compose, sample

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.settings import GradientRoute, SolverSettings
    from bids_nodereg.registration.tableaus import Tableau


def flow(velocity: Tensor, solver: SolverSettings, start: float = 0.0, end: float = 1.0) -> Tensor:
    """Displacement, from one time to another, of every lattice point that the field carries along.

    Parameters
    ----------
    velocity
        ``v``, ``n 3 i j k`` in voxels of its lattice per unit time; ``n`` equal parts of [0, 1].
    solver
        Scheme, number of steps over [0, 1] and gradient route.
    start, end
        Times in [0, 1]; ``start > end`` goes back along the same paths.

    Returns
    -------
    Tensor
        ``phi - id``, ``1 3 i j k`` in voxels, differentiable with respect to ``velocity``.

    Raises
    ------
    ValueError
        If the adjoint is asked of scaling and squaring, which solves no ODE step by step.
    """
    if solver.scheme == "squaring":
        displacement = velocity.new_zeros(1, *velocity.shape[1:])
        for part, duration in time_parts(velocity.shape[0], start, end):
            piece = squaring(velocity[part : part + 1] * duration, solver.steps, solver.gradient)
            displacement = compose(piece, displacement)
        return displacement
    if solver.gradient == "backprop":
        i, j, k = velocity.shape[2:]
        way = legs(velocity.shape[0], solver.steps, start, end)
        return kernels.carry_lattice(velocity, (i, j, k), way, TABLEAUS[solver.scheme])
    points = identity(velocity.shape[2:], velocity)
    return integrate(velocity, points, solver, start, end) - points


def integrate(
    velocity: Tensor, position: Tensor, solver: SolverSettings, start: float = 0.0, end: float = 1.0
) -> Tensor:
    """Where the points ``position`` (``1 3 x y z``, voxel index of the velocity lattice) are at ``end``."""
    tableau = TABLEAUS[solver.scheme]
    for leg in legs(velocity.shape[0], solver.steps, start, end):
        position = _pass(velocity[leg.part : leg.part + 1], position, leg, tableau, solver.gradient)
    return position


def legs(parts: int, steps: int, start: float = 0.0, end: float = 1.0) -> tuple[Leg, ...]:
    """The way from one time to another through fields constant in each of ``parts`` equal times.

    Each part takes its share of the ``steps`` over [0, 1], and one at least.

    Examples
    --------
    >>> legs(2, 4, 1.0, 0.0)
    (Leg(part=1, steps=2, h=-0.25), Leg(part=0, steps=2, h=-0.25))
    """
    way = []
    for part, duration in time_parts(parts, start, end):
        share = max(1, math.ceil(abs(duration) * steps - 1e-9))
        way.append(Leg(part, share, duration / share))
    return tuple(way)


def time_parts(parts: int, start: float, end: float) -> list[tuple[int, float]]:
    """Split the way from ``start`` to ``end`` at multiples of ``1 / parts``.

    Returns
    -------
    list
        (number of the part of [0, 1], signed time spent in it), in order of passing.

    Examples
    --------
    >>> time_parts(2, 0.0, 1.0)
    [(0, 0.5), (1, 0.5)]
    >>> time_parts(1, 0.5, 0.0)
    [(0, -0.5)]
    """
    low, high = min(start, end), max(start, end)
    spans = [(n, min(high, (n + 1) / parts) - max(low, n / parts)) for n in range(parts)]
    ahead = [(n, span) for n, span in spans if span > 0]
    return ahead if end >= start else [(n, -span) for n, span in reversed(ahead)]


def _pass(velocity: Tensor, position: Tensor, leg: Leg, tableau: Tableau, gradient: GradientRoute) -> Tensor:
    """Carry points through one leg of the way; the field is ``1 3 i j k``."""
    if gradient == "adjoint":
        arguments = (velocity, position, tableau, leg)
        end: Tensor = _AdjointFlow.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it so
        return end
    if gradient == "checkpoint":
        for _ in range(leg.steps):
            position = checkpoint(kernels.carry, velocity, position, leg.h, 1, tableau, use_reentrant=False)
        return position
    return kernels.carry(velocity, position, leg.h, leg.steps, tableau)


def squaring(velocity: Tensor, squarings: int, gradient: str = "backprop") -> Tensor:
    """Scaling and squaring: ``exp(v) = exp(v / 2^K) composed with itself K times``.

    V. Arsigny et al., "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006.
    """
    if gradient == "adjoint":
        msg = "squaring: the adjoint route needs a Runge-Kutta scheme, choose backprop or checkpoint"
        raise ValueError(msg)
    displacement: Tensor = velocity / 2**squarings
    for _ in range(squarings):
        if gradient == "checkpoint":
            displacement = checkpoint(compose, displacement, displacement, use_reentrant=False)
        else:
            displacement = compose(displacement, displacement)
    return displacement


class _AdjointFlow(torch.autograd.Function):
    """The flow with a memory that does not grow with the number of steps.

    With ``a = dL/dphi``: ``da/dt = -(dv/dphi)^T a``, and ``dL/dv = integral of (dv/dv)^T a dt``, both
    integrated from the end to the start beside ``phi`` itself with the forward scheme and step size.
    """

    @staticmethod
    def forward(ctx: Any, velocity: Tensor, start: Tensor, tableau: Tableau, leg: Leg) -> Tensor:
        ctx.tableau, ctx.leg = tableau, leg
        position = kernels.carry(velocity, start, leg.h, leg.steps, tableau)
        ctx.save_for_backward(velocity, position)
        return position

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        velocity, position = ctx.saved_tensors
        state = (position, grad_outputs[0], torch.zeros_like(velocity))
        for _ in range(ctx.leg.steps):
            state = _augmented_step(velocity, state, -ctx.leg.h, ctx.tableau)
        _, adjoint, gradient = state
        return gradient, adjoint, None, None


AugmentedState = tuple["Tensor", "Tensor", "Tensor"]


def _augmented_step(velocity: Tensor, state: AugmentedState, h: float, tableau: Tableau) -> AugmentedState:
    """One step of (phi, a, dL/dv) together; ``h`` is negative on the way back."""
    stages: list[AugmentedState] = []
    for row in tableau.a:
        position, adjoint, _ = _advance_augmented(state, h, row, stages)
        stages.append(_augmented_rate(velocity, position, adjoint))
    return _advance_augmented(state, h, tableau.b, stages)


def _augmented_rate(velocity: Tensor, position: Tensor, adjoint: Tensor) -> AugmentedState:
    """Time derivative of (phi, a, dL/dv)."""
    with torch.enable_grad():
        v = velocity.detach().requires_grad_()
        x = position.detach().requires_grad_()
        rate = sample(v, x)
        to_position, to_velocity = torch.autograd.grad(rate, (x, v), adjoint)
    return rate.detach(), -to_position, -to_velocity


def _advance_augmented(
    state: AugmentedState, h: float, weights: tuple[float, ...], stages: list[AugmentedState]
) -> AugmentedState:
    """:func:`advance` for each part of the augmented state."""
    position, adjoint, gradient = (
        advance(part, h, weights, [stage[n] for stage in stages]) for n, part in enumerate(state)
    )
    return position, adjoint, gradient
