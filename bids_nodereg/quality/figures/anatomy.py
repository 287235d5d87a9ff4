"""Pictures of the images themselves: the frames of the flicker, and edges of one on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from bids_nodereg.quality.figures.mosaic import Layout, write_mosaic
from bids_nodereg.quality.figures.window import grey_window

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.quality.figures.slices import Plane, View

    Volume = NDArray[np.floating]
    Rgb = NDArray[np.uint8]

EDGE_COLOUR = (255, 176, 0)
EDGE_SCALE_MM = 1.2
EDGE_STRONG_PERCENT = 88
EDGE_WEAK_PART = 0.5
EDGE_BEYOND_MM = 4.0
"""How far from the mask, within a slice, edges are drawn: those of scalp and neck would drown the brain's."""
SQUARE_MM = 18.0


def grey(picture: Volume, window: tuple[float, float]) -> Rgb:
    """Turn intensities ``(row, column)`` into grey ``(row, column, 3)``."""
    low, high = window
    level = np.clip((picture.astype(np.float32) - low) / (high - low), 0, 1)
    return np.repeat((level * 255).astype(np.uint8)[..., None], 3, axis=-1)


def write_anatomy(path: Path, volume: Volume, mask: NDArray[np.bool_], layout: Layout) -> Path:
    """Write a mosaic of one image.

    Parameters
    ----------
    path
        Final name, ``.webp``.
    volume
        ``(i, j, k)`` intensities.
    mask
        ``(i, j, k)``, where the grey window is taken from.
    layout
        Slices; give the same one for images that are to be compared.
    """
    window = grey_window(volume, mask, layout.view.spacing)

    def paint(plane: Plane, index: int) -> Rgb:
        return grey(np.asarray(layout.view.picture(volume, plane, index)), window)

    return write_mosaic(path, layout, paint)


def write_edges(path: Path, fixed: Volume, moving: Volume, mask: NDArray[np.bool_], layout: Layout) -> Path:
    """Write the edges of the moving image over the fixed image.

    Parameters
    ----------
    path
        Final name, ``.webp``.
    fixed, moving
        ``(i, j, k)`` on one grid; give the moving one as it is before or after.
    mask
        ``(i, j, k)``, where windows and the strength of edges are taken from; edges are drawn in it and
        up to 4 mm from it.
    layout
        Slices.
    """
    view = layout.view
    window = grey_window(fixed, mask, view.spacing)
    strong = edge_strength(moving, mask, view)

    def paint(plane: Plane, index: int) -> Rgb:
        size = layout.tile(plane)
        picture = grey(enlarge(np.asarray(view.picture(fixed, plane, index), np.float32), size), window)
        sharp = enlarge(np.asarray(view.picture(moving, plane, index), np.float32), size)
        edges = edge_lines(sharp, EDGE_SCALE_MM * layout.pixels_per_mm, strong / layout.pixels_per_mm)
        inside = enlarge(np.asarray(view.picture(mask, plane, index), np.float32), size, order=1) > 0.5
        return lines_over(picture, edges & near(inside, EDGE_BEYOND_MM * layout.pixels_per_mm), EDGE_COLOUR)

    return write_mosaic(path, layout, paint)


def write_checkerboard(
    path: Path, fixed: Volume, moving: Volume, mask: NDArray[np.bool_], layout: Layout
) -> Path:
    """Write squares that show the fixed and the moving image in turn.

    Parameters
    ----------
    path
        Final name, ``.webp``.
    fixed, moving
        ``(i, j, k)`` on one grid.
    mask
        ``(i, j, k)``, where the grey windows are taken from.
    layout
        Slices.
    """
    view = layout.view
    windows = [grey_window(volume, mask, view.spacing) for volume in (fixed, moving)]

    def paint(plane: Plane, index: int) -> Rgb:
        size = layout.tile(plane)
        first, second = (
            grey(enlarge(np.asarray(view.picture(volume, plane, index), np.float32), size), window)
            for volume, window in zip((fixed, moving), windows, strict=True)
        )
        side = max(1, round(SQUARE_MM * layout.pixels_per_mm))
        rows, columns = np.indices(first.shape[:2]) // side
        return np.where(((rows + columns) % 2 == 0)[..., None], first, second)

    return write_mosaic(path, layout, paint)


def edge_strength(volume: Volume, mask: NDArray[np.bool_], view: View) -> float:
    """Give the gradient (intensity per mm) above which an edge in a volume counts as strong."""
    spacing = view.spacing
    low = ndimage.gaussian_filter(np.asarray(volume, np.float32), EDGE_SCALE_MM / spacing)
    # Every third plane is enough for a percentile.
    steps = [low[:, :, ::3], mask[:, :, ::3]]
    along = np.gradient(steps[0], spacing[0], spacing[1], axis=(0, 1))
    strength = np.hypot(along[0], along[1])[steps[1]]
    return float(np.percentile(strength, EDGE_STRONG_PERCENT)) if strength.size else 1.0


def edge_lines(picture: NDArray[np.float32], scale: float, strong: float) -> NDArray[np.bool_]:
    """Thin edges of a picture, after Canny (IEEE PAMI 8, 1986).

    Maxima of the gradient of a Gaussian across the edge, kept where they are strong, or at least half
    as strong and connected to a strong one.

    Parameters
    ----------
    picture
        ``(row, column)`` intensities.
    scale
        Standard deviation of the Gaussian in pixels.
    strong
        Gradient per pixel of a strong edge.
    """
    down = ndimage.gaussian_filter(picture, scale, order=(1, 0))
    across = ndimage.gaussian_filter(picture, scale, order=(0, 1))
    strength = np.hypot(down, across)
    length = np.maximum(strength, np.finfo(np.float32).tiny)
    place = np.indices(picture.shape, np.float32)
    ahead, behind = (
        ndimage.map_coordinates(
            strength, [place[0] + step * down / length, place[1] + step * across / length], order=1
        )
        for step in (1, -1)
    )
    ridge = (strength > ahead) & (strength >= behind) & (strength > EDGE_WEAK_PART * strong)
    groups, _ = ndimage.label(ridge, structure=np.ones((3, 3)))
    keep = np.unique(groups[ridge & (strength > strong)])
    return np.asarray(np.isin(groups, keep[keep > 0]))


def near(inside: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """Pixels ``(row, column)`` that are inside or at most so far from it; all where nothing is inside."""
    if not inside.any():
        return np.ones_like(inside)
    return np.asarray(ndimage.distance_transform_edt(~inside) <= pixels)


def lines_over(picture: Rgb, lines: NDArray[np.bool_], colour: tuple[int, int, int]) -> Rgb:
    """Draw lines ``(row, column)`` in a colour over a picture ``(row, column, 3)``, borders softened."""
    cover = np.minimum(ndimage.gaussian_filter(lines.astype(np.float32), 0.55) * 2.2, 1)[..., None]
    return np.asarray(picture * (1 - cover) + np.array(colour, np.float32) * cover, np.uint8)


def enlarge(
    picture: NDArray[np.float32], size: tuple[int, int], order: Literal[1, 3] = 3
) -> NDArray[np.float32]:
    """Resample a picture to a width and height in pixels by splines, pixel edges kept."""
    width, height = size
    rows, columns = picture.shape
    zoom = (height / rows, width / columns)
    return ndimage.zoom(picture, zoom, order=order, mode="nearest", grid_mode=True)
