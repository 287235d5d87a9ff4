"""How long does it take to find the pairs of a large data set? Empty images, real command.

A data set of N participants, two sessions each with T1w, T2w and FLAIR and their sidecars, is made in a
temporary folder, and ``--dry-run`` is timed on it in processes of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common import ROOT, write_results

SUFFIXES = ("T1w", "T2w", "FLAIR")
DERIVED = ("desc-brain_mask", "desc-aparcaseg_dseg", "space-T2w_desc-brain_mask")


@dataclass(frozen=True)
class Case:
    """One way to ask, and the options that ask so."""

    name: str
    options: tuple[str, ...]


def main() -> None:
    """Make the data set, time every case, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--participants", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "query")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = make_images(root / "raw", options.participants, SUFFIXES)
        make_images(root / "prep", options.participants, DERIVED)
        rows = [measured(case, root) for case in cases(root, options.participants)]
    write_results(
        options.out,
        "Finding the pairs of a large data set",
        rows,
        [
            f"{options.participants} participants, {images} images, each with a sidecar; a process a row.",
            "CPU time is the process's own; wall time is of a machine that others used too.",
            "The first row with a pybids database makes it.",
        ],
    )


def cases(root: Path, participants: int) -> list[Case]:
    """All participants and one, alone and with what users add."""
    one = ("--participant-label", f"{participants // 2:05d}")
    prep = ("--derivatives", f"prep={root / 'prep'}")
    database = ("--bids-database-dir", str(root / "database"))
    return [
        Case("all participants", ()),
        Case("one participant", one),
        Case("all, with derivatives", prep),
        Case("one, with derivatives", (*one, *prep)),
        Case("one, making a pybids database", (*one, *database)),
        Case("one, with a pybids database", (*one, *database)),
        Case("all, with a pybids database", database),
    ]


def make_images(root: Path, participants: int, suffixes: tuple[str, ...]) -> int:
    """Write one byte for every image, and a sidecar; returns the number of images."""
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "many", "BIDSVersion": "1.10.0"}')
    for number in range(participants):
        for session in ("1", "2"):
            folder = root / f"sub-{number:05d}" / f"ses-{session}" / "anat"
            folder.mkdir(parents=True)
            for suffix in suffixes:
                stem = f"sub-{number:05d}_ses-{session}_{suffix}"
                (folder / f"{stem}.nii.gz").write_bytes(b"x")
                (folder / f"{stem}.json").write_text("{}")
    return participants * 2 * len(suffixes)


def measured(case: Case, root: Path) -> dict[str, str | int | float]:
    """Run one dry run: time, memory, and how many pairs it found."""
    words = [sys.executable, "-m", "bids_nodereg", str(root / "raw"), str(root / "out"), "participant"]
    before, began = os.times(), time.perf_counter()
    answer = subprocess.run(
        [*words, "--dry-run", "json", *case.options], capture_output=True, text=True, check=True, cwd=ROOT
    )
    wall_s, after = time.perf_counter() - began, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    pairs = sum(row["taken"] for row in json.loads(answer.stdout))
    return {"dry run of": case.name, "pairs": pairs, "wall s": wall_s, "CPU s": cpu_s}


if __name__ == "__main__":
    main()
