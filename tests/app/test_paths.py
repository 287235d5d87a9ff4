"""No result tells where on this machine the data lay: results are shared, and containers see other paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bids_nodereg.app.places import without_places
from bids_nodereg.cli import parse

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {".json", ".html", ".tsv", ".md", ".cff", ".txt", ".svg", ""}
USERS_OWN = {"config.toml", "run.log"}  # what was typed, and what was printed: they stay in logs/


def texts(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in TEXTS
    }


def test_no_file_holds_a_path_of_the_input_or_the_output(done):
    """One of the two pairs failed, and its message names a file."""
    found = texts(done.out)
    sidecar = "sub-01/anat/sub-01_from-T2w_to-T1w_mode-image_xfm.json"
    assert {"dataset_description.json", "sub-00.html", "sub-01.html", ".bidsignore", sidecar} <= found.keys()
    root = str(done.study.raw.parent)
    assert [name for name, text in found.items() if root in text] == []
    assert "BIDS_DIR/sub-00/anat/sub-00_T2w.nii.gz" in found["sub-00.html"]
    everything = {path.name for path in done.out.rglob("*") if path.suffix in {".toml", ".log"}}
    assert everything == USERS_OWN


def test_a_damaged_template_of_the_users_own_does_not_tell_where_it_lies(study, tmp_path):
    path = tmp_path / "somewhere" / "mean_T1w.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"no image")
    out = tmp_path / "out"
    words = ("--participant-label", "01", "--pairs", "to-template", "--moving-suffix", "FLAIR")
    assert study.run(out, *words, "--output-spaces", f"ours={path}") == 65
    found = texts(out)
    assert "ours/mean_T1w.nii.gz" in found["sub-01.html"]
    assert [name for name, text in found.items() if str(path.parent) in text] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/data/raw/sub-01/x.nii: damaged", "BIDS_DIR/sub-01/x.nii: damaged"),
        ("/data/raw/derivatives/out/sub-01.html", "OUTPUT_DIR/sub-01.html"),
        ("/prep/sub-01/m.nii and /data/raw/a", "fmriprep/sub-01/m.nii and BIDS_DIR/a"),
        ("/data/raw2/a", "/data/raw2/a"),
        (
            "/mnt/data/raw/a and /data/raw-old/a and /data/raw.old",
            "/mnt/data/raw/a and /data/raw-old/a and /data/raw.old",
        ),
        ("'/data/raw' is no folder. See /prep.", "'BIDS_DIR' is no folder. See fmriprep."),
        ("/study/mean_T1w.nii.gz: damaged, [/masks/m.nii]", "ours/mean_T1w.nii.gz: damaged, [ours/m.nii]"),
        ("/flow/tpl-X/tpl-X_T1w.nii.gz", "TEMPLATEFLOW_HOME/tpl-X/tpl-X_T1w.nii.gz"),
    ],
)
def test_folders_are_called_what_the_command_line_calls_them(text, told, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", "/flow")
    spaces = ["--output-spaces", "ours=/study/mean_T1w.nii.gz,mask=/masks/m.nii", "root=/top.nii"]
    words = ["/data/raw", "/data/raw/derivatives/out", "participant", "-d", "fmriprep=/prep", *spaces]
    assert without_places(text, parse(words)) == told
