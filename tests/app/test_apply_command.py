"""``bids-nodereg apply`` from words to files: names, sidecars, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.app.apply_files import spaced_name, told_path
from bids_nodereg.cli import main
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.transforms import write_affine_txt
from bids_nodereg.imaging.volume import write_image

SHIFT_VOXELS = (2, -1, 3)


@pytest.fixture
def folder(tmp_path):
    """An image and a shift by whole voxels, so that every result is known exactly."""
    grid = Grid((9, 10, 11), np.diag([2.0, 2.0, 2.0, 1.0]))
    image = np.random.default_rng(1).uniform(1, 2, grid.shape).astype(np.float32)
    shift = np.eye(4)
    shift[:3, 3] = np.multiply(SHIFT_VOXELS, 2.0)
    write_affine_txt(tmp_path / "shift.txt", shift)
    write_image(image, grid, tmp_path / "T1w.nii.gz")
    write_image(image, grid, tmp_path / "sub-01_T2w.nii.gz")
    write_image(image > 1.5, grid, tmp_path / "sub-01_space-T2w_desc-brain_mask.nii", dtype=np.uint8)
    write_image((image * 5).astype(int), grid, tmp_path / "aseg.nii.gz", dtype=np.uint8)
    (tmp_path / "sub-01_T2w.json").write_text('{"SkullStripped": true, "Manufacturer": "X"}')
    (tmp_path / "p.tsv").write_text("x\ty\tz\n1\t2\t3\n")
    return tmp_path


def run(folder, *words) -> int:
    return main(["apply", "--transform", f"{folder}/shift.txt", "--omp-nthreads", "2", *map(str, words)])


def shifted(image: np.ndarray) -> np.ndarray:
    """The value at x is the image's at x + shift; 0 beyond."""
    out = np.zeros_like(image)
    out[:-2, 1:, :-3] = image[2:, :-1, 3:]
    return out


def data(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_everything_at_once(folder, capsys):
    words = (
        *("--reference", folder / "T1w.nii.gz", "--image", folder / "sub-01_T2w.nii.gz"),
        *("--masks", folder / "sub-01_space-T2w_desc-brain_mask.nii", "--labels", folder / "aseg.nii.gz"),
        *("--points", folder / "p.tsv", "--out-dir", folder / "out", "--space", "T1w"),
    )
    assert run(folder, *words) == 0
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == {
        *("sub-01_space-T1w_T2w.nii.gz", "sub-01_space-T1w_T2w.json"),
        *("sub-01_space-T1w_desc-brain_mask.nii", "sub-01_space-T1w_desc-brain_mask.json"),
        *("aseg_space-T1w.nii.gz", "aseg_space-T1w.json", "p_space-T1w.tsv", "p_space-T1w.json"),
    }
    image = data(folder / "T1w.nii.gz")
    np.testing.assert_array_equal(data(out / "sub-01_space-T1w_T2w.nii.gz"), shifted(image))
    np.testing.assert_array_equal(data(out / "sub-01_space-T1w_desc-brain_mask.nii"), shifted(image) > 1.5)
    np.testing.assert_array_equal(data(out / "aseg_space-T1w.nii.gz"), (shifted(image) * 5).astype(int))
    assert (out / "p_space-T1w.tsv").read_text() == "x\ty\tz\n5.000000\t0.000000\t9.000000\n"
    assert "sub-01_space-T1w_T2w.nii.gz" in capsys.readouterr().err.replace("\n", "")


def test_the_sidecar_tells_what_was_done_and_nothing_of_the_machine(folder):
    words = ("--reference", folder / "T1w.nii.gz", "--image", folder / "sub-01_T2w.nii.gz")
    assert run(folder, *words, "--space", "T1w", "--interpolation", "cubic", "--out-dir", folder / "o") == 0
    text = (folder / "o" / "sub-01_space-T1w_T2w.json").read_text()
    assert str(folder) not in text
    sidecar = json.loads(text)
    assert sidecar["Sources"] == ["../sub-01_T2w.nii.gz", "../shift.txt"]
    assert sidecar["Transforms"] == [{"File": "../shift.txt", "Inverted": False}]
    assert (sidecar["SpatialReference"], sidecar["Space"]) == ("../T1w.nii.gz", "T1w")
    assert (sidecar["Interpolation"], sidecar["SkullStripped"]) == ("cubic", True)
    assert "Manufacturer" not in sidecar


def test_an_inverted_affine_goes_the_other_way(folder):
    words = ("apply", "--transform", f"{folder}/shift.txt", f"[{folder}/shift.txt,1]", "--reference")
    files = (f"{folder}/T1w.nii.gz", "--image", f"{folder}/T1w.nii.gz", "--out", f"{folder}/same.nii.gz")
    assert main([*words, *files, "-q"]) == 0
    np.testing.assert_array_equal(data(folder / "same.nii.gz"), data(folder / "T1w.nii.gz"))
    assert json.loads((folder / "same.json").read_text())["Transforms"][1]["Inverted"] is True


def test_landmarks_need_no_reference(folder):
    assert run(folder, "--points", folder / "p.tsv", "--out", folder / "q.tsv") == 0
    assert (folder / "q.tsv").read_text().splitlines()[1] == "5.000000\t0.000000\t9.000000"
    assert json.loads((folder / "q.json").read_text())["Coordinates"] == "RAS+ mm"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--out", "{f}/o.nii.gz"], 64, "something to carry"),
        (["--image", "{f}/T1w.nii.gz", "--out", "{f}/o.nii.gz"], 64, "--reference is missing"),
        (["--image", "{f}/T1w.nii.gz", *(r := ["--reference", "{f}/T1w.nii.gz"])], 64, "one of --out"),
        (["--image", "{f}/T1w.nii.gz", "{f}/aseg.nii.gz", *r, "--out", "{f}/o.nii.gz"], 64, "2 inputs"),
        (["--image", "{f}/T1w.nii.gz", *r, "--out-dir", "{f}"], 64, "is an input"),
        (["--image", "{f}/T1w.nii.gz", *r, "--out", "{f}/shift.txt"], 64, "needs the ending .nii.gz or .nii"),
        (["--points", "{f}/p.tsv", "--out", "{f}/q.csv"], 64, "that of the input for landmarks"),
        (["--image", "{f}/T1w.nii.gz", *r, "--out", "{f}/o.nii.gz", "--space", "a_b"], 64, "a BIDS label"),
        (["--image", "{f}/T1w.nii.gz", "--masks", "{f}/T1w.nii.gz", *r, "--out-dir", "{f}/o"], 64, "both"),
        (["--image", "{f}/sub-01_T2w.nii.gz", *r, "--out", "{f}/sub-01_T2w.nii"], 64, "an input's sidecar"),
        (["--image", "{f}/aseg.nii.gz", *r, "--out", "{f}/T1w.nii"], 64, "an input's sidecar"),
        (["--image", "{f}/aseg.nii.gz", *r, "--out", "{f}/shift.nii"], 64, "an input's sidecar"),
        (["--image", "{f}/p.nii.gz", "--points", "{f}/p.tsv", *r, "--out-dir", "{f}/o"], 64, "p.json: both"),
        (["--image", "{f}/none.nii.gz", *r, "--out", "{f}/o.nii.gz"], 66, "no such file"),
        (["--labels", "{f}/T1w.nii.gz", *r, "--out", "{f}/o.nii.gz"], 65, "whole numbers"),
        (["--image", "{f}/p.tsv", *r, "--out", "{f}/o.nii.gz"], 65, "not a readable NIfTI"),
        (["--no-such", "1"], 64, "bids-nodereg apply --help"),
    ],
)
def test_what_cannot_be_is_one_line_and_its_code(folder, capsys, words, code, told):
    before = {path.name for path in folder.iterdir()}
    assert run(folder, *(word.format(f=folder) for word in words)) == code
    error = capsys.readouterr().err.strip()
    assert told in error
    assert error.count("\n") == 0
    assert {path.name for path in folder.iterdir()} - {"o"} == before


def test_a_table_has_one_file_a_row_and_goes_on(folder, capsys):
    heading = "input\tkind\treference\ttransform\tout\tinterpolation"
    rows = [
        "T1w.nii.gz\timage\tT1w.nii.gz\tshift.txt;[shift.txt,1]\to/same.nii.gz\tcubic",
        "none.nii.gz\timage\tT1w.nii.gz\tshift.txt\to/none.nii.gz\tn/a",
        "aseg.nii.gz\tmask\tT1w.nii.gz\tshift.txt\to/mask.nii.gz\tn/a",
        "p.tsv\tpoints\tn/a\tshift.txt\to/p.tsv\tn/a",
        "p.tsv\tpoint\tn/a\tshift.txt\to/q.tsv\tn/a",
    ]
    (folder / "t.tsv").write_text("\n".join([heading, *rows]) + "\n")
    assert main(["apply", "--table", f"{folder}/t.tsv"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "line 3:" in said
    assert "line 6:" in said
    assert "'point' is not known here" in said
    assert {path.name for path in (folder / "o").iterdir()} == {
        *("same.nii.gz", "same.json", "mask.nii.gz", "mask.json", "p.tsv", "p.json")
    }
    np.testing.assert_allclose(data(folder / "o" / "same.nii.gz"), data(folder / "T1w.nii.gz"), atol=1e-4)
    assert main(["apply", "--table", f"{folder}/t.tsv", "--space", "X"]) == 64
    (folder / "t.tsv").write_text("\n".join([heading, rows[0], rows[0]]) + "\n")
    assert main(["apply", "--table", f"{folder}/t.tsv"]) == 64


@pytest.mark.parametrize(
    ("out", "other_out"),
    [
        *[("o/one.nii.gz", "o/one.nii"), ("o/p.nii", "o/p.tsv"), ("sub-01_T2w.nii", "o/p.tsv")],
        *[("T1w.nii", "o/p.tsv"), ("shift.nii", "o/p.tsv"), ("t.nii", "o/p.tsv"), ("p.nii", "o/p.tsv")],
    ],
)
def test_no_row_of_a_table_writes_what_belongs_to_another(folder, capsys, out, other_out):
    kind = "points\tp.tsv\tn/a" if other_out.endswith("tsv") else "image\tsub-01_T2w.nii.gz\tT1w.nii.gz"
    text = f"image\tsub-01_T2w.nii.gz\tT1w.nii.gz\tshift.txt\t{out}\n{kind}\t[shift.txt,1]\t{other_out}\n"
    (folder / "t.tsv").write_text(f"kind\tinput\treference\ttransform\tout\n{text}")
    before = {path.name for path in folder.iterdir()}
    assert main(["apply", "--table", f"{folder}/t.tsv"]) == 64
    assert "or its JSON sidecar" in " ".join(capsys.readouterr().err.split())
    assert {path.name for path in folder.iterdir()} == before


def test_the_interpolation_of_the_command_is_that_of_rows_without(folder):
    heading = "input\tkind\treference\ttransform\tout\tinterpolation\n"
    rows = [
        f"T1w.nii.gz\timage\tT1w.nii.gz\thalf.txt\t{out}.nii\t{own}\n"
        for out, own in (("nearest", ""), ("linear", "linear"))
    ]
    half = np.eye(4)
    half[0, 3] = 0.8
    write_affine_txt(folder / "half.txt", half)
    (folder / "t.tsv").write_text(heading + "".join(rows))
    assert main(["apply", "--table", f"{folder}/t.tsv", "--interpolation", "nearest"]) == 0
    image = data(folder / "T1w.nii.gz")
    np.testing.assert_array_equal(data(folder / "nearest.nii"), image)
    np.testing.assert_allclose(
        data(folder / "linear.nii")[:-1], 0.6 * image[:-1] + 0.4 * image[1:], atol=1e-5
    )
    assert json.loads((folder / "nearest.json").read_text())["Interpolation"] == "nearest"


@pytest.mark.parametrize(
    ("path", "folder", "told"),
    [
        ("/home/alice/T2w.nii.gz", "/out/sub-01", "T2w.nii.gz"),
        ("/data/in/../T2w.nii.gz", "/data/out", "../T2w.nii.gz"),
        ("/data/../home/alice/T2w.nii.gz", "/data/out", "T2w.nii.gz"),
        ("/data/out/T2w.nii.gz", "/data/out", "T2w.nii.gz"),
    ],
)
def test_paths_in_sidecars_do_not_go_through_the_root(path, folder, told):
    assert told_path(Path(path), Path(folder)) == told


def test_a_data_set_called_apply_is_still_a_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["apply", "out", "participant", "--dry-run"]) == 66
    assert "the BIDS folder is not there" in capsys.readouterr().err


def test_it_loads_neither_torch_nor_pybids():
    program = "import sys; from bids_nodereg.cli import main; main(['apply', '--out', 'x.nii'])"
    check = (
        f"{program}\nimport bids_nodereg.app.apply_files\nassert not {{'torch', 'bids'}} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "sub-01_ses-2_space-T2w_res-1_label-GM_probseg.nii.gz",
            "sub-01_ses-2_space-X_label-GM_probseg.nii.gz",
        ),
        ("1_T2w.nii", "1_T2w_space-X.nii"),
    ],
)
def test_names_of_results(name, expected):
    assert spaced_name(name, "X") == expected
