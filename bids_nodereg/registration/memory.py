"""How much memory a registration needs at most, told in advance from the size of its working grid.

The terms are the arrays that are alive together at the worst moments of the finest level and of the final
maps. What temporary arrays add was measured; ``tests/registration/test_memory.py`` measures it again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from bids_nodereg.registration.optimise import velocity_lattice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.registration.settings import RegistrationSettings

NUMBER = 4
"""Bytes of a float32."""

IMAGES = 4
"""Both images and their masks."""

LANES = 16
"""Stored channels of a descriptor come in multiples of this."""

CHANNELS = {"mind": 6, "mind-ssc": 12, "contrastive": 12, "contrastive+mind-ssc": 24}
"""Of each descriptor; `mind` in a dense search region has one for each of its neighbours."""

INTENSITY_VOLUMES = {"lncc": 38, "lmi": 10, "mse": 10}
"""Float32 volumes that a measure on intensities keeps for its gradient, in both directions."""

CAPTURE_COPIES = 4
"""How often the costs of a search over displacements lie in memory at the same time."""

RUNTIME = {"cpu": 380 << 20, "cuda": 600 << 20}
"""What torch, the compiled kernels and their libraries take for themselves."""

CUDA_LIBRARIES = 250 << 20
"""What a torch with CUDA takes beside that in the memory of the machine, whatever it computes on."""


@dataclass(frozen=True)
class _Temporaries:
    """Arrays that an implementation holds for a moment, in float32 volumes.

    Attributes
    ----------
    stored
        Bytes of a stored value of a descriptor.
    describing
        For each channel of the descriptor that is being made, on the image's lattice.
    recomputing
        The same where the descriptor of the warped image is made anew, and differentiated, each time.
    lattice
        For each channel of the network, on the velocity lattice: weights, their gradients and moments,
        features and what convolutions unfold.
    vectors
        Vectors (three numbers a voxel) on the velocity lattice: velocity, flows and their gradients.
    maps
        Vectors on the working grid while the final maps are made.
    """

    stored: int
    describing: float
    recomputing: float
    lattice: float
    vectors: float
    maps: float


_TEMPORARIES = {
    "cpu": _Temporaries(stored=1, describing=1.5, recomputing=11.0, lattice=10.0, vectors=8.0, maps=4.5),
    "cuda": _Temporaries(stored=2, describing=4.0, recomputing=12.0, lattice=14.0, vectors=40.0, maps=12.0),
}


def peak_bytes(
    shape: Sequence[int], settings: RegistrationSettings, device: Literal["cpu", "cuda"] = "cpu"
) -> int:
    """Most bytes that :func:`.register.register` holds at a time, with what the libraries take.

    Parameters
    ----------
    shape
        Of the working grid.
    settings
        The whole choice.
    device
        For `cpu` resident memory of a process that registers one pair after the other; for `cuda` memory of
        the card, for each pair at a time.

    Returns
    -------
    int
        An estimate: within a quarter on the CPU for the presets. Not measured on a card.
    """
    voxels = math.prod(shape)
    extra = _TEMPORARIES[device]
    images = IMAGES * NUMBER * voxels
    levels = max(_level_bytes(shape, number, settings, extra) for number in range(len(settings.levels)))
    maps = 3 * NUMBER * extra.maps * voxels
    capture = _capture_bytes(voxels, settings, extra)
    return int(runtime_bytes(device) + images + max(levels, maps, capture))


def runtime_bytes(device: Literal["cpu", "cuda"]) -> int:
    """What the libraries take, before there is an image: of the machine's memory, or of the card's."""
    has_cuda = device == "cpu" and torch.version.cuda is not None
    return RUNTIME[device] + (CUDA_LIBRARIES if has_cuda else 0)


def alignment_bytes(voxels: float, device: Literal["cpu", "cuda"] = "cpu") -> int:
    """Most bytes that :func:`.affine.align` holds at a time, without what the libraries take.

    It compares MIND-SSC that is computed anew each time. An estimate from the same counts, not measured.

    Parameters
    ----------
    voxels
        Of the fixed image at its finest level.
    device
        Where it is done.
    """
    images = 2 * IMAGES  # as they are, and resampled
    return int(NUMBER * (images + CHANNELS["mind-ssc"] * _TEMPORARIES[device].recomputing) * voxels)


def _capture_bytes(voxels: int, settings: RegistrationSettings, extra: _Temporaries) -> float:
    """Of the search before the first level: costs of all displacements, and descriptors."""
    capture = settings.capture
    if capture.reach == 0:
        return 0
    costs = CAPTURE_COPIES * (2 * capture.reach + 1) ** 3 * voxels / capture.shrink**3
    described = _channels(settings) * (2 + extra.describing) * voxels / max(1, capture.shrink // 2) ** 3
    return NUMBER * (costs + described)


def _level_bytes(
    shape: Sequence[int], number: int, settings: RegistrationSettings, extra: _Temporaries
) -> float:
    """Of a level, without the images at full resolution."""
    level = settings.levels[number]
    voxels = math.prod(shape) / level.shrink**3
    points = math.prod(velocity_lattice(shape, level, settings.velocity.lattice))
    network = settings.velocity.channels if settings.velocity.name == "decoder" else 3
    parts = settings.velocity.time_parts
    lattice = NUMBER * (network * extra.lattice * parts + 3 * (extra.vectors + 3 * (parts - 1))) * points
    descriptor = settings.descriptor
    if descriptor.name in INTENSITY_VOLUMES:
        return NUMBER * INTENSITY_VOLUMES[descriptor.name] * voxels + lattice
    channels = _channels(settings)
    if descriptor.recompute:  # then the descriptor lives beside the network
        return NUMBER * channels * extra.recomputing * voxels + lattice
    filled = math.ceil(channels / LANES) * LANES
    stored = 2 * filled * extra.stored * voxels
    return stored + max(NUMBER * channels * extra.describing * voxels, lattice)


def _channels(settings: RegistrationSettings) -> int:
    """Of the descriptor; MIND-SSC stands in for a measure on intensities where displacements are searched."""
    descriptor = settings.descriptor
    if descriptor.name == "mind" and descriptor.search_radius > 0:
        return (2 * descriptor.search_radius + 1) ** 3 - 1
    return CHANNELS.get(descriptor.name, CHANNELS["mind-ssc"])
