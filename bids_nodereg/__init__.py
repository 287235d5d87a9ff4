"""nodereg: multi-contrast diffeomorphic registration of brain images, as a BIDS App."""

from __future__ import annotations

from pathlib import Path


def _version() -> str:
    """Read the version of the source tree, else that of the installed package."""
    source = Path(__file__).resolve().parent.parent / "version"
    if source.is_file():
        return source.read_text().strip()
    from importlib import metadata  # its import would be a tenth of the time of --help

    return metadata.version("bids-nodereg")


__version__ = _version()
