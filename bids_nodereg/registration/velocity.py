"""Velocity fields v_theta: from weights, the only thing that is optimised, to vectors on a lattice.

Every field is an ``nn.Module`` whose call returns ``v``, ``n 3 i j k`` in voxels of its lattice per
unit time; a field that changes with time has one module for each part of [0, 1]. It starts at zero, so
that the optimisation starts at the identity, is smoothed by a Gaussian, and vanishes on the boundary of
the lattice: the flow then maps the lattice onto itself.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from bids_nodereg.registration import kernels
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.smoothing import coarser_shape, gaussian
from bids_nodereg.registration.warp import resize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from bids_nodereg.registration.settings import VelocitySettings

Shape = tuple[int, int, int]

RIM_VOXELS = 8.0
"""Width of the rim, in voxels of the working grid, over which the velocity falls to zero."""


class GridVelocity(nn.Module):
    """The vectors themselves are the weights."""

    def __init__(self, shape: Shape, settings: VelocitySettings) -> None:
        super().__init__()
        del settings
        self.vectors = nn.Parameter(torch.zeros(1, 3, *shape))

    def forward(self) -> Tensor:
        """Return the raw vectors."""
        return self.vectors


class DecoderVelocity(nn.Module):
    """A latent grid and a small decoder, both optimised for this pair alone.

    At each point of the latent grid stand ``channels`` numbers ``z``; the same perceptron turns them into a
    vector everywhere: ``v = H (z + silu(W z + b)) + c``. What its weights learn at one place serves at all
    others, which preconditions the optimisation, while the size of the lattice stays free. Neighbours are
    coupled by the smoothing of the velocity and not here: convolutions of 3 x 3 x 3 in the place of ``W``
    and ``H`` reach no better overlap and cost 27 times as much (docs/results/choices.md).
    """

    def __init__(self, shape: Shape, settings: VelocitySettings) -> None:
        super().__init__()
        channels = settings.channels
        self.shape = shape
        # Channels last: all that the perceptron needs of a point lies together.
        self.latent = nn.Parameter(torch.randn(*coarser_shape(shape, settings.latent_shrink), channels) * 0.1)
        self.mix = nn.Linear(channels, channels)
        self.head = _zeroed(nn.Linear(channels, 3))

    def forward(self) -> Tensor:
        """Decode the latent grid to vectors on the velocity lattice."""
        weights = (self.mix.weight, self.mix.bias, self.head.weight, self.head.bias)
        return resize(kernels.perceptron(self.latent, *weights), self.shape)


class NodeoVelocity(nn.Module):
    """Coordinate network of the kind NODEO (Wu et al., CVPR 2022) uses: the paper's lineage.

    The voxel positions go through five strided convolutions and a bottleneck, out of which one
    linear layer makes the vectors. Reconstructed from the published description; the layer sizes
    follow the lattice, so that any image size works.
    """

    WIDTH = 32
    CONVOLUTIONS = 5

    def __init__(self, shape: Shape, settings: VelocitySettings) -> None:
        super().__init__()
        self.shape = shape
        encoded = shape
        layers: list[nn.Module] = []
        for depth in range(self.CONVOLUTIONS):
            width_in = 3 if depth == 0 else self.WIDTH
            layers.append(nn.Conv3d(width_in, self.WIDTH, 3, 2, padding=1, padding_mode="replicate"))
            if depth < self.CONVOLUTIONS - 1:
                layers.append(nn.ReLU())
            encoded = tuple(math.ceil(size / 2) for size in encoded)  # type: ignore[assignment]
        self.encoder = nn.Sequential(*layers)
        self.bottleneck = nn.Linear(self.WIDTH * math.prod(encoded), settings.bottleneck)
        self.head = _zeroed(nn.Linear(settings.bottleneck, 3 * math.prod(shape)))
        last = torch.tensor(shape, dtype=torch.float32).view(1, 3, 1, 1, 1) - 1
        self.register_buffer("positions", 2 * identity(shape, last) / last - 1, persistent=False)

    def forward(self) -> Tensor:
        """Encode the positions and read the vectors out."""
        features = self.encoder(self.positions).flatten(1)
        vectors: Tensor = self.head(torch.relu(self.bottleneck(features)))
        return vectors.view(1, 3, *self.shape)


Layer = TypeVar("Layer", bound=nn.Module)


def _zeroed(layer: Layer) -> Layer:
    """Set all weights of a layer to zero: the field then starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


VELOCITIES: Mapping[str, type[nn.Module]] = {
    "grid": GridVelocity,
    "decoder": DecoderVelocity,
    "nodeo": NodeoVelocity,
}


class VelocityField(nn.Module):
    """``v = base + window * G_sigma * v_theta``: networks of :data:`VELOCITIES` made smooth.

    Attributes
    ----------
    networks
        The modules with the weights theta, one for each part of the time.
    base
        What coarser levels have found, ``n 3 i j k``; not optimised any more.
    window
        Zero on the boundary, see :func:`boundary_window`.
    """

    base: Tensor
    window: Tensor

    def __init__(self, base: Tensor, settings: VelocitySettings, *, working_voxels_per_voxel: float) -> None:
        super().__init__()
        shape: Shape = tuple(base.shape[2:])  # type: ignore[assignment]
        network = VELOCITIES[settings.name](shape, settings)
        # All parts start from the same weights, so that no time differs before the images say so:
        # swapped images then reverse the order of the parts, and nothing else.
        self.networks = nn.ModuleList([network, *(deepcopy(network) for _ in range(1, base.shape[0]))])
        self.sigma_vox = settings.smoothing_sigma
        self.register_buffer("window", boundary_window(shape, working_voxels_per_voxel), persistent=False)
        self.register_buffer("base", base.detach(), persistent=False)

    def forward(self) -> Tensor:
        """The velocity on the lattice, ``n 3 i j k`` in its voxels per unit time."""
        vectors = torch.cat([network() for network in self.networks])
        velocity: Tensor = self.base + self.window * gaussian(vectors, self.sigma_vox)
        return velocity


def boundary_window(shape: Shape, working_voxels_per_voxel: float) -> Tensor:
    """Weight ``1 1 i j k`` that rises smoothly from 0 on the boundary to 1 inside the rim."""
    window = torch.ones(1, 1, *shape)
    for axis, size in enumerate(shape):
        index = torch.arange(size, dtype=torch.float32)
        depth_vox = torch.minimum(index, size - 1 - index) * working_voxels_per_voxel
        ramp = (depth_vox / RIM_VOXELS).clamp(max=1)
        smoothstep = ramp * ramp * (3 - 2 * ramp)
        view = [1] * 5
        view[axis + 2] = size
        window = window * smoothstep.view(view)
    return window
