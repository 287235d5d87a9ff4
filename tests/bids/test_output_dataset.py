"""Root files and sidecars, judged by the BIDS validator on a whole output tree."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.bids import output_dataset
from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.output_dataset import (
    BIDSIGNORE,
    DESCRIPTIONS,
    check_output_folder,
    dataset_description,
    dataset_link,
    write_dataset_files,
)
from bids_nodereg.bids.pairs import Pair, RuleOptions, pairs_of, with_derivatives, within_session
from bids_nodereg.bids.sidecars import jacobian_sidecar, labels_sidecar, transform_sidecar, warped_sidecar
from bids_nodereg.errors import OutputError
from bids_nodereg.files import write_json, write_text
from tests.bids.make import make_dataset, make_images

VALIDATOR = shutil.which("bids-validator-deno") or shutil.which(
    "bids-validator-deno", path=str(Path(sys.executable).parent)
)


def write_nifti(path, dtype=np.float32):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.ones((3, 4, 5), dtype), np.diag([1.0, 1.5, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    nib.save(image, path)


def write_pair(pair, out):
    """Everything that a run leaves for a pair."""
    for path in (out.jacobian_nii, out.warped_nii, out.warp_nii, out.inverse_warp_nii):
        write_nifti(path)
    for path in (
        out.forward_h5,
        out.inverse_h5,
        out.affine_txt,
        out.figures_dir / f"{out.name}_desc-flicker_T2w.svg",
        out.report_html,
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not empty")
    write_json(out.warped_json, warped_sidecar(pair, out, skull_stripped=False, interpolation="linear"))
    write_json(out.forward_json, transform_sidecar(pair, out, details={"Seed": 1}))
    write_json(out.inverse_json, transform_sidecar(pair, out, inverse=True))
    write_json(out.jacobian_json, jacobian_sidecar(pair, out))
    write_json(out.qc_json, {"dice": 1})
    for labels in pair.moving_dseg:
        write_nifti(out.carried_nii(labels.desc), np.uint8)
        write_json(out.carried_json(labels.desc), labels_sidecar(pair, out, labels))
        out.carried_tsv(labels.desc).write_text("index\tname\n0\tbackground\n1\tbrain\n")


@pytest.fixture
def whole_output(tmp_path):
    """An output data set with awkward pairs: runs, sessions, participants, labels."""
    raw = make_dataset(
        tmp_path / "dätä set",
        "sub-01_ses-1_acq-x_run-1_T1w.nii.gz",
        "sub-01_ses-1_run-2_T2w.nii.gz",
        "sub-01_ses-1_ce-gad_T1w.nii.gz",
        "sub-02_T1w.nii.gz",
        "sub-02_run-1_chunk-2_T2w.nii.gz",
        "sub-02_UNIT1.nii.gz",
        "sub-02_echo-1_part-mag_T2starw.nii.gz",
        Name='A "quoted": name {x}',
        License="CC0",
        DatasetDOI="doi:10.1000/x",
    )
    prep = make_dataset(tmp_path / "prep", "sub-02_run-1_space-T2w_desc-aseg_dseg.nii.gz")
    dataset = open_dataset(raw, derivatives={"prep": prep})
    first, second = dataset.images("01"), dataset.images("02")
    pairs = [
        *pairs_of(within_session(first, RuleOptions())),
        *pairs_of(within_session(second, RuleOptions())),
    ]
    t2w = next(image for image in second if image.suffix == "T2w")
    t1w = next(image for image in second if image.suffix == "T1w")
    pairs += [
        Pair("file", first[0], t1w),
        Pair("file", t1w, first[0]),
        Pair("file", t2w, t1w),
    ]
    pairs = [with_derivatives(pair, dataset) for pair in pairs]
    out_dir = tmp_path / "out"
    descriptions = {}
    outputs = all_outputs(pairs, out_dir)
    for pair, out in zip(pairs, outputs, strict=True):
        write_pair(pair, out)
        descriptions |= {out.carried_desc(each.desc): "carried labels" for each in pair.moving_dseg}
    write_dataset_files(dataset, out_dir, version="0.1.0", descriptions=descriptions)
    (out_dir / "group_registration.tsv").write_text("participant_id\nsub-01\n")
    (out_dir / "logs" / "run").mkdir(parents=True)
    (out_dir / "logs" / "run" / "status_x.json").write_text("{}")
    return out_dir, pairs, outputs


@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_the_validator_finds_no_error(whole_output):
    out_dir, pairs, _ = whole_output
    assert len(pairs) >= 7
    assert any(pair.moving_dseg for pair in pairs)
    assert validate(out_dir) == []


@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_the_validator_would_have_found_one(whole_output):
    out_dir, _, outputs = whole_output
    (out_dir / ".bidsignore").write_text("*.html\n")
    outputs[0].warped_json.write_text("{}")
    codes = {issue["code"] for issue in validate(out_dir)}
    assert {"NOT_INCLUDED", "SIDECAR_KEY_REQUIRED"} <= codes


def validate(folder):
    command = [VALIDATOR, "--format", "json", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    issues = json.loads(result.stdout)["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    assert (result.returncode == 0) == (not errors)
    return errors


def test_every_desc_label_of_a_file_is_described(whole_output):
    out_dir, pairs, outputs = whole_output
    with (out_dir / "descriptions.tsv").open(newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    written = {
        part
        for pair, out in zip(pairs, outputs, strict=True)
        for path in out.paths([each.desc for each in pair.moving_dseg])
        for part in path.name.split("_")
        if part.startswith("desc-")
    }
    # brain masks are of single images, not of pairs
    assert written | {"desc-brain"} == {row["desc_id"] for row in rows}
    assert all(row["description"] for row in rows)


def test_sidecars_name_both_images_and_the_reference(tmp_path):
    fixed, moving = make_images(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    pair = Pair("rule", fixed, moving)
    (out,) = all_outputs([pair], tmp_path / "out")
    forward = transform_sidecar(pair, out, details={"Seed": 3})
    assert forward["Sources"] == [moving.uri, fixed.uri]
    assert (forward["SpatialReference"], forward["FromSpace"], forward["ToSpace"]) == (
        fixed.uri,
        "T2w",
        "T1w",
    )
    assert forward["InverseTransform"] == "bids::sub-01/anat/sub-01_from-T1w_to-T2w_mode-image_xfm.h5"
    assert forward["Seed"] == 3
    backward = transform_sidecar(pair, out, inverse=True)
    assert backward["Sources"] == [fixed.uri, moving.uri]
    assert (backward["SpatialReference"], backward["FromSpace"], backward["ToSpace"]) == (
        moving.uri,
        "T1w",
        "T2w",
    )
    warped = warped_sidecar(pair, out, skull_stripped=True, interpolation="linear")
    assert warped["SkullStripped"] is True
    assert warped["Sources"] == [moving.uri, out.uri(out.forward_h5)]
    with pytest.raises(ValueError, match="Sources"):
        transform_sidecar(pair, out, details={"Sources": []})


def test_the_description_takes_up_the_source(tmp_path):
    raw = make_dataset(tmp_path / "raw", License="CC0", DatasetDOI="doi:10.1000/x")
    dataset = open_dataset(raw, derivatives={"prep": make_dataset(tmp_path / "prep")})
    found = dataset_description(dataset, raw / "derivatives" / "nodereg", version="1.2.3")
    assert found["License"] == "CC0"
    assert found["DatasetLinks"] == {"raw": "../..", "prep": "../../../prep"}
    assert found["SourceDatasets"] == [{"URL": "../..", "DOI": "doi:10.1000/x"}]
    assert found["GeneratedBy"][0]["Version"] == "1.2.3"
    assert "License" not in dataset_description(
        open_dataset(make_dataset(tmp_path / "b")), tmp_path, version="1"
    )


def test_links_are_relative_only_where_a_folder_is_shared():
    assert dataset_link(Path("/a/ra w"), Path("/a/out")) == "../ra%20w"
    assert dataset_link(Path("/data/ä"), Path("/out")) == "file:///data/%C3%A4"


def test_a_second_run_keeps_what_the_first_one_said(tmp_path):
    one = open_dataset(make_dataset(tmp_path / "raw"), derivatives={"a": make_dataset(tmp_path / "a")})
    out_dir = tmp_path / "out"
    write_dataset_files(one, out_dir, version="1", descriptions={"asegfromT2w": "first"})
    (out_dir / ".bidsignore").write_text("mine\n" + (out_dir / ".bidsignore").read_text())
    (out_dir / "README.md").write_text("my own words")
    two = open_dataset(tmp_path / "raw", derivatives={"b": make_dataset(tmp_path / "b")})
    write_dataset_files(two, out_dir, version="2", descriptions={"asegfromT2w": "second", "new": "a\tb\nc"})
    description = json.loads((out_dir / "dataset_description.json").read_text())
    assert description["DatasetLinks"].keys() == {"raw", "a", "b"}
    assert description["GeneratedBy"][0]["Version"] == "2"
    assert (out_dir / ".bidsignore").read_text().splitlines() == ["mine", *BIDSIGNORE]
    assert (out_dir / "README.md").read_text() == "my own words"
    rows = dict(line.split("\t") for line in (out_dir / "descriptions.tsv").read_text().splitlines())
    assert rows["desc-asegfromT2w"] == "first"
    assert rows["desc-new"] == "a b c"
    assert rows.keys() == {"desc_id", *(f"desc-{label}" for label in ("asegfromT2w", "new", *DESCRIPTIONS))}


def test_nothing_is_touched_when_nothing_changes(tmp_path):
    dataset = open_dataset(make_dataset(tmp_path / "raw"))
    out_dir = tmp_path / "out"
    write_dataset_files(dataset, out_dir, version="1")
    before = {path: path.stat().st_ino for path in out_dir.iterdir()}  # a rewritten file is another inode
    write_dataset_files(dataset, out_dir, version="1")
    assert {path: path.stat().st_ino for path in out_dir.iterdir()} == before
    assert len(before) == 5


def test_workers_at_the_same_time_keep_one_anothers_rows(tmp_path, monkeypatch):
    """Each takes its time between reading and writing; without a lock the last one wins."""

    def write_slowly(path, text):
        time.sleep(0.02)
        write_text(path, text)

    monkeypatch.setattr(output_dataset, "write_text", write_slowly)
    raw = make_dataset(tmp_path / "raw")
    out_dir = tmp_path / "out"
    labels = [f"label{number}" for number in range(4)]

    def work(label):
        dataset = open_dataset(raw, derivatives={label: raw})
        write_dataset_files(dataset, out_dir, version="1", descriptions={label: "a worker's own"})

    with ThreadPoolExecutor(len(labels)) as workers:
        list(workers.map(work, labels))
    rows = {line.split("\t")[0] for line in (out_dir / "descriptions.tsv").read_text().splitlines()}
    assert {f"desc-{label}" for label in labels} <= rows
    description = json.loads((out_dir / "dataset_description.json").read_text())
    assert description["DatasetLinks"].keys() == {"raw", *labels}
    assert not list(out_dir.glob(".nodereg*"))


@pytest.mark.parametrize(
    ("text", "maker"),
    [
        ('{"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep"}]}', "fMRIPrep"),
        ('{"Name": "raw data"}', "raw data"),
        ("not json", "raw data"),
        ("[]", "raw data"),
    ],
)
def test_a_foreign_data_set_is_never_overwritten(tmp_path, text, maker):
    dataset = open_dataset(make_dataset(tmp_path / "raw"))
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    (out_dir / "dataset_description.json").write_text(text)
    with pytest.raises(OutputError, match=maker):
        write_dataset_files(dataset, out_dir, version="1")
    assert [path.name for path in out_dir.iterdir()] == ["dataset_description.json"]
    assert (out_dir / "dataset_description.json").read_text() == text


def test_an_output_folder_that_cannot_be_made_is_told(tmp_path):
    dataset = open_dataset(make_dataset(tmp_path / "raw"))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_dataset_files(dataset, tmp_path / "file" / "out", version="1")
    assert check_output_folder(tmp_path) == {}
