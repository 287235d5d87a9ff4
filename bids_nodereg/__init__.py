"""nodereg: multi-contrast diffeomorphic registration of brain images, as a BIDS App."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path


def _version() -> str:
    """Read the version of the source tree, else that of the installed package."""
    source = Path(__file__).resolve().parent.parent / "version"
    return source.read_text().strip() if source.is_file() else metadata.version("bids-nodereg")


__version__ = _version()
