from __future__ import annotations

from pathlib import Path

import pytest

import bids_nodereg


@pytest.fixture(scope="session")
def demo() -> Path:
    """Root of the demo data set that comes with the package."""
    return Path(bids_nodereg.__file__).parent / "data" / "demo"
