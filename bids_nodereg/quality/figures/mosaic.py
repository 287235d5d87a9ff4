"""Mosaics of slices in three planes, with letters, positions and a colour bar."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bids_nodereg.files import atomic_path
from bids_nodereg.quality.figures.slices import IN_PLANE_AXES, NORMAL_AXIS, Plane, View, slice_indices

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rgb = NDArray[np.uint8]
    Painter = Callable[[Plane, int], Rgb]

PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
WIDTH = 1680
GAP = 6
ROW_GAP = 16
"""Between rows, so that the letters below one and above the next do not meet."""
BAR_HEIGHT = 46
INK = (226, 232, 240)
FAINT = (148, 163, 184)
SHADOW = (0, 0, 0)
WEBP_QUALITY = 82


@dataclass(frozen=True)
class ColourBar:
    """A scale to draw below a mosaic.

    Attributes
    ----------
    colours
        ``(n, 3)`` uint8 colours from low to high.
    ticks
        Positions from 0 to 1 with their words.
    title
        What the colour means, with its unit.
    """

    colours: Rgb
    ticks: tuple[tuple[float, str], ...]
    title: str


@dataclass(frozen=True)
class Layout:
    """Which slices a mosaic shows, the same for every figure of a pair."""

    view: View
    rows: tuple[tuple[Plane, tuple[int, ...]], ...]
    pixels_per_mm: float

    def tile(self, plane: Plane) -> tuple[int, int]:
        """Width and height of a slice of a plane in pixels."""
        width, height = self.view.extent_mm(plane)
        return (max(1, round(width * self.pixels_per_mm)), max(1, round(height * self.pixels_per_mm)))


def layout_for(
    view: View,
    mask: NDArray[np.bool_],
    include: tuple[int, int, int] | None = None,
    least: int = 7,
) -> Layout:
    """Choose slices so that every row has at least seven and the rows are about equally wide.

    Parameters
    ----------
    view
        Part of the grid that is shown.
    mask
        ``(i, j, k)``; slices are spread over its bounding box.
    include
        A voxel through which one slice of each plane has to go.
    least
        Number of slices in the widest row.
    """
    widths = {plane: view.extent_mm(plane)[0] for plane in PLANES}
    row_mm = least * max(widths.values())
    rows = []
    for plane in PLANES:
        count = min(max(least, int(row_mm / widths[plane])), 2 * least)
        through = None if include is None else include[NORMAL_AXIS[plane]]
        rows.append((plane, slice_indices(mask, plane, count, through)))
    widest_mm = max(widths[plane] * len(indices) for plane, indices in rows)
    gaps = GAP * (max(len(indices) for _, indices in rows) + 1)
    return Layout(view, tuple(rows), (WIDTH - gaps) / widest_mm)


def write_mosaic(path: Path, layout: Layout, paint: Painter, bar: ColourBar | None = None) -> Path:
    """Paint every slice of a layout into one WebP image.

    Parameters
    ----------
    path
        Final name of the file; it appears there only when whole.
    layout
        Slices and size.
    paint
        Gives ``(row, column, 3)`` uint8 of one slice, at its grid's or any other resolution.
    bar
        Scale below the slices.

    Returns
    -------
    Path
        ``path``.
    """
    heights = [layout.tile(plane)[1] for plane, _ in layout.rows]
    height = sum(heights) + ROW_GAP * (len(heights) - 1) + 2 * GAP + (BAR_HEIGHT if bar else 0)
    canvas = Image.new("RGB", (WIDTH, height))
    draw = ImageDraw.Draw(canvas)
    top = GAP
    for plane, indices in layout.rows:
        width, tall = layout.tile(plane)
        step = (WIDTH - GAP) / len(indices)
        for column, index in enumerate(indices):
            left = round(GAP / 2 + column * step + (step - width) / 2)
            tile = Image.fromarray(np.ascontiguousarray(paint(plane, index)))
            canvas.paste(tile.resize((width, tall), Image.Resampling.BICUBIC), (left, top))
            _annotate(draw, layout.view, plane, index, (left, top, width, tall), first=column == 0)
        top += tall + ROW_GAP
    if bar:
        _draw_bar(canvas, draw, bar, top - ROW_GAP + GAP)
    return save_image(path, canvas)


def save_image(path: Path, image: Image.Image) -> Path:
    """Write an image as WebP under its final name at once."""
    with atomic_path(path) as temporary:
        image.save(temporary, format="WEBP", quality=WEBP_QUALITY, method=4)
    return path


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Load the typeface that comes with matplotlib, so that no system font is needed."""
    import matplotlib as mpl

    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def write_on(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], words: str, anchor: str, *, faint: bool = False
) -> None:
    """Write words that stay readable on bright and dark tissue."""
    colour, size = (FAINT, 13) if faint else (INK, 16)
    draw.text(at, words, fill=colour, font=font(size), anchor=anchor, stroke_width=2, stroke_fill=SHADOW)


def _annotate(
    draw: ImageDraw.ImageDraw,
    view: View,
    plane: Plane,
    index: int,
    place: tuple[int, int, int, int],
    *,
    first: bool,
) -> None:
    """Write the slice's position and the letters of its ends, small where they repeat the first's."""
    left, top, width, height = place
    position = view.position_label(plane, index)
    write_on(draw, (left + width - 2, top + height - 1), position, "rd", faint=True)
    west, east, north, south = view.letters(plane)
    # Left and right are what people mix up: they stand out on every slice that has them.
    faint = not first and IN_PLANE_AXES[plane][0] != 0
    write_on(draw, (left + 2, top + height / 2), west, "lm", faint=faint)
    write_on(draw, (left + width - 2, top + height / 2), east, "rm", faint=faint)
    write_on(draw, (left + width / 2, top - 2), north, "mt", faint=not first)
    write_on(draw, (left + width / 2, top + height + 2), south, "md", faint=not first)


def _draw_bar(canvas: Image.Image, draw: ImageDraw.ImageDraw, bar: ColourBar, top: int) -> None:
    """Draw the scale in the middle of the lower edge."""
    width, height = WIDTH // 3, 12
    left = (WIDTH - width) // 2
    strip = Image.fromarray(np.ascontiguousarray(bar.colours[None]))
    canvas.paste(strip.resize((width, height), Image.Resampling.BILINEAR), (left, top + 6))
    draw.text((left - 12, top + 12), bar.title, fill=INK, font=font(15), anchor="rm")
    for position, words in bar.ticks:
        x = left + position * (width - 1)
        draw.line([(x, top + 18), (x, top + 22)], fill=FAINT)
        draw.text((x, top + 24), words, fill=INK, font=font(13), anchor="mt")
