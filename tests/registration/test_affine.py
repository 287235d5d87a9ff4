from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_nodereg.registration.affine import START_TRIALS, align, centre_of_mass, transform
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.settings import AffineSettings
from tests.registration.fields import noise
from tests.shared_data import shared_data

if TYPE_CHECKING:
    from bids_nodereg.registration.optimise import Step

SPACING_MM = 4.0
FIXED_SHAPE, MOVING_SHAPE = (39, 45, 36), (41, 43, 38)
QUICK = AffineSettings(spacings_mm=(12.0, 8.0, 4.0), iterations=(60, 40, 30))


def phantom(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tissue value in [0, 1] and membership of a lopsided head with inner structure, at ``x`` (mm)."""
    rng = np.random.default_rng(7)
    head = 1 - np.linalg.norm(x / [58.0, 70.0, 50.0], axis=-1) + 0.1 * x[..., 0] * x[..., 1] / 58 / 70
    texture = np.zeros(x.shape[:-1])
    for _ in range(16):
        direction = rng.normal(size=3)
        wave = 2 * np.pi / rng.uniform(22, 50) * direction / np.linalg.norm(direction)
        texture = texture + np.cos(x @ wave + rng.uniform(0, 2 * np.pi))
    inside = 1 / (1 + np.exp(-head * 40))
    return (0.5 + 0.15 * np.tanh(texture)) * inside, (head > 0).astype(float)


def second_contrast(value: np.ndarray) -> np.ndarray:
    """Inverted and bent inside the head, and still dark outside."""
    return np.clip(value * 8, 0, 1) * (1.1 - value**0.7)


def index_matrix(angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> np.ndarray:
    """True map from fixed to moving voxel index: about the middles of the two grids."""
    fixed_middle, moving_middle = ((np.asarray(s) - 1) / 2 for s in (FIXED_SHAPE, MOVING_SHAPE))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = moving_middle + np.asarray(shift_mm) / SPACING_MM - matrix[:3, :3] @ fixed_middle
    return matrix


def phantom_pair(matrix: np.ndarray) -> ImagePair:
    """Fixed phantom; moving one seen through the inverse of ``matrix``, exactly, not interpolated."""
    images = []
    for shape, to_fixed in ((FIXED_SHAPE, np.eye(4)), (MOVING_SHAPE, np.linalg.inv(matrix))):
        index = np.stack(np.indices(shape), -1) @ to_fixed[:3, :3].T + to_fixed[:3, 3]
        images.append(phantom((index - (np.asarray(FIXED_SHAPE) - 1) / 2) * SPACING_MM))
    (fixed, fixed_mask), (moving, moving_mask) = images
    arrays = (fixed, second_contrast(moving), fixed_mask, moving_mask)
    return ImagePair(*(torch.from_numpy(a.astype(np.float32))[None, None] for a in arrays))


def mean_error_mm(got: torch.Tensor, truth: np.ndarray, mask: torch.Tensor, spacing_mm: float) -> float:
    """Mean over the mask of the distance between where two matrices send a fixed voxel."""
    index = np.argwhere(mask[0, 0].numpy() > 0)
    difference = got.numpy() - truth
    return spacing_mm * float(np.linalg.norm(index @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())


@pytest.mark.parametrize(
    ("angles_deg", "shift_mm"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((28.0, 0.0, 0.0), (10.0, -6.0, 5.0)),
        ((0.0, -30.0, 0.0), (-8.0, 4.0, 0.0)),
        ((-12.0, 9.0, 25.0), (6.0, 7.0, -9.0)),
    ],
)
def test_a_rigid_move_of_another_contrast_is_recovered(
    angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]
) -> None:
    truth = index_matrix(angles_deg, shift_mm)
    pair = phantom_pair(truth)

    found = align(pair, SPACING_MM, QUICK, "rigid")

    assert found.matrix.shape == (4, 4)
    assert found.matrix.dtype == torch.float64
    assert mean_error_mm(found.matrix, truth, pair.fixed_mask, SPACING_MM) < 1.0
    linear = found.matrix[:3, :3]
    torch.testing.assert_close(linear @ linear.T, torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)
    assert found.starts == 28  # three angles about three axes, and what the headers tell
    assert math.isfinite(found.loss)


def test_an_affine_move_needs_the_affine_freedom() -> None:
    truth = index_matrix((8.0, -5.0, 10.0), (4.0, 0.0, -3.0))
    middle = (np.asarray(FIXED_SHAPE) - 1) / 2
    stretch = np.array([[1.1, 0.04, 0.0], [0.0, 0.92, 0.03], [0.0, 0.0, 1.05]])
    truth[:3, 3] += truth[:3, :3] @ (middle - stretch @ middle)  # the middle stays where it goes
    truth[:3, :3] = truth[:3, :3] @ stretch
    pair = phantom_pair(truth)

    errors = {
        freedom: mean_error_mm(
            align(pair, SPACING_MM, QUICK, freedom).matrix, truth, pair.fixed_mask, SPACING_MM
        )
        for freedom in ("rigid", "affine")
    }

    assert errors["affine"] < 1.0 < errors["rigid"]


def test_alignment_is_the_same_bit_for_bit_and_tells_of_every_step() -> None:
    pair = phantom_pair(index_matrix((10.0, 0.0, 5.0), (5.0, 0.0, 0.0)))
    settings = AffineSettings((12.0, 8.0, 4.0), (8, 6, 4), (0.0,), 2)
    steps: list[Step] = []

    first = align(pair, SPACING_MM, settings, "affine", steps.append)
    second = align(pair, SPACING_MM, settings, "affine")

    assert torch.equal(first.matrix, second.matrix)
    assert first.loss == second.loss
    assert first.starts == 2
    assert [(s.stage, s.level, s.iteration) for s in steps] == [
        *(("rigid start", 1, n) for n in range(1, 2 * START_TRIALS + 1)),
        *(("rigid", 1, n) for n in range(1, 9)),
        *(("rigid", 2, n) for n in range(1, 7)),
        *(("affine", 2, n) for n in range(1, 7)),
        *(("affine", 3, n) for n in range(1, 5)),
    ]
    assert {s.iterations for s in steps if s.stage == "rigid start"} == {2 * START_TRIALS}
    assert steps[-1].loss < steps[-4].loss
    assert first.loss == min(step.loss for step in steps[-4:])


def test_headers_that_tell_of_other_axes_are_where_the_starts_turn_from() -> None:
    """Half a turn and more is out of reach of the angles tried, but not beside a told orientation."""
    told, truth = (
        index_matrix((170.0, 0.0, 90.0), (0.0, 0.0, 0.0)),
        index_matrix((190.0, 12.0, 80.0), (9.0, 4.0, 0.0)),
    )
    pair = phantom_pair(truth)

    errors = [
        mean_error_mm(
            align(pair, SPACING_MM, QUICK, "rigid", told=where).matrix, truth, pair.fixed_mask, SPACING_MM
        )
        for where in (torch.from_numpy(told), None)
    ]

    assert errors[0] < 1.0
    assert errors[1] > 10.0


def test_a_told_position_is_tried_as_it_is() -> None:
    """A moving mask with a lump outside the head has its centre of mass far from the head's."""
    truth = index_matrix((3.0, 0.0, -2.0), (6.0, -3.0, 2.0))
    pair = phantom_pair(truth)
    pair.moving_mask[..., :9, :9, :] = 1
    barely = AffineSettings((12.0, 8.0, 4.0), (1, 1, 1), (0.0,), 2)

    matrices = [
        align(pair, SPACING_MM, barely, "rigid", told=where).matrix
        for where in (torch.from_numpy(truth), None)
    ]

    informed, blind = (mean_error_mm(m, truth, pair.fixed_mask, SPACING_MM) for m in matrices)
    assert informed < 6.0 < blind


def test_transform_applies_a_matrix_to_index_positions() -> None:
    matrix = torch.from_numpy(index_matrix((20.0, -10.0, 5.0), (1.0, 2.0, 3.0)))
    points = identity((5, 4, 3), noise(1))

    got = transform(matrix, points)

    homogeneous = matrix @ torch.tensor([4.0, 1.0, 2.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(got[0, :, 4, 1, 2], homogeneous[:3])
    assert torch.equal(transform(torch.eye(4), points), points)


def test_centre_of_mass_is_scipys() -> None:
    mask = noise(1, 1, 9, 14, 7) * (noise(1, 1, 9, 14, 7, seed=1) > 0.5)

    truth = ndimage.center_of_mass(mask[0, 0].numpy())

    np.testing.assert_allclose(centre_of_mass(mask).numpy(), truth, atol=1e-12)


# --- a real brain, T1w against T2w ------------------------------------------------------------

REAL_SPACING_MM = 2.0
REAL_SETTINGS = AffineSettings(iterations=(60, 40, 30))


@dataclass(frozen=True)
class Brain:
    """One head in two contrasts on one lattice of 1 mm, aligned with each other by the data set."""

    t1w: np.ndarray
    t2w: np.ndarray
    mask: np.ndarray


@pytest.fixture(scope="module")
def brain() -> Brain:
    folder = shared_data("ds-brain", "sub-kirby113", "anat")
    images = [nib.load(folder / f"sub-kirby113_{suffix}.nii.gz") for suffix in ("T1w", "T2w")]
    assert np.allclose(images[0].affine, images[1].affine)
    zooms = np.asarray(images[0].header.get_zooms())
    shape = tuple(np.ceil(zooms * images[0].shape).astype(int))
    t1w, t2w = (
        ndimage.affine_transform(np.asarray(image.dataobj, np.float32), np.diag(1 / zooms), 0, shape, order=1)
        for image in images
    )
    t1w, t2w = (ndimage.gaussian_filter(a / np.percentile(a[a > 0], 99), 1.2) for a in (t1w, t2w))
    mask = (t1w > 0.05) & (t2w > 0.02)
    box = tuple(slice(np.where(m)[0][0] - 8, np.where(m)[0][-1] + 9) for m in projections(mask))
    return Brain(t1w[box], t2w[box], mask[box].astype(np.float32))


def projections(mask: np.ndarray) -> list[np.ndarray]:
    """Which planes along each axis a mask touches."""
    return [mask.any(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]


def resampled(array: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """The array (1 mm voxels) on a lattice whose index ``matrix`` sends to the array's index."""
    got = ndimage.affine_transform(array, matrix[:3, :3], matrix[:3, 3], shape, order=1)
    return torch.from_numpy(np.clip(got, 0, None))[None, None]


def real_pair(brain: Brain, rotation: Rotation, shift_mm: np.ndarray) -> tuple[ImagePair, np.ndarray]:
    """T1w at rest and T2w moved, each in a box of its own; true fixed -> moving index."""
    middle = (np.asarray(brain.t1w.shape) - 1) / 2
    shape = tuple(int(np.ceil(n / REAL_SPACING_MM)) for n in brain.t1w.shape)
    wide = tuple(n + int(2 * np.ceil(45 / REAL_SPACING_MM)) for n in shape)
    scale = np.diag([REAL_SPACING_MM] * 3 + [1.0])
    fixed_to_mm, moving_to_mm = scale.copy(), scale.copy()
    fixed_to_mm[:3, 3] = middle - REAL_SPACING_MM * (np.asarray(shape) - 1) / 2
    moving_to_mm[:3, 3] = middle - REAL_SPACING_MM * (np.asarray(wide) - 1) / 2
    move = np.eye(4)
    move[:3, :3] = rotation.as_matrix()
    move[:3, 3] = middle + shift_mm - move[:3, :3] @ middle
    back = np.linalg.inv(move) @ moving_to_mm
    masks = (resampled(brain.mask, m, s) > 0.5 for m, s in ((fixed_to_mm, shape), (back, wide)))
    pair = ImagePair(
        resampled(brain.t1w, fixed_to_mm, shape),
        resampled(brain.t2w, back, wide),
        *(m.float() for m in masks),
    )
    return pair, np.linalg.inv(moving_to_mm) @ move @ fixed_to_mm


def check_real(brain: Brain, rotation: Rotation, shift_mm: np.ndarray) -> None:
    pair, truth = real_pair(brain, rotation, shift_mm)

    found = align(pair, REAL_SPACING_MM, REAL_SETTINGS, "rigid")

    assert mean_error_mm(found.matrix, truth, pair.fixed_mask, REAL_SPACING_MM) < 1.0


@pytest.mark.real
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_real_t2w_moved_by_30_degrees_and_30_mm_about_a_random_axis_is_brought_back(
    brain: Brain, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    axis, direction = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))

    check_real(brain, Rotation.from_rotvec(np.radians(30) * axis), 30 * direction)


@pytest.mark.real
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_real_t2w_turned_by_30_degrees_about_an_axis_is_brought_back(brain: Brain, axis: int) -> None:
    sign = (-1) ** axis

    check_real(brain, Rotation.from_rotvec(np.radians(30) * sign * np.eye(3)[axis]), np.zeros(3))


def test_lesions_do_not_mislead_the_start() -> None:
    """Stripes in the middle of the fixed head, and the same stripes elsewhere in the moving one."""
    truth = index_matrix((6.0, 0.0, 0.0), (4.0, 0.0, 0.0))
    pair = phantom_pair(truth)
    fixed, moving = pair.fixed.clone(), pair.moving.clone()
    fixed_cost, moving_cost = torch.ones_like(fixed), torch.ones_like(moving)
    middle = [size // 2 for size in FIXED_SHAPE]
    for image, cost, shift in ((fixed, fixed_cost, 0), (moving, moving_cost, 3)):
        i, j, k = (slice(at + shift - 5, at + shift + 5) for at in middle)
        stripes = (torch.arange(10) % 6 < 3).to(image.dtype)
        image[0, 0, i, j, k] = stripes.view(10, 1, 1) * stripes.view(1, 10, 1)
        cost[0, 0, i, j, k] = 0
    blind = replace(pair, fixed=fixed, moving=moving)
    masked = replace(blind, fixed_cost=fixed_cost, moving_cost=moving_cost)

    misled, right = (
        mean_error_mm(align(each, SPACING_MM, QUICK, "affine").matrix, truth, pair.fixed_mask, SPACING_MM)
        for each in (blind, masked)
    )

    assert right < 0.8 * misled
