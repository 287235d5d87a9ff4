"""Joint histograms of two images, one for each patch of the lattice.

A voxel touches four bins of each image, so sixteen of the joint histogram; a table of voxels times bins
is never made. On the CPU the loops are compiled. Elsewhere they are torch operations over chunks of
voxels; on CUDA ``index_add_`` adds in any order, so two calls may differ in the last bits unless
``torch.use_deterministic_algorithms`` is on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bids_nodereg.registration.intensity import histogram_cpu
from bids_nodereg.registration.intensity.histogram_cpu import slopes, windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

CHUNK = 2**20
"""Voxels that the torch operations handle at once, which bounds their temporaries."""


@dataclass(frozen=True)
class Tiling:
    """Cubes that tile a lattice, cut at its edges.

    Along each axis voxel ``x`` lies in cube ``(x + lead) // patch``, and there are ``counts`` cubes.
    """

    shape: tuple[int, int, int]
    patch: int
    lead: tuple[int, int, int]
    counts: tuple[int, int, int]

    @property
    def patches(self) -> int:
        """How many cubes there are."""
        return self.counts[0] * self.counts[1] * self.counts[2]

    @property
    def boxes(self) -> NDArray[np.int64]:
        """First voxel of each cube and the one behind its last, along i, j, k: ``patches 6``."""
        ranges = []
        for size, lead, count in zip(self.shape, self.lead, self.counts, strict=True):
            edges = (np.arange(count + 1) * self.patch - lead).clip(0, size)
            ranges.append(np.stack([edges[:-1], edges[1:]], 1))
        numbers = np.indices(self.counts).reshape(3, -1)
        return np.hstack([axis[number] for axis, number in zip(ranges, numbers, strict=True)])

    def patch_of(self, voxels: Tensor) -> Tensor:
        """Number of the cube of each voxel, both as flat indices in C order."""
        rest, patch, stride = voxels, torch.zeros_like(voxels), 1
        for size, lead, count in list(zip(self.shape, self.lead, self.counts, strict=True))[::-1]:
            patch = patch + stride * ((rest % size + lead) // self.patch)
            rest, stride = rest // size, stride * count
        return patch


def tiling(shape: Sequence[int], patch: int, origin: Sequence[int]) -> Tiling:
    """Tile a lattice by cubes of ``patch`` voxels, one of which would start at the voxel ``origin``.

    ``origin`` may be any integers: it acts modulo ``patch``.
    """
    si, sj, sk = shape
    i, j, k = (-start % patch for start in origin)
    a, b, c = ((size - 1 + lead) // patch + 1 for size, lead in zip(shape, (i, j, k), strict=True))
    return Tiling((si, sj, sk), patch, (i, j, k), (a, b, c))


def joint_histograms(fixed: Tensor, moving: Tensor, weight: Tensor, bins: int, tiles: Tiling) -> Tensor:
    """Sum the weights of the voxels of each patch into bins of both intensities.

    Parameters
    ----------
    fixed, moving
        Images ``i j k``. Intensities below 0 or above 1 count as 0 and 1, and have no slope.
    weight
        ``i j k``, not negative; voxels of weight 0 are skipped. It gets no gradient.
    bins
        Bins of each image, 4 or more. [0, 1] spans ``bins - 3`` of them; the others hold the tails
        of the windows.
    tiles
        Patches, of the images' shape.

    Returns
    -------
    Tensor
        ``patches bins bins``, the fixed intensity's bins first. The bins of a patch sum to its weight.
        Differentiable once, with respect to both images.
    """
    arguments = (fixed, moving, weight, bins, tiles)
    result: Tensor = _JointHistograms.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _JointHistograms(torch.autograd.Function):
    """The histograms; the way back visits the voxels again instead of keeping their windows."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor, weight: Tensor, bins: int, tiles: Tiling) -> Tensor:
        images = [image.detach().contiguous() for image in (fixed, moving, weight)]
        ctx.save_for_backward(*images)
        ctx.tiles = tiles
        joint = fixed.new_zeros(tiles.patches, bins, bins)
        if _suits_cpu(fixed):
            f, m, w, counts = (tensor.numpy() for tensor in (*images, joint))
            histogram_cpu.count(f, m, w, tiles.boxes, counts)
        else:
            count(images[0], images[1], images[2], tiles, joint)
        return joint

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        fixed, moving, weight = ctx.saved_tensors
        slope = grad_outputs[0].contiguous()
        grads = torch.zeros_like(fixed), torch.zeros_like(moving)
        if _suits_cpu(fixed):
            f, m, w, s, of_f, of_m = (x.numpy() for x in (fixed, moving, weight, slope, *grads))
            histogram_cpu.gather(f, m, w, ctx.tiles.boxes, s, of_f, of_m)
        else:
            gather(fixed, moving, weight, ctx.tiles, slope, *grads)
        return *grads, None, None, None


def _suits_cpu(tensor: Tensor) -> bool:
    """Whether the compiled loops take it."""
    return tensor.device.type == "cpu" and tensor.dtype in {torch.float32, torch.float64}


def count(fixed: Tensor, moving: Tensor, weight: Tensor, tiles: Tiling, joint: Tensor) -> None:
    """As :func:`histogram_cpu.count`, with torch operations on any device."""
    bins = joint.shape[-1]
    for voxels in _foreground(weight):
        a, t, _ = _positions(fixed, voxels, bins)
        b, s, _ = _positions(moving, voxels, bins)
        share = weight.view(-1)[voxels]
        first = (tiles.patch_of(voxels) * bins + a) * bins + b
        f, m = windows(t), windows(s)
        for row, column in product(range(4), repeat=2):
            joint.view(-1).index_add_(0, first + (row * bins + column), share * (f[row] * m[column]))


def gather(
    fixed: Tensor,
    moving: Tensor,
    weight: Tensor,
    tiles: Tiling,
    slope: Tensor,
    grad_fixed: Tensor,
    grad_moving: Tensor,
) -> None:
    """As :func:`histogram_cpu.gather`, with torch operations on any device."""
    bins = slope.shape[-1]
    for voxels in _foreground(weight):
        a, t, fixed_inside = _positions(fixed, voxels, bins)
        b, s, moving_inside = _positions(moving, voxels, bins)
        first = (tiles.patch_of(voxels) * bins + a) * bins + b
        f, m, df, dm = windows(t), windows(s), slopes(t), slopes(s)
        of_fixed, of_moving = torch.zeros_like(t), torch.zeros_like(s)
        for row, column in product(range(4), repeat=2):
            value = slope.view(-1)[first + (row * bins + column)]
            of_fixed += value * (df[row] * m[column])
            of_moving += value * (f[row] * dm[column])
        scale = weight.view(-1)[voxels] * (bins - 3)
        grad_fixed.view(-1)[voxels] = of_fixed * scale * fixed_inside
        grad_moving.view(-1)[voxels] = of_moving * scale * moving_inside


def _foreground(weight: Tensor) -> Iterator[Tensor]:
    """Flat indices of the voxels of positive weight, in chunks."""
    yield from (weight.view(-1) > 0).nonzero().squeeze(1).split(CHUNK)


def _positions(image: Tensor, voxels: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """First of the four bins of each voxel, place between the middle two, and whether there is a slope."""
    value = image.view(-1)[voxels]
    position = value.clamp(0, 1) * (bins - 3)
    # Clamped as integers: whatever a NaN becomes, the bin is valid and the NaN goes on in the place.
    first = position.long().clamp(0, bins - 4)
    return first, position - first, (value >= 0) & (value <= 1)
