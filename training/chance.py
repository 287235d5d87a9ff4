"""Random numbers of one training step: a function of seed and step alone, so that resuming is exact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

MIXING = 1_000_003
"""Prime that keeps the streams of nearby seeds and steps apart."""


class Chance:
    """A stream of random numbers on a device."""

    def __init__(self, seed: int, step: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed((seed * MIXING + step) * MIXING)

    def uniform(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator, device=self.device))

    def log_uniform(self, low: float, high: float) -> float:
        """One positive number, its logarithm uniform."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def happens(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.uniform(0, 1) < probability

    def whole(self, low: int, high: int) -> int:
        """One integer in [low, high)."""
        return int(self.wholes(low, high, ()))

    def wholes(self, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """Integers in [low, high)."""
        return torch.randint(low, high, tuple(shape), generator=self.generator, device=self.device)

    def uniforms(self, low: float, high: float, shape: Sequence[int]) -> Tensor:
        """Numbers in [low, high)."""
        numbers = torch.rand(tuple(shape), generator=self.generator, device=self.device)
        return low + (high - low) * numbers

    def normals(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def smooth(self, channels: int, shape: Sequence[int], voxels: float) -> Tensor:
        """Smooth noise ``1 channels i j k`` of about unit variance, with structures of ``voxels`` size."""
        coarse = [max(2, math.ceil(size / voxels) + 1) for size in shape]
        noise = self.normals(1, channels, *coarse)
        return functional.interpolate(noise, tuple(shape), mode="trilinear", align_corners=True) * 1.5
