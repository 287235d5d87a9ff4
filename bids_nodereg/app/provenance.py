"""What ran on what, so that a result can be explained and a finished one recognised."""

from __future__ import annotations

import hashlib
import platform
import resource
import sys
import time
import uuid
from datetime import datetime, timezone
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING

from bids_nodereg import __version__

if TYPE_CHECKING:
    from pathlib import Path

SETTLED_S = 2.0
"""Age from which on the time of a file tells its next change; the coarsest file systems count in 2 s."""

LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "pybids", "numba", "h5py")


def new_run_id() -> str:
    """Name of a run: date, time (UTC) and a random part, as fMRIPrep writes it."""
    return f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}_{uuid.uuid4()}"


def software() -> dict[str, str]:
    """Name and version of this program and of the libraries that do the work."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    return {"nodereg": __version__, "Python": platform.python_version(), **versions}


def file_digest(path: Path) -> str:
    """Digest of an input file's bytes; a file that stays as it is, is read once by a process.

    A run asks several times for each pair, and a template is in all of them. A file counts as the same while
    its size, time and place on the disk are; one that was changed within the last seconds is read in any
    case, as its time could stay the same at the next change.
    """
    found = path.stat()
    age = time.time() - found.st_mtime
    if age <= SETTLED_S:
        return sha256(path)
    return _digest_as_of(path, (found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev))


@lru_cache(maxsize=4096)
def _digest_as_of(path: Path, _state: tuple[int, ...]) -> str:
    return sha256(path)


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
