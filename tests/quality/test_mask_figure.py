"""The outline of a mask is in the picture, where the mask ends, on its side of the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bids_nodereg.quality.figures.anatomy import near
from bids_nodereg.quality.figures.masks import contour, write_mask
from bids_nodereg.quality.figures.mosaic import GAP, WIDTH, layout_for
from bids_nodereg.quality.figures.pair import FigureNames, draw_pair
from bids_nodereg.quality.figures.slices import View
from tests.quality.test_figures import GRID, MASK, WHOLE, ball, pixels, registered

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.quality.figures.mosaic import Layout

HEAD = 100.0 * MASK
LEFT = ball((10, 20, 12), 8)
"""The left of the head is the low end of the first axis."""


def drawn(picture: np.ndarray) -> np.ndarray:
    """Where the colour of outlines is: grey images, letters and folds have none of it."""
    return (picture[..., 2] - picture[..., 0]) > 60


def middle_axial(picture: np.ndarray, layout: Layout) -> tuple[np.ndarray, int]:
    """The axial slice nearest the middle of the mask, and its index."""
    plane, indices = layout.rows[0]
    number = int(np.abs(np.array(indices) - 12).argmin())
    width, tall = layout.tile(plane)
    step = (WIDTH - GAP) / len(indices)
    left = round(GAP / 2 + number * step + (step - width) / 2)
    return picture[GAP : GAP + tall, left : left + width], indices[number]


@pytest.mark.parametrize(("convention", "mirrored"), [("neurological", False), ("radiological", True)])
def test_the_outline_lies_where_the_mask_ends(tmp_path: Path, convention, mirrored: bool) -> None:
    layout = layout_for(View(GRID.affine, WHOLE, convention), MASK)
    picture = pixels(write_mask(tmp_path / "m.webp", HEAD, LEFT, MASK, layout))
    tile, index = middle_axial(picture, layout)
    rows, columns = np.nonzero(drawn(tile))

    # from pixels to mm from the ball's middle: voxels of 2 mm, 32 across and 40 from the top
    across = (columns + 0.5) / layout.pixels_per_mm
    across_mm = (64 - across if mirrored else across) - 2 * 10.5
    up_mm = 80 - (rows + 0.5) / layout.pixels_per_mm - 2 * 20.5
    radius = np.sqrt(8.0**2 - (3.0 * (index - 12)) ** 2)
    assert rows.size > 100
    assert np.abs(np.hypot(across_mm, up_mm) - radius).max() < 2.5
    turns = np.histogram(np.arctan2(up_mm, across_mm), bins=12, range=(-np.pi, np.pi))[0]
    assert (turns > 0).all()  # all the way round


def test_no_mask_no_outline(tmp_path: Path) -> None:
    layout = layout_for(View(GRID.affine, WHOLE), MASK)
    picture = pixels(write_mask(tmp_path / "m.webp", HEAD, np.zeros(GRID.shape, bool), MASK, layout))

    assert not drawn(picture).any()


def test_each_image_of_a_pair_has_the_outline_of_its_own_mask(tmp_path: Path) -> None:
    moving = 70.0 * ball(radius=12)
    paths = draw_pair(
        registered(after=moving, after_mask=ball(radius=10)), FigureNames(tmp_path, "sub-01", "T2w")
    )
    fixed, carried = pixels(paths["fixedmask"]), pixels(paths["movingmask"])

    assert paths["movingmask"].name == "sub-01_desc-movingmask_T2w.webp"
    # 10 mm and 18 mm: shorter, and in fewer slices
    assert 0.2 < drawn(carried).sum() / drawn(fixed).sum() < 0.45
    # below the outlines are the pictures of the flicker, slice by slice
    plain = {name: pixels(paths[name])[..., 0].ravel() for name in ("fixed", "after")}
    for picture, own, other in ((fixed, "fixed", "after"), (carried, "after", "fixed")):
        likeness = {name: np.corrcoef(picture[..., 0].ravel(), plain[name])[0, 1] for name in (own, other)}
        assert likeness[own] > 0.9
        assert likeness[other] < likeness[own] - 0.1


def test_without_a_moving_mask_there_is_no_picture_of_it(tmp_path: Path) -> None:
    paths = draw_pair(registered(), FigureNames(tmp_path, "sub-01", "T2w"))

    assert "fixedmask" in paths
    assert "movingmask" not in paths


def test_a_mask_that_runs_out_of_the_picture_has_no_line_along_the_frame() -> None:
    inside = np.zeros((20, 30), bool)
    inside[5:15, 10:] = True
    line = contour(inside)

    assert line[5:15, 10].all()
    assert line[5, 10:].all()
    assert not line[8:12, 15:].any()


def test_near_is_measured_from_the_border() -> None:
    inside = np.zeros((9, 20), bool)
    inside[:, :5] = True

    assert near(inside, 4.0)[4].tolist() == [True] * 9 + [False] * 11
    assert near(np.zeros((3, 3), bool), 1.0).all()
