"""To a template through files and back: one registration a session, everything else composed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import nitransforms
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses
from bids import BIDSLayout

from bids_nodereg.cli import main
from tests.app import phantom, templates
from tests.app.conftest import Run
from tests.app.templates import SPACE

ants = pytest.importorskip("ants", reason="antspyx has no wheel for this Python")

LPS = np.array([-1.0, -1.0, 1.0])
RANGE = 1000.0
TOLERANCE = 0.001 * RANGE
DIRECT, COMPOSED, LINK = (
    f"sub-01_from-T1w_to-{SPACE}",
    f"sub-01_from-T2w_to-{SPACE}",
    "sub-01_from-T2w_to-T1w",
)
RIGID = ("--transform", "rigid")


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return templates.make_home(tmp_path_factory.mktemp("templateflow"))


@pytest.fixture
def use_home(home, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(home))
    templates.without_figures(monkeypatch)


@pytest.fixture(scope="session")
def to_space(done, home):
    """The finished pair of the study, and then both images to the template in two resolutions."""
    out = done.out.with_name("to-space")
    shutil.copytree(done.out, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPLATEFLOW_HOME", str(home))
        code = done.study.run(out, "--participant-label", "01", "--output-spaces", f"{SPACE}:res-1:res-2")
    return Run(done.study, out, code)


def points_of(path, points):
    transform = sitk.ReadTransform(str(path))
    return np.array([transform.TransformPoint(point) for point in (points * LPS).tolist()]) * LPS


def xfm(run, name, ending="h5"):
    return run.anat / f"{name}_mode-image_xfm.{ending}"


def image_of(run, contrast, res, suffix=""):
    desc = suffix or "nodereg"
    kind = "dseg" if suffix else contrast
    return run.anat / f"sub-01_space-{SPACE}_res-{res}_desc-{desc}_{kind}.nii.gz"


def brain_of(res):
    return templates.shares(res)[..., 0] < 0.5


@pytest.fixture(scope="module")
def points():
    inside = phantom.points_of(templates.GRIDS["01"][0], templates.affine_of("01"))[brain_of("01")]
    random = np.random.default_rng(0)
    return random.permutation(inside)[:200] + random.uniform(-1, 1, (200, 3))


def test_one_registration_and_one_composition(to_space):
    assert to_space.code == 0
    statuses = to_space.statuses()
    assert {name: row["status"] for name, row in statuses.items()} == {
        LINK: "already done",
        DIRECT: "done",
        COMPOSED: "done",
    }
    searched = {path.name for path in to_space.anat.glob("*desc-affine_xfm.t*")}
    affine = "mode-image_desc-affine_xfm"
    assert searched == {f"{LINK}_{affine}.txt", f"{DIRECT}_{affine}.tfm"}


def test_fmriprep_finds_one_transform_each_way(to_space):
    """Its query has no word for the description, so that no part may have the ending of a whole."""
    layout = BIDSLayout(to_space.out, config=["bids", "derivatives"], validate=False)
    common = {"subject": "01", "datatype": "anat", "suffix": "xfm", "mode": "image"}
    for start, end in (("T1w", SPACE), (SPACE, "T1w")):
        query = {**common, "from": start, "to": end, "extension": [".h5", ".txt"]}
        assert layout.get(return_type="filename", **query) == [
            str(xfm(to_space, f"sub-01_from-{start}_to-{end}"))
        ]


def test_both_images_are_near_the_truth_on_the_template(to_space, points):
    on_t1w = templates.template_to_t1w(points)
    truth = {DIRECT: on_t1w, COMPOSED: phantom.truth()(on_t1w)}
    for name, true in truth.items():
        error_mm = np.linalg.norm(points_of(xfm(to_space, name), points) - true, axis=1)
        assert np.linalg.norm(points - true, axis=1).mean() > 8
        assert error_mm.mean() < 2, name
        contrast = name.split("from-")[1][:3]
        back = xfm(to_space, f"sub-01_from-{SPACE}_to-{contrast}")
        assert np.linalg.norm(points_of(back, true) - points, axis=1).mean() < 2


def test_the_composition_is_exactly_one_map_after_the_other(to_space, points):
    """By another program, forward and back; the fields are nowhere interpolated a second time."""
    between = points_of(xfm(to_space, DIRECT), points)
    whole = points_of(xfm(to_space, COMPOSED), points)
    np.testing.assert_allclose(whole, points_of(xfm(to_space, LINK), between), atol=1e-3)
    back = points_of(xfm(to_space, "sub-01_from-T1w_to-T2w"), whole)
    np.testing.assert_allclose(
        points_of(xfm(to_space, f"sub-01_from-{SPACE}_to-T2w"), whole),
        points_of(xfm(to_space, f"sub-01_from-{SPACE}_to-T1w"), back),
        atol=1e-3,
    )
    assert np.linalg.norm(whole - between, axis=1).mean() > 3  # the second map does something


@pytest.mark.parametrize("res", ["1", "2"])
@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
def test_other_programs_make_the_same_images_on_every_grid(to_space, home, contrast, res):
    own = nib.load(image_of(to_space, contrast, res))
    ours, brain = own.get_fdata(), brain_of(f"0{res}")
    reference = home / f"tpl-{SPACE}" / f"tpl-{SPACE}_res-0{res}_T1w.nii.gz"
    image = to_space.study.fixed if contrast == "T1w" else to_space.study.moving
    transform = xfm(to_space, f"sub-01_from-{contrast}_to-{SPACE}")
    np.testing.assert_allclose(own.affine, nib.load(reference).affine, atol=1e-4)

    itk = sitk.Resample(
        sitk.ReadImage(str(image), sitk.sitkFloat32),
        sitk.ReadImage(str(reference)),
        sitk.ReadTransform(str(transform)),
        sitk.sitkLinear,
        0.0,
    )
    by_ants = ants.apply_transforms(
        ants.image_read(str(reference)), ants.image_read(str(image)), [str(transform)], interpolator="linear"
    )
    for theirs in (sitk.GetArrayFromImage(itk).T, by_ants.numpy()):
        assert np.abs(theirs - ours)[brain].max() < TOLERANCE
    loaded = nitransforms.manip.load(transform, fmt="itk")
    pulled = nitransforms.resampling.apply(loaded, nib.load(image), reference=nib.load(reference), order=1)
    # it reads the field by cubic splines, so that single voxels at an edge differ
    assert np.abs(np.asarray(pulled.dataobj) - ours)[brain].mean() < 5 * TOLERANCE
    assert ours[brain].mean() > 0.3 * RANGE


def test_labels_of_both_images_come_along_to_every_grid(to_space):
    for res in ("1", "2"):
        true = phantom.labels_of(templates.shares(f"0{res}"))
        for contrast in ("T1w", "T2w"):
            carried = np.asarray(nib.load(image_of(to_space, contrast, res, f"tissuefrom{contrast}")).dataobj)
            assert carried.shape == true.shape
            dice = [
                2 * ((carried == n) & (true == n)).sum() / ((carried == n).sum() + (true == n).sum())
                for n in (2, 3)
            ]
            assert np.mean(dice) > 0.7


def test_sidecars_say_where_everything_is_from(to_space):
    warped = json.loads(
        image_of(to_space, "T2w", "2")
        .with_name(f"sub-01_space-{SPACE}_res-2_desc-nodereg_T2w.json")
        .read_text()
    )
    assert warped["SpatialReference"] == f"bids:templateflow:tpl-{SPACE}/tpl-{SPACE}_res-02_T1w.nii.gz"
    assert SPACE in warped["Resolution"]
    composed = json.loads(xfm(to_space, COMPOSED, "json").read_text())
    assert composed["Type"] == "composition of 2 affines and 2 displacement fields"
    anat = "bids::sub-01/anat/"
    assert composed["Sources"] == [
        "bids:raw:sub-01/anat/sub-01_T2w.nii.gz",
        f"bids:templateflow:tpl-{SPACE}/tpl-{SPACE}_res-01_T1w.nii.gz",
        *(f"{anat}{name}_mode-image_xfm.h5" for name in (LINK, DIRECT)),
    ]
    direct = json.loads(xfm(to_space, DIRECT, "json").read_text())
    assert direct["Template"] == {"Space": SPACE, "Name": "A phantom", "License": "CC0"}
    assert direct["FixedMask"] == f"given: tpl-{SPACE}_res-01_desc-brain_mask.nii.gz"
    links = json.loads((to_space.out / "dataset_description.json").read_text())["DatasetLinks"]
    assert links["templateflow"].startswith("https://")
    text = "".join(path.read_text() for path in to_space.anat.glob("*.json"))
    assert "/templateflow" not in text  # no path of this machine


def test_the_composed_map_is_measured_and_shown(to_space):
    quality = json.loads((to_space.anat / f"{COMPOSED}_mode-image_qc.json").read_text())
    assert quality["Measures"]["folded_voxels"] == 0
    assert quality["Measures"]["moving_coverage_fraction"] > 0.95
    assert quality["Measures"]["inverse_consistency_forward_p95_mm"] < 0.5
    assert quality["Verdict"] == "pass"
    page = (to_space.out / "sub-01.html").read_text("utf-8")
    assert f"{COMPOSED}_mode-image_xfm.h5" in page
    assert f"{COMPOSED}_mode-image_desc-warp" not in page


def validator_errors(out):
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.exists():
        pytest.skip("bids-validator-deno is not installed")
    command = [program, "--format", "json", "--ignoreWarnings", out]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(answer.stdout)["issues"]["issues"]


def test_the_output_is_valid_bids(to_space):
    assert validator_errors(to_space.out) == []


@pytest.fixture(scope="module")
def rigid_out(study, home):
    """The damaged and the whole participant, rigid, at the template's own resolution."""
    out = study.raw.parent / "rigid-to-space"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPLATEFLOW_HOME", str(home))
        templates.without_figures(patch)
        code = study.run(
            out, "--participant-label", "00", "01", "--pairs", "to-template", "--output-spaces", SPACE, *RIGID
        )
    return Run(study, out, code)


def test_a_part_that_failed_fails_the_composition_and_nothing_else(rigid_out):
    assert rigid_out.code == 1
    statuses = rigid_out.statuses()
    assert {name: row["status"] for name, row in statuses.items() if row["subject"] == "00"} == {
        "sub-00_from-T2w_to-T1w": "failed",
        f"sub-00_from-T1w_to-{SPACE}": "done",
        f"sub-00_from-T2w_to-{SPACE}": "failed",
    }
    told = statuses[f"sub-00_from-T2w_to-{SPACE}"]["error"]
    assert "sub-00_from-T2w_to-T1w has no result" in told
    assert {row["status"] for row in statuses.values() if row["subject"] == "01"} == {"done"}
    assert not list(rigid_out.out.glob(f"sub-00/anat/*from-T2w_to-{SPACE}*"))
    assert "has no result" in (rigid_out.out / "sub-00.html").read_text("utf-8")


def test_the_grid_of_the_registration_has_no_resolution_in_its_name(rigid_out, home):
    for contrast in ("T1w", "T2w"):
        warped = nib.load(rigid_out.anat / f"sub-01_space-{SPACE}_desc-nodereg_{contrast}.nii.gz")
        assert warped.shape == templates.GRIDS["01"][0]
    assert validator_errors(rigid_out.out) == []


def test_again_does_nothing_until_a_part_is_not_as_it_was_written(rigid_out, use_home, tmp_path):
    out = rigid_out.out.with_name("rigid-again")
    shutil.copytree(rigid_out.out, out)
    run = replace(rigid_out, out=out)
    more = ("--pairs", "to-template", "--output-spaces", SPACE, *RIGID)
    assert run.again(*more) == 0
    assert {row["status"] for row in run.statuses().values()} == {"already done"}
    link = xfm(run, LINK)
    changed = sitk.ReadTransform(str(link))
    changed.SetParameters([value + 0.25 * (n % 12 == 11) for n, value in enumerate(changed.GetParameters())])
    sitk.WriteTransform(changed, str(link))
    assert run.again(*more) == 0
    assert {name: row["status"] for name, row in run.statuses().items()} == {
        LINK: "done",
        DIRECT: "already done",
        COMPOSED: "already done",  # what was made again is what the composition was made of
    }


def test_a_damaged_part_is_made_again_and_leaves_the_finished_composition(rigid_out, use_home):
    out = rigid_out.out.with_name("rigid-damaged")
    shutil.copytree(rigid_out.out, out)
    run = replace(rigid_out, out=out)
    assert json.loads(xfm(run, COMPOSED, "json").read_text())["Type"] == "composition of 2 affines"
    whole = xfm(run, LINK).read_bytes()
    xfm(run, LINK).write_bytes(b"no transform")
    assert run.again("--pairs", "to-template", "--output-spaces", SPACE, *RIGID) == 0
    assert {name: row["status"] for name, row in run.statuses().items()} == {
        LINK: "done",
        DIRECT: "already done",
        COMPOSED: "already done",
    }
    assert xfm(run, LINK).read_bytes() == whole


def test_another_resolution_later_searches_nothing(rigid_out, use_home):
    out = rigid_out.out.with_name("rigid-later")
    shutil.copytree(rigid_out.out, out)
    run = replace(rigid_out, out=out)
    before = xfm(run, DIRECT).stat().st_mtime_ns
    assert run.again("--pairs", "to-template", "--output-spaces", f"{SPACE}:res-2", *RIGID) == 0
    assert image_of(run, "T1w", "2").is_file()
    assert image_of(run, "T2w", "2").is_file()
    assert xfm(run, DIRECT).stat().st_mtime_ns == before


def test_a_changed_grid_is_written_anew_and_searches_nothing(rigid_out, home, monkeypatch, tmp_path):
    """The file of ``res-2`` becomes one voxel shorter: every image on it follows, once."""
    templates.without_figures(monkeypatch)
    own = tmp_path / "home"
    shutil.copytree(home, own)
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(own))
    out = rigid_out.out.with_name("rigid-grid")
    shutil.copytree(rigid_out.out, out)
    run = replace(rigid_out, out=out)
    words = ("--pairs", "to-template", "--output-spaces", f"{SPACE}:res-2", *RIGID)
    assert run.again(*words) == 0
    before = xfm(run, DIRECT).stat().st_mtime_ns
    path = own / f"tpl-{SPACE}" / f"tpl-{SPACE}_res-02_T1w.nii.gz"
    shorter = nib.load(path).slicer[:, :, :-1]
    nib.save(nib.Nifti1Image(np.asarray(shorter.dataobj), shorter.affine), path)
    for ending in ("done", "already done"):
        assert run.again(*words) == 0
        assert run.statuses()[DIRECT]["status"] == run.statuses()[COMPOSED]["status"] == ending
    for contrast in ("T1w", "T2w"):
        assert nib.load(image_of(run, contrast, "2")).shape == shorter.shape
    assert xfm(run, DIRECT).stat().st_mtime_ns == before


def test_a_participant_with_a_t2w_alone(study, tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    shutil.copytree(study.raw, raw, ignore=shutil.ignore_patterns("sub-*"))
    (raw / "sub-01" / "anat").mkdir(parents=True)
    shutil.copy(study.moving, raw / "sub-01" / "anat")
    home = templates.make_home(tmp_path / "home", contrasts=("T1w", "T2w"), cohort="2")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(home))
    templates.without_figures(monkeypatch)
    out = tmp_path / "out"
    own = replace(study, raw=raw)
    assert own.run(out, "--output-spaces", f"{SPACE}:cohort-2:res-1", *RIGID) == 0
    stem = f"sub-01_from-T2w_to-{SPACE}+2_mode-image_xfm"
    sidecar = json.loads((out / "sub-01" / "anat" / f"{stem}.json").read_text())
    assert sidecar["SpatialReference"].endswith(f"cohort-2/tpl-{SPACE}_cohort-2_res-01_T2w.nii.gz")
    assert validator_errors(out) == []


def test_a_local_template(study, home, use_home):
    source = home / f"tpl-{SPACE}" / f"tpl-{SPACE}_res-02_T1w.nii.gz"
    path = study.raw.parent / "ours" / "average_T1w.nii.gz"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(source, path)
    shutil.copy(
        source.with_name(f"tpl-{SPACE}_res-02_desc-brain_mask.nii.gz"),
        path.with_name("average_desc-brain_mask.nii.gz"),
    )
    out = study.raw.parent / "local"
    words = ("--moving-suffix", "FLAIR", "--output-spaces", f"ours={path}", *RIGID)
    assert study.run(out, "--participant-label", "01", *words) == 0
    stem = out / "sub-01" / "anat" / "sub-01_from-T1w_to-ours_mode-image_xfm"
    sidecar = json.loads(stem.with_name(stem.name + ".json").read_text())
    assert sidecar["SpatialReference"] == "bids:ours:average_T1w.nii.gz"
    assert sidecar["FixedMask"] == "given: average_desc-brain_mask.nii.gz"
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    assert links["ours"] == "../ours"
    assert validator_errors(out) == []


def test_the_dry_run_shows_what_would_be_registered_and_composed(study, home, use_home, capsys, tmp_path):
    words = ("--participant-label", "01", "--output-spaces", f"{SPACE}:res-2", "--dry-run")
    assert study.run(tmp_path / "out", *words) == 0
    told = capsys.readouterr().out
    assert str(home / f"tpl-{SPACE}" / f"tpl-{SPACE}_res-01_T1w.nii.gz") in told
    assert "through sub-01_T1w.nii.gz" in told
    assert "2 pair(s) to register, 1 to compose" in told
    assert not (tmp_path / "out").exists()


def test_a_dry_run_fetches_nothing(study, home, use_home, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("bids_nodereg.bids.templateflow._fetch", lambda *_args: pytest.fail("it fetches"))
    words = ("--participant-label", "01", "--output-spaces", f"{SPACE}:res-3", "--fetch-templates")
    assert study.run(tmp_path / "out", *words, "--dry-run") == 66
    assert "a dry run fetches nothing" in capsys.readouterr().err


def test_a_template_that_is_not_here_asks_no_server(study, use_home, monkeypatch, capsys, tmp_path):
    def no_network(*_args, **_kwargs):
        msg = "a socket was opened"
        raise AssertionError(msg)

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    out = tmp_path / "out"
    assert study.run(out, "--output-spaces", "MNI152NLin2009cAsym:res-1") == 66
    told = capsys.readouterr().err
    assert "tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz is not there" in told
    assert "from templateflow import api; api.get('MNI152NLin2009cAsym'" in told
    assert "templateflow" not in sys.modules
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--pairs", "to-template"], "--output-spaces"),
        (["--pairs", "longitudinal", "--output-spaces", "X"], "--pairs to-template"),
        (["--output-spaces", "X:res-native"], "an index of the template"),
        (["--output-spaces", "X", "--pairs-file", "p.tsv"], "Make two runs"),
        (["--output-spaces", "truth=TEMPLATE"], "another name"),
    ],
)
def test_words_that_contradict_one_another(study, home, words, told, capsys, tmp_path):
    template = home / f"tpl-{SPACE}" / f"tpl-{SPACE}_res-01_T1w.nii.gz"
    words = [word.replace("TEMPLATE", str(template)) for word in words]
    assert main(study.arguments(tmp_path / "out", *words)) == 64
    assert told in capsys.readouterr().err
