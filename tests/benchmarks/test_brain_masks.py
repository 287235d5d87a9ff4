"""The nasty images of the mask benchmark show what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brain_masks import Head, cropped, nasty_heads, noisy, reordered, resized, tissue_hull, turned

from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.volume import Volume


@pytest.fixture
def head() -> Head:
    """A ball at a known place, brightest at one end."""
    grid = Grid((40, 44, 30), np.array([[-2.0, 0, 0, 40], [0, -2, 0, 50], [0, 0, 3, -40], [0, 0, 0, 1]]))
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    truth = np.linalg.norm(points - CENTRE, axis=-1) < 25
    data = np.where(truth, 100 + points[..., 0], 0).astype(np.float32)
    return Head("ball", Volume(data, grid, Path("ball.nii"), np.dtype(np.float32)), truth)


CENTRE = np.array([2.0, 6.0, 4.0])


def centre(head: Head) -> np.ndarray:
    return head.volume.grid.to_world(np.argwhere(head.truth)).mean(0)


def test_another_grid_shows_the_same_world(head):
    for other in (
        resized(head, "", (3.0, 3.0, 3.0)),
        reordered(head, "", (1, 2, 0), (2,)),
        noisy(head, ""),
    ):
        np.testing.assert_allclose(centre(other), CENTRE, atol=0.4)
        inside = other.volume.data[other.truth]
        brightness = other.volume.grid.to_world(np.argwhere(other.truth))[:, 0] + 100
        assert np.median(np.abs(inside - brightness)) < 6  # of about 100, with 4 % of noise in one
    assert reordered(head, "", (1, 2, 0), (2,)).volume.grid.shape == (44, 30, 40)


def test_a_cut_field_of_view_leaves_the_rest_in_place(head):
    lower = cropped(head, "", 0.0, 0.5)
    heights = lower.volume.grid.to_world(np.argwhere(lower.truth))[:, 2]
    assert heights.max() <= 2.0
    assert heights.min() == pytest.approx(-20, abs=3)


def test_a_turned_header_moves_the_world_and_not_the_voxels(head):
    other = turned(head, "", (90, 0, 0))
    assert other.volume.data is head.volume.data
    middle = head.volume.grid.to_world(np.divide(head.volume.grid.shape, 2))
    off = centre(head) - middle
    np.testing.assert_allclose(centre(other) - middle, [off[0], -off[2], off[1]], atol=1e-6)


def test_every_nasty_image_has_a_name_of_its_own(head):
    names = [each.name for each in nasty_heads(head)]
    assert len(set(names)) == len(names) == 7


def test_the_hull_closes_sulci_and_fills_ventricles():
    grid = Grid((40, 40, 40), np.eye(4))
    labels = np.zeros(grid.shape, np.int16)
    labels[8:32, 8:32, 8:32] = 1
    labels[18:20, 18:20, 8:20] = 0  # a sulcus of 2 mm
    labels[22:30, 22:30, 22:30] = 0  # a ventricle
    hull = tissue_hull(labels, grid)
    assert hull[19, 19, 15]
    assert hull[25, 25, 25]
    assert not hull[4, 20, 20]
