"""The demo data with as many participants as wanted: its participants again under other names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import bids_nodereg

DEMO = Path(bids_nodereg.__file__).parent / "data" / "demo"
SUFFIXES = ("T1w", "T2w")


def clone_demo(raw: Path, count: int) -> Path:
    """A raw data set of so many participants, 001 and on, that are those of the demo in turn.

    Only T1w and T2w are taken: one pair each. Gives its root.
    """
    raw.mkdir(parents=True)
    (raw / "dataset_description.json").write_text(json.dumps({"Name": "clones", "BIDSVersion": "1.10.0"}))
    (raw / "README").write_text("The simulated participants of the demo, again and again.\n" * 4)
    originals = sorted(path.name for path in DEMO.glob("sub-*"))
    for number in range(count):
        _clone(raw, originals[number % len(originals)], f"sub-{number + 1:03d}")
    return raw


def _clone(raw: Path, original: str, name: str) -> None:
    anat = raw / name / "anat"
    anat.mkdir(parents=True)
    for suffix in SUFFIXES:
        for end in (".nii.gz", ".json"):
            shutil.copy(
                DEMO / original / "anat" / f"{original}_{suffix}{end}", anat / f"{name}_{suffix}{end}"
            )
