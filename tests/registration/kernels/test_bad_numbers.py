"""Numbers that are none, and places far away: read and written within the lattice, and never hidden."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from bids_nodereg.registration import kernels
from bids_nodereg.registration.kernels import cpu, reference
from bids_nodereg.registration.kernels.cpu.tiles import point_tiles
from bids_nodereg.registration.ode import flow
from bids_nodereg.registration.settings import DescriptorSettings, SolverSettings
from bids_nodereg.registration.tableaus import TABLEAUS
from tests.registration.fields import noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SHAPE = (12, 9, 10)
INSIDE = (3.3, 4.6, 5.2)
AT_REST = (9, 5, 17)
"""The reference goes to [-1, 1] and back: exact where the last index is a power of two."""
FAR = [math.inf, -math.inf, 1e30, -1e30]
RK4 = TABLEAUS["rk4"]


def vectors(*, seed: int = 0, size: float = 1.0) -> Tensor:
    return (noise(1, 3, *SHAPE, seed=seed).float() - 0.5) * 2 * size


def two_points(bad: float, axis: int) -> Tensor:
    """A point inside and, before it, the same one but for a coordinate along one axis."""
    points = torch.tensor([INSIDE, INSIDE]).T.clone()
    points[axis, 0] = bad
    return points.view(1, 3, 2, 1, 1)


def with_gradients(operation: Callable[..., Tensor], *arguments: Tensor) -> list[Tensor]:
    leaves = [argument.detach().clone().requires_grad_() for argument in arguments]
    result = operation(*leaves)
    result.backward(torch.ones_like(result))
    return [result.detach(), *(leaf.grad for leaf in leaves)]


def carried(velocity: Tensor, at: Tensor) -> Tensor:
    return cpu.carry(velocity, at, 0.5, 2, RK4)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("operation", [carried, cpu.sample])
def test_a_point_that_is_no_number_stays_one_and_harms_no_other(
    operation: Callable[..., Tensor], axis: int
) -> None:
    alone = with_gradients(operation, vectors(), two_points(math.nan, axis)[:, :, 1:])

    moved, to_field, to_points = with_gradients(operation, vectors(), two_points(math.nan, axis))

    assert moved[0, axis if operation is carried else 0, 0].isnan().all()
    assert torch.equal(moved[:, :, 1:], alone[0])
    assert torch.equal(to_points[:, :, 1:], alone[2])
    # What it means for the field goes to the cell at the lower end along that axis.
    lower = [slice(None)] * 5
    lower[axis + 2] = slice(2, None)
    assert torch.equal(to_field[tuple(lower)], alone[1][tuple(lower)])


@pytest.mark.parametrize("bad", FAR)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("operation", [carried, cpu.sample])
def test_a_point_far_away_reads_the_edge(operation: Callable[..., Tensor], axis: int, bad: float) -> None:
    edge = two_points(math.copysign(100.0, bad), axis)

    got = with_gradients(operation, vectors(), two_points(bad, axis))

    moved, *gradients = with_gradients(operation, vectors(), edge)
    if operation is carried:
        # Where it went: what the edge moved it by is nothing beside where it was.
        assert moved[0, axis, 0].item() != 100
        moved[0, axis, 0] = bad
    for mine, true in zip(got, [moved, *gradients], strict=True):
        assert torch.equal(mine, true)


@pytest.mark.parametrize("bad", [math.nan, *FAR])
@pytest.mark.parametrize("component", [0, 1, 2])
def test_composing_with_a_bad_vector(bad: float, component: int) -> None:
    inner = vectors(seed=1, size=2.0)
    inner[0, component, 5, 4, 3] = bad

    result, to_outer, to_inner = with_gradients(cpu.compose, vectors(), inner)

    assert not result[0, component, 5, 4, 3].isfinite() or abs(result[0, component, 5, 4, 3]) > 1e29
    others = torch.ones(SHAPE, dtype=torch.bool)
    others[5, 4, 3] = False
    assert result[..., others].isfinite().all()
    assert to_inner.isfinite().all()
    assert to_outer.shape == inner.shape
    # Each vector shares its slope of 1 between eight voxels, wherever it leads.
    assert float(to_outer.sum()) == pytest.approx(inner.numel(), rel=1e-4)


@pytest.mark.parametrize("bad", [math.nan, *FAR])
def test_inverting_with_a_bad_vector(bad: float) -> None:
    forward, start = vectors(size=0.3), vectors(seed=1, size=0.3)
    forward[0, 1, 5, 4, 3] = bad
    start[0, 2, 2, 2, 2] = bad

    inverse = cpu.fixed_point_inverse(forward, start, 3)

    assert inverse.shape == start.shape
    assert inverse[..., 8:, :, :].isfinite().all()


@pytest.mark.parametrize(("gradient", "parts"), [("checkpoint", 1), ("adjoint", 1), ("backprop", 2)])
def test_a_velocity_that_is_no_number_gives_a_flow_that_is_none(gradient: str, parts: int) -> None:
    velocity = torch.full((parts, 3, *SHAPE), math.nan, requires_grad=True)
    solver = SolverSettings(steps=2, gradient=gradient)

    moved = flow(velocity, solver)
    moved.sum().backward()

    assert moved.isnan().all()
    assert velocity.grad.shape == velocity.shape


@pytest.mark.parametrize("reach", [0.0, 2.0])
def test_points_that_are_no_number_lie_in_the_slab_whose_cell_they_are_added_to(reach: float) -> None:
    size = 40
    index = np.array([30.5, np.nan, 0.5, np.inf, -np.inf, 39.0, np.nan], np.float32)

    tiles = point_tiles(index, size, reach)

    slabs = [set(tiles.order[a:b].tolist()) for colour in tiles.colours for a, b in colour]
    of_first, of_last = (next(slab for slab in slabs if n in slab) for n in (2, 5))
    assert {1, 6, 4} <= of_first
    assert 3 in of_last
    # And this is where the loops add it.
    for operation in (cpu.sample, carried):
        at = torch.from_numpy(np.stack([index[1:2], [4.5], [4.5]])).float().view(1, 3, 1, 1, 1)
        to_field = with_gradients(operation, torch.zeros(1, 3, size, 9, 9), at)[1]
        touched = torch.nonzero(to_field[0].abs().nan_to_num(1.0).sum((0, 2, 3))).flatten()
        assert touched.max() <= 1


@pytest.mark.parametrize("settings", [DescriptorSettings(), DescriptorSettings("mind", search_radius=1)])
@pytest.mark.parametrize("place", [(0, 0, 0), (11, 4, 5), (23, 8, 9)])
def test_a_voxel_that_is_no_number_spoils_every_channel_around_it(
    place: tuple[int, int, int], settings: DescriptorSettings
) -> None:
    image = noise(1, 1, 24, 9, 10).float()
    image[(0, 0, *place)] = math.nan
    outside = torch.ones_like(image)
    outside[:, :, max(0, place[0] - 8) : place[0] + 9] = 0
    name = "mind" if settings.name == "mind" else "mind_ssc"

    described = getattr(cpu, name)(image, outside, settings)
    within = getattr(cpu, name)(image, None, settings)

    # torch's amin of channels of which one is no number is none, and so are all that it is taken from.
    assert torch.equal(described.isnan().any(1), described.isnan().all(1))
    assert described[(0, slice(None), *place)].isnan().all()
    assert described[outside.expand_as(described) > 0].isfinite().all()
    # Where the mean counts that voxel, nothing is left.
    assert within.isnan().all()
    assert getattr(reference, name)(image, None, settings).isnan().all()


def fields_at_rest() -> tuple[Tensor, Tensor]:
    return noise(1, 2, *AT_REST), torch.zeros(1, 3, *AT_REST, dtype=torch.float64)


def slopes(kernel, dtype: torch.dtype, operation: Callable[..., Tensor]) -> Tensor:
    image, u = fields_at_rest()
    leaf = u.to(dtype).requires_grad_()
    result = operation(kernel, image.to(dtype), leaf)
    weight = noise(*result.shape, seed=3)
    (result * weight.to(dtype)).sum().backward()
    return leaf.grad.double()


def warped(kernel, image: Tensor, u: Tensor) -> Tensor:
    return kernel.warp(image, u)


def composed(kernel, image: Tensor, u: Tensor) -> Tensor:
    return kernel.compose(image[:, :1].expand(1, 3, *AT_REST), u)


def compared(kernel, image: Tensor, u: Tensor) -> Tensor:
    of = [kernel.stored(one.expand(1, 16, *AT_REST), (0.0, 1.0)) for one in (image[:, :1], image[:, 1:])]
    return kernel.descriptor_distance(*of, u, torch.ones(1, 1, *AT_REST).to(u))


@pytest.mark.parametrize(("operation", "tolerance"), [(warped, 1e-5), (composed, 1e-5), (compared, 2e-2)])
def test_where_nothing_moves_no_voxel_on_the_border_has_a_slope_across_it(
    operation: Callable[..., Tensor], tolerance: float
) -> None:
    truth = slopes(reference, torch.float64, operation)

    got = slopes(cpu, torch.float32, operation)

    torch.testing.assert_close(got, truth, rtol=0, atol=tolerance * float(truth.abs().max()))
    if operation is not composed:  # where the vector itself is added
        for axis, size in enumerate(AT_REST):
            ends = torch.tensor([0, size - 1])
            assert (got[:, axis].index_select(axis + 1, ends) == 0).all()


def test_a_comparison_that_needs_no_slope_is_the_same_number() -> None:
    image, u = (tensor.float() for tensor in fields_at_rest())
    leaf = u.requires_grad_()

    with torch.no_grad():
        alone = compared(kernels, image, leaf)

    assert not alone.requires_grad
    assert torch.equal(alone, compared(kernels, image, leaf).detach())
