"""Tiny data sets, and runs of the whole program on them in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bids_nodereg.app import rounds
from bids_nodereg.cli import main
from tests.reliability import tiny
from tests.reliability.forker import small_pictures
from tests.reliability.whole import contents

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A data set of two participants, and an output folder of its own."""

    raw: Path
    out: Path

    def run(self, *more: str) -> int:
        """Run the program; the exit code."""
        with small_pictures():
            return main(tiny.arguments(self.raw, self.out, *more))

    def mark(self, subject: str) -> Path:
        """Sidecar that says that the participant's pair is done."""
        name = f"sub-{subject}_from-T2w_to-T1w_mode-image_xfm.json"
        return self.out / f"sub-{subject}" / "anat" / name

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Status of each participant's pair in the last run."""
        return {row["subject"]: row for row in self.pairs().values()}

    def pairs(self) -> dict[str, dict[str, Any]]:
        """Status of each pair in the last run, by its name."""
        rows = [json.loads(path.read_text()) for path in self._last_log().glob("status_*.json")]
        return {row["pair"]: row for row in rows}

    def log(self) -> str:
        """Log of the last run."""
        return (self._last_log() / "run.log").read_text()

    def _last_log(self) -> Path:
        folders = (path for path in (self.out / "logs").iterdir() if path.is_dir())
        return max(folders, key=lambda path: (path / "run.log").stat().st_mtime_ns)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No pause before what is tried again."""
    monkeypatch.setattr(rounds, "PAUSE_S", 0.0)


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("faults"), ("01", "02"))


@pytest.fixture
def place(raw, tmp_path) -> Place:
    return Place(raw, tmp_path / "out")


@pytest.fixture(scope="session")
def usual(raw) -> dict[str, Any]:
    """What an undisturbed run writes."""
    place = Place(raw, raw.parent / "usual")
    assert place.run() == 0
    return contents(place.out)
