"""The velocity field as files: its flow is the displacement, by other solvers and in other programs."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses
import torch
from scipy.integrate import solve_ivp
from scipy.ndimage import gaussian_filter

from bids_nodereg.app.stages import to_world, velocity_fields
from bids_nodereg.app.velocity_files import write_velocity
from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import DisplacementField
from bids_nodereg.imaging.transforms import read_displacement_nifti
from bids_nodereg.registration.diffeomorphism import diffeomorphic_maps
from tests.app import phantom
from tests.bids.make import make_images

SHAPE, LATTICE = (40, 47, 37), (20, 24, 19)  # corners coincide, no other points do
GRID = Grid(SHAPE, phantom.affine_of(SHAPE, (1.5, 1.5, 1.5), (15, -20, 30), (3, -5, 8), flip=-1))


def lattice_velocity(parts: int) -> torch.Tensor:
    """Smooth, up to two voxels of the lattice per unit time, falling to zero on the boundary."""
    random = np.random.default_rng(1)
    field = np.stack([gaussian_filter(random.standard_normal(LATTICE), 2.5) for _ in range(3 * parts)])
    edge = [np.minimum(np.arange(size), np.arange(size)[::-1]) for size in LATTICE]
    field *= np.clip(np.min(np.meshgrid(*edge, indexing="ij"), axis=0) / 4, 0, 1)
    return torch.tensor((2 * field / np.abs(field).max()).reshape(parts, 3, *LATTICE), dtype=torch.float32)


@pytest.fixture
def outputs(tmp_path):
    pair = Pair("test", *make_images(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"))
    return pair, all_outputs([pair], tmp_path / "out")[0]


@pytest.mark.parametrize("parts", [1, 3])
def test_the_flow_of_the_files_is_the_displacement(outputs, parts):
    """At the voxels of the working grid: 0.01 mm on average, of displacements up to several mm.

    What is left comes from the velocity's own coarser lattice, interpolated onto the working grid.
    """
    pair, out = outputs
    maps = diffeomorphic_maps(lattice_velocity(parts), SHAPE, steps=8)
    warp = DisplacementField(GRID, to_world(maps.forward, GRID))
    write_velocity(pair, out, velocity_fields(maps.velocity, GRID))
    nodes = phantom.points_of(SHAPE, GRID.affine).reshape(-1, 3)
    start = np.random.default_rng(2).permutation(nodes)[:500]
    points = start
    for part in range(1, parts + 1):
        field = read_displacement_nifti(out.velocity_nii(part, parts))

        def velocity(_time, flat, field=field):
            return field.at(flat.reshape(-1, 3)).ravel()

        solution = solve_ivp(velocity, (0, 1 / parts), points.ravel(), rtol=1e-6, atol=1e-6)
        points = solution.y[:, -1].reshape(-1, 3)
    moved = warp.at(start)
    error_mm = np.linalg.norm(points - start - moved, axis=1)
    assert np.linalg.norm(moved, axis=1).max() > 3
    assert error_mm.mean() < 0.01
    assert error_mm.max() < 0.1
    wrong_mm = np.linalg.norm(points - start + moved, axis=1)
    assert wrong_mm.mean() > 50 * error_mm.mean()


def test_simpleitk_reads_it_and_squaring_gives_the_displacement_too(outputs):
    """Scaling and squaring by SimpleITK alone, on the working grid: its composition error is larger."""
    pair, out = outputs
    maps = diffeomorphic_maps(lattice_velocity(1), SHAPE, steps=8)
    write_velocity(pair, out, velocity_fields(maps.velocity, GRID))
    field = sitk.ReadImage(str(out.velocity_nii()), sitk.sitkVectorFloat64)
    step = sitk.GetArrayFromImage(field) / 2**6
    for _ in range(6):
        step = step + _at_where_it_points(step, field)
    ours = to_world(maps.forward, GRID) * np.array([-1, -1, 1])
    theirs = step.transpose(2, 1, 0, 3)
    assert np.linalg.norm(theirs - ours, axis=-1).mean() < 0.02


def _at_where_it_points(step: np.ndarray, field: sitk.Image) -> np.ndarray:
    """The vectors on the grid of the field, read at the places they point to."""
    image = sitk.GetImageFromArray(step, isVector=True)
    image.CopyInformation(field)
    transform = sitk.DisplacementFieldTransform(sitk.Image(image))
    return sitk.GetArrayFromImage(sitk.Resample(image, image, transform, sitk.sitkLinear, 0.0))


def test_files_of_an_earlier_run_do_not_stay(outputs):
    pair, out = outputs
    write_velocity(pair, out, velocity_fields(lattice_velocity(2), GRID))
    assert out.velocity_nii(2, 2).is_file()
    write_velocity(pair, out, velocity_fields(lattice_velocity(1), GRID))
    names = {path.name for path in out.folder.iterdir()}
    assert names == {out.velocity_nii().name, out.velocity_json().name}
    write_velocity(pair, out, ())
    assert list(out.folder.iterdir()) == []
