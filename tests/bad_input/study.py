"""A tiny sound data set to spoil, and runs of the program on it that end soon."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.cli import main
from tests.app import phantom
from tests.bad_input.images import GRID, SHAPE
from tests.bids.make import make_dataset

if TYPE_CHECKING:
    from pathlib import Path

QUICK = """\
[settings]
transform = "rigid"
working_resolution_mm = 6.0
bias_correction = "none"
brain_mask = "none"
[settings.affine]
spacings_mm = [12.0, 6.0]
iterations = [5, 3]
angles_deg = [0.0]
keep = 1
"""
OPTIONS = ("--device", "cpu", "--omp-nthreads", "1", "--skip-bids-validation")
TELLTALES = ("Traceback", "fault of nodereg", "Error:")
"""What no message for a user's mistake may hold."""


@dataclass(frozen=True)
class Study:
    """A data set, and a folder beside it for everything else."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    @property
    def out(self) -> Path:
        return self.root / "out"

    def image(self, label: str, suffix: str = "T2w") -> Path:
        return self.raw / f"sub-{label}" / "anat" / f"sub-{label}_{suffix}.nii.gz"

    def run(self, *words: str) -> int:
        config = self.root / "quick.toml"
        config.write_text(QUICK)
        given = ("--config", str(config)) if "--config" not in words else ()
        return main([str(self.raw), str(self.out), "participant", *given, *OPTIONS, *words])

    def statuses(self) -> dict[str, dict[str, object]]:
        """How each participant's pair ended in the last run."""
        files = self.out.glob("logs/*/status_*.json")
        return {row["subject"]: row for row in (json.loads(file.read_text()) for file in files)}


def make_study(root: Path, *labels: str) -> Study:
    """A T1w and a T2w of the phantom for each participant."""
    study = Study(root)
    make_dataset(
        study.raw, *(f"sub-{label}_{suffix}.nii.gz" for label in labels for suffix in ("T1w", "T2w"))
    )
    shares = phantom.soft_labels(phantom.points_of(SHAPE, GRID))
    images = {
        "T1w": phantom.image_of(shares, phantom.T1W, 1),
        "T2w": phantom.image_of(shares, phantom.T2W, 2),
    }
    for suffix, data in images.items():
        first = phantom.save(study.image(labels[0], suffix), data.astype(np.float32), GRID)
        for label in labels[1:]:
            study.image(label, suffix).write_bytes(first.read_bytes())
    return study


def told_once(text: str, *words: str) -> bool:
    """Whether a message says all the words and shows nothing of the program's inside."""
    return all(word in text for word in words) and not any(word in text for word in TELLTALES)
