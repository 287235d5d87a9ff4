"""Where the shared example data lie; tests that need them skip where they are missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(*parts: str) -> Path:
    """Path below the folder ``NODEREG_SHARED_DATA`` (default: ``<repository>/../shared/data``)."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NODEREG_SHARED_DATA", default))
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared data {path} is missing: set NODEREG_SHARED_DATA to the folder that holds it")
    return path
