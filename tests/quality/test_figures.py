from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from bids_nodereg.quality.figures.anatomy import edge_lines, write_anatomy, write_edges
from bids_nodereg.quality.figures.charts import INK, Trace, write_convergence, write_jacobian_histogram
from bids_nodereg.quality.figures.grid import write_grid
from bids_nodereg.quality.figures.maps import FOLD_COLOUR, nice_limit, write_distance, write_log_jacobian
from bids_nodereg.quality.figures.mosaic import GAP, PLANES, WIDTH, layout_for
from bids_nodereg.quality.figures.pair import FigureNames, draw_pair
from bids_nodereg.quality.figures.slices import View, slice_indices, view_of_mask
from bids_nodereg.quality.measures import RegisteredPair
from tests.quality.grids import awkward_grid, canonical_grid

if TYPE_CHECKING:
    from pathlib import Path

GRID = canonical_grid()
WHOLE = (slice(0, 32), slice(0, 40), slice(0, 24))


def ball(centre: tuple[int, int, int] = (16, 20, 12), radius: float = 18.0) -> np.ndarray:
    """A ball of a radius in mm."""
    offset = (np.stack(np.indices(GRID.shape), -1) - centre) * GRID.spacing
    return np.linalg.norm(offset, axis=-1) < radius


MASK = ball()


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), int)


def registered(**changes: object) -> RegisteredPair:
    fixed = 100.0 * ball(radius=16) + 50.0 * ball(radius=9)
    zero = np.zeros((*GRID.shape, 3), np.float32)
    values = {"affine": GRID.affine, "mask": MASK, "fixed": fixed, "before": np.roll(fixed, 2, 0)}
    return RegisteredPair(**{**values, "after": fixed, "forward_mm": zero, **changes})


@pytest.mark.parametrize(
    ("convention", "plane", "corner", "letters"),
    [
        # Corner voxel at high i, high j, high k: row 0 is the top, column 0 the left.
        ("neurological", "axial", (0, -1), ("L", "R", "A", "P")),
        ("neurological", "coronal", (0, -1), ("L", "R", "S", "I")),
        ("neurological", "sagittal", (0, -1), ("P", "A", "S", "I")),
        ("radiological", "axial", (0, 0), ("R", "L", "A", "P")),
        ("radiological", "coronal", (0, 0), ("R", "L", "S", "I")),
        ("radiological", "sagittal", (0, 0), ("A", "P", "S", "I")),
    ],
)
def test_the_right_upper_front_corner_is_where_the_letters_say(convention, plane, corner, letters) -> None:
    volume = np.zeros(GRID.shape)
    volume[-1, -1, -1] = 1
    view = View(GRID.affine, WHOLE, convention)

    picture = view.picture(volume, plane, -1)

    assert picture[corner] == 1
    assert picture.sum() == 1
    assert view.letters(plane) == letters


@pytest.mark.parametrize(("convention", "side"), [("neurological", -1), ("radiological", 1)])
def test_a_blob_on_the_left_of_the_head_is_on_the_expected_side_of_the_written_image(
    tmp_path: Path, convention, side: int
) -> None:
    # Left of the head is the low end of the first axis.
    blob = ball((8, 20, 12), 8).astype(float)
    view = View(GRID.affine, WHOLE, convention)
    layout = layout_for(view, MASK)
    with_blob = pixels(write_anatomy(tmp_path / "blob.webp", blob, MASK, layout))
    without = pixels(write_anatomy(tmp_path / "none.webp", np.zeros(GRID.shape), MASK, layout))

    # Letters are in both images, so what differs is the blob.
    axial = (with_blob - without).sum(-1)[: layout.tile("axial")[1]] > 200
    step = (WIDTH - GAP) / len(layout.rows[0][1])
    columns = np.nonzero(axial)[1] - GAP / 2
    offset = columns % step - step / 2

    assert axial.any()
    assert np.sign(offset.mean()) == side
    assert (np.sign(offset) == side).mean() > 0.95


def test_a_grid_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(ValueError, match="R, A and S"):
        view_of_mask(np.ones((14, 19, 11), bool), awkward_grid().affine)


def test_tiles_have_the_shape_of_the_head_and_not_of_the_array() -> None:
    layout = layout_for(View(GRID.affine, WHOLE), MASK)

    assert [plane for plane, _ in layout.rows] == list(PLANES)
    for plane, (across, up) in {"axial": (64, 80), "coronal": (64, 72), "sagittal": (80, 72)}.items():
        width, height = layout.tile(plane)
        assert width / height == pytest.approx(across / up, rel=0.02)


def test_slices_lie_inside_the_mask_and_one_can_be_asked_for() -> None:
    where = np.flatnonzero(MASK.any(axis=(0, 1)))
    even, asked = slice_indices(MASK, "axial", 7), slice_indices(MASK, "axial", 7, include=int(where[1]))

    assert len(even) == 7
    assert where[0] <= min(even) <= max(even) <= where[-1]
    assert int(where[1]) in asked
    assert slice_indices(np.zeros(GRID.shape, bool), "axial", 7)  # an empty mask means the whole grid


def test_the_slice_position_is_a_world_coordinate() -> None:
    view = View(GRID.affine, WHOLE)
    middle = (np.asarray(GRID.shape) - 1) / 2

    for plane, axis in (("sagittal", 0), ("coronal", 1), ("axial", 2)):
        index = middle.copy()
        index[axis] = 5
        assert view.position_mm(plane, 5) == pytest.approx(GRID.to_world(index)[axis])
    assert view.position_label("axial", 5) == "z +35"


def test_edges_follow_a_disc() -> None:
    rows, columns = np.indices((80, 90))
    distance = np.hypot(rows - 40, columns - 45)
    picture = (100.0 / (1 + np.exp(distance - 20))).astype(np.float32)

    edges = edge_lines(picture, 1.5, 5.0)

    assert edges.sum() > 2 * np.pi * 20 * 0.8
    assert np.abs(distance[edges] - 20).max() < 1.5
    assert not edge_lines(picture, 1.5, 1000.0).any()


def test_edges_move_with_the_moving_image(tmp_path: Path) -> None:
    pair = registered()
    layout = layout_for(view_of_mask(MASK, GRID.affine), MASK)
    before = pixels(write_edges(tmp_path / "b.webp", pair.fixed, pair.before, MASK, layout))
    after = pixels(write_edges(tmp_path / "a.webp", pair.fixed, pair.after, MASK, layout))

    def amber(picture: np.ndarray) -> np.ndarray:
        return (picture[..., 0] - picture[..., 2]) > 110

    assert amber(before).sum() > 500
    assert amber(after).sum() > 500
    # Two voxels of 2 mm: lines lie apart.
    assert (amber(before) & amber(after)).sum() < 0.6 * amber(after).sum()


def test_edges_of_the_scalp_are_not_drawn(tmp_path: Path) -> None:
    """A bright shell 10 mm from the mask adds no line; one at 3 mm does."""
    brain = ball(radius=14)
    layout = layout_for(View(GRID.affine, WHOLE), brain)
    fixed = 100.0 * brain

    def amber(distance_mm: float) -> int:
        scalp = ball(radius=14 + distance_mm + 5) & ~ball(radius=14 + distance_mm)
        path = write_edges(tmp_path / "e.webp", fixed, fixed + 300.0 * scalp, brain, layout)
        picture = pixels(path)
        return int(((picture[..., 0] - picture[..., 2]) > 110).sum())

    alone = amber(100)
    assert alone > 500
    assert amber(10) == pytest.approx(alone, rel=0.05)
    assert amber(3) > 1.2 * alone


def test_the_image_is_dimmed_outside_the_mask_of_a_map(tmp_path: Path) -> None:
    brain, nothing = ball(radius=12), np.zeros(GRID.shape, bool)
    layout = layout_for(View(GRID.affine, WHOLE), brain)
    fixed = 100.0 + 400.0 * (ball(radius=24) & ~ball(radius=19))
    anatomy = pixels(write_anatomy(tmp_path / "a.webp", fixed, brain, layout))
    jacobian = pixels(
        write_log_jacobian(tmp_path / "j.webp", fixed, np.ones(GRID.shape), nothing, brain, layout)
    )

    scalp = anatomy[: jacobian.shape[0]].min(-1) > 245
    assert scalp.mean() > 0.05
    assert np.median(jacobian[: anatomy.shape[0]][scalp]) == pytest.approx(0.35 * 255, abs=8)


def test_folded_voxels_are_loud_and_only_there_when_something_folds(tmp_path: Path) -> None:
    fixed, determinant = 100.0 * MASK, np.ones(GRID.shape)
    layout = layout_for(view_of_mask(MASK, GRID.affine), MASK)
    folded = ball(radius=4)

    def loud(folds: np.ndarray) -> int:
        path = write_log_jacobian(tmp_path / "j.webp", fixed, determinant, folds, MASK, layout)
        return int((np.abs(pixels(path) - FOLD_COLOUR).max(-1) < 40).sum())

    assert loud(folded) > 100
    assert loud(np.zeros_like(folded)) == 0


def test_rare_folds_are_in_the_slices(tmp_path: Path) -> None:
    forward = np.zeros((*GRID.shape, 3), np.float32)
    forward[11, 25, 9] = [5.0, 0, 0]  # one voxel past its neighbour

    paths = draw_pair(registered(forward_mm=forward), FigureNames(tmp_path, "sub-01_space-T1w", "T2w"))

    green = np.abs(pixels(paths["logjacobian"]) - FOLD_COLOUR).max(-1) < 60
    assert green.sum() > 30


def test_red_is_expansion(tmp_path: Path) -> None:
    fixed, nothing = 100.0 * MASK, np.zeros(GRID.shape, bool)
    layout = layout_for(view_of_mask(MASK, GRID.affine), MASK)
    half = np.arange(GRID.shape[0])[:, None, None] < 16
    determinant = np.where(half, 2.0, 0.5) * np.ones(GRID.shape)

    picture = pixels(write_log_jacobian(tmp_path / "j.webp", fixed, determinant, nothing, MASK, layout))

    width, step = layout.tile("axial")[0], (WIDTH - GAP) / len(layout.rows[0][1])
    middle = GAP / 2 + 3 * step + (step - width) / 2  # left edge of the fourth axial slice
    row = picture[GAP + layout.tile("axial")[1] // 2]
    left, right = row[round(middle + 0.35 * width)], row[round(middle + 0.65 * width)]
    assert left[0] - left[2] > 30  # the left of the head expands: red
    assert right[2] - right[0] > 30


def test_the_grid_bends_where_the_map_does(tmp_path: Path) -> None:
    fixed = 100.0 * MASK
    forward = np.zeros((*GRID.shape, 3), np.float32)
    view = view_of_mask(MASK, GRID.affine)
    straight = pixels(write_grid(tmp_path / "s.webp", fixed, forward, MASK, view))
    forward[..., 2] = 4 * np.exp(-(((np.arange(32) - 16) / 4.0) ** 2))[:, None, None]
    bent = pixels(write_grid(tmp_path / "g.webp", fixed, forward, MASK, view))

    changed = np.abs(straight - bent).max(-1) > 60
    first = round(WIDTH * 0.28)  # axial panel: displacement along z does not show in it
    assert changed[:, :first].mean() < 0.002
    assert changed[:, first:].mean() > 0.01


def test_charts_follow_the_colours_of_the_reader(tmp_path: Path) -> None:
    trace = Trace([1.0, 0.5, 0.6, 0.4], {"folding": [0.0, 0.0, 1e-4, 0.0]}, [(0, "4 mm"), (2, "2 mm")])
    paths = [
        write_convergence(tmp_path / "c.svg", trace),
        write_jacobian_histogram(tmp_path / "h.svg", np.random.default_rng(0).lognormal(size=500), 3),
    ]

    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own file
        assert INK not in text
        assert "currentColor" in text
        assert "prefers-color-scheme:dark" in text
        assert not re.search(r'(href|src)="http', text)


@pytest.mark.parametrize(
    ("values", "limit"), [([0.0], 0.05), ([0.31] * 9, 0.5), ([4.0] * 9, 5.0), ([230.5], 231)]
)
def test_scales_end_at_round_numbers(values: list[float], limit: float) -> None:
    assert nice_limit(np.array(values)) == limit


def test_every_figure_of_a_pair_is_written_small_and_not_blank(tmp_path: Path) -> None:
    forward = np.zeros((*GRID.shape, 3), np.float32)
    forward[..., 0] = 2.0 * np.sin(np.arange(40) / 5)[:, None]
    trace = Trace([1.0, 0.5], {"similarity": [0.9, 0.4]}, [(0, "4 mm")])
    pair = registered(forward_mm=forward, truth_mm=1.1 * forward, after_mask=MASK)

    paths = draw_pair(pair, FigureNames(tmp_path / "figures", "sub-01_space-T1w", "T2w"), trace)

    raster = {
        "fixed",
        "before",
        "after",
        "edgesbefore",
        "edgesafter",
        "checkerboard",
        "fixedmask",
        "movingmask",
        "logjacobian",
        "displacement",
        "grid",
        "error",
    }
    assert set(paths) == raster | {"histogram", "convergence"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {path.name for path in paths.values()}
    assert paths["grid"].name == "sub-01_space-T1w_desc-grid_T2w.webp"
    assert sum(path.stat().st_size for path in paths.values()) < 3e6
    for name in raster:
        picture = pixels(paths[name])
        assert picture.shape[1] == WIDTH
        assert (picture.max(-1) > 60).mean() > 0.05, name


def test_an_empty_mask_and_flat_images_still_give_pictures(tmp_path: Path) -> None:
    flat, nothing = np.zeros(GRID.shape), np.zeros(GRID.shape, bool)
    pair = registered(fixed=flat, before=flat, after=flat, mask=nothing)

    paths = draw_pair(pair, FigureNames(tmp_path, "sub-01_space-T1w", "T2w"))

    assert all(path.stat().st_size > 0 for path in paths.values())


def test_a_distance_has_its_unit_on_the_bar(tmp_path: Path) -> None:
    layout = layout_for(view_of_mask(MASK, GRID.affine), MASK)
    distance = 3.0 * MASK
    named = pixels(write_distance(tmp_path / "a.webp", distance, distance, MASK, layout, "displacement, mm"))
    unnamed = pixels(write_distance(tmp_path / "b.webp", distance, distance, MASK, layout, " "))

    changed = np.abs(named - unnamed).max(-1) > 80
    assert changed[-40:].any()
    assert not changed[:-60].any()
