"""Files of every kind through a chain of transforms, as SimpleITK and ANTs carry them."""

from __future__ import annotations

import nibabel as nib
import nitransforms
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.errors import DataError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging import carry as carrying
from bids_nodereg.imaging.carry import Target, carry
from bids_nodereg.imaging.chain import Chain
from bids_nodereg.imaging.chain_files import TransformFile, read_chain
from bids_nodereg.imaging.points import carry_points
from bids_nodereg.imaging.series import open_series
from bids_nodereg.imaging.transforms import write_affine_txt, write_composite_h5
from bids_nodereg.imaging.volume import write_image
from bids_nodereg.tables import read_table

RANGE = 1000.0
LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    """The scene as files: a map of two composites and an affine, given as its inverse."""
    path = tmp_path_factory.mktemp("carry")
    write_image(np.ones(scene.fixed.shape), scene.fixed, path / "reference.nii.gz")
    write_image(scene.image, scene.moving, path / "image.nii.gz")
    write_image(scene.labels, scene.moving, path / "labels.nii.gz", dtype=np.uint16)
    write_image(scene.image > 520, scene.moving, path / "mask.nii.gz", dtype=np.uint8)
    write_composite_h5(path / "forward.h5", scene.forward_map())
    write_composite_h5(path / "inverse.h5", scene.inverse_map())
    turn = np.eye(4)
    turn[:3, 3] = 2.0, -3.0, 1.5
    turn[0, 1] = 0.05
    write_affine_txt(path / "turn.txt", turn)
    return path


@pytest.fixture(scope="module")
def target(folder, scene) -> Target:
    """There, back, there and a turn: no part may be left out or change its place."""
    return Target(scene.fixed, read_chain([*names(folder), TransformFile(folder / "turn.txt", invert=True)]))


def names(folder):
    return [folder / f"{name}.h5" for name in ("forward", "inverse", "forward")]


def chain_by_simpleitk(folder) -> sitk.Transform:
    """ITK's composite applies the last added first."""
    turn = sitk.ReadTransform(str(folder / "turn.txt")).GetInverse()
    parts = [sitk.ReadTransform(str(path)) for path in names(folder)]
    return sitk.CompositeTransform([turn, *parts[::-1]])


def by_simpleitk(folder, image, interpolator=sitk.sitkLinear) -> np.ndarray:
    reference = sitk.ReadImage(str(folder / "reference.nii.gz"))
    pulled = sitk.Resample(image, reference, chain_by_simpleitk(folder), interpolator, 0.0)
    return sitk.GetArrayFromImage(pulled).T


def read(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def inside(scene, target) -> np.ndarray:
    where = scene.interior(scene.moving, target.mapping(scene.points(scene.fixed)))
    assert where.mean() > 0.3
    return where


@pytest.mark.parametrize(
    ("interpolation", "theirs", "tolerance"),
    [("linear", sitk.sitkLinear, 1e-3), ("cubic", sitk.sitkBSpline3, 5e-3)],
)
def test_an_image_through_several_transforms(
    folder, scene, target, tmp_path, interpolation, theirs, tolerance
):
    chosen = Target(target.grid, target.mapping, interpolation, threads=2)
    carry(folder / "image.nii.gz", "image", chosen, tmp_path / "out.nii.gz")
    expected = by_simpleitk(folder, sitk.ReadImage(str(folder / "image.nii.gz")), theirs)
    difference = np.abs(read(tmp_path / "out.nii.gz") - expected)[inside(scene, target)]
    assert difference.max() < tolerance * RANGE
    assert np.ptp(expected) > 0.5 * RANGE
    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(written.affine, scene.fixed.affine, atol=1e-4)
    assert (written.header["sform_code"], written.header["qform_code"]) == (2, 2)


def test_ants_carries_the_image_alike(folder, scene, target, tmp_path):
    ants = pytest.importorskip("ants", reason="antspyx has no wheel for this Python")
    write_affine_txt(
        tmp_path / "back.txt", read_chain([TransformFile(folder / "turn.txt", invert=True)]).affine
    )
    carry(folder / "image.nii.gz", "image", target, tmp_path / "out.nii.gz")
    carry(folder / "labels.nii.gz", "labels", target, tmp_path / "dseg.nii.gz")
    transforms = [str(path) for path in (*names(folder), tmp_path / "back.txt")]
    for name, result, interpolator in (("image", "out", "linear"), ("labels", "dseg", "genericLabel")):
        theirs = ants.apply_transforms(
            ants.image_read(str(folder / "reference.nii.gz")),
            ants.image_read(str(folder / f"{name}.nii.gz")),
            transforms,
            interpolator=interpolator,
            whichtoinvert=[False] * len(transforms),
        ).numpy()
        differing = np.abs(theirs - read(tmp_path / f"{result}.nii.gz"))[inside(scene, target)]
        if name == "image":
            assert differing.max() < 0.005 * RANGE
        else:
            assert np.mean(differing > 0) < 1e-3


def test_nitransforms_carries_the_image_alike(folder, scene, target, tmp_path):
    """It reads fields by cubic splines and ITK and we linearly; hence the mean and a percentile."""
    carry(folder / "image.nii.gz", "image", target, tmp_path / "out.nii.gz")
    loaded = [nitransforms.manip.load(path, fmt="itk") for path in names(folder)]
    turn = nitransforms.linear.Affine(np.linalg.inv(read_chain([folder / "turn.txt"]).affine))
    chain = nitransforms.TransformChain([part for each in loaded for part in each.transforms] + [turn])
    image, reference = nib.load(folder / "image.nii.gz"), nib.load(folder / "reference.nii.gz")
    theirs = np.asarray(nitransforms.resampling.apply(chain, image, reference=reference, order=1).dataobj)
    difference = np.abs(theirs - read(tmp_path / "out.nii.gz"))[inside(scene, target)]
    assert difference.mean() < 0.005 * RANGE
    assert np.percentile(difference, 99) < 0.03 * RANGE


def test_labels_keep_their_codes_and_their_type(folder, scene, target, tmp_path):
    carry(folder / "labels.nii.gz", "labels", target, tmp_path / "dseg.nii.gz")
    written = nib.load(tmp_path / "dseg.nii.gz")
    assert written.get_data_dtype() == np.uint16
    assert set(np.unique(written.dataobj)) == {0, 7, 41, 2000}


def test_nearest_is_itks(folder, scene, target, tmp_path):
    chosen = Target(target.grid, target.mapping, "nearest")
    carry(folder / "image.nii.gz", "image", chosen, tmp_path / "out.nii.gz")
    expected = by_simpleitk(folder, sitk.ReadImage(str(folder / "image.nii.gz")), sitk.sitkNearestNeighbor)
    assert np.mean(read(tmp_path / "out.nii.gz") != expected) < 1e-3
    assert set(np.unique(read(tmp_path / "out.nii.gz"))) <= {0, *np.unique(scene.image)}


def test_a_mask_is_cut_at_a_half_of_the_linear_share(folder, target, tmp_path):
    carry(folder / "mask.nii.gz", "mask", target, tmp_path / "mask.nii.gz")
    share = by_simpleitk(folder, sitk.ReadImage(str(folder / "mask.nii.gz"), sitk.sitkFloat32))
    clear = np.abs(share - 0.5) > 1e-3
    ours = nib.load(tmp_path / "mask.nii.gz")
    assert ours.get_data_dtype() == np.uint8
    assert np.array_equal(read(tmp_path / "mask.nii.gz")[clear], share[clear] > 0.5)


def test_shares_stay_shares(folder, scene, target, tmp_path):
    share = ((scene.image - 300) / 400).clip(
        -5e-4, 1 + 5e-4
    )  # as resampling by splines and rounding leave it
    write_image(share, scene.moving, tmp_path / "probseg.nii.gz")
    carry(tmp_path / "probseg.nii.gz", "share", target, tmp_path / "out.nii.gz")
    expected = by_simpleitk(folder, sitk.ReadImage(str(tmp_path / "probseg.nii.gz"))).clip(0, 1)
    ours = read(tmp_path / "out.nii.gz")
    assert (ours.min(), ours.max()) == (0.0, 1.0)
    assert np.abs(ours - expected)[inside(scene, target)].max() < 1e-3


def test_percentages_are_no_shares(scene, target, tmp_path):
    write_image(scene.image.clip(0, 1000) / 10, scene.moving, tmp_path / "probseg.nii.gz")
    with pytest.raises(DataError, match=r"probseg.nii.gz: .* from 0 to 1, got \S+ to \d\d"):
        carry(tmp_path / "probseg.nii.gz", "share", target, tmp_path / "out.nii.gz")
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize("kind", ["image", "share"])
def test_what_is_no_number_counts_as_0_and_is_told(scene, target, tmp_path, kind):
    values = np.full(scene.moving.shape, 0.5)
    values.flat[:3] = np.nan, np.inf, 1e300
    nib.save(nib.Nifti1Image(values, scene.moving.affine), tmp_path / "x.nii.gz")
    assert nib.load(tmp_path / "x.nii.gz").get_data_dtype() == np.float64
    notes = carry(tmp_path / "x.nii.gz", kind, target, tmp_path / "out.nii.gz")
    assert "3 voxels" in notes[-1]
    assert set(np.unique(read(tmp_path / "out.nii.gz")).round(6)) == {0, 0.5}


@pytest.mark.parametrize("kind", ["image", "labels", "mask"])
@pytest.mark.parametrize("interpolation", ["linear", "cubic", "nearest"])
def test_a_few_slices_are_carried(tmp_path, kind, interpolation):
    """A lone slice reaches half its thickness up and down."""
    thin, grid = Grid((5, 6, 1), np.diag([2.0, 2, 6, 1])), Grid((5, 6, 5), np.diag([2.0, 2, 2, 1]))
    write_image(np.ones(thin.shape), thin, tmp_path / "slice.nii.gz", dtype=np.uint8)
    carry(
        tmp_path / "slice.nii.gz",
        kind,
        Target(grid, lambda points: points, interpolation),
        tmp_path / "o.nii",
    )
    assert read(tmp_path / "o.nii")[2, 2].tolist() == [1, 1, 0, 0, 0]


@pytest.fixture
def series(scene, tmp_path):
    """Three volumes as int16 with the header's scaling, 2.5 s apart."""
    volumes = np.stack([scene.image, 1000 - scene.image, 0.5 * scene.image], -1)
    image = nib.Nifti1Image(volumes, scene.moving.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_data_dtype(np.int16)
    image.header["pixdim"][4] = 2.5
    image.set_sform(scene.moving.affine, 1)
    image.set_qform(scene.moving.affine, 1)
    nib.save(image, tmp_path / "bold.nii.gz")
    assert nib.load(tmp_path / "bold.nii.gz").dataobj.slope != 1
    return tmp_path / "bold.nii.gz"


@pytest.mark.parametrize("bytes_at_once", [1, 2**28])
def test_a_series_is_carried_volume_by_volume(
    folder, scene, target, series, tmp_path, monkeypatch, bytes_at_once
):
    monkeypatch.setattr(carrying, "BYTES_AT_ONCE", bytes_at_once)
    together = []
    pull = carrying.pull
    monkeypatch.setattr(
        carrying, "pull", lambda samplers, *rest: together.append(len(samplers)) or pull(samplers, *rest)
    )
    carry(series, "image", target, tmp_path / "out.nii.gz")
    assert together == ([1, 1, 1] if bytes_at_once == 1 else [3])
    written = nib.load(tmp_path / "out.nii.gz")
    assert written.shape == (*scene.fixed.shape, 3)
    assert written.header.get_zooms()[3] == 2.5
    assert written.header.get_xyzt_units() == ("mm", "sec")
    for number in range(3):
        volume = sitk.ReadImage(str(series), sitk.sitkFloat32)[:, :, :, number]
        expected = by_simpleitk(folder, volume)
        difference = np.abs(np.asarray(written.dataobj[..., number]) - expected)[inside(scene, target)]
        assert difference.max() < 1e-3 * RANGE


def test_the_same_input_gives_the_same_bytes(folder, target, tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        carry(folder / "image.nii.gz", "image", target, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_series_that_breaks_off_is_no_result(series, target, tmp_path):
    content = series.read_bytes()
    series.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged or cut short"):
        carry(series, "image", target, tmp_path / "out.nii.gz")
    assert not (tmp_path / "out.nii.gz").exists()
    assert [path.name for path in tmp_path.iterdir()] == [series.name]


def test_a_long_series_of_sound_volumes_is_not_too_large(series, monkeypatch):
    voxels = int(np.prod(open_series(series).grid.shape))
    monkeypatch.setattr("bids_nodereg.imaging.nifti_file.MAX_VOXELS", voxels)
    assert open_series(series).count == 3
    monkeypatch.setattr("bids_nodereg.imaging.nifti_file.MAX_VOXELS", voxels - 1)
    with pytest.raises(DataError, match="voxels in a volume"):
        open_series(series)


def test_a_series_that_the_file_cannot_hold_is_refused(series, tmp_path):
    image = nib.load(series)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), tmp_path / "cut.nii")
    content = (tmp_path / "cut.nii").read_bytes()
    (tmp_path / "cut.nii").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="3 volumes of"):
        open_series(tmp_path / "cut.nii")


def test_fractions_are_no_labels(folder, target, tmp_path):
    with pytest.raises(DataError, match=r"image.nii.gz: a label map needs whole numbers"):
        carry(folder / "image.nii.gz", "labels", target, tmp_path / "out.nii.gz")


def test_a_field_of_vectors_is_no_image(folder, scene, tmp_path):
    vectors = np.zeros((*scene.moving.shape, 1, 3), np.float32)
    nib.save(nib.Nifti1Image(vectors, scene.moving.affine), tmp_path / "warp.nii.gz")
    with pytest.raises(DataError, match="given as a transform"):
        open_series(tmp_path / "warp.nii.gz")


def test_points_go_where_ants_sends_them_and_come_back(folder, scene, tmp_path):
    ants = pytest.importorskip("ants", reason="antspyx has no wheel for this Python")
    import pandas as pd

    share = np.random.default_rng(2).uniform(0.3, 0.7, (20, 3)) * (np.asarray(scene.fixed.shape) - 1)
    world = scene.fixed.to_world(share)
    rows = [f"p{n}\t{x!r}\t{y!r}\t{z!r}\t{n % 3}" for n, (x, y, z) in enumerate(world.tolist())]
    (tmp_path / "fixed.tsv").write_text("\n".join(["name\tx\ty\tz\tgroup", *rows]) + "\n")
    chain = read_chain(names(folder)[:1])
    carry_points(tmp_path / "fixed.tsv", chain, tmp_path / "moving.tsv")
    moved = [row for _, row in read_table(tmp_path / "moving.tsv")]
    assert [(row["name"], row["group"]) for row in moved][:2] == [("p0", "0"), ("p1", "1")]
    ours = np.array([[float(row[axis]) for axis in "xyz"] for row in moved])
    table = pd.DataFrame(world * LPS, columns=list("xyz"))
    theirs = ants.apply_transforms_to_points(3, table, [str(folder / "forward.h5")], whichtoinvert=[False])
    np.testing.assert_allclose(ours, theirs[["x", "y", "z"]].to_numpy() * LPS, atol=2e-3)
    assert np.linalg.norm(ours - world, axis=1).min() > 0.5
    carry_points(tmp_path / "moving.tsv", read_chain([folder / "inverse.h5"]), tmp_path / "home.tsv")
    home = [[float(row[axis]) for axis in "xyz"] for _, row in read_table(tmp_path / "home.tsv")]
    assert np.linalg.norm(home - world, axis=1).max() < 0.1


def test_points_of_a_csv_are_in_itks_coordinates(folder, tmp_path):
    (tmp_path / "p.csv").write_text("x,y,z,t\n-10,20,30,0\n")
    (tmp_path / "p.tsv").write_text("x\ty\tz\n10\t-20\t30\n")
    chain = read_chain([folder / "forward.h5"])
    carry_points(tmp_path / "p.csv", chain, tmp_path / "q.csv")
    carry_points(tmp_path / "p.tsv", chain, tmp_path / "q.tsv")
    lps, ras = (
        np.loadtxt(tmp_path / name, delimiter=delimiter, skiprows=1)[:3]
        for name, delimiter in (("q.csv", ","), ("q.tsv", "\t"))
    )
    np.testing.assert_allclose(lps * LPS, ras, atol=1e-6)
    theirs = sitk.ReadTransform(str(folder / "forward.h5")).TransformPoint((-10.0, 20.0, 30.0))
    np.testing.assert_allclose(lps, theirs, atol=1e-4)


def test_empty_cells_stay_as_the_kind_of_table_has_them(folder, tmp_path):
    (tmp_path / "p.csv").write_text("x,y,z,label,comment\n1,2,3,,a\n")
    (tmp_path / "p.tsv").write_text("x\ty\tz\tlabel\tcomment\n1\t2\t3\tn/a\ta\n")
    for ending, expected in (("csv", ",,a"), ("tsv", "\tn/a\ta")):
        carry_points(tmp_path / f"p.{ending}", read_chain([folder / "turn.txt"]), tmp_path / f"q.{ending}")
        assert (tmp_path / f"q.{ending}").read_text().splitlines()[1].endswith(f"00{expected}")


def test_the_determinant_of_a_chain_is_that_of_its_points(target, scene):
    """Central differences of the whole chain, where no part has a kink within the step."""
    assert isinstance(target.mapping, Chain)
    share = np.random.default_rng(4).uniform(0.35, 0.65, (40, 3)) * (np.asarray(scene.fixed.shape) - 1)
    points = scene.fixed.to_world(share)
    steps = 0.8 * np.eye(3)
    columns = [(target.mapping(points + step) - target.mapping(points - step)) / 1.6 for step in steps]
    expected = np.linalg.det(np.stack(columns, -1))
    ours = target.mapping.determinant(points)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(ours, expected, atol=0.03)
