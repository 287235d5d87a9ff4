"""Runge-Kutta steps through stationary fields and the way back, each in one pass over the points.

A point goes its whole way in registers. On the way back its stages are computed again and differentiated in
reverse order, so that nothing but the velocity is kept. What is integrated is the displacement from the
start, not the position: it keeps more digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bids_nodereg.registration.kernels.cpu import flow_loops
from bids_nodereg.registration.kernels.cpu.packing import dtype_of, lattice_of, packed, unpacked
from bids_nodereg.registration.kernels.cpu.tiles import lattice_tiles, point_tiles
from bids_nodereg.registration.tableaus import Leg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from bids_nodereg.registration.tableaus import Tableau

    Array = NDArray[np.floating[Any]]
    Integers = NDArray[np.int64]


def carry(velocity: Tensor, position: Tensor, h: float, steps: int, tableau: Tableau) -> Tensor:
    """As :func:`reference.carry`, for batch size 1."""
    arguments = (velocity, position, way_of((Leg(0, steps, h),), tableau, velocity))
    result: Tensor = _Carry.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


def carry_lattice(
    velocity: Tensor, shape: tuple[int, int, int], legs: Sequence[Leg], tableau: Tableau
) -> Tensor:
    """As :func:`reference.carry_lattice`."""
    arguments = (velocity, shape, way_of(legs, tableau, velocity))
    result: Tensor = _CarryLattice.apply(*arguments)  # type: ignore[no-untyped-call]  # as above
    return result


@dataclass(frozen=True)
class Way:
    """All steps in order.

    Attributes
    ----------
    firsts
        ``n``: the row of a packed field at which that of each step begins.
    weights
        ``n s+1 s``: what the rate of each stage adds to the place of every later one and, last, to the end.
    times
        For each field a bound on the distance that a point goes in it per unit of its largest component.
    """

    firsts: Integers
    weights: Array
    times: Array

    @property
    def compiled(self) -> tuple[Integers, Array]:
        """What the loops take."""
        return self.firsts, self.weights


def way_of(legs: Sequence[Leg], tableau: Tableau, velocity: Tensor) -> Way:
    """The steps of some legs by a scheme, in numbers of the velocity's type."""
    stages = len(tableau.b)
    unit = np.zeros((stages + 1, stages))
    for number, row in enumerate((*tableau.a, tableau.b)):
        unit[number, : len(row)] = row
    counts = [leg.steps for leg in legs]
    h = np.repeat([leg.h for leg in legs], counts)
    parts = np.repeat([leg.part for leg in legs], counts).astype(np.int64)
    weights = (h[:, None, None] * unit).astype(dtype_of(velocity))
    times = np.zeros(velocity.shape[0])
    np.add.at(times, parts, np.abs(h) * np.abs(unit).sum(1).max())
    return Way(parts * velocity[0, 0].numel(), weights, times)


def _reach(velocity: Tensor, way: Way) -> list[float]:
    """How far any stage of a point lies from its start at most, in voxels along each axis."""
    least, most = torch.aminmax(velocity.flatten(2), dim=2)
    largest = torch.maximum(-least, most).double().numpy()
    return [float(far) for far in way.times @ largest]


class _CarryLattice(torch.autograd.Function):
    """The flow of a lattice."""

    @staticmethod
    def forward(ctx: Any, velocity: Tensor, shape: tuple[int, int, int], way: Way) -> Tensor:
        ctx.save_for_backward(velocity)
        ctx.way = way
        out = torch.empty((1, 3, *shape), dtype=velocity.dtype)
        size = lattice_of(velocity)
        starts, ratio = _starts(size, shape, way.weights.dtype)
        flow_loops.lattice_forth(packed(velocity), size, way.compiled, starts, ratio, out[0].numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (velocity,) = ctx.saved_tensors
        way, slopes = ctx.way, grad_outputs[0].contiguous()[0].numpy()
        size, shape = lattice_of(velocity), slopes.shape[1:]
        starts, ratio = _starts(size, shape, way.weights.dtype)
        fields = packed(velocity)
        gradients = np.zeros_like(fields)
        arguments = (fields, size, way.compiled, starts, ratio, slopes)
        for boxes in lattice_tiles(shape, [1 / float(r) for r in ratio], _reach(velocity, way)):
            flow_loops.lattice_back(*arguments, boxes, gradients)
        return unpacked(gradients, size), None, None


def _starts(
    size: Sequence[int], shape: Sequence[int], dtype: Any
) -> tuple[tuple[Array, Array, Array], Array]:
    """Where the points of a lattice lie in one of ``size`` (voxel below, rest), and the ratio of the two."""
    axes = []
    for voxels, points in zip(size, shape, strict=True):
        below, rest = np.divmod(np.arange(points) * (voxels - 1), points - 1)
        axes.append(np.stack([below, rest / (points - 1)], 1).astype(dtype))
    ratio = (np.array(shape) - 1) / (np.array(size) - 1)
    return (axes[0], axes[1], axes[2]), ratio.astype(dtype)


class _Carry(torch.autograd.Function):
    """Points carried through one field."""

    @staticmethod
    def forward(ctx: Any, velocity: Tensor, position: Tensor, way: Way) -> Tensor:
        ctx.save_for_backward(velocity, position)
        ctx.way = way
        points = position.detach().contiguous()
        out = torch.empty_like(points)
        arguments = (packed(velocity), lattice_of(velocity), way.compiled)
        flow_loops.points_forth(*arguments, points.view(3, -1).numpy(), out.view(3, -1).numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        velocity, position = ctx.saved_tensors
        way, size = ctx.way, lattice_of(velocity)
        points = position.contiguous().view(3, -1).numpy()
        slopes = grad_outputs[0].contiguous().view(3, -1).numpy()
        fields = packed(velocity)
        want_velocity, want_position, _ = ctx.needs_input_grad
        gradients = np.zeros((len(fields) if want_velocity else 0, fields.shape[1]), fields.dtype)
        pulls = torch.empty_like(position, memory_format=torch.contiguous_format)
        tiles = point_tiles(points[0], size[0], _reach(velocity, way)[0])
        arguments = (fields, size, way.compiled, points, slopes)
        for slabs in tiles.colours:
            flow_loops.points_back(*arguments, (tiles.order, slabs), gradients, pulls.view(3, -1).numpy())
        return unpacked(gradients, size) if want_velocity else None, pulls if want_position else None, None
