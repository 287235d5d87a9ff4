"""Pure parts of finding a brain, against shapes and contrasts that are known."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.brain import (
    agreement,
    contact_mm2,
    depth_mm,
    near,
    painted,
    top_of_head,
    why_no_brain,
)


def grid_of(shape, axes) -> Grid:
    """Grid whose first, second and third axis run along these world vectors (mm)."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes).T
    return Grid(shape, affine)


def test_the_area_where_a_mask_meets_the_faces():
    grid = grid_of((10, 12, 8), [[2, 0, 0], [0, 3, 0], [0, 0, 5]])
    mask = np.zeros(grid.shape, bool)
    mask[3:7, 2:7, :3] = True  # 4 x 5 voxels of 2 x 3 mm on the lowest face
    assert contact_mm2(mask, grid) == pytest.approx(4 * 5 * 6)
    mask[3:7, 0, :3] = True  # and 4 x 3 voxels of 2 x 5 mm on another; the column adds 4 more below
    assert contact_mm2(mask, grid) == pytest.approx(4 * 6 * 6 + 4 * 3 * 10)


@pytest.mark.parametrize(("axis", "sign"), [(2, 1), (1, -1), (0, 1)])
def test_the_neck_is_cut_off_below_the_vertex_wherever_up_is_stored(axis, sign):
    """A column of 300 mm along the world's vertical: 155 mm of it stay, at its upper end."""
    axes = [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    axes[axis], axes[2] = [0, 0, 4 * sign], axes[axis]
    shape = [12, 12, 12]
    shape[axis] = 75
    grid = grid_of(tuple(shape), axes)
    top = top_of_head(np.ones(grid.shape, bool), grid)
    heights = grid.to_world(np.argwhere(top))[:, 2]
    highest = grid.to_world(np.argwhere(np.ones(grid.shape, bool)))[:, 2].max()
    assert heights.max() == highest
    assert highest - heights.min() == pytest.approx(155, abs=4)


def test_the_head_is_not_listed_voxel_by_voxel():
    """Indices and heights in 64 bits would take 32 bytes for each voxel of the head."""
    grid = grid_of((80, 80, 80), [[2, 0, 0], [0, 2, 0.1], [0, 0, 2]])
    head = np.ones(grid.shape, bool)
    tracemalloc.start()
    top_of_head(head, grid)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * head.size


def test_growing_and_shrinking_by_a_distance():
    grid = grid_of((31, 31, 31), [[1, 0, 0], [0, 1, 0], [0, 0, 2]])
    point = np.zeros(grid.shape, bool)
    point[15, 15, 15] = True
    grown = near(point, grid, 6.0)
    assert grown[21, 15, 15]
    assert not grown[22, 15, 15]
    assert grown[15, 15, 18]
    assert not grown[15, 15, 19]
    assert np.array_equal(np.argwhere(near(grown, grid, -5.5)), [[15, 15, 15]])


def test_a_template_takes_the_contrast_of_an_image_and_tells_fluid_from_bone():
    """Fluid and bone are alike in the template; in the image fluid is the brightest and bone the darkest."""
    grid = grid_of((60, 60, 60), [[2, 0, 0], [0, 2, 0], [0, 0, 2]])
    radius = np.linalg.norm((np.moveaxis(np.indices(grid.shape), 0, -1) - 29.5) * 2, axis=-1)
    white, grey, fluid, bone, skin = (
        radius < 15, (radius >= 15) & (radius < 30), (radius >= 30) & (radius < 38),
        (radius >= 38) & (radius < 44), (radius >= 44) & (radius < 50),
    )  # fmt: skip
    brain = radius < 38
    template = np.select([white, grey, fluid, bone, skin], [200.0, 140, 20, 20, 240], 0).astype(np.float32)
    image = np.select([white, grey, fluid, bone, skin], [300.0, 500, 1000, 40, 350], 0).astype(np.float32)
    moved = np.roll(image, 1, axis=0)  # it lies in place but for 2 mm
    out = painted(template, brain, radius < 48, moved, grid)
    for where, value in ((white, 300), (grey, 500), (fluid, 1000), (bone, 40), (skin, 350)):
        assert np.median(out[where]) == pytest.approx(value)
    assert agreement(out, image, radius < 48) > 0.99
    assert agreement(template, image, radius < 48) < 0.5
    assert agreement(out, np.zeros_like(out), radius < 48) == 0


def test_the_depth_in_a_ball_is_the_distance_to_its_surface():
    grid = grid_of((70, 70, 70), [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    radius = np.linalg.norm(np.moveaxis(np.indices(grid.shape), 0, -1) - 34.5, axis=-1)
    np.testing.assert_allclose(depth_mm(radius < 25, grid), 25 - radius, atol=0.9)


@pytest.mark.parametrize(
    ("half_mm", "shift_mm", "says"),
    [(62, 0, ""), (30, 0, "0.22 l"), (80, 0, "4.10 l"), (40, 60, ""), (20, 80, "0.06 l")],
)
def test_what_cannot_be_the_brain_of_an_adult_is_said(half_mm, shift_mm, says):
    """Cubes of known volume; those that the field of view cuts may be smaller."""
    grid = grid_of((100, 100, 100), [[2, 0, 0], [0, 2, 0], [0, 0, 2]])
    centre = np.array([99, 99, 99 - shift_mm])
    offset = np.abs(np.moveaxis(np.indices(grid.shape), 0, -1) * 2 - centre)
    why = why_no_brain((offset <= half_mm).all(-1), grid)
    assert (says in why) if says else not why
