"""Colour maps over the fixed image: log-Jacobian with folds, displacement, errors in mm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.quality.figures.anatomy import grey
from bids_nodereg.quality.figures.mosaic import ColourBar, Layout, write_mosaic
from bids_nodereg.quality.figures.window import grey_window
from bids_nodereg.quality.jacobian import LOG_FLOOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.quality.figures.slices import Plane

    Volume = NDArray[np.floating]
    Mask = NDArray[np.bool_]
    Rgb = NDArray[np.uint8]

FOLD_COLOUR = (57, 255, 20)
OPACITY = 0.62
DIMMED = 0.35
"""Brightness outside the mask: what has no colour must not be what one sees first, as bright scalp is."""
NICE = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)


def write_log_jacobian(
    path: Path, fixed: Volume, determinant: Volume, folded: Mask, mask: Mask, layout: Layout
) -> Path:
    """Write the log-Jacobian over the fixed image, folded voxels in a loud colour.

    Parameters
    ----------
    path
        Final name, ``.webp``.
    fixed
        ``(i, j, k)`` intensities.
    determinant
        ``(i, j, k)`` Jacobian determinant of the forward map.
    folded
        ``(i, j, k)`` voxels that fold.
    mask
        ``(i, j, k)`` where colours are shown.
    layout
        Slices.
    """
    logarithm = np.log(np.maximum(determinant, LOG_FLOOR))
    limit = nice_limit(np.abs(logarithm[mask]))
    colours = _table("RdBu_r")

    def position(value: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray((value / limit + 1) / 2)

    ticks = tuple(
        (part, f"{limit * (2 * part - 1):+.2g}" if part != 0.5 else "0") for part in (0, 0.25, 0.5, 0.75, 1)
    )
    bar = ColourBar(colours, ticks, "ln J   blue: contraction, red: expansion")
    paint = _overlay(fixed, mask, layout, (logarithm, position, colours), folded)
    return write_mosaic(path, layout, paint, bar)


def write_distance(
    path: Path, fixed: Volume, distance_mm: Volume, mask: Mask, layout: Layout, title: str
) -> Path:
    """Write a map in mm, such as displacement or error, over the fixed image.

    Parameters
    ----------
    path
        Final name, ``.webp``.
    fixed
        ``(i, j, k)`` intensities.
    distance_mm
        ``(i, j, k)`` in mm, not negative.
    mask
        ``(i, j, k)`` where colours are shown.
    layout
        Slices.
    title
        Words for the colour bar, with the unit.
    """
    limit = nice_limit(distance_mm[mask])
    colours = _table("magma")

    def position(value: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(value / limit)

    ticks = tuple((part, f"{limit * part:.3g}") for part in (0, 0.25, 0.5, 0.75, 1))
    paint = _overlay(fixed, mask, layout, (distance_mm, position, colours), None)
    return write_mosaic(path, layout, paint, ColourBar(colours, ticks, title))


def nice_limit(values: NDArray[np.floating]) -> float:
    """Give a round number that at least 99.5 % of the values are below."""
    top = float(np.percentile(values, 99.5)) if values.size else 0.0
    return next((limit for limit in NICE if limit >= top), float(np.ceil(top)))


def _overlay(
    fixed: Volume,
    mask: Mask,
    layout: Layout,
    scale: tuple[Volume, Callable[[NDArray[np.floating]], NDArray[np.floating]], Rgb],
    folded: Mask | None,
) -> Callable[[Plane, int], Rgb]:
    """Make a painter of one map: volume, its position on the scale from 0 to 1, and the colours."""
    view = layout.view
    window = grey_window(fixed, mask, view.spacing)
    volume, position, colours = scale

    def paint(plane: Plane, index: int) -> Rgb:
        picture = grey(np.asarray(view.picture(fixed, plane, index)), window).astype(np.float32)
        inside = np.asarray(view.picture(mask, plane, index), bool)
        where = np.clip(position(np.asarray(view.picture(volume, plane, index), np.float32)), 0, 1)
        colour = colours[np.rint(where * (len(colours) - 1)).astype(int)]
        picture[~inside] *= DIMMED
        picture[inside] = (1 - OPACITY) * picture[inside] + OPACITY * colour[inside]
        if folded is not None:
            picture[np.asarray(view.picture(folded, plane, index), bool) & inside] = FOLD_COLOUR
        return picture.astype(np.uint8)

    return paint


def _table(name: str) -> Rgb:
    """Look up 256 colours of a matplotlib colour map."""
    import matplotlib as mpl  # where it is needed first: a run begins without it

    table = mpl.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    return np.asarray(np.rint(table * 255), np.uint8)
