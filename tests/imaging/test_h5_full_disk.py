"""A transform is written where there is no room for it: an error, and not the end of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits are Unix'")

TRIES = 40
SCRIPT = f"""
import resource, sys
from pathlib import Path
import numpy as np
from bids_nodereg.errors import OutputError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.transforms import write_composite_h5

shape = (12, 13, 14)
vectors = np.random.default_rng(0).normal(size=(*shape, 3)).astype(np.float32)
field = DisplacementField(Grid(shape, np.diag([2.0, 2, 2, 1])), vectors)
mapping = SpatialMap(np.diag([1.1, 1, 1, 1]), field)
path = Path(sys.argv[1])
write_composite_h5(path, mapping)
size = path.stat().st_size
refused = 0
for room in range(0, size, size // {TRIES} + 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        write_composite_h5(path.with_name("no-room.h5"), mapping)
    except OutputError:
        refused += 1
print(refused, sorted(each.name for each in path.parent.iterdir()))
"""


def test_no_room_for_a_transform_is_an_error_at_whichever_byte(tmp_path, outcome):
    """In a process of its own: the HDF5 library, left to write by itself, ends it by a segmentation fault."""
    words = [sys.executable, "-c", SCRIPT, str(tmp_path / "map.h5")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split(maxsplit=1) == [str(TRIES), "['map.h5']\n"]
    outcome("fault", "no room at some byte of a transform in HDF5", "an error, nothing partial", 73, TRIES)
