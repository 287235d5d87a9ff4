"""What a run leaves behind: which files, that they are valid, and what they say."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg import __version__
from bids_nodereg.app.write import repair_told
from bids_nodereg.cli import parse
from bids_nodereg.config import settings_digest
from bids_nodereg.registration.diffeomorphism import MOST_REPAIRS, Repair
from tests.app import phantom

ROOT_FILES = {
    *(".bidsignore", "CITATION.cff", "README.md", "dataset_description.json", "descriptions.tsv"),
    *("logs/CITATION.md", "sub-00.html", "sub-01.html"),
}
PAIR_FILES = {
    "sub-01_from-T2w_to-T1w_mode-image_xfm.h5",
    "sub-01_from-T2w_to-T1w_mode-image_xfm.json",
    "sub-01_from-T1w_to-T2w_mode-image_xfm.h5",
    "sub-01_from-T1w_to-T2w_mode-image_xfm.json",
    "sub-01_from-T2w_to-T1w_mode-image_desc-affine_xfm.txt",
    "sub-01_from-T2w_to-T1w_mode-image_desc-warp_xfm.nii.gz",
    "sub-01_from-T2w_to-T1w_mode-image_desc-inversewarp_xfm.nii.gz",
    "sub-01_from-T2w_to-T1w_mode-image_desc-jacobian_xfm.nii.gz",
    "sub-01_from-T2w_to-T1w_mode-image_desc-jacobian_xfm.json",
    "sub-01_from-T2w_to-T1w_mode-image_desc-logjacobian_xfm.nii.gz",
    "sub-01_from-T2w_to-T1w_mode-image_desc-logjacobian_xfm.json",
    "sub-01_from-T2w_to-T1w_mode-image_qc.json",
    "sub-01_space-T1w_desc-nodereg_T2w.nii.gz",
    "sub-01_space-T1w_desc-nodereg_T2w.json",
    "sub-01_space-T1w_desc-tissuefromT2w_dseg.nii.gz",
    "sub-01_space-T1w_desc-tissuefromT2w_dseg.json",
    "sub-01_space-T1w_desc-tissuefromT2w_dseg.tsv",
}
FIGURES = {
    *("after_T2w.webp", "before_T2w.webp", "convergence_T2w.svg", "displacement_T2w.webp", "error_T2w.webp"),
    *("edgesafter_T2w.webp", "edgesbefore_T2w.webp", "fixed_T2w.webp", "grid_T2w.webp"),
    *("histogram_T2w.svg", "logjacobian_T2w.webp", "checkerboard_T2w.webp", "inverse_T2w.webp"),
    *("fixedmask_T2w.webp", "movingmask_T2w.webp"),
}
RAW_T1W = "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"
RAW_T2W = "bids:raw:sub-01/anat/sub-01_T2w.nii.gz"
OUT_FORWARD = "bids::sub-01/anat/sub-01_from-T2w_to-T1w_mode-image_xfm.h5"


def test_exactly_the_promised_files(done):
    log = f"logs/{done.logs()[0].name}"
    expected = ROOT_FILES | {f"sub-01/anat/{name}" for name in PAIR_FILES}
    expected |= {f"sub-01/figures/sub-01_from-T2w_to-T1w_desc-{name}" for name in FIGURES}
    expected |= {"sub-01/figures/sub-01_from-T2w_to-T1w_report.json"}
    expected |= {f"{log}/config.toml", f"{log}/run.log"}
    expected |= {f"{log}/status_sub-{label}_from-T2w_to-T1w.json" for label in ("00", "01")}
    assert {
        path.relative_to(done.out).as_posix() for path in done.out.rglob("*") if path.is_file()
    } == expected


def test_the_input_is_not_touched(done):
    """Nothing was added to the input, and nothing in it is newer than the output."""
    first_log = min(path.stat().st_mtime_ns for path in done.logs()[0].iterdir())
    files = [path for path in done.study.raw.rglob("*") if path.is_file()]
    assert len(files) == 10
    assert all(path.stat().st_mtime_ns < first_log for path in files)


def test_the_output_is_valid_bids(done):
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.exists():
        pytest.skip("bids-validator-deno is not installed")
    command = [program, "--format", "json", "--ignoreWarnings", done.out]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(answer.stdout)
    assert report["issues"]["issues"] == []
    assert report["summary"]["subjects"] == ["01"]
    assert answer.returncode == 0


def test_every_json_is_an_object_with_plain_numbers(done):
    def refuse(text: str) -> float:
        raise AssertionError(text)

    files = [path for path in done.out.rglob("*.json") if path.is_file()]
    assert len(files) == 11
    for path in files:
        assert isinstance(json.loads(path.read_text("utf-8"), parse_constant=refuse), dict), path


def test_the_sidecar_of_the_warped_image(done):
    sidecar = json.loads(done.warped.with_name(done.warped.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Sources"] == [RAW_T2W, OUT_FORWARD]
    assert sidecar["SpatialReference"] == RAW_T1W
    assert sidecar["SkullStripped"] is True  # the phantom has a zero background and nothing but brain


def test_the_sidecars_of_the_transforms(done):
    forward = done.sidecar
    assert forward["Sources"] == [RAW_T2W, RAW_T1W]
    assert forward["SpatialReference"] == RAW_T1W
    assert (forward["FromSpace"], forward["ToSpace"]) == ("T2w", "T1w")
    assert forward["NoderegVersion"] == __version__
    assert forward["Type"] == "affine and displacement field"
    maps = [f"bids:truth:sub-01/anat/sub-01_space-{c}_desc-tissue_dseg.nii.gz" for c in ("T1w", "T2w")]
    assert forward["InputSHA256"].keys() == {
        *(RAW_T1W, RAW_T2W, "fixed mask", "truth"),
        *maps,
        *(f"names of {each}" for each in maps),
    }
    assert forward["FixedMask"] == "given: sub-01_desc-brain_mask.nii.gz"
    assert "background" in forward["MovingMask"]
    assert forward["Settings"]["working_resolution_mm"] == 3.0
    assert forward["FoldRepair"].keys() == {"Description", "FoldedCellsBefore", "Rounds", "SmoothedFraction"}
    assert not {"CostFunctionMasks", "StiffnessMap"} & forward.keys()
    assert forward["RunID"] == done.logs()[0].name
    field = nib.load(done.warp)
    assert list(field.shape[:3]) == forward["DisplacementGrid"]["Shape"]
    np.testing.assert_allclose(field.affine, forward["DisplacementGrid"]["AffineRAS"], atol=1e-4)
    inverse = json.loads(done.inverse_h5.with_suffix(".json").read_text())
    assert inverse["Sources"] == [RAW_T1W, RAW_T2W]
    assert inverse["SpatialReference"] == RAW_T2W
    assert inverse["InverseTransform"] == OUT_FORWARD


@pytest.mark.parametrize(
    ("repair", "told"),
    [
        (Repair(0, 0, 0.0), ["No cell", "nothing was changed"]),
        (Repair(12, 2, 0.0031), ["12 cells", "smoothed 2 time(s), at most 0.31% of its lattice."]),
        (Repair(9, MOST_REPAIRS + 3, 1.0), [f"smoothed {MOST_REPAIRS} time(s)", "scaled down 3 time(s)."]),
    ],
)
def test_the_repair_of_folds_is_told_in_words_and_numbers(repair, told):
    content = repair_told(repair)
    assert all(words in content["Description"] for words in told)
    assert ("scaled" in content["Description"]) == (repair.rounds > MOST_REPAIRS)
    numbers = (repair.folded_before, repair.rounds, repair.smoothed_fraction)
    assert (content["FoldedCellsBefore"], content["Rounds"], content["SmoothedFraction"]) == numbers


def test_what_the_two_maps_leave_in_either_order_is_measured(done):
    measures = json.loads(done.stem.with_name(f"{done.stem.name}_mode-image_qc.json").read_text())["Measures"]
    for order in ("forward", "backward"):
        mean, worst = (measures[f"inverse_consistency_{order}_{kind}_mm"] for kind in ("mean", "max"))
        assert 0 < mean < worst < 1


def test_every_uri_leads_to_a_file(done):
    description = json.loads((done.out / "dataset_description.json").read_text())
    roots = {name: done.out / link for name, link in description["DatasetLinks"].items()} | {"": done.out}
    uris = {done.sidecar["InverseTransform"], *done.sidecar["InputSHA256"]}
    for path in done.anat.glob("*.json"):
        sidecar = json.loads(path.read_text())
        uris |= {*sidecar.get("Sources", ()), sidecar.get("SpatialReference", RAW_T1W)}
    checked = [uri for uri in uris if uri.startswith("bids:")]
    assert len(checked) >= 6
    for uri in checked:
        _, name, relative = uri.split(":")
        assert (roots[name] / relative).is_file(), uri


def test_labels_are_carried_as_labels(done):
    source = nib.load(done.study.truth / "sub-01" / "anat" / "sub-01_space-T2w_desc-tissue_dseg.nii.gz")
    carried = nib.load(done.labels)
    assert carried.get_data_dtype() == source.get_data_dtype() == np.int16
    assert set(np.unique(carried.dataobj)) == set(np.unique(source.dataobj)) == {0, 1, 2, 3, 4, 5}
    table = done.labels.with_name(done.labels.name.replace(".nii.gz", ".tsv"))
    with table.open() as stream:
        rows = {row["index"]: row["name"] for row in csv.DictReader(stream, delimiter="\t")}
    assert rows["5"] == "landmark"
    assert len(rows) == 5
    true = phantom.labels_of(phantom.fixed_shares())
    ours = np.asarray(carried.dataobj)
    for label in (2, 3, 5):
        overlap = (
            2 * np.sum((ours == label) & (true == label)) / (np.sum(ours == label) + np.sum(true == label))
        )
        assert overlap > 0.65, label


def test_the_measures_agree_with_the_files(done):
    quality = json.loads(done.stem.with_name(done.stem.name + "_mode-image_qc.json").read_text())
    measures = quality["Measures"]
    assert quality["Verdict"] == done.sidecar["Verdict"]
    assert measures.keys() == quality["Dictionary"].keys()
    assert measures["folded_voxels"] == 0
    assert measures["nmi_after"] > measures["nmi_before"]
    assert measures["dice_mean_after"] > measures["dice_mean_before"]
    # the truth once more, by hand, in the brain
    field, affine = nib.load(done.warp), done.sidecar["DisplacementGrid"]["AffineRAS"]
    points = phantom.points_of(field.shape[:3], np.asarray(affine))
    inside = phantom.soft_labels(points)[..., 0] < 0.5
    found_mm = np.squeeze(field.get_fdata()) * [-1, -1, 1]
    text = done.affine.read_text().split("\n")[3].removeprefix("Parameters:").split()
    numbers = np.array(text, float)
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = numbers[:9].reshape(3, 3), numbers[9:]
    flip = np.diag([-1, -1, 1, 1.0])
    back = np.linalg.inv(flip @ lps @ flip)
    moved = phantom.truth()(points)
    true_mm = moved @ back[:3, :3].T + back[:3, 3] - points
    error_mm = np.linalg.norm(found_mm - true_mm, axis=-1)[inside].mean()
    assert measures["endpoint_error_mean_mm"] == pytest.approx(error_mm, abs=0.05)


def test_tables_have_rows_of_one_length(done):
    tables = list(done.out.rglob("*.tsv"))
    assert len(tables) == 2
    for path in tables:
        widths = {line.count("\t") for line in path.read_text().splitlines()}
        assert widths == {1}, path


def test_one_bad_participant_does_not_stop_the_next(done):
    assert done.code == 1
    statuses = done.statuses()
    bad, good = statuses["sub-00_from-T2w_to-T1w"], statuses["sub-01_from-T2w_to-T1w"]
    assert (bad["status"], bad["exit_code"], bad["subject"]) == ("failed", 65, "00")
    assert "sub-00_T2w.nii.gz" in bad["error"]
    assert "damaged or cut short" in bad["error"]
    assert (good["status"], good["exit_code"], good["error"]) == ("done", 0, "")
    log = (done.logs()[0] / "run.log").read_text()
    assert "1 of 2 pair(s) registered, 0 already done, 1 failed" in log
    assert "Traceback" not in log


def test_the_reports_tell_both_ends(done):
    bad, good = (done.out / f"sub-{label}.html" for label in ("00", "01"))
    assert "damaged or cut short" in bad.read_text("utf-8")
    assert "sub-00/anat/sub-00_T2w.nii.gz" in bad.read_text("utf-8")
    page = good.read_text("utf-8")
    assert "damaged" not in page
    assert done.logs()[0].name in page
    assert "sub-01_from-T2w_to-T1w_mode-image_xfm.h5" in page


def test_the_configuration_of_a_run_can_be_given_back(done):
    """Against another preset: the file alone decides."""
    written = done.logs()[0] / "config.toml"
    arguments = [str(done.study.raw), str(done.out), "participant", "--config", str(written)]
    for preset in ("default", "paper"):
        config = parse([*arguments, "--preset", preset])
        assert settings_digest(config.settings) == done.sidecar["SettingsDigest"]
    assert settings_digest(parse(arguments[:3]).settings) != done.sidecar["SettingsDigest"]


def test_the_same_input_gives_the_same_bytes(done):
    """A second run in another folder, on the CPU."""
    out = done.out.with_name("once-more")
    assert done.study.run(out, "--participant-label", "01") == 0
    for path in sorted(done.anat.iterdir()):
        if path.suffix != ".json":
            assert (out / "sub-01" / "anat" / path.name).read_bytes() == path.read_bytes(), path.name
    shutil.rmtree(out)
