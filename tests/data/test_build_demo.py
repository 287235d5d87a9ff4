"""The pieces that make the demo data, on anatomies small enough to check by hand."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.data import build_demo, demo_anatomy, demo_files, demo_motion, demo_scanner
from bids_nodereg.geometry import Grid, apply_affine

LOW, HIGH = np.array([-50.0, -60.0, -55.0]), np.array([50.0, 45.0, 60.0])


def ball(radius_mm: float = 30.0, spacing_mm: float = 3.0) -> demo_anatomy.Anatomy:
    """Three shells, white inside grey inside fluid, off the centre of a lattice of odd shape."""
    grid = demo_motion.box_grid(LOW, HIGH, spacing_mm)
    distance = np.linalg.norm(demo_motion.lattice(grid) - [3, -5, 2], axis=-1)
    t1w = np.where(distance < radius_mm, 1.2 - distance / radius_mm, 0).astype(np.float32)
    white = np.clip((0.45 * radius_mm - distance) / 4 + 0.5, 0, 1).astype(np.float32)
    grey = np.clip((0.8 * radius_mm - distance) / 4 + 0.5, 0, 1).astype(np.float32) - white
    return demo_anatomy.anatomy_from_maps(t1w, grey, white, grid)


def random_motion(reach_mm: float = 6.0, seed: int = 3) -> demo_motion.Motion:
    velocity = demo_motion.random_velocity(np.random.default_rng(seed), LOW, HIGH, {14.0: 1.0})
    points = demo_motion.lattice(demo_motion.box_grid(LOW, HIGH, 10.0))
    rigid = demo_motion.rigid_about(np.array([1.0, 2.0, 3.0]), (1, -2, 0.5), 8.0, (4.0, -4.0, 2.0))
    return demo_motion.Motion(demo_motion.scale_to_reach(velocity, points, reach_mm), rigid)


def test_fractions_fill_the_brain() -> None:
    anatomy = ball()
    inside = anatomy.channels[:3].sum(axis=0)
    brain = anatomy.channels[4] > 0.99
    assert np.count_nonzero(brain) > 1000
    np.testing.assert_allclose(inside[brain], 1, atol=1e-5)
    assert inside[anatomy.channels[4] < 0.01].max() == 0


def test_flow_of_a_linear_velocity_is_the_matrix_exponential() -> None:
    """d phi/dt = w x phi turns by |w|; B-splines reproduce linear functions where they are not tapered."""
    grid = demo_motion.box_grid(LOW, HIGH, 6.0)
    turn = np.array([0.2, -0.3, 0.4])
    velocity = np.moveaxis(np.cross(turn, demo_motion.lattice(grid)), -1, 0)
    points = np.random.default_rng(0).uniform(-15, 15, (50, 3))
    moved = demo_motion.flow(demo_motion.SplineField(velocity, grid), points, steps=10)
    rotation = demo_motion.rigid_about(
        np.zeros(3), tuple(turn), np.rad2deg(np.linalg.norm(turn)), (0.0, 0.0, 0.0)
    )
    np.testing.assert_allclose(moved, apply_affine(rotation, points), atol=1e-5)


def test_motion_reaches_as_far_as_asked_and_can_be_undone() -> None:
    motion = random_motion(reach_mm=6.0)
    points = demo_motion.lattice(demo_motion.box_grid(LOW, HIGH, 10.0)).reshape(-1, 3)
    assert motion.velocity is not None
    moved = np.linalg.norm(demo_motion.flow(motion.velocity, points, steps=motion.steps) - points, axis=-1)
    assert moved.max() == pytest.approx(6.0, abs=1e-3)
    np.testing.assert_allclose(motion.inverse(motion.forward(points)), points, atol=1e-5)
    assert np.abs(motion.forward(points) - points).max() > 6


def test_motion_does_not_fold() -> None:
    motion, h = random_motion(), 0.25
    points = np.random.default_rng(1).uniform(-30, 30, (200, 3))
    columns = [(motion.forward(points + h * e) - motion.forward(points - h * e)) / (2 * h) for e in np.eye(3)]
    assert np.linalg.det(np.stack(columns, axis=-1)).min() > 0.3


def test_table_of_the_inverse_is_exact_enough() -> None:
    motion = random_motion()
    table = demo_motion.tabulate(motion, LOW, HIGH)
    points = np.random.default_rng(2).uniform(-35, 30, (300, 3))
    unmoved = apply_affine(np.linalg.inv(motion.rigid), motion.forward(points))
    np.testing.assert_allclose(unmoved + table.at(unmoved), points, atol=0.02)


@pytest.mark.parametrize("towards", ["RAS", "LAS", "PSR", "RSA"])
def test_protocol_grid_has_its_directions_and_holds_the_points(towards: str) -> None:
    points = ball().brain_points()
    protocol = demo_scanner.Protocol((1.0, 1.7, 2.3), towards, (5.0, -4.0, 3.0))
    grid = protocol.grid(points)
    assert "".join(nib.aff2axcodes(grid.affine)) == towards
    np.testing.assert_allclose(grid.spacing, (1.0, 1.7, 2.3), rtol=1e-6)
    index = grid.to_index(points)
    assert index.min() > 0
    assert (index.max(axis=0) < np.asarray(grid.shape) - 1).all()


def test_moved_image_shows_the_moved_anatomy() -> None:
    """What the image shows at ``forward(x)`` is what the anatomy has at ``x``."""
    anatomy, motion = ball(), random_motion()
    protocol = demo_scanner.Protocol((1.2, 1.5, 1.9), "LSA", (5.0, -4.0, 3.0))
    grid = protocol.grid(motion.forward(anatomy.brain_points()))
    placement = demo_scanner.Placement(
        ((np.linalg.inv(motion.rigid), demo_motion.tabulate(motion, LOW, HIGH)),)
    )
    seen = demo_anatomy.Anatomy(demo_scanner.voxel_averages(anatomy, placement, grid), grid)
    points = anatomy.brain_points(every=1)
    points = points[np.linalg.norm(points - [3, -5, 2], axis=-1) < 24]  # away from the blurred rim
    there, unmoved = seen.at(motion.forward(points))[:3], seen.at(points)[:3]
    truth = anatomy.at(points)[:3]
    assert np.abs(there - truth).mean() < 0.05
    assert np.abs(unmoved - truth).mean() > 0.13


def test_acquisition_is_zero_outside_and_noisy_inside() -> None:
    anatomy = ball()
    averages = demo_scanner.voxel_averages(
        anatomy, demo_scanner.Placement(((np.eye(4), None),)), anatomy.grid
    )
    contrast = demo_scanner.Contrast((0.2, 0.7, 1.0), texture=0.0, own_texture=0.0, noise=0.02)
    first, again, other = (
        demo_scanner.acquire(averages, anatomy.grid, contrast, np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.05
    labels = demo_scanner.label(averages)
    assert first[labels == 0].max() == 0
    assert [set(np.unique(labels))] == [{0, 1, 2, 3}]
    fluid, grey, white = (first[labels == value].mean() for value in (1, 2, 3))
    assert fluid < grey < white


def test_written_field_reads_back_as_moving_minus_fixed(tmp_path: Path) -> None:
    grid = Grid((4, 5, 3), np.diag([5.0, 5.0, 5.0, 1.0]))
    displacement = np.broadcast_to([1.0, -2.0, 3.0], (4, 5, 3, 3))
    demo_files.write_truth_field(tmp_path, demo_files.ImageName("01", "T2w"), displacement, grid)
    (path,) = tmp_path.rglob("*_from-T2w_to-T1w_mode-image_desc-truth_xfm.nii.gz")
    stored = nib.load(path)
    assert stored.shape == (4, 5, 3, 1, 3)
    np.testing.assert_array_equal(stored.get_fdata()[1, 2, 1, 0], [-1.0, 2.0, 3.0])


def test_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    subject = build_demo.Subject(
        "07",
        4.0,
        {
            "T1w": demo_scanner.Protocol((6.0, 5.0, 5.0), "PSR", (2.0, -3.0, 1.5)),
            "T2w": demo_scanner.Protocol((5.0, 5.0, 8.0), "LAS", (-9.0, 4.0, 6.0)),
        },
        {"T2w": build_demo.Misplacement(5.0, ((16.0, 1.0),), (0.3, -0.4, 1.0), 8.0, (4.0, -4.0, 2.0))},
    )
    for folder in ("first", "again", "other"):
        seed = 2 if folder == "other" else 1
        build_demo.build(tmp_path / folder, anatomy=ball(radius_mm=12.0), subjects=[subject], seed=seed)
    names = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.*"))
    files = [name for name in names if (tmp_path / "first" / name).is_file()]
    assert sum(name.name.endswith(".nii.gz") for name in files) == 5
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    image = "sub-07/anat/sub-07_T2w.nii.gz"
    assert (tmp_path / "first" / image).read_bytes() != (tmp_path / "other" / image).read_bytes()


def test_committed_labels_are_those_of_the_packaged_template() -> None:
    """A piece of the real build, at the places where the committed T1w labels of sub-01 are."""
    pytest.importorskip("nilearn", reason="needs the extra demo-data")
    anatomy = demo_anatomy.load_mni152()
    demo = Path(build_demo.__file__).parent / "demo"
    stored = nib.load(demo / "derivatives/truth/sub-01/anat/sub-01_space-T1w_desc-tissue_dseg.nii.gz")
    labels = np.asarray(stored.dataobj)
    step = 8
    affine = stored.affine @ np.diag([1, 1, 1, 1])
    affine[:3, 3] = stored.affine[:3] @ [0, labels.shape[1] // 2, 0, 1]
    slab = Grid((labels.shape[0], step, labels.shape[2]), affine)
    placement = demo_scanner.Placement(((np.eye(4), None),))
    again = demo_scanner.label(demo_scanner.voxel_averages(anatomy, placement, slab))
    middle = labels[:, labels.shape[1] // 2 :][:, :step]
    assert (again == middle).mean() > 0.999
    assert len(np.unique(middle)) == 4
