"""A known smooth warp on a real image, with the scanner's own misalignment measured and taken out.

The T2w and T1w of one session do not lie on each other exactly. What is rigid in that is found by
two independent programs; half way between them is resampled away together with the warp.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from common import random_motion
from scipy.spatial.transform import Rotation

from bids_nodereg.data.demo_motion import Motion, tabulate
from bids_nodereg.geometry import apply_affine
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.resample import warp_image
from bids_nodereg.imaging.transforms import FLIP
from bids_nodereg.imaging.volume import Volume

if TYPE_CHECKING:
    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.prepare import Prepared

REACH_MM = 8.0


@dataclass(frozen=True, eq=False)
class Residual:
    """Rigid misalignment of two images of one session.

    Attributes
    ----------
    matrix
        4 x 4, fixed world to moving world (RAS+ mm).
    about
        How far it moves the brain by each program, and how far the two differ, in mm.
    """

    matrix: np.ndarray
    about: dict[str, Any]


def known_motion(fixed: Prepared, moving: Prepared, seed: int) -> tuple[Motion, Residual]:
    """Random flow that moves the fixed brain by at most 8 mm, and the residual between the images."""
    brain = fixed.volume.grid.to_world(np.argwhere(fixed.mask)[::200])
    motion = random_motion(fixed.volume.grid, brain, REACH_MM, seed)
    return motion, rigid_residual(fixed, moving, brain)


def warped_by(motion: Motion, residual: Residual, moving: Volume, grid: Grid) -> Volume:
    """Resample the moving image once, ``new(y) = old(R(phi^-1(y)))``, onto the fixed image's grid.

    So ``new(phi(x)) = old(R x)``, which is what the fixed image shows at ``x``.
    """
    corners = grid.corners()
    inverse = tabulate(motion, corners.min(0), corners.max(0))
    back = _displacements(inverse.at, grid)
    pull = SpatialMap(residual.matrix, DisplacementField(grid, back))
    values = np.maximum(warp_image(moving, grid, pull, interpolation="cubic"), 0)
    return Volume(values, grid, moving.path, moving.dtype)


def true_displacement(motion: Motion, grid: Grid) -> DisplacementField:
    """Evaluate ``phi(x) - x`` on a grid: exact at knots 4 mm apart, a cubic spline through them between."""
    corners = grid.corners()
    backwards = Motion(motion.velocity.scaled(-1) if motion.velocity else None, np.eye(4), motion.steps)
    forward = tabulate(backwards, corners.min(0), corners.max(0))  # the inverse of the backward flow
    return DisplacementField(grid, _displacements(forward.at, grid))


def rigid_residual(fixed: Prepared, moving: Prepared, brain: np.ndarray) -> Residual:
    """Measure the rigid misalignment by ANTs and by SimpleITK, both by mutual information in the brain."""
    by_ants, by_sitk = _by_ants(fixed, moving), _by_sitk(fixed, moving)
    step = np.linalg.inv(by_ants) @ by_sitk
    half = np.eye(4)
    half[:3, :3] = Rotation.from_rotvec(Rotation.from_matrix(step[:3, :3]).as_rotvec() / 2).as_matrix()
    centre = brain.mean(0)
    half[:3, 3] = centre + (apply_affine(step, centre) - centre) / 2 - half[:3, :3] @ centre
    middle = by_ants @ half
    return Residual(
        middle,
        {
            "removed_mean_mm": _distance(middle, np.eye(4), brain),
            "ants_mean_mm": _distance(by_ants, np.eye(4), brain),
            "simpleitk_mean_mm": _distance(by_sitk, np.eye(4), brain),
            "programs_differ_mean_mm": _distance(by_ants, by_sitk, brain),
            "matrix": middle.tolist(),
        },
    )


def _distance(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> float:
    """Mean distance in mm between where two matrices send points."""
    return float(np.linalg.norm(apply_affine(a, points) - apply_affine(b, points), axis=-1).mean())


def _displacements(at: Any, grid: Grid) -> np.ndarray:
    """Values of a field at all voxel centres, plane by plane to save memory."""
    _, nj, nk = grid.shape
    plane = np.moveaxis(np.indices((1, nj, nk)), 0, -1)[0]
    rows = [at(grid.to_world(plane + np.array([i, 0, 0]))) for i in range(grid.shape[0])]
    return np.stack(rows).astype(np.float32)


def _by_ants(fixed: Prepared, moving: Prepared) -> np.ndarray:
    """Rigid by Mattes mutual information on every voxel in the fixed brain."""
    ants: Any = import_module("ants")

    images = [_ants_image(part.volume.data, part.volume.grid) for part in (fixed, moving)]
    found = ants.registration(
        *images,
        type_of_transform="Rigid",
        initial_transform="Identity",
        mask=_ants_image(fixed.mask.astype(np.float32), fixed.volume.grid),
        aff_metric="mattes",
        aff_sampling=64,
        aff_random_sampling_rate=1.0,
        aff_iterations=(200, 100, 100),
        aff_shrink_factors=(4, 2, 1),
        aff_smoothing_sigmas=(2, 1, 0),
        random_seed=1,
    )
    transform = ants.read_transform(found["fwdtransforms"][0])
    parameters, centre = np.asarray(transform.parameters), np.asarray(transform.fixed_parameters)
    return _from_lps(parameters[:9].reshape(3, 3), parameters[9:], centre)


def _ants_image(values: np.ndarray, grid: Grid) -> Any:
    ants: Any = import_module("ants")

    return ants.from_numpy(
        np.asarray(values, np.float32),
        origin=tuple(FLIP @ grid.affine[:3, 3]),
        spacing=grid.spacing,
        direction=FLIP @ grid.direction,
    )


def _by_sitk(fixed: Prepared, moving: Prepared) -> np.ndarray:
    """Rigid by Mattes mutual information on every voxel in the fixed brain, regular step descent."""
    sitk: Any = import_module("SimpleITK")

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(64)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetMetricFixedMask(_sitk_image(fixed.mask.astype(np.uint8), fixed.volume.grid))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    centre = FLIP @ fixed.volume.grid.to_world(np.argwhere(fixed.mask).mean(0))
    start = sitk.Euler3DTransform()
    start.SetCenter(centre.tolist())
    method.SetInitialTransform(start, inPlace=True)
    images = (_sitk_image(part.volume.data, part.volume.grid) for part in (fixed, moving))
    method.Execute(*images)
    matrix = np.asarray(start.GetMatrix()).reshape(3, 3)
    return _from_lps(matrix, np.asarray(start.GetTranslation()), centre)


def _sitk_image(values: np.ndarray, grid: Grid) -> Any:
    sitk: Any = import_module("SimpleITK")

    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    image.SetSpacing(grid.spacing)
    image.SetOrigin((FLIP @ grid.affine[:3, 3]).tolist())
    image.SetDirection((FLIP @ grid.direction).ravel().tolist())
    return image


def _from_lps(matrix: np.ndarray, translation: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """ITK's ``M (x - c) + c + t`` as a 4 x 4 matrix in RAS+ mm."""
    affine = np.eye(4)
    affine[:3, :3] = FLIP @ matrix @ FLIP
    affine[:3, 3] = FLIP @ (translation + centre - matrix @ centre)
    return affine
