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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/data/raw/sub-01/x.nii: damaged", "BIDS_DIR/sub-01/x.nii: damaged"),
        ("/data/raw/derivatives/out/sub-01.html", "OUTPUT_DIR/sub-01.html"),
        ("/prep/sub-01/m.nii and /data/raw/a", "fmriprep/sub-01/m.nii and BIDS_DIR/a"),
        ("/data/raw2/a", "/data/raw2/a"),
    ],
)
def test_folders_are_called_what_the_command_line_calls_them(text, told):
    words = ["/data/raw", "/data/raw/derivatives/out", "participant", "-d", "fmriprep=/prep"]
    assert without_places(text, parse(words)) == told
