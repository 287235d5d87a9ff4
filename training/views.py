"""Two pictures of one anatomy in unrelated contrasts, each seen as a scanner might."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.smoothing import gaussian
from bids_nodereg.registration.warp import sample

if TYPE_CHECKING:
    from torch import Tensor

    from training.anatomy import Anatomy
    from training.chance import Chance

FINE = 2
"""Labels are painted on a lattice finer by this factor and averaged: partial volume."""

WINDOW = (0.005, 0.995)
"""Quantiles in the mask that become 0 and 1, as when the program prepares an image."""


FIELD_OF_VIEW_SHIFT = 1 / 3
"""Largest shift of the second view along each axis, as a share of its size."""


@dataclass(frozen=True)
class View:
    """One picture.

    ``image`` and ``mask`` are ``1 1 i j k``; ``labels`` ``i j k``. ``to_anatomy`` (3 x 4) takes a voxel
    of the picture to a voxel of the anatomy; ``spacing_mm`` is the edge of a voxel.
    """

    image: Tensor
    mask: Tensor
    labels: Tensor
    to_anatomy: Tensor
    spacing_mm: float


def two_views(anatomy: Anatomy, size: int, chance: Chance) -> tuple[View, View]:
    """Views of the same region, the second turned and scaled a little, in another field of view.

    Parameters
    ----------
    anatomy
        What is painted.
    size
        Voxels along an edge of the pictures.
    chance
        The random numbers of this step.
    """
    spacing_mm = chance.log_uniform(0.9, 3.5)
    first = _placement(anatomy, size, spacing_mm, chance)
    second = first @ _small_motion(size, chance)
    a, b = (_view(anatomy, to_anatomy[:3], size, spacing_mm, chance) for to_anatomy in (first, second))
    return a, b


def corresponding(points: Tensor, first: View, second: View) -> Tensor:
    """Voxel positions ``n 3`` of the first view in the second."""
    at_anatomy = points @ first.to_anatomy[:, :3].T + first.to_anatomy[:, 3]
    back: Tensor = torch.linalg.inv(second.to_anatomy[:, :3])
    return (at_anatomy - second.to_anatomy[:, 3]) @ back.T


def _placement(anatomy: Anatomy, size: int, spacing_mm: float, chance: Chance) -> Tensor:
    """Picture to anatomy (4 x 4): any orientation, centred on a voxel of the brain."""
    brain = anatomy.brain[anatomy.labels].nonzero()
    centre = brain[chance.whole(0, len(brain))].to(torch.float32)
    if spacing_mm * size > min(anatomy.labels.shape):  # the picture holds it all: about its middle
        centre = brain.to(torch.float32).mean(0) + chance.normals(3) * 6
    flips = chance.wholes(0, 2, (3,)) * 2.0 - 1
    axes = torch.randperm(3, generator=chance.generator, device=chance.device)
    linear = torch.diag(flips)[axes] @ _rotation(chance.normals(3) * 0.25)
    return _about(linear * spacing_mm, centre, size)


def _small_motion(size: int, chance: Chance) -> Tensor:
    """What two images differ by after an affine start, and another field of view (4 x 4).

    The field of view must differ by much: a network sees where the edges are, and in two views with the
    same edges the distance from them would tell all places apart without looking at the anatomy.
    """
    linear = _rotation(chance.normals(3) * 0.06) * (1 + 0.04 * chance.normals(3))
    motion = _about(linear, torch.full((3,), (size - 1) / 2, device=chance.device), size)
    motion[:3, 3] += chance.uniforms(-1, 1, (3,)) * FIELD_OF_VIEW_SHIFT * size
    return motion


def _about(linear: Tensor, centre: Tensor, size: int) -> Tensor:
    """The affine of this linear part that takes the middle of the picture to ``centre``."""
    affine = torch.eye(4, device=linear.device)
    affine[:3, :3] = linear
    affine[:3, 3] = centre - linear @ torch.full((3,), (size - 1) / 2, device=linear.device)
    return affine


def _rotation(vector: Tensor) -> Tensor:
    """Rotation by the length of a vector (radians) about it."""
    x, y, z = vector.unbind()
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
    rotation: Tensor = torch.linalg.matrix_exp(cross)
    return rotation


def _view(anatomy: Anatomy, to_anatomy: Tensor, size: int, spacing_mm: float, chance: Chance) -> View:
    fine_to_anatomy = to_anatomy.clone()
    fine_to_anatomy[:, :3] /= FINE
    fine_to_anatomy[:, 3] -= fine_to_anatomy[:, :3].sum(1) * (FINE - 1) / 2
    labels, texture = _read(anatomy, fine_to_anatomy, size * FINE)
    painted = _paint(labels, texture, anatomy, chance)
    image = functional.avg_pool3d(painted, FINE)
    in_brain = anatomy.brain[labels][None, None].to(image.dtype)
    mask = (functional.avg_pool3d(in_brain, FINE) > 0.5).to(image.dtype)
    image = _scanned(image, chance)
    if chance.happens(0.7):
        image = image * mask
    middle = slice(FINE // 2, None, FINE)
    return View(_windowed(image, mask), mask, labels[middle, middle, middle], to_anatomy, spacing_mm)


def _read(anatomy: Anatomy, to_anatomy: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Labels of the nearest voxels (0 outside), and the texture, on a lattice of the picture."""
    points = identity((size,) * 3, to_anatomy)
    at = torch.einsum("xy,byijk->bxijk", to_anatomy[:, :3], points) + to_anatomy[:, 3].view(1, 3, 1, 1, 1)
    shape = anatomy.labels.shape
    nearest = at[0].round().long()
    limits = torch.tensor(shape, device=at.device).view(3, 1, 1, 1)
    inside = ((nearest >= 0) & (nearest < limits)).all(0)
    i, j, k = torch.minimum(nearest.clamp_min(0), limits - 1)
    labels = anatomy.labels[i, j, k] * inside
    texture = torch.zeros_like(points[:, :1]) if anatomy.texture is None else sample(anatomy.texture, at)
    return labels, texture


def _paint(labels: Tensor, texture: Tensor, anatomy: Anatomy, chance: Chance) -> Tensor:
    """A random mean for every label, some shared, and a random slope of the texture."""
    count = anatomy.count
    groups = chance.whole(3, max(4, count))
    level = chance.uniforms(0, 1, (groups,))[chance.wholes(0, groups, (count,))]
    level = level + 0.03 * chance.normals(count)
    if chance.happens(0.7):
        level[0] = 0
    slope = chance.normals(count) * chance.uniform(0, 0.15)
    image = level[labels] + slope[labels] * texture[0, 0]
    if chance.happens(0.5):
        shape = labels.shape
        grain = chance.smooth(1, shape, chance.log_uniform(2, 20))[0, 0]
        image = image + chance.uniform(0, 0.06) * grain * (labels > 0)
    return image[None, None]


def _scanned(image: Tensor, chance: Chance) -> Tensor:
    """Blur, thick slices, bias field, gamma and noise."""
    shape = image.shape[2:]
    if chance.happens(0.5):
        image = gaussian(image, chance.uniform(0.2, 0.9))
    if chance.happens(0.25):
        image = _thick_slices(image, chance)
    if chance.happens(0.8):
        image = image * torch.exp(chance.uniform(0, 0.35) * chance.smooth(1, shape, shape[0] / 2))
    if chance.happens(0.5):
        image = image.clamp_min(0) ** math.exp(chance.uniform(-0.5, 0.5))
    noise = chance.uniform(0, 0.05)
    real, imaginary = noise * chance.normals(*image.shape), noise * chance.normals(*image.shape)
    return ((image + real).square() + imaginary.square()).sqrt() if chance.happens(0.5) else image + real


def _thick_slices(image: Tensor, chance: Chance) -> Tensor:
    """Lower resolution along one axis, interpolated back."""
    shape = image.shape[2:]
    thick = list(shape)
    axis = chance.whole(0, 3)
    thick[axis] = max(4, int(shape[axis] / chance.uniform(1.5, 4)))
    slices = functional.interpolate(image, thick, mode="area")
    return functional.interpolate(slices, shape, mode="trilinear", align_corners=False)


def _windowed(image: Tensor, mask: Tensor) -> Tensor:
    """Scaled between quantiles in the mask, and clipped to [0, 1]."""
    values = image[mask > 0]
    if values.numel() < 2:
        return image.clamp(0, 1)
    ordered = values.sort().values
    low, high = (ordered[round(q * (len(ordered) - 1))] for q in WINDOW)
    return ((image - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
