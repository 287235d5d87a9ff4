"""The deformation as a bent grid over the fixed image."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bids_nodereg.quality.figures.mosaic import PLANES, WIDTH, save_image
from bids_nodereg.quality.figures.slices import IN_PLANE_AXES, NORMAL_AXIS, Plane, View
from bids_nodereg.quality.figures.window import grey_window

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

LINE_COLOURS = ("#5eead4", "#fcd34d")
DPI = 120


def write_grid(
    path: Path,
    fixed: NDArray[np.floating],
    forward_mm: NDArray[np.floating],
    mask: NDArray[np.bool_],
    view: View,
    line_distance_mm: float = 6.0,
) -> Path:
    """Write the moving image's straight grid as the map bends it onto the fixed image.

    A line is where one coordinate of ``x + u(x)`` is a multiple of the line distance: lines closer
    together than that mean that fixed tissue matches a wider piece of moving tissue.

    Parameters
    ----------
    path
        Final name, ``.webp``.
    fixed
        ``(i, j, k)`` intensities.
    forward_mm
        ``u``, ``(i, j, k, 3)`` in RAS mm.
    mask
        ``(i, j, k)``; the three slices go through its middle.
    view
        Part of the grid that is shown.
    line_distance_mm
        Distance of the lines of the straight grid.
    """
    from matplotlib.figure import Figure

    to_axes = np.linalg.inv(view.affine[:3, :3] / view.spacing)
    extents = [view.extent_mm(plane) for plane in PLANES]
    height = max(tall for _, tall in extents) / sum(wide for wide, _ in extents)
    figure = Figure(figsize=(WIDTH / DPI, WIDTH / DPI * height), dpi=DPI, facecolor="black")
    widths = [wide for wide, _ in extents]
    panels = figure.subplots(1, 3, width_ratios=widths, gridspec_kw={"wspace": 0.01})
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
    window = grey_window(fixed, mask, view.spacing)
    for panel, plane in zip(panels, PLANES, strict=True):
        index = _through(mask, plane)
        picture = np.asarray(view.picture(fixed, plane, index))
        # Darker than elsewhere, so that the lines stand out.
        shades = {"cmap": "gray", "vmin": window[0], "vmax": window[1] * 1.6}
        panel.imshow(picture, **shades, extent=_extent(view, plane), interpolation="bicubic")
        vectors = np.asarray(view.picture(forward_mm, plane, index), np.float32) @ to_axes.T
        _draw_lines(panel, view, plane, vectors, line_distance_mm)
        _finish(panel, view, plane, index)
    drawing = BytesIO()
    figure.savefig(drawing, format="png", dpi=DPI)
    return save_image(path, Image.open(drawing).convert("RGB"))


def _draw_lines(
    panel: Axes, view: View, plane: Plane, vectors: NDArray[np.float32], distance_mm: float
) -> None:
    """Draw where each in-plane coordinate, in mm from the box's corner, is a multiple of the distance."""
    rows, columns = vectors.shape[:2]
    across, up = IN_PLANE_AXES[plane]
    width, height = view.extent_mm(plane)
    x = (np.arange(columns) + 0.5) * width / columns
    y = (np.arange(rows)[::-1] + 0.5) * height / rows
    along_x = width - x if view.mirrored else x
    grids = (along_x[None, :] + vectors[..., across], y[:, None] + vectors[..., up])
    for coordinate, size, colour in zip(grids, (width, height), LINE_COLOURS, strict=True):
        levels = np.arange(-size, 2 * size, distance_mm)
        panel.contour(x, y, coordinate, levels=levels, colors=colour, linewidths=0.7, linestyles="solid")


def _finish(panel: Axes, view: View, plane: Plane, index: int) -> None:
    """Hide the axes and write the letters of the four sides."""
    width, height = view.extent_mm(plane)
    panel.set_axis_off()
    panel.set_xlim(0, width)
    panel.set_ylim(0, height)
    panel.set_aspect("equal")
    west, east, north, south = view.letters(plane)
    places = (
        (west, 0.01, 0.5, "left", "center"),
        (east, 0.99, 0.5, "right", "center"),
        (north, 0.5, 0.99, "center", "top"),
        (south, 0.5, 0.01, "center", "bottom"),
        (view.position_label(plane, index), 0.99, 0.01, "right", "bottom"),
    )
    for words, x, y, horizontal, vertical in places:
        panel.text(
            x,
            y,
            words,
            transform=panel.transAxes,
            color="white",
            fontsize=11,
            ha=horizontal,
            va=vertical,
            bbox={"facecolor": "black", "edgecolor": "none", "pad": 1.5, "alpha": 0.7},
        )


def _extent(view: View, plane: Plane) -> tuple[float, float, float, float]:
    width, height = view.extent_mm(plane)
    return (0.0, width, 0.0, height)


def _through(mask: NDArray[np.bool_], plane: Plane) -> int:
    """Choose a slice in the middle of the mask; beside the middle where that is the fissure."""
    part = 0.42 if plane == "sagittal" else 0.5
    axis = NORMAL_AXIS[plane]
    others = tuple(other for other in range(3) if other != axis)
    where = np.flatnonzero(mask.any(axis=others))
    return int(where[int(part * len(where))]) if where.size else mask.shape[axis] // 2
