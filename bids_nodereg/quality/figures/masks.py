"""Pictures of the masks: an image with the outline of its mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from bids_nodereg.quality.figures.anatomy import enlarge, grey, lines_over
from bids_nodereg.quality.figures.mosaic import write_mosaic
from bids_nodereg.quality.figures.window import grey_window

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.quality.figures.mosaic import Layout
    from bids_nodereg.quality.figures.slices import Plane

    Rgb = NDArray[np.uint8]

CONTOUR_COLOUR = (64, 224, 255)
"""Unlike the amber of edges and the green of folds, and in no grey image."""
CONTOUR_PIXELS = 2


def write_mask(
    path: Path,
    volume: NDArray[np.floating],
    mask: NDArray[np.bool_],
    tissue: NDArray[np.bool_],
    layout: Layout,
) -> Path:
    """Write a mosaic of an image with the outline of its mask.

    Parameters
    ----------
    path
        Final name, ``.webp``.
    volume
        ``(i, j, k)`` intensities.
    mask
        ``(i, j, k)``, whose outline is drawn; it stays open where the mask runs out of the picture.
    tissue
        ``(i, j, k)``, where the grey window is taken from: a mask that is wrong must not darken the image.
    layout
        Slices.
    """
    view = layout.view
    window = grey_window(volume, tissue, view.spacing)

    def paint(plane: Plane, index: int) -> Rgb:
        size = layout.tile(plane)
        # Cut to the window first: splines would ring around a brain without skull, like a second border.
        shown = np.clip(np.asarray(view.picture(volume, plane, index), np.float32), *window)
        picture = grey(enlarge(shown, size), window)
        inside = enlarge(np.asarray(view.picture(mask, plane, index), np.float32), size, order=1) > 0.5
        return lines_over(picture, contour(inside), CONTOUR_COLOUR)

    return write_mosaic(path, layout, paint)


def contour(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels ``(row, column)`` along the inner side of a border, none along the frame of the picture."""
    core = ndimage.binary_erosion(inside, iterations=CONTOUR_PIXELS, border_value=1)
    return np.asarray(inside & ~core)
