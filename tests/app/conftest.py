"""One study and one finished run for all tests of the conductor; a test that changes files takes a copy."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.app.dataset import Study, make_study

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Run:
    """What a run of the program left behind."""

    study: Study
    out: Path
    code: int

    @property
    def anat(self) -> Path:
        return self.out / "sub-01" / "anat"

    @property
    def stem(self) -> Path:
        """Start of the names of the whole pair's files; add ``_mode-image_...``."""
        return self.anat / "sub-01_from-T2w_to-T1w"

    @property
    def forward_h5(self) -> Path:
        return self.anat / "sub-01_from-T2w_to-T1w_mode-image_xfm.h5"

    @property
    def inverse_h5(self) -> Path:
        return self.anat / "sub-01_from-T1w_to-T2w_mode-image_xfm.h5"

    @property
    def affine(self) -> Path:
        return self.anat / "sub-01_from-T2w_to-T1w_mode-image_desc-affine_xfm.txt"

    @property
    def warp(self) -> Path:
        return self.anat / "sub-01_from-T2w_to-T1w_mode-image_desc-warp_xfm.nii.gz"

    @property
    def warped(self) -> Path:
        return self.anat / "sub-01_space-T1w_desc-nodereg_T2w.nii.gz"

    @property
    def labels(self) -> Path:
        return self.anat / "sub-01_space-T1w_desc-tissuefromT2w_dseg.nii.gz"

    @property
    def sidecar(self) -> dict[str, Any]:
        return json.loads(self.forward_h5.with_suffix(".json").read_text())

    def logs(self) -> list[Path]:
        """Folders of the runs, oldest first."""
        folders = [path for path in (self.out / "logs").iterdir() if path.is_dir()]
        return sorted(folders, key=lambda path: (path / "run.log").stat().st_mtime_ns)

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Status of each pair in the last run."""
        files = self.logs()[-1].glob("status_*.json")
        return {row["pair"]: row for row in (json.loads(file.read_text()) for file in files)}

    def again(self, *more: str) -> int:
        """Run the same command again, with more options, on participant 01."""
        return self.study.run(self.out, "--participant-label", "01", *more)


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def done(study) -> Run:
    """A deformable run on a damaged and then on a whole participant; never changed by a test."""
    out = study.raw.parent / "out"
    code = study.run(out, "--participant-label", "sub-00", "01")
    return Run(study, out, code)


@pytest.fixture(scope="session")
def rigid_once(study) -> Run:
    out = study.raw.parent / "rigid"
    return Run(study, out, study.run(out, "--participant-label", "01", "--transform", "rigid"))


@pytest.fixture
def rigid(rigid_once) -> Run:
    """A copy of a finished rigid run, at the same depth so that links to the input hold."""
    return _copy(rigid_once)


@pytest.fixture
def finished(done) -> Run:
    """A copy of the deformable run."""
    return _copy(done)


def _copy(run: Run) -> Run:
    out = run.out.with_name(f"copy-{secrets.token_hex(4)}")
    shutil.copytree(run.out, out)  # times of the files are kept
    return Run(run.study, out, run.code)
