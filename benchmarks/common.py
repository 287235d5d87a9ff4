"""What every benchmark needs: where the real images are, what machine this is, how a table is written."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bids_nodereg import __version__
from bids_nodereg.data.demo_motion import Motion, random_velocity, scale_to_reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.geometry import Grid

ROOT = Path(__file__).resolve().parent.parent

SMOOTHNESS_MM = {18.0: 1.0, 30.0: 1.0}
"""Standard deviations of the Gaussians that smooth a random velocity, and their weights."""


def shared_data(*parts: str) -> Path:
    """Path below the folder of real images; ends the program with a reason when it is missing."""
    path = Path(os.environ.get("NODEREG_SHARED_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        sys.exit(f"{path} is missing. Set NODEREG_SHARED_DATA to the folder with the real images.")
    return path


def random_motion(grid: Grid, brain: np.ndarray, reach_mm: float, seed: int) -> Motion:
    """Flow of a random smooth velocity in the box of a grid.

    Parameters
    ----------
    grid
        Of the image that is moved.
    brain
        World points ``(n, 3)``, RAS+ mm; the one that goes farthest goes ``reach_mm``.
    reach_mm, seed
        Size and number of the motion.
    """
    low, high = grid.corners().min(0), grid.corners().max(0)
    velocity = random_velocity(np.random.default_rng(seed), low, high, SMOOTHNESS_MM)
    return Motion(scale_to_reach(velocity, brain, reach_mm), np.eye(4))


def machine() -> dict[str, str]:
    """Date, machine and versions, in words."""
    words = {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "torch": torch.__version__,
        "nodereg": __version__,
    }
    if torch.cuda.is_available():
        words["gpu"] = torch.cuda.get_device_name()
    return words


def write_results(stem: Path, title: str, rows: Sequence[dict[str, Any]], notes: Sequence[str] = ()) -> None:
    """Write ``stem.json`` and ``stem.md`` and print the table.

    Parameters
    ----------
    stem
        Path without extension.
    title
        Heading.
    rows
        One mapping a line; all have the keys of the first.
    notes
        Sentences below the table.
    """
    command = " ".join(["python", *_program(), *sys.argv[1:]])
    about = machine()
    stem.parent.mkdir(parents=True, exist_ok=True)
    content = {"command": command, "machine": about, "rows": list(rows)}
    stem.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n")
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "|" + " --- |" * len(keys)]
    lines += ["| " + " | ".join(_cell(row[key]) for key in keys) + " |" for row in rows]
    about_text = ", ".join(f"{name} {value}" for name, value in about.items())
    text = "\n".join(
        [
            f"# {title}",
            "",
            *lines,
            "",
            *notes,
            "",
            f"Command: `{command}`",
            "",
            f"Measured: {about_text}.",
            "",
        ]
    )
    stem.with_suffix(".md").write_text(text)
    sys.stdout.write(text)


def _program() -> list[str]:
    """The words that start the program which runs: a module, or a file below the root."""
    found = sys.modules["__main__"].__spec__
    return [os.path.relpath(sys.argv[0], ROOT)] if found is None else ["-m", found.name]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    """Model name of the processor where Linux tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
