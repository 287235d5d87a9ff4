"""What every Triton kernel must do; run by test_cuda_kernels.py under the interpreter or on a GPU.

It is a module of its own because Triton decides once, when it is imported, whether it interprets.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bids_nodereg.registration.kernels import cuda, reference
from bids_nodereg.registration.kernels.cuda.places import given
from bids_nodereg.registration.kernels.cuda.scatter import scatter
from bids_nodereg.registration.settings import DescriptorSettings
from bids_nodereg.registration.stored import Stored
from bids_nodereg.registration.tableaus import TABLEAUS, Leg
from bids_nodereg.registration.tiling import tiling
from tests.registration.fields import noise, positions_off_lattice

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SHAPE = (7, 9, 6)
FINE = (13, 11, 10)
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
BOUNDS = (0.0, 1.0)

TOLERANCE = 2e-5
"""Largest difference from float64, relative to the largest value: float32 positions and sums."""


def value_and_gradients(
    operation: Callable[..., Tensor], arguments: list[Tensor], dtype: torch.dtype, device: str
) -> list[Tensor]:
    """The result of an operation and the gradients of its sum weighted by fixed noise, float64 on the CPU."""
    leaves = [argument.detach().to(device, dtype).requires_grad_() for argument in arguments]
    result = operation(*leaves)
    weight = torch.rand(result.shape, generator=torch.Generator().manual_seed(7)) - 0.4
    (result * weight.to(result)).sum().backward()
    return [tensor.detach().cpu().double() for tensor in (result, *(leaf.grad for leaf in leaves))]


def agree(got: list[Tensor], truth: list[Tensor], tolerance: float = TOLERANCE) -> None:
    for mine, true in zip(got, truth, strict=True):
        assert mine.shape == true.shape
        assert true.abs().max() > 1e-6
        torch.testing.assert_close(mine, true, rtol=0, atol=tolerance * float(true.abs().max()))


def check(operation: Callable[..., Tensor], *arguments: Tensor, tolerance: float = TOLERANCE) -> None:
    """Compare ``operation(kernels, *arguments)`` and its gradients with the reference in float64."""
    got = value_and_gradients(lambda *a: operation(cuda, *a), list(arguments), torch.float32, DEVICE)
    truth = value_and_gradients(lambda *a: operation(reference, *a), list(arguments), torch.float64, "cpu")
    agree(got, truth, tolerance)


def vectors(shape: tuple[int, ...], size: float, seed: int) -> Tensor:
    """A rough vector field, float64; sizes near 1 fold it."""
    return (noise(1, 3, *shape, seed=seed) - 0.5) * 2 * size


def test_the_same_operations_are_there() -> None:
    assert cuda.__all__ == reference.__all__
    in_torch = {name for name in cuda.__all__ if "reference" in getattr(cuda, name).__module__}
    assert in_torch == {"perceptron"}  # two matrix products, which torch's libraries do best


def test_sample() -> None:
    at = positions_off_lattice(300, SHAPE, 1, outside=True)
    check(lambda kernels, image, at: kernels.sample(image, at), noise(1, 3, *SHAPE), at)


def test_compose() -> None:
    check(lambda kernels, u, w: kernels.compose(u, w), vectors(SHAPE, 2, 1), vectors(SHAPE, 3, 2))


def test_squaring_gives_the_field_both_its_gradients() -> None:
    check(lambda kernels, u: kernels.compose(u, u), vectors(SHAPE, 2, 1))


@pytest.mark.parametrize("scheme", list(TABLEAUS))
def test_carry(scheme: str) -> None:
    at = positions_off_lattice(150, SHAPE, 1, outside=True)

    def carried(kernels, velocity: Tensor, start: Tensor) -> Tensor:
        return kernels.carry(velocity, start, 0.3, 2, TABLEAUS[scheme])

    check(carried, vectors(SHAPE, 2, 1), at)


@pytest.mark.parametrize("operation", ["compose", "carry"])
@pytest.mark.parametrize("wanted", [0, 1])
def test_one_gradient_alone_is_the_same(operation: str, wanted: int) -> None:
    extra = (0.3, 2, TABLEAUS["heun"]) if operation == "carry" else ()
    gradients = []
    for alone in (False, True):
        leaves = [vectors(SHAPE, 2, seed).float().to(DEVICE) for seed in (1, 2)]
        for number, leaf in enumerate(leaves):
            leaf.requires_grad_(not alone or number == wanted)
        getattr(cuda, operation)(*leaves, *extra).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])

    assert torch.equal(gradients[0][wanted], gradients[1][wanted])
    assert gradients[1][1 - wanted] is None


def test_carry_lattice_through_two_fields_and_back() -> None:
    legs = [Leg(1, 2, -0.3), Leg(0, 1, 0.25)]
    velocity = torch.cat([vectors((4, 5, 4), 1, 1), vectors((4, 5, 4), 1, 2)])

    check(lambda kernels, v: kernels.carry_lattice(v, SHAPE, legs, TABLEAUS["rk4"]), velocity)


def test_fixed_point_inverse() -> None:
    rough = reference.resize(vectors((3, 3, 3), 1.5, 1), SHAPE)

    got = cuda.fixed_point_inverse(rough.float().to(DEVICE), -rough.float().to(DEVICE), 4)

    torch.testing.assert_close(
        got.double().cpu(), reference.fixed_point_inverse(rough, -rough, 4), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("shape", [FINE, SHAPE, (2, 2, 2)])
def test_warp_by_a_field_of_any_lattice(shape: tuple[int, int, int]) -> None:
    image = noise(1, 2, *FINE)
    u = vectors(shape, 0.3 * shape[0], 1)

    check(lambda kernels, u: kernels.warp(image.to(u), u), u)


def descriptors(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two descriptors that float16 holds exactly, and a weight with many zeros and whole blocks of them."""
    fixed, moving = (
        (noise(1, channels, *FINE, seed=seed) * 1024).round() / 1024 for seed in (channels, channels + 1)
    )
    weight = noise(1, 1, *FINE, seed=3) * (noise(1, 1, *FINE, seed=4) > 0.5)
    weight[:, :, :5] = 0
    return fixed, moving, weight


@pytest.mark.parametrize("channels", [5, 12, 26])
@pytest.mark.parametrize("shape", [FINE, SHAPE])
def test_descriptor_distance(channels: int, shape: tuple[int, int, int]) -> None:
    fixed, moving, weight = descriptors(channels)

    def distance(kernels, u: Tensor) -> Tensor:
        stored = (kernels.stored(of.to(u), BOUNDS) for of in (fixed, moving))
        return kernels.descriptor_distance(*stored, u, weight.to(u))

    check(distance, vectors(shape, 2, 1))


def test_voxels_of_weight_zero_have_no_gradient_and_are_not_read() -> None:
    fixed, moving, weight = (tensor.float().to(DEVICE) for tensor in descriptors(12))
    fixed = torch.where(weight > 0, fixed, torch.nan)
    u = vectors(FINE, 0.4, 1).float().to(DEVICE).requires_grad_()

    cuda.descriptor_distance(cuda.stored(fixed, BOUNDS), cuda.stored(moving, BOUNDS), u, weight).backward()

    assert (u.grad[(weight == 0).expand_as(u)] == 0).all()
    assert u.grad.isfinite().all()
    assert u.grad.abs().max() > 0


def test_what_float16_costs_the_comparison() -> None:
    # Numbers in (0, 1] rounded to 11 bits: an error of 2.4e-4 at most in each difference.
    fixed, moving = noise(1, 12, *FINE, seed=1), noise(1, 12, *FINE, seed=2)
    u, weight = vectors(FINE, 2, 3), noise(1, 1, *FINE, seed=4)

    def distance(kernels, u: Tensor) -> Tensor:
        stored = (kernels.stored(of.to(u), BOUNDS) for of in (fixed, moving))
        return kernels.descriptor_distance(*stored, u, weight.to(u))

    check(distance, u, tolerance=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_descriptors_of_other_precisions_are_taken_as_they_are(dtype: torch.dtype) -> None:
    fixed, moving, weight = (noise(1, 8, *FINE, seed=s).movedim(1, -1).to(dtype) for s in (1, 2, 3))

    def distance(kernels, u: Tensor) -> Tensor:
        stored = (Stored(of.contiguous().to(u.device), 8) for of in (fixed, moving))
        return kernels.descriptor_distance(*stored, u, weight[None, ..., 0].to(u))

    check(distance, vectors(FINE, 2, 1))


@pytest.mark.parametrize("bins", [7, 16, 20])
def test_warped_histograms(bins: int) -> None:
    fixed, moving = (noise(1, 1, *SHAPE, seed=s) * 1.2 - 0.1 for s in (1, 2))
    weight = descriptors(1)[2][:, :, 2:9, :9, :6]
    tiles = tiling(SHAPE, 5, (2, -1, 3))

    def histograms(kernels, u: Tensor) -> Tensor:
        return kernels.warped_histograms(fixed.to(u), moving.to(u), u, weight.to(u), bins, tiles)

    # An intensity between two bins is a difference of numbers near 16.
    check(histograms, vectors((4, 5, 3), 1, 1), tolerance=1e-4)


SELF_SIMILARITIES = [
    ("mind_ssc", DescriptorSettings(name="mind-ssc", offset=1, patch_radius=1)),
    ("mind_ssc", DescriptorSettings(name="mind-ssc", offset=2, patch_radius=0)),
    ("mind", DescriptorSettings(name="mind", offset=1, patch_sigma=0.3)),
    ("mind", DescriptorSettings(name="mind", offset=2, patch_sigma=0.0, search_radius=1)),
]


@pytest.mark.parametrize(("name", "settings"), SELF_SIMILARITIES)
def test_self_similarities(name: str, settings: DescriptorSettings) -> None:
    shape = (6, 7, 5)
    mask = (noise(1, 1, *shape, seed=5) > 0.6).double() if settings.offset == 1 else None
    image = noise(1, 1, *shape)
    image[:, :, 2:6, 2:6, 1:4] = 0.5  # equal differences: the least one is not alone

    def described(kernels, image: Tensor) -> Tensor:
        return getattr(kernels, name)(image, None if mask is None else mask.to(image), settings)

    check(described, image)


def test_a_constant_image_has_a_descriptor_without_a_slope() -> None:
    image = torch.full((1, 1, 3, 4, 3), 0.3, device=DEVICE, requires_grad=True)

    described = cuda.mind_ssc(image, None, DescriptorSettings(name="mind-ssc"))
    described.sum().backward()

    assert (described == 1).all()
    assert (image.grad == 0).all()


@pytest.mark.parametrize("taps", [1, 5, 17])
def test_separable(taps: int) -> None:
    # Not symmetric, and wider than an axis.
    kernel = noise(taps, seed=3)
    check(lambda kernels, image: kernels.separable(image, kernel.to(image)), noise(1, 2, *SHAPE))


@pytest.mark.parametrize("shape", [(13, 17, 11), (4, 5, 3), (9, 3, 6), (2, 2, 2)])
def test_resize(shape: tuple[int, int, int]) -> None:
    check(lambda kernels, image: kernels.resize(image, shape), noise(1, 3, *SHAPE))


def test_downsample() -> None:
    kernel = noise(5, seed=3)
    check(lambda kernels, image: kernels.downsample(image, (4, 5, 3), kernel.to(image)), noise(1, 1, *SHAPE))


@pytest.mark.parametrize("weighted", [True, False])
def test_squared_gradient(weighted: bool) -> None:
    stiffness = noise(1, 1, *SHAPE, seed=2) if weighted else None

    def roughness(kernels, field: Tensor) -> Tensor:
        return kernels.squared_gradient(field, None if stiffness is None else stiffness.to(field))

    check(roughness, vectors(SHAPE, 2, 1))


@pytest.mark.parametrize("size", [0.4, 1.5])
def test_folding_barrier(size: float) -> None:
    check(lambda kernels, u: kernels.folding_barrier(u, 0.6), vectors(SHAPE, size, 1))


def test_folded_cells() -> None:
    for size in (0.2, 0.6, 2.0):
        u = vectors(SHAPE, size, 1)
        got = cuda.folded_cells(u.float().to(DEVICE)).cpu()
        assert torch.equal(got, reference.folded_cells(u.float().double()))
    u[0, 1, 3, 3, 3] = torch.nan
    assert torch.equal(cuda.folded_cells(u.float().to(DEVICE)).cpu(), reference.folded_cells(u))


def test_a_number_that_is_none_goes_on() -> None:
    u = vectors(SHAPE, 0.4, 1).float().to(DEVICE)
    image = noise(1, 12, *SHAPE, dtype=torch.float32).to(DEVICE)
    weight = torch.ones(1, 1, *SHAPE, device=DEVICE)
    u[0, 2, 3, 4, 2] = torch.nan
    stored = cuda.stored(image, BOUNDS)

    assert cuda.folding_barrier(u, 0.3).isnan()
    assert cuda.descriptor_distance(stored, stored, u, weight).isnan()
    assert cuda.compose(u, torch.zeros_like(u)).isnan().any()
    assert cuda.warp(image, u).isnan().any()


def test_where_nothing_moves_no_voxel_on_the_border_has_a_slope_across_it() -> None:
    # The reference goes to [-1, 1] and back: exact where the last index is a power of two.
    shape = (5, 9, 3)
    image, still = noise(1, 2, *shape), torch.zeros(1, 3, *shape, dtype=torch.float64)
    fixed, moving = (noise(1, 5, *shape, seed=seed).float().double() for seed in (1, 2))

    def distance(kernels, u: Tensor) -> Tensor:
        stored = (Stored(of.movedim(1, -1).contiguous().to(u), 5) for of in (fixed, moving))
        return kernels.descriptor_distance(*stored, u, torch.ones(1, 1, *shape).to(u))

    at = torch.tensor([[0.0, 4, 1.3], [4.2, 8, 0], [0.5, 2, 2]], dtype=torch.float64).view(1, 3, 3, 1, 1)
    check(lambda kernels, u: kernels.warp(image.to(u), u), still)
    check(distance, still)
    check(lambda kernels, image, at: kernels.sample(image, at), image, at)


def test_the_order_of_the_points_does_not_change_a_bit() -> None:
    image = noise(1, 3, *SHAPE, dtype=torch.float32).to(DEVICE).requires_grad_()
    at = positions_off_lattice(2000, SHAPE, 1, outside=True).float().to(DEVICE)
    # Addends of very different size, whose float32 sum depends on the order.
    weight = torch.exp(12 * (noise(1, 3, 2000, 1, 1, seed=2, dtype=torch.float32) - 0.5)).to(DEVICE)
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(1)).to(DEVICE)

    def gradient(at: Tensor, weight: Tensor) -> Tensor:
        return torch.autograd.grad((cuda.sample(image, at) * weight).sum(), image)[0]

    assert torch.equal(gradient(at, weight), gradient(at[:, :, order], weight[:, :, order]))


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1.0, 1e30])
def test_addends_of_any_size_keep_their_digits(size: float) -> None:
    at = positions_off_lattice(500, SHAPE, 1, outside=True)
    addends = (noise(3, 500, seed=2) - 0.5) * size
    image = noise(1, 3, *SHAPE).requires_grad_()
    truth = torch.autograd.grad((reference.sample(image, at)[0, ..., 0, 0] * addends).sum(), image)[0]

    got = scatter(given(SHAPE, at.float().to(DEVICE)), addends.float().to(DEVICE), 3)

    torch.testing.assert_close(got.cpu().double(), truth, rtol=0, atol=2e-6 * float(truth.abs().max()))


def test_all_points_in_one_place_do_not_overflow() -> None:
    at = torch.full((1, 3, 4096, 1, 1), 2.0, device=DEVICE)
    addends = torch.full((1, 4096), 1.5, device=DEVICE)

    got = scatter(given(SHAPE, at), addends, 1)

    assert got[0, 0, 2, 2, 2] == 1.5 * 4096
    assert got.sum() == 1.5 * 4096


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_addend_that_is_not_finite_is_never_hidden(bad: float) -> None:
    at = positions_off_lattice(50, SHAPE, 1, outside=False).float().to(DEVICE)
    addends = torch.ones(1, 50, device=DEVICE)
    addends[0, 7] = bad

    assert scatter(given(SHAPE, at), addends, 1).isnan().all()


def iteration_inputs() -> list[Tensor]:
    """A velocity, both images and a weight."""
    images = [noise(1, 1, *SHAPE, seed=seed, dtype=torch.float32).to(DEVICE) for seed in (1, 2, 3)]
    return [vectors((4, 5, 3), 1, 1).float().to(DEVICE).requires_grad_(), *images]


def iteration(velocity: Tensor, image: Tensor, other: Tensor, weight: Tensor) -> list[Tensor]:
    """Most operations and their gradients, as an iteration of an optimiser has them."""
    settings = DescriptorSettings(name="mind-ssc", patch_radius=0)
    stored = [cuda.stored(cuda.mind_ssc(of, weight, settings), BOUNDS) for of in (image, other)]
    moved = cuda.carry_lattice(velocity, (4, 5, 3), [Leg(0, 1, 0.5)], TABLEAUS["heun"])
    joint = cuda.warped_histograms(image, other, moved, weight, 16, tiling(SHAPE, 4, (1, 2, 3)))
    loss = cuda.descriptor_distance(*stored, moved, weight) + joint.square().mean()
    loss = loss + cuda.folding_barrier(cuda.compose(moved, moved), 0.5)
    loss = loss + cuda.squared_gradient(velocity, None)
    return [moved.detach(), loss.detach(), *torch.autograd.grad(loss, velocity)]


def test_two_calls_give_the_same_bits() -> None:
    inputs = iteration_inputs()

    for first, second in zip(iteration(*inputs), iteration(*inputs), strict=True):
        assert torch.equal(first, second)


class NothingWaits(TorchDispatchMode):
    """Refuses what makes the host wait for the device, and so may not stand in a CUDA graph."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "unique"}, name
        return function(*arguments, **(options or {}))


def test_nothing_waits_for_the_device() -> None:
    inputs = iteration_inputs()
    iteration(*inputs)  # what is made once, such as the table of pairs, is there after the first call

    with NothingWaits():
        iteration(*inputs)
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            float(inputs[1][0, 0, 0, 0, 0])
