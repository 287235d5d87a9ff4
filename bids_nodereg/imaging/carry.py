"""Carry a file of any kind onto another grid: what is interpolated how, volume by volume.

========== ==================================================== =====================
kind       how                                                  type on disk
========== ==================================================== =====================
image      the chosen interpolation                             float32
labels     the label whose linear share is largest              as the file's
mask       linear between 0 and 1, inside is above a half       uint8
share      linear; values are from 0 to 1 (tissue probability)  float32
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

SHARE_ROUNDING = 1e-3
"""How far beyond 0 and 1 the values of a share may be."""

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
    """

    grid: Grid
    mapping: PointMap
    interpolation: Interpolation = "linear"
    threads: int = 1


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
    bad = 0
    with write_series(final, target.grid, series.times, dtype=stored, code=ALIGNED) as put:
        for volumes in _batches(series, target):
            bad += sum(map(_not_finite, volumes))
            samplers = [rule.sampler(volume, series, target) for volume in volumes]
            out = np.empty((*target.grid.shape, len(volumes)), rule.working)
            pull(samplers, series.grid, target.grid, target.mapping, out, target.threads)
            for number in range(len(volumes)):
                put(rule.finish(out[..., number]))
    if not bad:
        return series.notes
    share = bad / (series.count * np.prod(series.grid.shape))
    return (*series.notes, f"{bad} voxels ({share:.2%}) were NaN or infinite and are set to 0.")


def read_through(path: Path, kind: Kind) -> None:
    """Read all of a file that is to be carried, so that what is wrong with it is known beforehand.

    Raises
    ------
    MissingInputError, DataError
        As :func:`carry`.
    """
    series = open_series(path)
    for volume in series.volumes():
        if kind == "labels":
            _check_labels(volume, series)


def _batches(series: Series, target: Target) -> Iterator[list[NDArray[Any]]]:
    bytes_of_one = 4 * (int(np.prod(series.grid.shape)) + int(np.prod(target.grid.shape)))
    number = max(1, BYTES_AT_ONCE // bytes_of_one)
    volumes = series.volumes()
    while batch := list(islice(volumes, number)):
        yield batch


def _not_finite(volume: NDArray[Any]) -> int:
    """Count what :func:`_finite` sets to 0."""
    if volume.dtype.kind != "f":
        return 0
    return int(volume.size - np.count_nonzero(np.abs(volume) <= np.finfo(np.float32).max))


def _finite(volume: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what float32 cannot hold counts as infinite
        return np.nan_to_num(volume.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _image(volume: NDArray[Any], series: Series, target: Target) -> Sampler:
    del series
    return SAMPLERS[target.interpolation](_finite(volume))


def _share(volume: NDArray[Any], series: Series, target: Target) -> Sampler:
    del target
    values = _finite(volume)
    low, high = float(values.min()), float(values.max())
    if low < -SHARE_ROUNDING or high > 1 + SHARE_ROUNDING:
        msg = (
            f"{series.path}: a tissue map or other share has values from 0 to 1, got {low:g} to {high:g}. "
            "Divide it by its largest possible value, or carry it as an image."
        )
        raise DataError(msg)
    return SAMPLERS["linear"](values)


def _mask(volume: NDArray[Any], series: Series, target: Target) -> Sampler:
    del series, target
    return SAMPLERS["linear"](volume > 0.5)


def _labels(volume: NDArray[Any], series: Series, target: Target) -> Sampler:
    del target
    _check_labels(volume, series)
    return label_sampler(volume)


def _check_labels(volume: NDArray[Any], series: Series) -> None:
    limits = np.iinfo(np.int32)
    whole = volume.dtype.kind in "iu" or bool((np.isfinite(volume) & (volume == np.rint(volume))).all())
    if not whole or volume.min() < limits.min or volume.max() > limits.max:
        msg = (
            f"{series.path}: a label map needs whole numbers of at most 32 bits, got {volume.dtype} values "
            f"between {volume.min():g} and {volume.max():g}. Give a probability map as an image."
        )
        raise DataError(msg)


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
