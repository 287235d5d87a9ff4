from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from bids_nodereg.registration.kernels.cpu.tiles import lattice_tiles, point_tiles

REACHES = [0.0, 0.4, 2.7, 11.0, 1000.0, float("inf"), float("nan")]


def touched(start: int, end: int, step: float, reach: float, size: int) -> tuple[int, int]:
    """First and last voxel that points of a tile can add to along an axis."""
    if not np.isfinite(reach):
        return 0, size - 1
    low = np.clip(np.floor(np.clip(start * step - reach, 0, size - 1)), 0, size - 2)
    high = np.clip(np.floor(np.clip((end - 1) * step + reach, 0, size - 1)), 0, size - 2) + 1
    return int(low), int(high)


def meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("points", [(24, 31, 19), (47, 61, 37), (7, 2, 5)])
def test_tiles_of_a_colour_share_no_voxel_and_all_hold_every_point_once(
    points: tuple[int, int, int], reach: float
) -> None:
    voxels = (24, 31)
    spacing = [(v - 1) / (p - 1) for v, p in zip(voxels, points, strict=False)]

    colours = lattice_tiles(points, [*spacing, 1.0], [reach, reach / 2, 0.0])

    count = np.zeros(points[:2], int)
    for boxes in colours:
        for i0, i1, j0, j1 in boxes:
            count[i0:i1, j0:j1] += 1
        reached = [
            (touched(i0, i1, spacing[0], reach, 24), touched(j0, j1, spacing[1], reach / 2, 31))
            for i0, i1, j0, j1 in boxes
        ]
        assert not any(meet(a[0], b[0]) and meet(a[1], b[1]) for a, b in combinations(reached, 2))
    assert (count == 1).all()


def test_a_short_reach_leaves_work_for_many_threads() -> None:
    colours = lattice_tiles((75, 91, 74), (1.0, 1.0, 1.0), (3.0, 3.0, 3.0))

    assert all(len(boxes) >= 16 for boxes in colours)


@pytest.mark.parametrize("reach", REACHES)
def test_slabs_of_points_share_no_voxel_and_hold_every_point_once(reach: float) -> None:
    size = 40
    index = np.random.default_rng(0).uniform(-5, 45, 300)
    index[7] = np.nan

    tiles = point_tiles(index, size, reach)

    assert sorted(tiles.order.tolist()) == list(range(300))
    ends = sorted(tuple(slab) for slabs in tiles.colours for slab in slabs.tolist())
    assert [start for start, _ in ends] + [300] == [0, *(end for _, end in ends)]
    start = np.floor(np.clip(np.nan_to_num(index), 0, size - 1))
    far = reach if np.isfinite(reach) else size
    for slabs in tiles.colours:
        spans = [start[tiles.order[a:b]] for a, b in slabs if b > a]
        reached = [(max(0, s.min() - far), min(size - 1, s.max() + 1 + far)) for s in spans]
        assert not any(meet(a, b) for a, b in combinations(reached, 2))


def test_the_sorting_keeps_the_order_within_a_slab() -> None:
    index = np.array([9.5, 0.2, 9.1, 0.7, 5.0])

    tiles = point_tiles(index, 12, 0.0)

    place = {int(n): rank for rank, n in enumerate(tiles.order)}
    assert place[0] < place[2]
    assert place[1] < place[3]
    assert len(tiles.colours) == 2
