"""What ran on what, so that a result can be explained and a finished one recognised."""

from __future__ import annotations

import hashlib
import platform
import resource
import sys
import uuid
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING

from bids_nodereg import __version__

if TYPE_CHECKING:
    from pathlib import Path

LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "pybids", "numba", "h5py")


def new_run_id() -> str:
    """Name of a run: date, time (UTC) and a random part, as fMRIPrep writes it."""
    return f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}_{uuid.uuid4()}"


def software() -> dict[str, str]:
    """Name and version of this program and of the libraries that do the work."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    return {"nodereg": __version__, "Python": platform.python_version(), **versions}


def sha256(path: Path) -> str:
    """Digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
