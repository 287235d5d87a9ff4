"""The perceptron at every point: the compiled loops against torch, finite differences and themselves."""

from __future__ import annotations

from typing import Any

import numba
import pytest
import torch
from torch import Tensor

from bids_nodereg.registration import kernels
from bids_nodereg.registration.kernels import cpu, reference
from bids_nodereg.registration.kernels.cpu.perceptron import CHANNELS, CHUNK

SHAPE = (13, 11, 9)
"""Two chunks and a last group of points that is not full."""

NAMES = ("latent", "mix_weight", "mix_bias", "head_weight", "head_bias")


def arguments(shape: tuple[int, int, int] = SHAPE, channels: int = 16, scale: float = 1.0) -> list[Tensor]:
    """The latent grid and the weights, in float32; the mixed values are about ``scale``."""
    generator = torch.Generator().manual_seed(2)
    sizes = ((*shape, channels), (channels, channels), (channels,), (3, channels), (3,))
    latent, mix, *others = (torch.randn(size, generator=generator) for size in sizes)
    return [latent, mix * scale / channels**0.5, *others]


def weighted(result: Tensor) -> Tensor:
    """A scalar in which every number of the vectors counts differently."""
    weight = torch.randn(result.shape, generator=torch.Generator().manual_seed(5))
    return (result * weight.to(result.dtype)).sum()


def with_gradients(where: Any, given: list[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The vectors, and the gradients of all arguments."""
    leaves = [one.to(dtype, copy=True).requires_grad_() for one in given]
    result = where.perceptron(*leaves)
    weighted(result).backward()
    return [result.detach(), *(leaf.grad for leaf in leaves)]


def assert_near(found: Tensor, truth: Tensor, most: float) -> None:
    assert found.dtype == torch.float32
    assert found.shape == truth.shape
    assert float((found.double() - truth).abs().max()) <= most * float(truth.abs().max())


def test_the_grid_ends_within_a_chunk_and_a_group() -> None:
    points = SHAPE[0] * SHAPE[1] * SHAPE[2]

    assert points > 2 * CHUNK
    assert points % CHUNK
    assert points % 4


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("shape", [SHAPE, (2, 2, 2), (3, 2, 7)])
def test_it_is_that_of_torch_in_double_precision(shape: tuple[int, int, int], channels: int) -> None:
    given = arguments(shape, channels)

    found = with_gradients(kernels, given)

    assert found[0].is_contiguous()
    for one, truth in zip(found, with_gradients(reference, given, torch.float64), strict=True):
        assert_near(one, truth, 2e-6)


@pytest.mark.parametrize("channels", [1, 5, 12])
def test_any_number_of_channels_is_served(channels: int) -> None:
    given = arguments((5, 4, 3), channels)

    for one, truth in zip(
        with_gradients(kernels, given), with_gradients(reference, given, torch.float64), strict=True
    ):
        assert_near(one, truth, 2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    given = arguments()
    n, h = NAMES.index(name), 1e-5
    direction = torch.randn(given[n].shape, generator=torch.Generator().manual_seed(8)).double()
    ends = []
    for sign in (-1, 1):
        moved = [one.double() for one in given]
        moved[n] = moved[n] + sign * h * direction
        ends.append(float(weighted(reference.perceptron(*moved))))
    gradient = with_gradients(cpu, given)[1 + n].double()

    slope = float((gradient * direction).sum())

    assert slope == pytest.approx((ends[1] - ends[0]) / (2 * h), abs=1e-6 * float(gradient.abs().sum()))


def test_the_sigmoid_holds_for_numbers_of_any_size() -> None:
    """Mixed values far beyond where the exponential overflows in float32."""
    given = arguments(scale=60.0)
    truth = with_gradients(reference, given, torch.float64)
    mixed = torch.nn.functional.linear(*given[:3])
    assert float(mixed.max()) > 100 > -100 > float(mixed.min())

    found = with_gradients(kernels, given)

    for one, true_one in zip(found, truth, strict=True):
        assert_near(one, true_one, 5e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_none_and_spoils_its_own_point_alone(bad: float) -> None:
    given = arguments()
    given[0][7, 3, 2, 5] = bad

    vectors, latent_slope, mix_slope, *_ = with_gradients(kernels, given)

    at = torch.zeros(SHAPE, dtype=torch.bool)
    at[7, 3, 2] = True
    assert torch.equal(~torch.isfinite(vectors[0]).all(0), at)
    assert torch.isfinite(latent_slope[~at]).all()
    assert not torch.isfinite(mix_slope).all()


def test_the_bits_do_not_depend_on_the_threads() -> None:
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba was started with one thread")
    given = arguments((31, 17, 19))
    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            found.append(with_gradients(kernels, given))
    finally:
        numba.set_num_threads(before)

    assert all(torch.equal(*both) for both in zip(*found, strict=True))


def test_a_negated_head_and_negated_slopes_give_the_negated_result_to_the_last_bit() -> None:
    """What the symmetry of swapped images rests on."""
    latent, mix_weight, mix_bias, head_weight, head_bias = arguments()

    there = with_gradients(kernels, [latent, mix_weight, mix_bias, head_weight, head_bias])
    back = with_gradients(kernels, [latent, mix_weight, mix_bias, -head_weight, -head_bias])

    assert torch.equal(there[0], -back[0])
    for one, other, sign in zip(there[1:], back[1:], (-1, -1, -1, 1, 1), strict=True):
        assert torch.equal(one, sign * other)


def test_under_autocast_torch_computes_in_few_digits() -> None:
    given = arguments()
    exact = kernels.perceptron(*given)

    with torch.autocast("cpu", torch.bfloat16):
        rough = kernels.perceptron(*given)

    assert rough.dtype == torch.bfloat16
    assert float((rough.float() - exact).abs().max()) > 1e-3
    assert torch.allclose(rough.float(), exact, atol=0.2)
