"""The learned descriptor: what holds by construction, its gradients, and the file of its weights."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.descriptors.contrastive import (
    WEIGHTS,
    FeatureNetwork,
    contrastive,
    doubled,
    low_pass_half,
    padded_to_cells,
    shipped_network,
)
from bids_nodereg.registration.descriptors.mind import mind_ssc
from bids_nodereg.registration.settings import DescriptorSettings
from tests.registration.fields import structured_image

SETTINGS = DescriptorSettings()
CPU = torch.device("cpu")


def network(seed: int = 0, widths: tuple[int, int, int] = (8, 24, 48)) -> FeatureNetwork:
    """Random weights in all layers, the last one too, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = FeatureNetwork(widths)
        net.head.reset_parameters()
    return net.double().requires_grad_(requires_grad=False)


def ball(shape: tuple[int, ...]) -> Tensor:
    axes = [torch.linspace(-1, 1, size, dtype=torch.float64) for size in shape]
    i, j, k = torch.meshgrid(*axes, indexing="ij")
    return (i**2 + j**2 + k**2 < 0.8).double()[None, None]


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 23, 19), (5, 9, 30), (2, 3, 4)])
def test_any_size_gives_unit_vectors(shape: tuple[int, ...]) -> None:
    features = contrastive(structured_image(shape), None, SETTINGS, network())
    assert features.shape == (1, 12, *shape)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(1, *shape, dtype=torch.float64))


def test_odd_sizes_are_whole_cells_with_edges_repeated() -> None:
    image = structured_image((6, 8, 3))
    padded = padded_to_cells(image)
    assert padded.shape == (1, 1, 8, 8, 4)
    torch.testing.assert_close(padded, image[:, :, [*range(6), 5, 5]][..., [0, 1, 2, 2]])


@pytest.mark.parametrize("factor", [37.0, -0.2])
def test_affine_change_of_intensities_changes_nothing(factor: float) -> None:
    image, mask, net = structured_image((19, 20, 17)), ball((19, 20, 17)), network()
    before = contrastive(image, mask, SETTINGS, net)
    after = contrastive(factor * image - 5.0, mask, SETTINGS, net)
    torch.testing.assert_close(after, before, rtol=1e-8, atol=1e-9)
    other = contrastive(image.square(), mask, SETTINGS, net)
    assert (other - before).abs().max() > 1e-3


def test_before_training_it_is_mind_ssc_as_unit_vectors() -> None:
    image, mask = structured_image((13, 14, 15)), ball((13, 14, 15))
    context = mind_ssc(image, mask, SETTINGS)
    expected = torch.nn.functional.normalize(context - context.mean(1, keepdim=True), dim=1)
    torch.testing.assert_close(FeatureNetwork().double()(image, mask), expected)
    assert (network()(image, mask) - expected).abs().max() > 1e-2


def test_images_of_a_batch_do_not_see_each_other() -> None:
    images = torch.cat([structured_image((12, 12, 12), seed=n) for n in range(2)])
    masks = torch.cat([ball((12, 12, 12)), torch.ones(1, 1, 12, 12, 12, dtype=torch.float64)])
    net = network()
    one_by_one = torch.cat([net(images[n : n + 1], masks[n : n + 1]) for n in range(2)])
    torch.testing.assert_close(net(images, masks), one_by_one)


def test_the_settings_of_mind_ssc_do_not_enter() -> None:
    image, net = structured_image((12, 13, 14)), network()
    changed = replace(SETTINGS, offset=3, patch_radius=2)
    assert torch.equal(contrastive(image, None, changed, net), contrastive(image, None, SETTINGS, net))


def test_no_mask_is_a_mask_everywhere() -> None:
    image, net = structured_image((12, 13, 14)), network()
    torch.testing.assert_close(net(image, torch.ones_like(image)), net(image))


def test_far_outside_the_mask_intensities_do_not_matter_and_near_it_they_do() -> None:
    image, net = structured_image((8, 8, 96)), network()
    mask = torch.zeros_like(image)
    mask[..., :16] = 1
    far, near = image.clone(), image.clone()
    far[..., 64:] = 7.0
    near[..., 18:] = 7.0
    inside = net(image, mask)[..., :16]
    torch.testing.assert_close(net(far, mask)[..., :16], inside, rtol=1e-10, atol=1e-12)
    assert (net(near, mask)[..., :16] - inside).abs().max() > 1e-2
    assert (net(far)[..., :16] - net(image)[..., :16]).abs().max() > 1e-3  # the statistics see it


def test_empty_mask_and_constant_image_stay_finite() -> None:
    image = structured_image((8, 9, 10)).float()
    net = network().float()
    assert contrastive(image, torch.zeros_like(image), SETTINGS, net).isfinite().all()
    assert contrastive(torch.full_like(image, 0.3), None, SETTINGS, net).isfinite().all()


def test_gradient_of_the_image() -> None:
    net = network(widths=(2, 3, 2))
    image = structured_image((5, 6, 7), sigma=0.7).requires_grad_()
    mask = ball((5, 6, 7))

    assert torch.autograd.grad(net(image, mask)[:, 0].sum(), image)[0].abs().max() > 1e-2
    torch.autograd.gradcheck(lambda values: net(values, mask), image, fast_mode=True)


def test_half_resolution_is_exact_on_a_ramp_and_stays_centred() -> None:
    ramp = torch.arange(16.0).view(1, 1, 16, 1, 1).expand(1, 1, 16, 4, 4)
    half = low_pass_half(ramp)
    assert half.shape == (1, 1, 8, 2, 2)
    torch.testing.assert_close(half[0, 0, 1:-1, 0, 0], torch.arange(2.5, 14, 2.0))
    torch.testing.assert_close(doubled(half)[0, 0, 3:-3, 1, 1], ramp[0, 0, 3:-3, 1, 1])


def test_half_resolution_takes_out_what_it_cannot_hold() -> None:
    alternating = torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 16, 1, 1).expand(1, 1, 16, 4, 4)
    assert low_pass_half(alternating)[:, :, 1:-1].abs().max() < 1e-6


def test_weights_file_is_small_plain_and_complete() -> None:
    data = resources.files("bids_nodereg.data").joinpath("contrastive").joinpath(WEIGHTS).read_bytes()
    assert len(data) <= 2 * 1024**2
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # safetensors: JSON, then numbers
    wanted = {name: list(value.shape) for name, value in FeatureNetwork().state_dict().items()}
    assert {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"} == wanted


def test_shipped_network_is_read_once_and_fixed() -> None:
    net = shipped_network(CPU, torch.float32)
    assert shipped_network(CPU, torch.float32) is net
    assert not any(parameter.requires_grad for parameter in net.parameters())
    count = sum(parameter.numel() for parameter in net.parameters())
    assert 100_000 < count < 300_000


def test_shipped_descriptor_can_be_differentiated_and_needs_no_network() -> None:
    image = structured_image((12, 11, 10)).float().requires_grad_()
    features = contrastive(image, None, SETTINGS)
    assert features.shape == (1, 12, 12, 11, 10)
    (gradient,) = torch.autograd.grad(features[:, :, 5, 5, 5].sum(), image)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
