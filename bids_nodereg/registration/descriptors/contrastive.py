"""A learned descriptor: MIND-SSC, corrected by a small network that has seen what is around.

The network is trained by contrastive learning on painted label maps (``training/``): two views of one
anatomy in unrelated contrasts, the same place is the positive, other places are the negatives (InfoNCE,
A. van den Oord et al., "Representation learning with contrastive predictive coding", 2018). Contrastive
structural features are the idea of T. C. W. Mok et al., "Modality-agnostic structural image
representation learning for deformable multi-modality medical image registration", CVPR 2024, who take
self-similarities of the features at the end; here they are the input, which makes the result independent
of contrast from the first step of a short training. Training on random contrasts follows M. Hoffmann et
al., "SynthMorph", IEEE TMI 41(3), 2022, and N. Dey et al., "Learning general-purpose biomedical volume
representations using randomized synthesis", ICLR 2025. Code and weights are this project's own.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn
from torch.nn import functional

from bids_nodereg.errors import DataError
from bids_nodereg.registration.descriptors.mind import SSC_PAIRS, mind_ssc
from bids_nodereg.registration.settings import DescriptorSettings

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "weights.safetensors"

INPUT = DescriptorSettings(name="mind-ssc", offset=1, patch_radius=1)
"""What the network sees; as in training, whatever is chosen for MIND-SSC itself."""

CELL = 4
"""Voxels along an edge of a cell of the coarsest lattice; images are padded to a multiple of it."""

STRIDED_BINOMIAL = (0.125, 0.375)
"""Outer and inner taps (0.125, 0.375, 0.375, 0.125) of the low-pass filter before every second
sample is taken; an even number, so that cells stay centred on their voxels."""


class MaskedNorm(nn.Module):
    """Instance normalisation with mean and variance over a weight: no running statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, values: Tensor, weight: Tensor) -> Tensor:
        """Normalise ``b c i j k`` by the statistics over ``weight`` (``b 1 i j k``, sum above 0)."""
        flat = values.flatten(2).to(self.gain.dtype)
        share = (weight / weight.sum((2, 3, 4), keepdim=True)).flatten(2).mT
        centred = flat - flat @ share
        variance = centred.square() @ share
        return (centred * (self.gain * (variance + 1e-5).rsqrt()) + self.bias).view_as(values)


class Block(nn.Module):
    """Convolution 3 x 3 x 3, masked normalisation, leaky ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm = MaskedNorm(channels_out)

    def forward(self, values: Tensor, weight: Tensor) -> Tensor:
        """From ``b channels_in i j k`` to ``b channels_out i j k``."""
        return functional.leaky_relu(self.norm(self.convolution(values), weight), 0.1)


class FeatureNetwork(nn.Module):
    """A U-Net with two downsamplings that corrects MIND-SSC by what is around: unit vectors at every voxel.

    Self-similarities go in, so no contrast needs to be unlearned. Before training the correction is 0.

    Parameters
    ----------
    widths
        Channels at full, half and quarter resolution.
    """

    def __init__(self, widths: tuple[int, int, int] = (8, 24, 48)) -> None:
        super().__init__()
        full, half, quarter = widths
        features = len(SSC_PAIRS)
        self.full_in = nn.ModuleList([Block(features, full), Block(full, full)])
        self.half_in = nn.ModuleList([Block(full, half), Block(half, half)])
        self.quarter = nn.ModuleList([Block(half, quarter), Block(quarter, quarter), Block(quarter, quarter)])
        self.to_half = nn.Conv3d(quarter, half, 1, bias=False)
        self.half_out = nn.ModuleList([Block(2 * half, half), Block(half, half)])
        self.to_full = nn.Conv3d(half, full, 1, bias=False)
        self.full_out = Block(2 * full, 2 * full)
        self.head = nn.Conv3d(2 * full, features, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of an image.

        Parameters
        ----------
        image
            ``b 1 i j k``, any size. An affine change of intensities, even to the negative, changes nothing.
        mask
            ``b 1 i j k``, where statistics are taken; None for everywhere.

        Returns
        -------
        Tensor
            ``b 12 i j k``, Euclidean norm 1 over the channels.
        """
        i, j, k = image.shape[2:]
        weight = torch.ones_like(image) if mask is None else (mask > 0).to(image.dtype)
        weight = torch.where(weight.sum((2, 3, 4), keepdim=True) > 0, weight, 1.0)
        context = padded_to_cells(self_similarities(image, weight))
        features = context + self._unet(context, padded_to_cells(weight, "constant"))
        return functional.normalize(features[:, :, :i, :j, :k], dim=1)

    def _unet(self, values: Tensor, weight: Tensor) -> Tensor:
        weight_half = functional.avg_pool3d(weight, 2)
        weight_quarter = functional.avg_pool3d(weight_half, 2)
        full = _through(self.full_in, values, weight)
        half = _through(self.half_in, low_pass_half(full), weight_half)
        quarter = _through(self.quarter, low_pass_half(half), weight_quarter)
        half = torch.cat([half, doubled(self.to_half(quarter))], 1)
        half = _through(self.half_out, half, weight_half)
        full = torch.cat([full, doubled(self.to_full(half))], 1)
        result: Tensor = self.head(self.full_out(full, weight))
        return result.to(weight.dtype)


def _through(blocks: nn.ModuleList, values: Tensor, weight: Tensor) -> Tensor:
    for block in blocks:
        values = block(values, weight)
    return values


def self_similarities(image: Tensor, weight: Tensor) -> Tensor:
    """MIND-SSC of every image of a batch, without its mean over the channels; ``b 12 i j k``."""
    images = zip(image.split(1), weight.split(1), strict=True)
    context = torch.cat([mind_ssc(one, where, INPUT) for one, where in images])
    return context - context.mean(1, keepdim=True)


def padded_to_cells(image: Tensor, mode: str = "replicate") -> Tensor:
    """The image with its far edges padded to whole cells."""
    lacking = [-size % CELL for size in image.shape[2:]]
    return functional.pad(image, [0, lacking[2], 0, lacking[1], 0, lacking[0]], mode=mode)


def low_pass_half(image: Tensor) -> Tensor:
    """Half the resolution, low-passed first so that features shift with the image (R. Zhang, ICML 2019)."""
    for axis in (2, 3, 4):
        padding = [0] * 6
        padding[2 * (4 - axis)] = padding[2 * (4 - axis) + 1] = 1
        padded = functional.pad(image, padding, mode="replicate")
        last = image.shape[axis] - 1
        a, b, c, d = (padded[_every_second(axis, first, first + last)] for first in range(4))
        image = STRIDED_BINOMIAL[0] * (a + d) + STRIDED_BINOMIAL[1] * (b + c)
    return image


def _every_second(axis: int, first: int, end: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(first, end, 2))


def doubled(image: Tensor) -> Tensor:
    """Twice the resolution, trilinear, on the centres that :func:`low_pass_half` leaves."""
    return functional.interpolate(image, scale_factor=2, mode="trilinear", align_corners=False)


@cache
def shipped_network(device: torch.device, dtype: torch.dtype) -> FeatureNetwork:
    """The trained network of this package, its weights fixed; made once per device and dtype.

    Raises
    ------
    DataError
        If the file of its weights is damaged.
    """
    data = resources.files("bids_nodereg.data").joinpath("contrastive").joinpath(WEIGHTS).read_bytes()
    network = FeatureNetwork()
    try:
        network.load_state_dict(load(data))
    except (SafetensorError, RuntimeError) as error:  # not whole, or of another network
        msg = f"the weights of the learned descriptor ({WEIGHTS} of this package) cannot be used ({error}). "
        msg += "Install the package again."
        raise DataError(msg) from error
    return network.to(device, dtype).eval().requires_grad_(requires_grad=False)


def contrastive(
    image: Tensor, mask: Tensor | None, settings: DescriptorSettings, network: FeatureNetwork | None = None
) -> Tensor:
    """Learned features, compared as they are.

    Parameters
    ----------
    image
        ``1 1 i j k``; an affine change of its intensities changes nothing.
    mask
        Where statistics are taken, or None for everywhere. Values outside are seen near the mask's
        edge, as by every descriptor.
    settings
        Not used: the network was trained with the self-similarities of :data:`INPUT`.
    network
        Another network than the shipped one.

    Returns
    -------
    Tensor
        ``1 12 i j k``, differentiable with respect to ``image``.
    """
    del settings
    network = network or shipped_network(image.device, image.dtype)
    features: Tensor = network(image, mask)
    return features
