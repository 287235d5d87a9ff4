"""Separable filters and resizing: three bands applied in one pass over the planes, compiled."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import prange

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.bands import Band, downsample_band, filter_band, resize_band
from bids_nodereg.registration.kernels.cpu.rows import FAST, array, band_row, combine

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]
    Shape = tuple[int, int, int]
    BandOf = partial[Band]


def separable(image: Tensor, kernel: Tensor) -> Tensor:
    """As :func:`reference.separable`."""
    taps = tuple(kernel.tolist())
    bands = [partial(filter_band, taps, size) for size in image.shape[2:]]
    return _banded(image, tuple(image.shape[2:]), bands)


def resize(image: Tensor, shape: Shape) -> Tensor:
    """As :func:`reference.resize`."""
    bands = [partial(resize_band, size, to) for size, to in zip(image.shape[2:], shape, strict=True)]
    return _banded(image, shape, bands)


def downsample(image: Tensor, shape: Shape, kernel: Tensor) -> Tensor:
    """As :func:`reference.downsample`, both in one pass."""
    taps = tuple(kernel.tolist())
    sizes = zip(image.shape[2:], shape, strict=True)
    return _banded(image, shape, [partial(downsample_band, taps, size, to) for size, to in sizes])


def _banded(image: Tensor, shape: tuple[int, ...], bands: list[BandOf]) -> Tensor:
    result: Tensor = _Banded.apply(image, shape, bands)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _Banded(torch.autograd.Function):
    """A band along each axis; the way back is the same loop with the transposed bands."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, shape: tuple[int, ...], bands: list[BandOf]) -> Tensor:
        ctx.shape, ctx.bands = tuple(image.shape[2:]), bands
        return _apply(image, shape, [band() for band in bands])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        return _apply(grad_outputs[0], ctx.shape, [band(transposed=True) for band in ctx.bands]), None, None


def _apply(image: Tensor, shape: tuple[int, ...], bands: list[Band]) -> Tensor:
    values = array(image.flatten(0, 1))
    out = np.empty((values.shape[0], *shape), np.float32)
    along_i, along_j, along_k = bands
    _three_bands(values, along_i[:2], along_j[:2], along_k, out)
    return torch.from_numpy(out).view(*image.shape[:2], *shape)


@compiled(parallel=True, fastmath=FAST)
def _three_bands(values: Array, along_i: Any, along_j: Any, along_k: Any, out: Array) -> None:
    """Each plane of the result: along i into a plane, along j into a row, along k into the result."""
    starts_i, taps_i = along_i
    starts_j, taps_j = along_j
    _, sj, sk = values.shape[1:]
    oi, oj = out.shape[1:3]
    for task in prange(out.shape[0] * oi):
        c, x = task // oi, task % oi
        plane = np.empty((sj, sk), np.float32)
        row = np.empty(sk, np.float32)
        for y in range(sj):
            combine(values[c, :, y], starts_i[x], taps_i[x], plane[y])
        for y in range(oj):
            combine(plane, starts_j[y], taps_j[y], row)
            band_row(row, along_k, out[c, x, y])
