"""The builder of the head template keeps everything where it is."""

from __future__ import annotations

from importlib import resources

import numpy as np

from bids_nodereg.data.build_head import halved, halved_grid, main
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.volume import read_image, read_labels, write_image

LARGEST_BYTES = 1_000_000


def test_a_linear_image_stays_the_same_function_of_world_points():
    affine = np.array([[0.0, -1, 0, 30], [2, 0, 0, -5], [0, 0, 1.5, 7], [0, 0, 0, 1]])
    grid = Grid((8, 11, 6), affine)
    fine = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) @ (1.0, -2.0, 0.5)
    coarse = halved_grid(grid)
    values = halved(fine.astype(np.float32))
    assert values.shape == coarse.shape == (4, 6, 3)
    expected = coarse.to_world(np.moveaxis(np.indices(coarse.shape), 0, -1)) @ (1.0, -2.0, 0.5)
    np.testing.assert_allclose(values[:, :-1], expected[:, :-1], atol=1e-4)  # the last one was repeated


def test_it_writes_a_head_and_a_mask_on_one_grid(tmp_path):
    grid = Grid((12, 14, 10), np.eye(4))
    head = np.random.default_rng(0).uniform(0, 255, grid.shape)
    write_image(head, grid, tmp_path / "ch2.nii.gz")
    mask = np.zeros(grid.shape)
    mask[2:8, 4:10, 2:6] = 1
    write_image(mask, grid, tmp_path / "mask.nii.gz", dtype=np.uint8)
    assert main([str(tmp_path / name) for name in ("ch2.nii.gz", "mask.nii.gz", "out")]) == 0
    built = read_labels(tmp_path / "out" / "head_desc-brain_mask.nii.gz")
    assert built.data.sum() * 8 == mask.sum()
    assert read_image(tmp_path / "out" / "head_T1w.nii.gz").grid.is_close(built.grid)


def test_what_is_shipped_is_small_and_tells_its_licence():
    folder = resources.files("bids_nodereg.data").joinpath("head")
    sizes = [
        len(folder.joinpath(name).read_bytes()) for name in ("head_T1w.nii.gz", "head_desc-brain_mask.nii.gz")
    ]
    assert sum(sizes) < LARGEST_BYTES
    assert "BSD-3-clause" in folder.joinpath("README.md").read_text(encoding="utf-8")
