"""Images, velocity fields and linear maps with known answers for the tests of this folder."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from bids_nodereg.registration.diffeomorphism import flow_on
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.warp import compose, sample

SHAPE = (24, 31, 19)
PAIR_SHAPE = (32, 35, 29)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Independent values, uniform in [0, 1)."""
    return torch.from_numpy(np.random.default_rng(seed).random(shape)).to(dtype)


def positions_off_lattice(count: int, shape: tuple[int, ...], seed: int, *, outside: bool) -> Tensor:
    """Points ``1 3 count 1 1`` in float64, never within 0.1 of a lattice plane (where slopes jump)."""
    rng = np.random.default_rng(seed)
    margin = 3 if outside else 0
    cell = np.stack([rng.integers(-margin, size - 1 + margin, count) for size in shape])
    return torch.from_numpy(cell + rng.uniform(0.1, 0.9, cell.shape)).view(1, 3, count, 1, 1)


def structured_image(shape: tuple[int, ...], sigma: float = 1.5, seed: int = 0) -> Tensor:
    """Smooth texture without a flat place, ``1 1 i j k`` in [0, 1], float64."""
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    texture = (texture - texture.min()) / np.ptp(texture)
    return torch.from_numpy(texture)[None, None]


def smooth_velocity(
    shape: tuple[int, ...], sigma: float, largest: float, seed: int = 0, rim: float = 6.0
) -> Tensor:
    """Gaussian-smoothed noise that falls to 0 on the boundary, ``1 3 i j k`` in float64.

    ``largest`` is the length in voxels of its longest vector.
    """
    rng = np.random.default_rng(seed)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), sigma) for _ in range(3)])
    for axis, size in enumerate(shape):
        index = np.arange(size)
        ramp = np.clip(np.minimum(index, size - 1 - index) / rim, 0, 1)
        view = [1, 1, 1, 1]
        view[axis + 1] = size
        field = field * (ramp**2 * (3 - 2 * ramp)).reshape(view)
    field *= largest / np.sqrt((field**2).sum(0)).max()
    return torch.from_numpy(field)[None]


def lattice_points(shape: tuple[int, ...]) -> np.ndarray:
    """Voxel index of every voxel, ``(i, j, k, 3)``."""
    return np.stack(np.indices(shape), -1).astype(float)


def linear_field(matrix: np.ndarray, shape: tuple[int, ...], centre: np.ndarray | None = None) -> Tensor:
    """``A (x - c)`` at every voxel, ``1 3 i j k`` in float64; ``c`` is the lattice's middle."""
    middle = (np.asarray(shape) - 1) / 2 if centre is None else centre
    vectors = (lattice_points(shape) - middle) @ np.asarray(matrix, float).T
    return torch.from_numpy(np.moveaxis(vectors, -1, 0).copy())[None]


def inverse_consistency(outer: Tensor, inner: Tensor) -> Tensor:
    """Norm in voxels, ``1 1 i j k``, of ``(id + outer) o (id + inner) - id``."""
    return compose(outer, inner).norm(dim=1, keepdim=True)


def other_contrast(image: Tensor) -> Tensor:
    """Inverted and bent."""
    return 1 - 0.8 * image**1.5


@lru_cache(maxsize=1)
def known_pair() -> tuple[ImagePair, Tensor]:
    """A texture, the same one moved and in another contrast, and the true forward displacement."""
    velocity = smooth_velocity(PAIR_SHAPE, 5, 3.5, seed=1, rim=8)
    image = structured_image(PAIR_SHAPE, 1.8)
    there = identity(PAIR_SHAPE, image) + flow_on(-velocity, PAIR_SHAPE, 8)
    moving = other_contrast(sample(image, there))
    mask = torch.zeros(1, 1, *PAIR_SHAPE)
    mask[..., 3:-3, 3:-3, 3:-3] = 1
    return ImagePair(image.float(), moving.float(), mask, mask), flow_on(velocity, PAIR_SHAPE, 8).float()


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> Tensor:
    """True within ``radius`` voxels of a point, ``1 1 i j k``."""
    return torch.from_numpy(np.linalg.norm(lattice_points(shape) - centre, axis=-1) < radius)[None, None]
