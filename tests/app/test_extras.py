"""A run with everything that can be written: carried files, velocity, logarithm; all of it valid BIDS."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from bids_nodereg.app.jobs import find_jobs, open_input
from bids_nodereg.app.status import why_not_done
from bids_nodereg.cli import main, parse
from bids_nodereg.imaging.transforms import read_displacement_nifti
from tests.app import phantom

ASKED = (
    *("--apply-to", "desc-preproc_T2w", "label-*_mask", "--write-velocity", "--time-parts", "2"),
    *("--iterations", "12", "5"),
)
FROM_T2W = "sub-01_space-T1w"
CARRIED = {
    f"{FROM_T2W}_desc-brainfromT2w_mask",
    f"{FROM_T2W}_label-CSF_desc-fromT2w_probseg",
    f"{FROM_T2W}_label-WM_desc-fromT2w_probseg",
    f"{FROM_T2W}_desc-preproc_T2w",
    f"{FROM_T2W}_label-lesion_desc-fromT2w_mask",
}


@dataclass(frozen=True)
class Everything:
    arguments: tuple[str, ...]
    out: Path
    prep: Path
    code: int

    @property
    def anat(self) -> Path:
        return self.out / "sub-01" / "anat"

    def array(self, stem: str) -> np.ndarray:
        return np.asarray(nib.load(self.anat / f"{stem}.nii.gz").dataobj)

    def sidecar(self, stem: str) -> dict:
        return json.loads((self.anat / f"{stem}.json").read_text())


@pytest.fixture(scope="module")
def everything(study) -> Everything:
    """Mask, two tissues, a lesion and a processed image, in the space of the T2w."""
    root = study.raw.parent
    prep = root / "prep"
    prep.mkdir()
    (prep / "dataset_description.json").write_text('{"Name": "prep", "BIDSVersion": "1.10.0"}')
    shares = phantom.moving_shares()
    stem = prep / "sub-01" / "anat" / "sub-01_space-T2w"
    files = {
        "desc-brain_mask": (shares[..., 0] < 0.5).astype(np.uint8),
        "label-CSF_probseg": shares[..., 1].astype(np.float32),
        "label-WM_probseg": shares[..., 3].astype(np.float32),
        "desc-preproc_T2w": (10 * phantom.image_of(shares, phantom.T2W, 2)).astype(np.float32),
    }
    for name, data in files.items():
        phantom.save(stem.with_name(f"{stem.name}_{name}.nii.gz"), data, phantom.MOVING)
    lesion = stem.with_name(f"{stem.name}_label-lesion_mask.nii.gz")
    phantom.save(lesion, (shares[..., 5] > 0.5).astype(np.uint8), phantom.MOVING)
    out = root / "everything"
    arguments = _with_derivative(study.arguments(out, "--participant-label", "01", *ASKED), prep)
    return Everything(arguments, out, prep, main(list(arguments)))


def _with_derivative(arguments: list[str], prep: Path) -> tuple[str, ...]:
    place = arguments.index("-d") + 2
    return (*arguments[:place], f"prep={prep}", *arguments[place:])


def test_everything_is_there_and_is_valid(everything):
    assert everything.code == 0
    stems = {path.name.removesuffix(".nii.gz") for path in everything.anat.glob("*.nii.gz")}
    assert stems >= CARRIED
    velocity = "sub-01_from-T2w_to-T1w_mode-image_desc-velocity"
    assert {stem for stem in stems if "velocity" in stem} == {f"{velocity}{n}of2_xfm" for n in (1, 2)}
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.exists():
        pytest.skip("bids-validator-deno is not installed")
    command = [program, "--format", "json", "--ignoreWarnings", everything.out]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(answer.stdout)["issues"]["issues"] == []
    assert answer.returncode == 0


def test_every_desc_label_is_described(everything):
    with (everything.out / "descriptions.tsv").open() as stream:
        described = {row["desc_id"] for row in csv.DictReader(stream, delimiter="\t")}
    used = {
        part
        for path in everything.anat.iterdir()
        for part in path.name.split("_")
        if part.startswith("desc-")
    }
    assert used <= described


def test_carried_files_are_where_the_truth_says(everything):
    """The phantom's shares are known everywhere; what is left is the error of the registration."""
    true = phantom.fixed_shares()
    mask = everything.array(f"{FROM_T2W}_desc-brainfromT2w_mask")
    assert mask.dtype == np.uint8
    inside = true[..., 0] < 0.5
    assert 2 * np.sum(mask.astype(bool) & inside) / (mask.sum() + inside.sum()) > 0.95
    white = everything.array(f"{FROM_T2W}_label-WM_desc-fromT2w_probseg")
    assert white.dtype == np.float32
    assert 0 <= white.min() < white.max() <= 1
    assert np.corrcoef(white[inside], true[..., 3][inside])[0, 1] > 0.8
    lesion = everything.array(f"{FROM_T2W}_label-lesion_desc-fromT2w_mask").astype(bool)
    centre = phantom.points_of(phantom.FIXED_SHAPE, phantom.FIXED)[lesion].mean(axis=0)
    np.testing.assert_allclose(centre, phantom.CENTRE + phantom.BLOB, atol=2.5)


def test_an_image_that_was_asked_for_is_interpolated_as_the_moving_one(everything):
    """It is ten times the moving image, so is its result."""
    warped = everything.array(f"{FROM_T2W}_desc-nodereg_T2w")
    np.testing.assert_allclose(everything.array(f"{FROM_T2W}_desc-preproc_T2w"), 10 * warped, atol=0.05)


def test_sidecars_name_what_they_come_from(everything):
    for stem in CARRIED:
        sidecar = everything.sidecar(stem)
        assert sidecar["Sources"][0].startswith("bids:prep:sub-01/anat/sub-01_space-T2w_")
        assert sidecar["Sources"][1] == "bids::sub-01/anat/sub-01_from-T2w_to-T1w_mode-image_xfm.h5"
        assert sidecar["SpatialReference"] == "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"
    assert everything.sidecar(f"{FROM_T2W}_desc-preproc_T2w")["SkullStripped"] is True
    assert everything.sidecar(f"{FROM_T2W}_desc-brainfromT2w_mask")["Type"] == "Brain"


def test_the_logarithm_is_that_of_the_jacobian(everything):
    stem = "sub-01_from-T2w_to-T1w_mode-image_desc"
    determinant = everything.array(f"{stem}-jacobian_xfm")
    np.testing.assert_allclose(
        everything.array(f"{stem}-logjacobian_xfm"), np.log(np.maximum(determinant, 1e-3)), atol=1e-5
    )
    assert everything.sidecar(f"{stem}-logjacobian_xfm")["Floor"] == 1e-3


def test_the_flow_of_the_velocity_is_the_displacement(everything):
    """By scipy's adaptive solver from the files alone, within a hundredth of a millimetre on average."""
    stem = everything.anat / "sub-01_from-T2w_to-T1w_mode-image_desc"
    parts = [read_displacement_nifti(Path(f"{stem}-velocity{part}of2_xfm.nii.gz")) for part in (1, 2)]
    warp = read_displacement_nifti(Path(f"{stem}-warp_xfm.nii.gz"))
    nodes = phantom.points_of(warp.grid.shape, warp.grid.affine)  # between them the warp is interpolated
    start = np.random.default_rng(3).permutation(nodes[phantom.soft_labels(nodes)[..., 0] < 0.5])[:400]
    points = start
    for field in parts:

        def velocity(_time, flat, field=field):
            return field.at(flat.reshape(-1, 3)).ravel()

        points = solve_ivp(velocity, (0, 0.5), points.ravel(), rtol=1e-6, atol=1e-6).y[:, -1].reshape(-1, 3)
    moved = warp.at(start)
    error_mm = np.linalg.norm(points - start - moved, axis=1)
    assert np.linalg.norm(moved, axis=1).max() > 1.5
    assert error_mm.mean() < 0.01
    assert error_mm.max() < 0.1


def test_a_carried_file_that_changes_is_noticed(everything):
    config = parse(everything.arguments)
    (participant,) = find_jobs(config, open_input(config), ("01",))
    (job,) = participant.jobs
    assert why_not_done(job, config.settings) == ""
    mask = everything.prep / "sub-01" / "anat" / "sub-01_space-T2w_label-lesion_mask.nii.gz"
    content = mask.read_bytes()
    try:
        mask.write_bytes(content + b" ")
        assert why_not_done(job, config.settings) == "an input file has changed"
    finally:
        mask.write_bytes(content)
    part = job.outputs.velocity_nii(2, 2)
    hidden = part.rename(part.with_suffix(".hidden"))
    assert f"{part.name} is missing" in why_not_done(job, config.settings)
    hidden.rename(part)


def test_without_carrying_only_what_was_asked_for(everything):
    config = parse((*everything.arguments, "--no-carry"))
    (participant,) = find_jobs(config, open_input(config), ("01",))
    names = {extra.path.name for extra in participant.jobs[0].pair.moving_extras}
    assert names == {"sub-01_space-T2w_desc-preproc_T2w.nii.gz", "sub-01_space-T2w_label-lesion_mask.nii.gz"}


def test_what_nobody_has_is_told(everything, caplog):
    config = parse((*everything.arguments, "--apply-to", "label-none_probseg"))
    list(find_jobs(config, open_input(config), ("01",)))
    assert "--apply-to label-none_probseg: sub-01 has no such file" in caplog.text
