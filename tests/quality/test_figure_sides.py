"""Left is left in every picture: of the image, of what lies over it, and of the letters beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bids_nodereg.quality.figures.anatomy import write_anatomy, write_checkerboard, write_edges
from bids_nodereg.quality.figures.grid import write_grid
from bids_nodereg.quality.figures.maps import write_distance, write_log_jacobian
from bids_nodereg.quality.figures.mosaic import GAP, ROW_GAP, WIDTH, font, layout_for
from bids_nodereg.quality.figures.slices import View
from tests.quality.grids import canonical_grid
from tests.quality.test_figures import MASK, WHOLE, ball, pixels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bids_nodereg.quality.figures.mosaic import Layout

GRID = canonical_grid()
CONVENTIONS = ("neurological", "radiological")
HEAD = 100.0 * MASK
LEFT, RIGHT = ball((11, 20, 12), 5), ball((21, 20, 12), 5)
"""At the same distance from the middle of the head; its left is the low end of the first axis."""
NOWHERE = np.zeros(GRID.shape, bool)


def layout(convention: str) -> Layout:
    return layout_for(View(GRID.affine, WHOLE, convention), MASK)


def marked(mark: np.ndarray) -> np.ndarray:
    return HEAD + 90.0 * mark


def pushed(mark: np.ndarray) -> np.ndarray:
    """By 3 mm along the first axis of the grid where the mark is, so that only lines nearby bend."""
    along = GRID.affine[:3, 0] / GRID.spacing[0]
    return (3.0 * mark[..., None] * along).astype(np.float32)


def bright(picture: np.ndarray) -> np.ndarray:
    return picture.mean(-1)


def warm(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0] - picture[..., 2]


def green(picture: np.ndarray) -> np.ndarray:
    return picture[..., 1] - picture[..., 0]


FIGURES: dict[str, tuple[Callable[[Path, Layout, np.ndarray], Path], Callable[[np.ndarray], np.ndarray]]] = {
    "anatomy": (lambda path, lay, mark: write_anatomy(path, marked(mark), MASK, lay), bright),
    "edges": (lambda path, lay, mark: write_edges(path, HEAD, marked(mark), MASK, lay), warm),
    "checkerboard": (
        lambda path, lay, mark: write_checkerboard(path, marked(mark), marked(mark), MASK, lay),
        bright,
    ),
    "jacobian": (
        lambda path, lay, mark: write_log_jacobian(path, HEAD, 1.0 + mark, NOWHERE, MASK, lay),
        warm,
    ),
    "folds": (
        lambda path, lay, mark: write_log_jacobian(path, HEAD, np.ones(GRID.shape), mark, MASK, lay),
        green,
    ),
    "distance": (lambda path, lay, mark: write_distance(path, HEAD, 1.0 + mark, MASK, lay, "mm"), bright),
}


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("name", FIGURES)
def test_what_is_on_the_left_is_drawn_on_the_left(tmp_path: Path, name: str, convention: str) -> None:
    """With the mark on the left less with the mark on the right: windows and letters are the same in both."""
    write, shade = FIGURES[name]
    lay = layout(convention)
    left, right = (shade(pixels(write(tmp_path / "a.webp", lay, mark))) for mark in (LEFT, RIGHT))
    axial = (left - right)[: GAP + lay.tile("axial")[1]]

    step = (WIDTH - GAP) / len(lay.rows[0][1])
    rows, columns = np.nonzero(axial > 25)
    offset = (columns - GAP / 2) % step - step / 2
    assert rows.size > 100
    side = -1 if convention == "neurological" else 1
    assert (np.sign(offset) == side).mean() > 0.9


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_grid_is_bent_on_the_side_of_the_push(tmp_path: Path, convention: str) -> None:
    view = layout(convention).view
    still, bent = (
        pixels(write_grid(tmp_path / "g.webp", HEAD, pushed(mark), MASK, view)) for mark in (NOWHERE, LEFT)
    )
    panel = round(0.3 * WIDTH)  # axial: 64 of 208 mm across
    changed = np.abs(bent - still).max(-1)[:, :panel] > 120

    assert changed.sum() > 100
    columns = np.nonzero(changed)[1]
    side = -1 if convention == "neurological" else 1
    assert (np.sign(columns - panel / 2) == side).mean() > 0.9


def glyph(letter: str) -> np.ndarray:
    """A letter as the mosaic writes it, cut to its ink."""
    image = Image.new("L", (40, 40))
    ImageDraw.Draw(image).text((20, 20), letter, fill=255, font=font(16), anchor="mm")
    ink = np.asarray(image, float)
    rows, columns = np.nonzero(ink > 60)
    return ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def stretched(shape: np.ndarray) -> np.ndarray:
    """A letter at one size for all, from 0 to 255."""
    image = Image.fromarray((255 * shape / shape.max()).astype(np.uint8))
    return np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR), float)


def read_letter(area: np.ndarray) -> str:
    """The letter of the six that is most like the ink of a piece of a picture."""
    rows, columns = np.nonzero(area > 110)
    assert rows.size, "nothing is written here"
    ink = area[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]

    def difference(letter: str) -> float:
        shape = glyph(letter)
        aspect = abs(ink.shape[1] / ink.shape[0] - shape.shape[1] / shape.shape[0])
        return float(np.abs(stretched(ink) - stretched(shape)).mean()) + 200 * aspect

    return min("LRAPSI", key=difference)


@pytest.mark.parametrize(("convention", "sides"), [("neurological", "LR"), ("radiological", "RL")])
def test_the_letters_in_the_picture_are_those_of_the_sides(
    tmp_path: Path, convention: str, sides: str
) -> None:
    lay = layout(convention)
    picture = pixels(write_anatomy(tmp_path / "a.webp", np.zeros(GRID.shape), MASK, lay)).mean(-1)
    top = GAP
    for plane, indices in lay.rows:
        width, tall = lay.tile(plane)
        left = round(GAP / 2 + ((WIDTH - GAP) / len(indices) - width) / 2)
        beside = slice(top + tall // 2 - 14, top + tall // 2 + 14)
        middle = slice(left + width // 2 - 14, left + width // 2 + 14)
        found = [
            read_letter(area)
            for area in (
                picture[beside, left : left + 24],
                picture[beside, left + width - 24 : left + width],
                picture[max(top - 5, 0) : top + 20, middle],
                picture[top + tall - 17 : top + tall + 6, middle],
            )
        ]
        assert found == list(lay.view.letters(plane)), plane
        assert plane == "sagittal" or found[:2] == list(sides)
        top += tall + ROW_GAP


def test_a_checkerboard_shows_both_images_in_equal_parts(tmp_path: Path) -> None:
    lay = layout("neurological")
    whole = np.ones(GRID.shape, bool)
    ramp = np.linspace(20, 100, GRID.shape[0])[:, None, None] * whole
    picture = pixels(write_checkerboard(tmp_path / "c.webp", ramp, ramp[::-1], whole, lay)).mean(-1)
    width, tall = lay.tile("axial")
    step = (WIDTH - GAP) / len(lay.rows[0][1])
    left = round(GAP / 2 + (step - width) / 2)
    near_left = picture[GAP : GAP + tall, left + 6 : left + width // 5]

    # Near the left end one image is dark and the other bright.
    assert 0.3 < (near_left > 128).mean() < 0.7
