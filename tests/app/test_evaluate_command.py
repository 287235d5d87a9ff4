"""``nodereg evaluate`` from files to files: its numbers, its errors, and the rows it goes on with."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.cli import main
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import DisplacementField, forward_map, inverse_map
from bids_nodereg.imaging.transforms import write_affine_txt, write_composite_h5, write_displacement_nifti
from bids_nodereg.imaging.volume import write_image
from bids_nodereg.tables import read_table
from tests.quality.grids import canonical_grid, world_points

LPS = np.array([-1.0, -1.0, 1.0])
SHIFT = np.array([4.0, -6.0, 3.0])


@pytest.fixture
def folder(tmp_path):
    """A pair with all that can be known of it; the map is a bump of 5 mm and a shift."""
    grid = canonical_grid()
    points = world_points(grid)
    away = points - grid.centre
    bump = np.exp(-np.einsum("...c,...c->...", away, away) / (2 * 15.0**2))
    vectors = np.stack([5 * bump, -3 * bump, 2 * bump], -1).astype(np.float32)
    forward = forward_map(shift_affine(), DisplacementField(grid, vectors))
    write_image(1 + bump, grid, tmp_path / "fixed.nii.gz")
    write_image(2 + bump, grid, tmp_path / "moving.nii.gz")
    write_image(bump > 0.2, grid, tmp_path / "mask.nii.gz", dtype=np.uint8)
    parts = np.digitize(bump, [0.3, 0.6])
    write_image(parts, grid, tmp_path / "fixed_dseg.nii.gz", dtype=np.uint8)
    write_image(
        parts, Grid(grid.shape, shift_affine() @ grid.affine), tmp_path / "moved.nii.gz", dtype=np.uint8
    )
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\touter\n2\tinner\n")
    write_composite_h5(tmp_path / "map.h5", forward)
    write_composite_h5(tmp_path / "back.h5", inverse_map(shift_affine()))
    write_affine_txt(tmp_path / "shift.txt", shift_affine())
    write_displacement_nifti(tmp_path / "warp.nii.gz", forward.field)
    share = np.random.default_rng(5).uniform(0.1, 0.9, (12, 3)) * (np.asarray(grid.shape) - 1)
    write_points(tmp_path / "fixed.tsv", grid.to_world(share))
    write_points(tmp_path / "moving.tsv", grid.to_world(share) + np.array([1, 2, -3]))
    return tmp_path


def shift_affine() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = SHIFT
    return affine


def write_points(path, points) -> None:
    lines = ["x\ty\tz", *("\t".join(map(repr, map(float, point))) for point in points)]
    path.write_text("\n".join(lines) + "\n")


def run(folder, *words) -> int:
    return main(
        ["evaluate", "--fixed", f"{folder}/fixed.nii.gz", "--out", f"{folder}/r.tsv", *map(str, words)]
    )


def rows(path) -> list[dict[str, str]]:
    return [row for _, row in read_table(path)]


def with_points(folder) -> list[str]:
    return ["--fixed-points", f"{folder}/fixed.tsv", "--moving-points", f"{folder}/moving.tsv"]


def itk_error(transform: sitk.Transform, folder) -> np.ndarray:
    """TRE by ITK of the points in the folder."""
    fixed, moving = (
        np.array([[float(row[axis]) for axis in "xyz"] for row in rows(folder / f"{name}.tsv")])
        for name in ("fixed", "moving")
    )
    mapped = np.array([transform.TransformPoint(tuple(point)) for point in fixed * LPS])
    return np.linalg.norm(mapped - moving * LPS, axis=1)


def assert_same_error(folder, errors) -> None:
    row = rows(folder / "r.tsv")[0]
    assert float(row["tre_mean_after_mm"]) == pytest.approx(errors.mean(), abs=2e-4)
    assert float(row["tre_max_after_mm"]) == pytest.approx(errors.max(), abs=2e-4)


def test_landmarks_are_where_simpleitk_sees_them(folder):
    assert run(folder, "--transform", folder / "map.h5", *with_points(folder)) == 0
    errors = itk_error(sitk.ReadTransform(str(folder / "map.h5")), folder)
    assert errors.max() - errors.min() > 1
    assert_same_error(folder, errors)

    files = (folder / "warp.nii.gz", folder / "shift.txt")  # the same map from its parts
    assert run(folder, "--transform", *files, *with_points(folder)) == 0
    assert_same_error(folder, errors)


def test_a_composite_of_simpleitk(folder):
    bend = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(folder / "warp.nii.gz"), sitk.sitkVectorFloat64)
    )
    turn = sitk.AffineTransform(3)
    turn.SetMatrix((np.eye(3) + 0.03).ravel())
    turn.SetCenter((5.0, 6.0, 7.0))
    composite = sitk.CompositeTransform([turn, bend, turn])
    sitk.WriteTransform(composite, str(folder / "itk.h5"))
    assert run(folder, "--transform", folder / "itk.h5", *with_points(folder)) == 0
    assert_same_error(folder, itk_error(composite, folder))
    assert rows(folder / "r.tsv")[0]["lattice"] == "field"


def test_a_composite_of_ants_registration(folder):
    ants = pytest.importorskip("ants", reason="antspyx has no wheel for this Python")
    images = [ants.image_read(str(folder / name)) for name in ("fixed.nii.gz", "moving.nii.gz")]
    images[1] = ants.image_clone(images[1])
    images[1].set_origin(tuple(np.add(images[1].origin, [5, 3, -4])))
    found = ants.registration(
        *images,
        type_of_transform="SyN",
        reg_iterations=(20,),
        aff_iterations=(50,),
        aff_shrink_factors=(1,),
        aff_smoothing_sigmas=(0,),
        outprefix=f"{folder}/ants_",
        write_composite_transform=True,
        random_seed=1,
    )
    h5 = found["fwdtransforms"]
    assert run(folder, "--transform", h5, "--inverse", found["invtransforms"], *with_points(folder)) == 0
    errors = itk_error(sitk.ReadTransform(h5), folder)
    assert_same_error(folder, errors)
    row = rows(folder / "r.tsv")[0]
    assert abs(errors.mean() - float(row["tre_mean_identity_mm"])) > 1
    assert float(row["inverse_consistency_forward_mean_mm"]) < 0.2
    assert row["folded_voxels"] == "0"


def test_everything_at_once_with_its_dictionary(folder):
    code = run(
        folder,
        *("--transform", folder / "shift.txt", "--inverse", f"[{folder}/shift.txt,1]"),
        *(
            "--moving",
            folder / "moving.nii.gz",
            "--fixed_mask",
            folder / "mask.nii.gz",
            "--truth",
            folder / "map.h5",
        ),
        *("--fixed-dseg", folder / "fixed_dseg.nii.gz", "--moving_dseg", folder / "moved.nii.gz"),
        *("--lookup", folder / "dseg.tsv", "--labels-out", folder / "labels.tsv", "--name", "all"),
        *with_points(folder),
    )
    assert code == 0
    row, labels = rows(folder / "r.tsv")[0], rows(folder / "labels.tsv")
    assert (row["name"], row["problem"], row["lattice"]) == ("all", "", "none")
    assert row["dice_mean_after"] == "1"
    assert float(row["inverse_consistency_backward_max_mm"]) < 1e-9
    assert 1 < float(row["endpoint_error_mean_mm"]) < float(row["endpoint_error_max_mm"]) < np.sqrt(38) + 0.01
    assert [(label["label"], label["label_name"], label["dice_after"]) for label in labels] == [
        ("1", "outer", "1"),
        ("2", "inner", "1"),
    ]
    assert np.mean([float(label["dice_identity"]) for label in labels]) == pytest.approx(
        float(row["dice_mean_identity"]), rel=1e-4
    )
    for name, columns in (("r", row), ("labels", labels[0])):
        dictionary = json.loads((folder / f"{name}.json").read_text())
        assert list(dictionary) == list(columns)
        assert all(entry["Description"] for entry in dictionary.values())


def test_a_bad_row_is_told_and_the_others_go_on(folder, capsys):
    table = [
        "name\tfixed\ttransform\tfixed_dseg\tmoving_dseg",
        "good\tfixed.nii.gz\twarp.nii.gz;shift.txt\tfixed_dseg.nii.gz\tmoved.nii.gz",
        "gone\tfixed.nii.gz\tabsent.h5\tn/a\tn/a",
        "half\tfixed.nii.gz\tmap.h5\tfixed_dseg.nii.gz\tn/a",
        "\tfixed.nii.gz\t\t\t",
        f"\t{folder}/fixed.nii.gz\tmap.h5\t\t",
    ]
    (folder / "in.tsv").write_text("\n".join(table) + "\n")

    code = main(["evaluate", "--table", f"{folder}/in.tsv", "--out", f"{folder}/r.tsv", "--quiet"])

    told = capsys.readouterr().err.strip().splitlines()
    found = rows(folder / "r.tsv")
    assert code == 1
    assert [row["name"] for row in found] == ["good", "gone", "half", "line 5", "map"]
    assert [bool(row["problem"]) for row in found] == [False, True, True, True, False]
    assert ["line 3" in told[0], "absent.h5" in told[0], "line 4" in told[1], "line 5" in told[2]] == [
        True
    ] * 4
    assert len(told) == 3
    assert found[0]["sd_log_jacobian"] == found[4]["sd_log_jacobian"] != ""
    assert found[1]["sd_log_jacobian"] == ""


@pytest.mark.parametrize(
    ("table", "code", "told"),
    [
        ("fixed\ttransform\tcolour\na\tb\tc\n", 65, "unknown columns colour"),
        ("fixed\ttransform\n", 65, "no rows"),
        ("fixed\na\n", 65, "fixed, transform"),
        (None, 66, "in.tsv"),
    ],
)
def test_a_bad_table_leaves_nothing(folder, table, code, told, capsys):
    if table is not None:
        (folder / "in.tsv").write_text(table)
    assert main(["evaluate", "--table", f"{folder}/in.tsv", "--out", f"{folder}/r.tsv"]) == code
    assert told in capsys.readouterr().err
    assert not list(folder.glob("r.*"))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--transform", "absent.h5"], 66, "absent.h5"),
        (["--transform", "fixed.nii.gz"], 65, "displacement field needs"),
        (["--transform", "dseg.tsv"], 64, "ending"),
        (["--transform", "[warp.nii.gz,1]"], 64, "only an affine"),
        (["--transform", "map.h5", "--fixed-dseg", "fixed_dseg.nii.gz"], 64, "belong together"),
        (["--transform", "map.h5", "--lookup", "dseg.tsv"], 64, "lookup"),
        (["--transform", "map.h5", "--table", "in.tsv"], 64, "--table names everything"),
        (["--transform", "map.h5", "--out", "r.csv"], 64, ".tsv"),
        (["--transform", "map.h5", "--labels-out", "r.tsv"], 64, "Choose another name"),
        (["--transform", "map.h5", "--nthreads", "0"], 64, "1 or more"),
        (["--nonsense"], 64, "--nonsense"),
        ([], 64, "--fixed and --transform"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(folder, words, code, told, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["evaluate", "--fixed", "fixed.nii.gz", "--out", "r.tsv", *words]) == code
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    assert not list(folder.glob("r.*"))


@pytest.mark.parametrize(
    "words",
    [
        ["--out", "fixed.tsv"],  # landmarks that are read
        ["--labels-out", "moving.tsv"],
        ["--out", "scan.tsv"],  # its dictionary would replace a sidecar
    ],
)
def test_nothing_that_is_read_or_belongs_to_others_is_replaced(folder, words, capsys):
    (folder / "scan.json").write_text("{}")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    words = [words[0], folder / words[1], "--transform", folder / "map.h5", *with_points(folder)]

    assert run(folder, *words) == 64

    assert "Choose another name" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_table_of_requests_is_not_replaced(folder, capsys):
    table = folder / "requests.tsv"
    table.write_text("fixed\ttransform\nfixed.nii.gz\tmap.h5\n")

    assert main(["evaluate", "--table", str(table), "--out", str(table)]) == 64
    assert table.read_text().startswith("fixed\ttransform")


def test_a_data_set_called_evaluate_is_a_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evaluate").mkdir()
    assert main(["evaluate", "out", "participant", "--dry-run"]) == 16  # not BIDS, but taken for a data set
    assert "evaluate/dataset_description.json" in capsys.readouterr().err
    assert main(["evaluate"]) == 64
    assert "nodereg evaluate --help" in capsys.readouterr().err


def test_help_is_told_and_needs_nothing_heavy():
    lines = (
        "import sys",
        "from bids_nodereg.cli import main",
        "try: main(['evaluate', '--help'])",
        "except SystemExit: pass",
        "print([name for name in ('torch', 'numba', 'nibabel', 'pandas', 'scipy') if name in sys.modules])",
    )
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--fixed-points" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
