"""A second derivative, which the compiled operations do not have, is refused instead of being wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from bids_nodereg.registration import kernels
from bids_nodereg.registration.kernels import cpu
from bids_nodereg.registration.ode import flow
from bids_nodereg.registration.settings import DescriptorSettings, SolverSettings
from bids_nodereg.registration.tableaus import TABLEAUS, Leg
from bids_nodereg.registration.tiling import tiling
from tests.registration.fields import noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SHAPE = (6, 7, 5)
HEUN = TABLEAUS["heun"]
ONE = torch.ones(1, 1, *SHAPE)
TAPS = torch.tensor([0.25, 0.5, 0.25])
STORED = cpu.stored(noise(1, 12, *SHAPE).float(), (0.0, 1.0))


def vectors() -> Tensor:
    return (noise(1, 3, *SHAPE).float() - 0.4).requires_grad_()


def image() -> Tensor:
    return noise(1, 1, *SHAPE).float().requires_grad_()


OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[], Tensor]]] = {
    "sample": (lambda u: kernels.sample(u, 3 + u), vectors),
    "compose": (lambda u: kernels.compose(u, u), vectors),
    "carry": (lambda u: kernels.carry(u, u, 0.5, 1, HEUN), vectors),
    "carry_lattice": (lambda u: kernels.carry_lattice(u, SHAPE, [Leg(0, 1, 1.0)], HEUN), vectors),
    "descriptor_distance": (lambda u: kernels.descriptor_distance(STORED, STORED, u, ONE), vectors),
    "perceptron": (
        lambda z: kernels.perceptron(
            z[0].movedim(0, -1).repeat(1, 1, 1, 16), torch.eye(16), TAPS.new_ones(16),
            TAPS.new_ones(3, 16), TAPS,
        ),
        image,
    ),
    "folding_barrier": (lambda u: kernels.folding_barrier(u, 0.9), vectors),
    "squared_gradient": (lambda u: kernels.squared_gradient(u, ONE), vectors),
    "warp": (lambda u: kernels.warp(ONE, u), vectors),
    "warped_histograms": (
        lambda u: kernels.warped_histograms(ONE / 2, ONE / 2, u, ONE, 8, tiling(SHAPE, 4, (0, 0, 0))),
        vectors,
    ),
    "mind": (lambda i: kernels.mind(i, None, DescriptorSettings("mind")), image),
    "mind_ssc": (lambda i: kernels.mind_ssc(i, None, DescriptorSettings()), image),
    "adjoint flow": (lambda u: flow(u, SolverSettings("heun", gradient="adjoint")), vectors),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_second_derivative_is_refused(name: str) -> None:
    operation, argument = OPERATIONS[name]
    leaf = argument()

    (slope,) = torch.autograd.grad(operation(leaf).square().sum(), leaf, create_graph=True)

    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


@pytest.mark.parametrize("name", ["separable", "resize", "downsample"])
def test_linear_operations_are_refused_too(name: str) -> None:
    leaf = image()
    extra = {"separable": (TAPS,), "resize": ((3, 4, 4),), "downsample": ((3, 4, 4), TAPS)}[name]

    (slope,) = torch.autograd.grad(
        getattr(kernels, name)(leaf, *extra).square().sum(), leaf, create_graph=True
    )

    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_every_operation_with_a_slope_is_here() -> None:
    without = {"fixed_point_inverse", "folded_cells", "stored"}

    assert set(cpu.__all__) - without <= {*OPERATIONS, "separable", "resize", "downsample"}
