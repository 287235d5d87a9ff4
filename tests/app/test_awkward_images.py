"""Images that have to be read to be found awkward: what is told, which code, and that others go on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.cli import main
from tests.app import phantom
from tests.app.dataset import QUICK, QUICK_OPTIONS
from tests.bids.make import make_dataset

if TYPE_CHECKING:
    from pathlib import Path

# participant: what the message says of the file
BAD = {
    "4d": ("T1w", "holds 2 volumes"),
    "cut": ("T2w", "damaged or cut short"),
    "flipped": ("T2w", "damaged or cut short"),
    "slab": ("T2w", "at least 4 along each of three axes"),
    "empty": ("T2w", "not a readable NIfTI image"),
}
SHAPE = (31, 35, 29)
GRID = phantom.affine_of(SHAPE, (3.0, 3.2, 3.1), (0, 0, 0), phantom.CENTRE)


@dataclass(frozen=True)
class Awkward:
    """A data set whose path needs quoting, that may not be written to."""

    raw: Path
    config: Path

    def run(self, out: Path, *labels: str) -> int:
        words = [str(self.raw), str(out), "participant", "--config", str(self.config), *QUICK_OPTIONS]
        return main([*words, "--transform", "rigid", "--participant-label", *labels])

    def image(self, label: str, suffix: str) -> Path:
        return self.raw / f"sub-{label}" / "anat" / f"sub-{label}_{suffix}.nii.gz"

    def contents(self) -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in self.raw.rglob("*")}


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    root = tmp_path_factory.mktemp("awkward")
    labels = [*BAD, "nowhere"]
    names = [f"sub-{label}_{suffix}.nii.gz" for label in labels for suffix in ("T1w", "T2w")]
    study = Awkward(make_dataset(root / "Größe 50% – データ", *names), root / "quick.toml")
    study.config.write_text(QUICK)
    shares = phantom.soft_labels(phantom.points_of(SHAPE, GRID))
    t1w = phantom.image_of(shares, phantom.T1W, 1).astype(np.float32)
    t2w = phantom.image_of(shares, phantom.T2W, 2).astype(np.float32)
    for label in labels:
        phantom.save(study.image(label, "T1w"), t1w, GRID)
        phantom.save(study.image(label, "T2w"), t2w, GRID)
    phantom.save(study.image("4d", "T1w"), np.stack([t1w, t1w], -1), GRID)
    phantom.save(study.image("slab", "T2w"), t2w[:, :, :1], GRID)
    study.image("empty", "T2w").write_bytes(b"")
    whole = study.image("cut", "T2w").read_bytes()
    study.image("cut", "T2w").write_bytes(whole[: len(whole) // 2])
    study.image("flipped", "T2w").write_bytes(whole[:5000] + bytes([whole[5000] ^ 255]) + whole[5001:])
    for suffix, data in (("T1w", t1w), ("T2w", t2w)):
        image = nib.Nifti1Image(data, None)
        image.header.set_zooms((3.0, 3.2, 3.1))
        assert (image.header["qform_code"], image.header["sform_code"]) == (0, 0)
        nib.save(image, study.image("nowhere", suffix))
    for folder in (path for path in study.raw.rglob("*") if path.is_dir()):
        folder.chmod(0o555)
    study.raw.chmod(0o555)
    yield study
    study.raw.chmod(0o755)
    for folder in (path for path in study.raw.rglob("*") if path.is_dir()):
        folder.chmod(0o755)


def test_images_that_cannot_be_used_are_named_with_the_reason(awkward, tmp_path, capsys):
    before = awkward.contents()
    assert awkward.run(tmp_path / "out", *BAD) == 65
    error = capsys.readouterr().err
    statuses = [json.loads(path.read_text()) for path in (tmp_path / "out" / "logs").rglob("status_*.json")]
    told = {status["pair"]: status for status in statuses}
    assert len(told) == len(BAD)
    for label, (suffix, reason) in BAD.items():
        status = told[f"sub-{label}_from-T2w_to-T1w"]
        assert (status["status"], status["exit_code"]) == ("failed", 65)
        assert awkward.image(label, suffix).name in json.dumps(status)
        assert reason in json.dumps(status)
    assert "fault of nodereg" not in error
    assert awkward.contents() == before


def test_without_any_position_in_the_header_it_goes_on_and_says_so(awkward, tmp_path):
    """Both form codes are 0. One participant that cannot be read does not stop it."""
    out = tmp_path / "out"
    before = awkward.contents()
    assert awkward.run(out, "4d", "nowhere") == 1
    sidecar = out / "sub-nowhere" / "anat" / "sub-nowhere_from-T2w_to-T1w_mode-image_xfm.json"
    assert "Left and right may be swapped" in sidecar.read_text()
    page = (out / "sub-nowhere.html").read_text()
    assert "both form codes are 0" in page
    assert awkward.contents() == before
