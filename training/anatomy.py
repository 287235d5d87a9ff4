"""Anatomies to paint: random shapes, procedural heads, and real label maps.

Random shapes are in the spirit of SynthMorph (M. Hoffmann et al., IEEE TMI 41(3), 2022): the label of a
voxel is the smooth noise image that is the largest there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.lattice import identity

if TYPE_CHECKING:
    from torch import Tensor

    from training.chance import Chance

SIZE = 160
"""Voxels along an edge of a procedural anatomy, of 1 mm."""


@dataclass(frozen=True)
class Anatomy:
    """Labels to be painted, on voxels of 1 mm.

    ``labels`` are ``i j k`` integers, 0 outside the head; ``brain`` says which of them a brain mask
    holds. ``texture`` is what a real image shows within its labels (``1 1 i j k``, mean 0 in every label
    and standard deviation about 1), or None.
    """

    labels: Tensor
    brain: Tensor
    texture: Tensor | None = None

    @property
    def count(self) -> int:
        """Number of labels with the background."""
        return int(self.brain.numel())


def shapes(chance: Chance) -> Anatomy:
    """Random blobs that fill the field of view, of several sizes."""
    shape = (SIZE,) * 3
    count = chance.whole(8, 25)
    sizes = [chance.log_uniform(8, 60) for _ in range(3)]
    best = torch.full((1, 1, *shape), -torch.inf, device=chance.device)
    labels = torch.zeros((1, 1, *shape), dtype=torch.long, device=chance.device)
    for label in range(1, count):
        field = chance.smooth(1, shape, sizes[label % 3])
        labels = torch.where(field > best, label, labels)
        best = torch.maximum(field, best)
    if chance.happens(0.7):
        labels = labels * (_radius(_warped_points(chance, 15), (70, 75, 65)) < 1)
    return Anatomy(labels[0, 0], _all_but_background(count, chance))


def head(chance: Chance) -> Anatomy:
    """A head of nested shells: scalp, skull, fluid, folded cortex, white matter, and deep structures.

    Labels: 1 fluid, 2 cortex, 3 white matter, 4 cerebellar white matter, 5 cerebellar cortex, 6 brain
    stem, 7 ventricle, 8 to 14 deep structures, 15 skull, 16 scalp, 17 dura.
    """
    points = _warped_points(chance, 10)
    mirrored = torch.cat([points[:, :1].abs(), points[:, 1:]], 1)
    size = chance.uniform(0.85, 1.1)
    radius = _radius(points, (62 * size, 76 * size, 58 * size))
    depth = (1 - radius) * 64 * size
    labels = torch.zeros_like(radius, dtype=torch.long)
    for label, below in ((16, -11.0), (15, -6.0), (17, -2.5), (1, -1.5)):
        labels = torch.where(depth > below + chance.uniform(-1, 1), label, labels)
    cortex = chance.uniform(2, 4)
    labels = torch.where(depth > 0, 2, labels)
    labels = torch.where(depth > cortex, 3, labels)
    labels = _fold(labels, depth, chance, (2, 3))
    labels = _deep_structures(labels, mirrored, chance)
    labels = _hindbrain(labels, mirrored, chance)
    brain = _all_but_background(18, chance)
    brain[15:] = False
    if chance.happens(0.5):
        labels = labels * brain[labels]
    return Anatomy(labels[0, 0], brain)


def from_labels(labels: Tensor, image: Tensor | None = None) -> Anatomy:
    """A real label map ``i j k`` (any integers, 0 background), with its image where there is one."""
    _, compact = torch.unique(labels, return_inverse=True)
    if int(labels.min()) != 0:
        msg = f"from_labels: expected 0 as the smallest label (background), got {int(labels.min())}"
        raise ValueError(msg)
    count = int(compact.max()) + 1
    brain = torch.ones(count, dtype=torch.bool)
    brain[0] = False
    texture = None if image is None else _texture(compact, image, count)[None, None]
    return Anatomy(compact, brain, texture)


def _texture(labels: Tensor, image: Tensor, count: int) -> Tensor:
    """What is left of an image without its mean in every label; 0 in the background."""
    flat = labels.flatten()
    sums = torch.zeros(count).index_add_(0, flat, image.flatten().float())
    means = sums / torch.bincount(flat, minlength=count)
    rest = (image - means[labels]) * (labels > 0)
    return (rest / rest[labels > 0].std()).clamp(-3, 3)


def _all_but_background(count: int, chance: Chance) -> Tensor:
    brain = torch.ones(count, dtype=torch.bool, device=chance.device)
    brain[0] = False
    return brain


def _warped_points(chance: Chance, largest_mm: float) -> Tensor:
    """Positions about the centre, ``1 3 i j k`` in mm, bent by smooth noise."""
    shape = (SIZE,) * 3
    points = identity(shape, torch.zeros(1, device=chance.device)) - (SIZE - 1) / 2
    return points + chance.smooth(3, shape, 50) * chance.uniform(0, largest_mm) / 3


def _radius(points: Tensor, semi_axes: tuple[float, float, float]) -> Tensor:
    """1 on the ellipsoid's surface; ``1 1 i j k``."""
    axes = torch.tensor(semi_axes, device=points.device).view(1, 3, 1, 1, 1)
    return (points / axes).square().sum(1, keepdim=True).sqrt()


def _ellipsoid(points: Tensor, centre: tuple[float, ...], semi_axes: tuple[float, ...]) -> Tensor:
    middle = torch.tensor(centre, device=points.device).view(1, 3, 1, 1, 1)
    return _radius(points - middle, semi_axes) < 1  # type: ignore[arg-type]


def _fold(labels: Tensor, depth: Tensor, chance: Chance, cortex_and_white: tuple[int, int]) -> Tensor:
    """Sulci: thin fluid along the zero level of band-limited noise, cortex on both sides of it."""
    cortex, white = cortex_and_white
    folds = chance.smooth(1, labels.shape[2:], chance.uniform(9, 15)).abs()
    folds = folds + depth.clamp_min(0) / chance.uniform(20, 40)
    inside = (labels == white) | (labels == cortex)
    labels = torch.where(inside & (folds < chance.uniform(0.7, 1.2)), cortex, labels)
    return torch.where(inside & (folds < chance.uniform(0.12, 0.35)), 1, labels)


def _deep_structures(labels: Tensor, points: Tensor, chance: Chance) -> Tensor:
    """Ventricles and seven deep structures on each side, of random place and size."""
    for label in range(8, 15):
        centre = (chance.uniform(8, 28), chance.uniform(-25, 30), chance.uniform(-18, 12))
        axes = tuple(chance.uniform(4, 13) for _ in range(3))
        labels = torch.where(_ellipsoid(points, centre, axes), label, labels)
    ventricle = _ellipsoid(
        points,
        (chance.uniform(4, 12), chance.uniform(-8, 12), chance.uniform(5, 18)),
        (chance.uniform(3, 9), chance.uniform(20, 36), chance.uniform(5, 11)),
    )
    return torch.where(ventricle, 7, labels)


def _hindbrain(labels: Tensor, points: Tensor, chance: Chance) -> Tensor:
    """Cerebellum with fine folds, and brain stem."""
    low = chance.uniform(-48, -38)
    cerebellum = _ellipsoid(points, (20, -42, low), (34, 26, 20))
    folds = chance.smooth(1, labels.shape[2:], chance.uniform(5, 8)).abs()
    leaf = torch.where(folds < chance.uniform(0.5, 0.9), 5, 4)
    labels = torch.where(cerebellum & (labels > 0), leaf, labels)
    stem = _ellipsoid(points, (0, -18, low), (10, 12, 32))
    return torch.where(stem & (labels > 0), 6, labels)
