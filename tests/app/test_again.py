"""Running again: what is done stays, what has changed is redone, and what that leaves behind."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.app import find_brain
from bids_nodereg.app.jobs import find_jobs, open_input
from bids_nodereg.app.status import input_digests, why_not_done
from bids_nodereg.bids.extras import Extra
from bids_nodereg.bids.image import LabelMap
from bids_nodereg.bids.names import parse_name
from bids_nodereg.cli import main, parse
from tests.app.conftest import Run
from tests.app.dataset import Study

PAIR = "sub-01_from-T2w_to-T1w"


def times(run) -> dict[str, int]:
    """When each file of results was written; logs are those of each run."""
    files = (path for path in run.out.rglob("*") if path.is_file() and "logs" not in path.parts)
    return {path.relative_to(run.out).as_posix(): path.stat().st_mtime_ns for path in files}


def ending(run) -> str:
    return run.statuses()[PAIR]["status"]


def test_a_second_run_changes_nothing(rigid, capsys):
    before = times(rigid)
    assert rigid.again("--transform", "rigid") == 0
    assert ending(rigid) == "already done"
    assert times(rigid) == before
    assert len(rigid.logs()) == 2
    assert "0 of 1 pair(s) registered, 1 already done, 0 failed" in capsys.readouterr().err


def test_force_does_it_again(rigid):
    before = times(rigid)
    assert rigid.again("--transform", "rigid", "--force") == 0
    assert ending(rigid) == "done"
    after = times(rigid)
    assert after.keys() == before.keys()
    assert all(after[name] > before[name] for name in before if name.startswith("sub-01/anat/"))


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("sub-01_from-T2w_to-T1w_mode-image_xfm.json", "not done yet"),
        ("sub-01_from-T2w_to-T1w_mode-image_xfm.h5", "is missing"),
        ("sub-01_from-T1w_to-T2w_mode-image_xfm.h5", "is missing"),
        ("sub-01_from-T2w_to-T1w_mode-image_qc.json", "is missing"),
        ("sub-01_space-T1w_desc-nodereg_T2w.nii.gz", "is missing"),
    ],
)
def test_a_missing_file_is_noticed(rigid, broken, why):
    config = parse(rigid.study.arguments(rigid.out, "--participant-label", "01", "--transform", "rigid"))
    (participant,) = find_jobs(config, open_input(config), ("01",))
    (job,) = participant.jobs
    assert why_not_done(job, config.settings) == ""
    (rigid.anat / broken).unlink()
    assert why in why_not_done(job, config.settings)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Verdict": "perhaps"}'])
def test_a_verdict_that_cannot_be_read_is_made_anew(rigid, text):
    """Else --fail-on-qc would let the pair pass."""
    config = parse(rigid.study.arguments(rigid.out, "--participant-label", "01", "--transform", "rigid"))
    (participant,) = find_jobs(config, open_input(config), ("01",))
    (job,) = participant.jobs
    job.outputs.qc_json.write_text(text)
    assert why_not_done(job, config.settings) == f"{job.outputs.qc_json.name} cannot be read"


def test_another_way_to_a_brain_counts_only_where_one_was_looked_for(rigid, monkeypatch):
    config = parse(rigid.study.arguments(rigid.out, "--participant-label", "01", "--transform", "rigid"))
    (participant,) = find_jobs(config, open_input(config), ("01",))
    (job,) = participant.jobs
    mark = job.outputs.forward_json
    told = json.loads(mark.read_text())
    assert "brain found" not in told["FixedMask"] + told["MovingMask"]
    other = not find_brain.is_installed()
    monkeypatch.setattr(find_brain, "is_installed", lambda: other)
    assert why_not_done(job, config.settings) == ""
    mark.write_text(json.dumps({**told, "MovingMask": "brain found by magic"}))
    assert why_not_done(job, config.settings) == "brain masks would be found in another way"


def test_what_files_say_of_carried_ones_counts(rigid, tmp_path):
    """Names of labels, and the sidecar of an extra: both go into what is written."""
    config = parse(rigid.study.arguments(rigid.out, "--participant-label", "01", "--transform", "rigid"))
    (participant,) = find_jobs(config, open_input(config), ("01",))
    job = participant.jobs[0]
    names, path = tmp_path / "names.tsv", tmp_path / "sub-01_space-T2w_label-GM_probseg.nii.gz"
    for each in (names, path):
        each.write_text("one")
    labels = LabelMap(path, "aseg", "bids:prep:aseg", names)
    name = parse_name(path.name)
    assert name is not None
    extra = Extra(path, "bids:prep:gm", name)
    job = replace(job, pair=replace(job.pair, moving_dseg=(labels,), moving_extras=(extra,)))
    seen = [input_digests(job)]
    for each in (names, extra.sidecar):
        each.write_text("two")
        seen.append(input_digests(job))
    assert seen[0] != seen[1] != seen[2]


def test_a_velocity_field_is_made_when_asked_for_and_undoes_nothing(finished):
    """Turned on, the pair is done again for want of the file; turned off, what is there is as good."""

    def why(*more):
        config = parse(finished.study.arguments(finished.out, "--participant-label", "01", *more))
        (participant,) = find_jobs(config, open_input(config), ("01",))
        (job,) = participant.jobs
        return job.outputs.velocity_nii(), why_not_done(job, config.settings)

    path, reason = why("--write-velocity")
    assert reason == f"{path.name} is missing"
    path.touch()
    assert why("--write-velocity")[1] == why()[1] == ""


def test_a_damaged_mark_is_not_trusted(rigid):
    mark = rigid.forward_h5.with_suffix(".json")
    mark.write_text(mark.read_text()[:100])
    assert rigid.again("--transform", "rigid") == 0
    assert ending(rigid) == "done"
    assert f"{mark.name} cannot be read" in (rigid.logs()[-1] / "run.log").read_text()
    json.loads(mark.read_text())


def test_another_option_is_another_result(rigid):
    """Rigid to affine and back: each is redone, and a field that is no longer true does not stay."""
    assert not rigid.warp.exists()
    before = rigid.affine.read_text()
    assert rigid.again("--transform", "affine") == 0
    assert ending(rigid) == "done"
    assert rigid.affine.read_text() != before
    assert "made with other settings" in (rigid.logs()[-1] / "run.log").read_text()


def test_what_does_not_decide_the_numbers_is_no_other_result(rigid):
    assert rigid.again("--transform", "rigid", "-v", "--fail-fast", "--notrack") == 0
    assert ending(rigid) == "already done"


def test_a_changed_input_is_registered_again(rigid, tmp_path):
    """The content counts, not the time: a touched file is the same, another voxel is not."""
    raw = tmp_path / "raw"
    study = Study(raw, rigid.study.truth, rigid.study.config)
    raw.mkdir()
    for path in rigid.study.raw.rglob("sub-01*.nii.gz"):
        (raw / "sub-01" / "anat").mkdir(parents=True, exist_ok=True)
        (raw / "sub-01" / "anat" / path.name).write_bytes(path.read_bytes())
    (raw / "dataset_description.json").write_bytes(
        (rigid.study.raw / "dataset_description.json").read_bytes()
    )
    moved = Run(study, rigid.out, 0)
    os.utime(study.moving, (1, 1))
    assert moved.again("--transform", "rigid") == 0
    assert ending(moved) == "already done"
    image = nib.load(study.moving)
    data = image.get_fdata(dtype=np.float32)
    data[15, 21, 16] += 1
    nib.save(nib.Nifti1Image(data, image.affine, image.header), study.moving)
    assert moved.again("--transform", "rigid") == 0
    assert ending(moved) == "done"
    assert "an input file has changed" in (moved.logs()[-1] / "run.log").read_text()


def test_a_changed_mask_is_noticed(rigid, tmp_path):
    """Masks may share a file name; each counts in its own role."""
    moved = tmp_path / "masks"
    mask = nib.load(rigid.study.truth / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz")
    folder = moved / "sub-01" / "anat"
    folder.mkdir(parents=True)
    (moved / "dataset_description.json").write_bytes(
        (rigid.study.truth / "dataset_description.json").read_bytes()
    )
    data = np.asarray(mask.dataobj).copy()
    path = folder / "sub-01_desc-brain_mask.nii.gz"
    nib.save(nib.Nifti1Image(data, mask.affine, mask.header), path)
    options = ("--transform", "rigid", "-d", f"masks={moved}")
    rigid.again(*options)
    assert rigid.again(*options) == 0
    assert ending(rigid) == "already done"
    data[: data.shape[0] // 2] = 0
    nib.save(nib.Nifti1Image(data, mask.affine, mask.header), path)
    assert rigid.again(*options) == 0
    assert ending(rigid) == "done"


def test_a_damaged_leftover_stops_neither_the_pages_nor_the_group(finished):
    (finished.out / "sub-01" / "figures" / "sub-01_from-FLAIR_to-T1w_report.json").write_text("{}")
    finished.stem.with_name("sub-01_from-FLAIR_to-T1w_mode-image_qc.json").write_text("not JSON")
    assert finished.again("--reports-only") == 0
    assert "T2w onto T1w" in (finished.out / "sub-01.html").read_text("utf-8")
    assert "cannot be shown" in (finished.logs()[-1] / "run.log").read_text()
    assert main([str(finished.study.raw), str(finished.out), "group"]) == 0
    assert len((finished.out / "group_registration.tsv").read_text().splitlines()) == 2


def test_numbers_that_are_none_are_unusable_data(rigid, monkeypatch):
    def fail(*_rest):
        msg = "the objective was not finite"
        raise FloatingPointError(msg)

    monkeypatch.setattr("bids_nodereg.app.pair.solve", fail)
    assert rigid.again("--transform", "rigid", "--force") == 65
    log = (rigid.logs()[-1] / "run.log").read_text()
    assert "the objective was not finite. Look at both images" in log
    assert "fault of nodereg" not in log


def test_a_deformable_result_made_rigid_keeps_no_field(finished):
    assert finished.warp.is_file()
    assert finished.again("--transform", "rigid") == 0
    assert not list(finished.anat.glob("*warp_xfm.nii.gz"))
    assert finished.sidecar["Type"] == "affine"


@pytest.mark.parametrize("transform", ["rigid", "affine"])
def test_rigid_and_affine_are_what_they_say(rigid, transform):
    """One matrix in the file, of the stated freedom, both ways, and the image is that matrix's."""
    if transform == "affine":
        assert rigid.again("--transform", "affine") == 0
    quality = json.loads(rigid.stem.with_name(rigid.stem.name + "_mode-image_qc.json").read_text())
    assert not any("no better than by the affine" in reason for reason in quality["Reasons"])
    text = sitk.ReadTransform(str(rigid.affine))
    matrix = np.array(sitk.AffineTransform(text).GetMatrix()).reshape(3, 3)
    stretch = np.linalg.svd(matrix)[1]
    if transform == "rigid":
        np.testing.assert_allclose(stretch, 1, atol=1e-5)
    else:
        assert np.ptp(stretch) > 0.01
    forward, inverse = (sitk.ReadTransform(str(path)) for path in (rigid.forward_h5, rigid.inverse_h5))
    point = (-10.0, 8.0, 12.0)
    np.testing.assert_allclose(forward.TransformPoint(point), text.TransformPoint(point), atol=1e-6)
    np.testing.assert_allclose(inverse.TransformPoint(forward.TransformPoint(point)), point, atol=1e-6)
    fixed, moving = (
        sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (rigid.study.fixed, rigid.study.moving)
    )
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, text, sitk.sitkLinear, 0.0)).T
    ours = nib.load(rigid.warped).get_fdata()
    assert np.percentile(np.abs(theirs - ours), 99.9) < 0.005 * 1000
    assert rigid.sidecar["Type"] == "affine"


def test_only_a_bad_participant_ends_with_its_code(study, tmp_path):
    assert study.run(tmp_path / "out", "--participant-label", "00") == 65


def test_fail_fast_stops_at_the_first(study, tmp_path):
    out = tmp_path / "out"
    assert study.run(out, "--participant-label", "00", "01", "--fail-fast") == 1
    run = Run(study, out, 1)
    assert run.statuses().keys() == {"sub-00_from-T2w_to-T1w"}
    assert not (out / "sub-01").exists()
    assert "damaged" in (out / "sub-00.html").read_text()


def test_a_result_that_fails_later_is_no_result_any_more(rigid, tmp_path):
    """The second attempt fails: neither the mark nor the measures of the first may stay."""
    empty = np.zeros(nib.load(rigid.study.moving).shape, np.uint8)
    mask = tmp_path / "raw-mask" / "sub-01" / "anat" / "sub-01_space-T2w_desc-brain_mask.nii.gz"
    mask.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(empty, nib.load(rigid.study.moving).affine), mask)
    assert (
        rigid.again("--transform", "rigid", "-d", f"truth={rigid.study.truth}", f"m={tmp_path / 'raw-mask'}")
        == 65
    )
    assert not rigid.forward_h5.with_suffix(".json").exists()
    assert "the mask has no voxel inside the image" in (rigid.out / "sub-01.html").read_text("utf-8")
    assert main([str(rigid.study.raw), str(rigid.out), "group"]) == 66


def test_the_group_level_is_one_row_a_pair(finished):
    assert main([str(finished.study.raw), str(finished.out), "group"]) == 0
    with (finished.out / "group_registration.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["pair"] for row in rows] == [PAIR]
    assert rows[0]["participant_id"] == "sub-01"
    quality = json.loads(finished.stem.with_name(finished.stem.name + "_mode-image_qc.json").read_text())
    assert rows[0]["verdict"] == quality["Verdict"]
    assert float(rows[0]["nmi_after"]) == pytest.approx(quality["Measures"]["nmi_after"], rel=1e-5)
    dictionary = json.loads((finished.out / "group_registration.json").read_text())
    assert list(dictionary) == list(rows[0])
    assert all(entry["Description"] for entry in dictionary.values())


def test_reports_only_writes_the_page_again(finished):
    page = finished.out / "sub-01.html"
    first = page.read_text("utf-8")
    page.unlink()
    before = times(finished)
    assert finished.again("--reports-only") == 0
    again = page.read_text("utf-8")
    assert again.replace(finished.logs()[-1].name, finished.logs()[0].name).splitlines() == first.splitlines()
    after = times(finished)
    assert {name for name in after if after[name] != before.get(name)} == {"sub-01.html"}


def test_the_methods_text_stays_that_of_what_was_done(finished):
    text = (finished.out / "logs" / "CITATION.md").read_text()
    assert finished.again("--reports-only", "--transform", "rigid") == 0
    assert (finished.out / "logs" / "CITATION.md").read_text() == text


def test_boilerplate_only_registers_nothing(study, tmp_path):
    out = tmp_path / "out"
    assert study.run(out, "--participant-label", "01", "--boilerplate-only") == 0
    text = (out / "logs" / "CITATION.md").read_text()
    assert "nodereg" in text
    assert "T2w" in text
    assert not list(out.glob("sub-*"))


def test_runs_of_one_contrast_have_files_of_their_own(study, tmp_path):
    """Two runs of T2w, two T1w: every pair is registered and no file is written twice."""
    out = tmp_path / "out"
    assert study.run(out, "--participant-label", "02", "--all-pairs", "--transform", "rigid") == 0
    run = Run(study, out, 0)
    marks = {
        path.name.removesuffix("_mode-image_xfm.json")
        for path in out.glob("sub-02/anat/*_mode-image_xfm.json")
    }
    forward = {mark for mark in marks if mark in run.statuses()}
    assert {"sub-02_run-1_from-T2w_to-T1w", "sub-02_run-2_from-T2w_to-T1w"} <= forward
    assert forward == run.statuses().keys()
    assert len(marks) == 2 * len(forward)


def test_a_pairs_file_across_participants_with_masks(study, tmp_path):
    """The T1w of 01 fixed, a T2w of 02 moving, both with masks, one of them a path in the data set."""
    table = tmp_path / "pairs.tsv"
    table.write_text(
        "fixed\tmoving\tfixed_mask\tmoving_dseg\n"
        "sub-01/anat/sub-01_T1w.nii.gz\tbids::sub-02/anat/sub-02_run-2_T2w.nii.gz\t"
        "bids:truth:sub-01/anat/sub-01_desc-brain_mask.nii.gz\t"
        "bids:truth:sub-01/anat/sub-01_space-T2w_desc-tissue_dseg.nii.gz\n"
    )
    out = tmp_path / "out"
    assert study.run(out, "--pairs-file", str(table), "--transform", "rigid") == 0
    stem = out / "sub-02" / "anat" / "sub-02_run-2_from-T2w_to-sub01T1w_mode-image_xfm"
    sidecar = json.loads(stem.with_name(stem.name + ".json").read_text())
    assert sidecar["PairRule"] == "pairs-file"
    assert sidecar["FixedMask"] == "given: sub-01_desc-brain_mask.nii.gz"
    assert sidecar["SpatialReference"] == "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"
    carried = nib.load(next((out / "sub-02" / "anat").glob("*_dseg.nii.gz")))
    assert carried.shape == nib.load(study.fixed).shape
    assert set(np.unique(carried.dataobj)) == {0, 1, 2, 3, 4, 5}
    # the image of 02 is that of 01, so the rigid part must bring it near the T1w of 01
    point = sitk.ReadTransform(str(stem.with_name(stem.name + ".h5"))).TransformPoint((0.0, 0.0, 0.0))
    assert 2 < np.linalg.norm(point) < 15
