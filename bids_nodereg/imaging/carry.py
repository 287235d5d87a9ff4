"""Carry a file of any kind onto another grid: what is interpolated how, volume by volume.

========== ==================================================== =====================
kind       how                                                  type on disk
========== ==================================================== =====================
image      the chosen interpolation                             float32
labels     the label whose linear share is largest              as the file's
mask       linear between 0 and 1, inside is above a half       uint8
share      linear, kept within 0 and 1 (tissue probability)     float32
========== ==================================================== =====================

The points of the grid go through the map once for as many volumes as fit into :data:`BYTES_AT_ONCE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bids_nodereg.errors import DataError
from bids_nodereg.imaging.resample import SAMPLERS, label_sampler, pull
from bids_nodereg.imaging.series import Series, open_series, write_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.chain import PointMap
    from bids_nodereg.imaging.resample import Interpolation, Sampler

    Kind = Literal["image", "labels", "mask", "share"]

ALIGNED = 2
"""NIfTI q/sform code of what was resampled onto another image: aligned, not scanner."""

BYTES_AT_ONCE = 2**27
"""Memory for the volumes, read and made, that are worked on together; one volume is always done."""


@dataclass(frozen=True, eq=False)
class Target:
    """Where files are carried to, and how.

    Attributes
    ----------
    grid
        The grid of the result.
    mapping
        Takes world points of ``grid`` to world points of the file, RAS+ mm.
    interpolation
        Of images; the other kinds have their own.
    threads
        Number of slabs worked on at a time.
    code
        NIfTI code of the result's affine.
    """

    grid: Grid
    mapping: PointMap
    interpolation: Interpolation = "linear"
    threads: int = 1
    code: int = ALIGNED


@dataclass(frozen=True)
class _Rule:
    """How one kind is read and finished."""

    sampler: Callable[[NDArray[Any], Series, Target], Sampler]
    finish: Callable[[NDArray[Any]], NDArray[Any]]
    working: type[np.generic]
    stored: Callable[[Series], np.dtype[Any]]


def carry(path: Path, kind: Kind, target: Target, final: Path) -> tuple[str, ...]:
    """Resample a file of one or many volumes onto a grid, each value interpolated once.

    Parameters
    ----------
    path
        The file.
    kind
        What it holds, which decides how it is interpolated.
    target
        Where to.
    final
        The result, ending in ``.nii`` or ``.nii.gz``; 0 where the file has nothing.

    Returns
    -------
    tuple of str
        What was unusual about the file, one sentence each.

    Raises
    ------
    MissingInputError, DataError
        If the file is not there, is damaged, or is not of the kind.
    OutputError
        If the result cannot be written.
    """
    series, rule = open_series(path), RULES[kind]
    stored = rule.stored(series)
    with write_series(final, target.grid, series.times, dtype=stored, code=target.code) as put:
        for volumes in _batches(series, target):
            samplers = [rule.sampler(volume, series, target) for volume in volumes]
            out = np.empty((*target.grid.shape, len(volumes)), rule.working)
            pull(samplers, series.grid, target.grid, target.mapping, out, target.threads)
            for number in range(len(volumes)):
                put(rule.finish(out[..., number]))
    return series.notes


def _batches(series: Series, target: Target) -> Iterator[list[NDArray[Any]]]:
    bytes_of_one = 4 * (int(np.prod(series.grid.shape)) + int(np.prod(target.grid.shape)))
    number = max(1, BYTES_AT_ONCE // bytes_of_one)
    volumes = series.volumes()
    while batch := list(islice(volumes, number)):
        yield batch


def _image(volume: NDArray[Any], series: Series, target: Target) -> Sampler:
    del series
    with np.errstate(over="ignore"):  # what float32 cannot hold counts as infinite
        values = np.nan_to_num(volume.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return SAMPLERS[target.interpolation](values)


def _share(volume: NDArray[Any], series: Series, target: Target) -> Sampler:
    del series, target
    return SAMPLERS["linear"](np.nan_to_num(volume.astype(np.float32)))


def _mask(volume: NDArray[Any], series: Series, target: Target) -> Sampler:
    del series, target
    return SAMPLERS["linear"](volume > 0.5)


def _labels(volume: NDArray[Any], series: Series, target: Target) -> Sampler:
    del target
    limits = np.iinfo(np.int32)
    whole = volume.dtype.kind in "iu" or bool((np.isfinite(volume) & (volume == np.rint(volume))).all())
    if not whole or volume.min() < limits.min or volume.max() > limits.max:
        msg = (
            f"{series.path}: a label map needs whole numbers of at most 32 bits, got {volume.dtype} values "
            f"between {volume.min():g} and {volume.max():g}. Give a probability map as an image."
        )
        raise DataError(msg)
    return label_sampler(volume)


def _same(values: NDArray[Any]) -> NDArray[Any]:
    return values


def _label_type(series: Series) -> np.dtype[Any]:
    """The file's own type, or int32 for whole numbers stored as others."""
    kept = series.dtype.kind in "iu"
    return series.dtype.newbyteorder("=") if kept else np.dtype(np.int32)


HOW = {
    "labels": "linear per label, then the label with the largest share",
    "mask": "linear, above 0.5",
    "share": "linear, within 0 and 1",
}
"""Words for the interpolation of what is no image."""

RULES: dict[str, _Rule] = {
    "image": _Rule(_image, _same, np.float32, lambda _: np.dtype(np.float32)),
    "labels": _Rule(_labels, _same, np.int32, _label_type),
    "mask": _Rule(_mask, lambda values: values > 0.5, np.float32, lambda _: np.dtype(np.uint8)),
    "share": _Rule(_share, lambda values: values.clip(0, 1), np.float32, lambda _: np.dtype(np.float32)),
}
"""How each kind is carried."""
