"""Shapes that do not fit are refused before a loop reads memory by them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from bids_nodereg.registration import kernels
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.kernels import cpu
from bids_nodereg.registration.settings import DescriptorSettings
from bids_nodereg.registration.stored import Stored
from bids_nodereg.registration.tableaus import TABLEAUS, Leg
from bids_nodereg.registration.tiling import tiling

if TYPE_CHECKING:
    from collections.abc import Callable

RK4 = TABLEAUS["rk4"]
SHAPE, OTHER = (6, 7, 5), (6, 7, 4)


def vectors(*shape: int) -> torch.Tensor:
    return torch.zeros(1, 3, *(shape or SHAPE))


def image(*shape: int) -> torch.Tensor:
    return torch.zeros(1, 1, *(shape or SHAPE))


def described(*shape: int) -> Stored:
    return Stored(torch.zeros(1, *(shape or SHAPE), 16, dtype=torch.uint8), 12)


SSC = DescriptorSettings()
TILES = tiling(SHAPE, 4, (0, 0, 0))
TWICE = torch.zeros(2, 3, *SHAPE)

REFUSED: dict[str, Callable[[], object]] = {
    "inner": lambda: kernels.compose(vectors(), vectors(*OTHER)),
    "inner of a batch": lambda: kernels.compose(vectors(), TWICE),
    "start": lambda: kernels.fixed_point_inverse(vectors(), vectors(*OTHER), 2),
    "at has 2 components": lambda: kernels.sample(image(), vectors()[:, :2]),
    "at of a batch": lambda: kernels.sample(image(), TWICE),
    "position of a batch": lambda: kernels.carry(vectors(), TWICE, 0.1, 1, RK4),
    "velocity with 2 components": lambda: kernels.carry(vectors()[:, :2], vectors(), 0.1, 1, RK4),
    "a field that is not there": lambda: kernels.carry_lattice(vectors(), SHAPE, [Leg(1, 1, 1.0)], RK4),
    "moving": lambda: kernels.descriptor_distance(described(), described(*OTHER), vectors(), image()),
    "weight": lambda: kernels.descriptor_distance(described(), described(), vectors(), image(*OTHER)),
    "stiffness": lambda: kernels.squared_gradient(vectors(), image(*OTHER)),
    "field with 1 component": lambda: kernels.squared_gradient(image(), None),
    "displacement with 1 component": lambda: kernels.folding_barrier(image(), 0.3),
    "folds with 1 component": lambda: kernels.folded_cells(image()),
    "warp with 1 component": lambda: kernels.warp(image(), image()),
    "histograms": lambda: kernels.warped_histograms(image(), image(*OTHER), vectors(), image(), 8, TILES),
    "their weight": lambda: kernels.warped_histograms(image(), image(), vectors(), image(*OTHER), 8, TILES),
    "tiles": lambda: kernels.warped_histograms(*[image(*OTHER)] * 2, vectors(), image(*OTHER), 8, TILES),
    "bins": lambda: kernels.warped_histograms(image(), image(), vectors(), image(), 3, TILES),
    "mask of mind": lambda: kernels.mind(image(), image(*OTHER), DescriptorSettings("mind")),
    "mask of mind-ssc": lambda: kernels.mind_ssc(image(), image(*OTHER), SSC),
    "weights": lambda: kernels.perceptron(
        torch.zeros(*SHAPE, 16), torch.zeros(16, 8), torch.zeros(16), torch.zeros(3, 16), torch.zeros(3)
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="got"):
        REFUSED[name]()


def test_both_shapes_are_told() -> None:
    with pytest.raises(ValueError, match=r"compose: inner .* outer, got \(1, 6, 7, 4\) and \(1, 6, 7, 5\)"):
        kernels.compose(vectors(), vectors(*OTHER))


FLAT: dict[str, Callable[[tuple[int, int, int]], object]] = {
    "sample": lambda s: kernels.sample(image(*s), vectors()),
    "compose": lambda s: kernels.compose(vectors(*s), vectors(*s)),
    "carry": lambda s: kernels.carry(vectors(*s), vectors(), 0.1, 1, RK4),
    "carry_lattice": lambda s: kernels.carry_lattice(vectors(*s), SHAPE, [Leg(0, 1, 1.0)], RK4),
    "carry_lattice to": lambda s: kernels.carry_lattice(vectors(), s, [Leg(0, 1, 1.0)], RK4),
    "inverse": lambda s: kernels.fixed_point_inverse(vectors(*s), vectors(*s), 1),
    "distance": lambda s: kernels.descriptor_distance(described(*s), described(*s), vectors(), image(*s)),
    "warp": lambda s: kernels.warp(image(*s), vectors(2, 2, 2)),
    "warp by": lambda s: kernels.warp(image(), vectors(*s)),
    "barrier": lambda s: kernels.folding_barrier(vectors(*s), 0.3),
    "folds": lambda s: kernels.folded_cells(vectors(*s)),
    "roughness": lambda s: kernels.squared_gradient(vectors(*s), None),
}


@pytest.mark.parametrize("shape", [(1, 7, 5), (6, 1, 5), (6, 7, 1)])
@pytest.mark.parametrize("name", list(FLAT))
def test_an_axis_of_one_voxel_has_no_cell(name: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="2 voxels or more"):
        FLAT[name](shape)


@pytest.mark.parametrize("shape", [(1, 7, 5), (6, 1, 5), (6, 7, 1)])
def test_what_needs_no_cell_takes_an_axis_of_one_voxel(shape: tuple[int, int, int]) -> None:
    values = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(1))

    assert kernels.mind_ssc(values, None, SSC).isfinite().all()
    assert torch.allclose(
        kernels.separable(values, torch.tensor([0.25, 0.5, 0.25])).mean(), values.mean(), 0.2
    )
    assert kernels.resize(values, (3, 3, 3)).isfinite().all()


@pytest.mark.parametrize(
    "values", [torch.zeros(1, *SHAPE, 12), torch.zeros(1, *SHAPE, 12, dtype=torch.uint8)]
)
def test_the_compiled_comparison_takes_whole_blocks_of_bytes(values: torch.Tensor) -> None:
    stored = Stored(values, 12)

    with pytest.raises(ValueError, match="multiple of 16"):
        cpu.descriptor_distance(stored, stored, vectors(), image())


@pytest.mark.parametrize("name", ["fixed_mask", "moving_mask", "fixed_cost", "moving_cost", "stiffness"])
def test_what_belongs_to_an_image_lies_on_its_lattice(name: str) -> None:
    pair = ImagePair(*[image()] * 7)

    with pytest.raises(ValueError, match=rf"{name} .*\(1, 1, 6, 7, 5\), got \(1, 1, 6, 7, 4\)"):
        replace(pair, **{name: image(*OTHER)})
