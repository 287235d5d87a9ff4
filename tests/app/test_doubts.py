"""Wrong images on purpose: real brains, made small, aligned coarsely."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_nodereg.app.doubts import doubt_measures
from bids_nodereg.app.inputs import Inputs
from bids_nodereg.app.stages import Solution, common_grid, find_affine
from bids_nodereg.config import Settings
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import forward_map, inverse_map
from bids_nodereg.imaging.prepare import Prepared, prepare
from bids_nodereg.imaging.volume import Volume
from bids_nodereg.registration.settings import AffineSettings
from tests.shared_data import shared_data

IN_PLACE = np.eye(4)  # images of one person share a grid in this data set
CPU = torch.device("cpu")
COARSE = Settings(
    working_resolution_mm=4.0,
    affine=AffineSettings(spacings_mm=(8.0, 4.0), iterations=(30, 25), angles_deg=(0.0,), keep=1),
)


@cache
def brain(subject: str, contrast: str) -> Volume:
    """Every other voxel of a real image: 2 mm."""
    path = shared_data("ds-brain", f"sub-{subject}", "anat", f"sub-{subject}_{contrast}.nii.gz")
    image = nib.load(path).slicer[::2, ::2, ::2]
    data = np.asarray(image.dataobj, np.float32)
    return Volume(data, Grid(data.shape, image.affine), path, np.dtype("float32"), ())


def mirrored(volume: Volume) -> Volume:
    """Left for right in the data, the header as it was."""
    axis = int(np.argmax(np.abs(volume.grid.affine[0, :3])))
    return replace(volume, data=np.ascontiguousarray(np.flip(volume.data, axis)))


def noise(volume: Volume) -> Volume:
    values = np.random.default_rng(0).normal(500, 100, volume.data.shape)
    return replace(volume, data=np.where(volume.data != 0, values, 0).astype(np.float32))


@dataclass(frozen=True)
class Doubts:
    mirrored: float
    turned: float
    view: float


def doubts_of(fixed: Volume, moving: Volume, affine: np.ndarray | None = None) -> Doubts:
    inputs = Inputs(small(fixed), small(moving))
    if affine is None:
        affine = find_affine(inputs, COARSE, CPU, lambda _step: None)
    solution = Solution(common_grid(inputs.fixed, COARSE), affine, forward_map(affine), inverse_map(affine))
    found = doubt_measures(inputs, solution, "affine", CPU)
    keys = ("mirrored_distance_ratio", "turned_distance_ratio", "fixed_view_covered_fraction")
    return Doubts(*(found[key] for key in keys))


def small(volume: Volume) -> Prepared:
    return prepare(volume, volume.data != 0)


@pytest.mark.real
def test_a_person_matches_better_than_the_mirror_image_and_a_mirror_image_does_not():
    fixed, moving = brain("kirby113", "T1w"), brain("kirby113", "T2w")

    right, wrong = doubts_of(fixed, moving, IN_PLACE), doubts_of(fixed, mirrored(moving))

    assert right.mirrored > 1.4
    assert wrong.mirrored < 0.8
    assert min(right.turned, wrong.turned) > 1.5
    assert right.view == 1
    assert wrong.view > 0.9


@pytest.mark.real
def test_it_does_not_matter_which_of_the_two_is_called_fixed():
    found = doubts_of(brain("kirby113", "T2w"), brain("kirby113", "T1w"), IN_PLACE)

    assert found.mirrored > 1.4
    assert found.turned > 1.5


@pytest.mark.real
def test_another_person_matches_no_better_than_the_mirror_image():
    found = doubts_of(brain("kirby113", "T1w"), brain("openms07", "T2w"))

    assert 0.88 < found.mirrored < 1.2
    assert found.turned > 1.35


@pytest.mark.real
def test_noise_in_the_shape_of_a_brain_matches_no_better_upside_down():
    found = doubts_of(brain("kirby113", "T1w"), noise(brain("kirby113", "T2w")), IN_PLACE)

    assert found.turned < 1.15


@pytest.mark.real
def test_an_image_of_the_upper_half_covers_half_of_the_view():
    fixed = brain("kirby113", "T1w")
    size = fixed.data.shape[2]
    affine = fixed.grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (size // 2)
    data = np.ascontiguousarray(fixed.data[:, :, size // 2 :])
    upper = replace(fixed, data=data, grid=Grid(data.shape, affine))
    inputs, identity = Inputs(small(fixed), small(upper)), np.eye(4)
    solution = Solution(
        common_grid(inputs.fixed, COARSE), identity, forward_map(identity), inverse_map(identity)
    )

    found = doubt_measures(inputs, solution, "rigid", CPU)

    assert found["fixed_view_covered_fraction"] == pytest.approx(0.5, abs=0.03)


def test_images_that_do_not_meet_leave_no_ratio():
    fixed = Volume(
        np.random.default_rng(1).normal(100, 9, (20, 20, 20)).astype(np.float32),
        Grid((20, 20, 20), np.diag([4.0, 4, 4, 1])),
        "nowhere",
        np.dtype("float32"),
        (),
    )
    everywhere = Prepared(fixed, np.ones(fixed.data.shape, bool), "given", (70.0, 130.0))
    far = np.eye(4)
    far[:3, 3] = 500
    solution = Solution(fixed.grid, far, forward_map(far), inverse_map(far))

    found = doubt_measures(Inputs(everywhere, everywhere), solution, "rigid", CPU)

    assert found == {
        "fixed_view_covered_fraction": 0.0,
        "turned_distance_ratio": None,
        "mirrored_distance_ratio": None,
    }


def ball(size_mm: float) -> Prepared:
    """Noise in a ball of 24 voxels across."""
    index = np.moveaxis(np.indices((28, 28, 28)), 0, -1) - 13.5
    inside = np.linalg.norm(index, axis=-1) < 12
    smooth = ndimage.gaussian_filter(np.random.default_rng(2).normal(0, 1, inside.shape), 1.5)
    data = np.where(inside, 100 + 200 * smooth, 0).astype(np.float32)
    grid = Grid(data.shape, np.diag([size_mm] * 3 + [1.0]))
    return prepare(Volume(data, grid, "nowhere", np.dtype("float32"), ()), inside)


def doubts_of_ball(ball: Prepared) -> dict[str, float | None]:
    grid, affine = ball.volume.grid, np.eye(4)
    solution = Solution(grid, affine, forward_map(affine), inverse_map(affine))
    return doubt_measures(Inputs(ball, ball), solution, "rigid", CPU)


def test_an_object_of_any_size_is_compared():
    """A ball of 7 mm is two voxels of the grid of brains."""
    found = doubts_of_ball(ball(0.3))

    assert found["fixed_view_covered_fraction"] == 1
    assert found["mirrored_distance_ratio"] > 1.2
    assert found["turned_distance_ratio"] > 1.2


def test_nothing_is_said_of_an_empty_mask():
    whole = ball(1.0)

    assert doubts_of_ball(replace(whole, mask=np.zeros_like(whole.mask))) == {}
