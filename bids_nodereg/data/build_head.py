"""Make the head template: ``python -m bids_nodereg.data.build_head CH2 MASK FOLDER``.

CH2 is ``ch2.nii.gz`` of the Debian package mricron-data: the single-subject average Colin27 (Holmes et al.,
J. Comput. Assist. Tomogr. 1998), 1 mm, in MNI space. MASK is its brain, made by deepbet 1.0.2 with
``deepbet-cli -i ch2.nii.gz -m mask.nii.gz``. Both are averaged over cubes of two voxels. The same input
gives the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.volume import read_image, read_labels, write_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MNI_CODE = 4


def halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over cubes of two voxels, ``(i, j, k)``; an odd axis repeats its last voxel."""
    even = np.pad(values, [(0, size % 2) for size in values.shape], mode="edge")
    i, j, k = (size // 2 for size in even.shape)
    return np.asarray(even.reshape(i, 2, j, 2, k, 2).mean((1, 3, 5)), np.float32)


def halved_grid(grid: Grid) -> Grid:
    """Grid of :func:`halved`: its voxel centres lie between those of the fine one."""
    i, j, k = ((size + 1) // 2 for size in grid.shape)
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (0.5, 0.5, 0.5)
    affine[:3, :3] *= 2
    return Grid((i, j, k), affine)


def main(argv: Sequence[str]) -> int:
    """Read the head and its mask, write both at half the resolution."""
    head_path, mask_path, folder = (Path(word) for word in argv)
    head, mask = read_image(head_path), read_labels(mask_path)
    grid = halved_grid(head.grid)
    brain = halved((mask.data > 0).astype(np.float32)) >= 0.5
    write_image(np.rint(halved(head.data)), grid, folder / "head_T1w.nii.gz", dtype=np.uint8, code=MNI_CODE)
    write_image(brain, grid, folder / "head_desc-brain_mask.nii.gz", dtype=np.uint8, code=MNI_CODE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
