"""A program of its own that reads an ITK transform in HDF5 and passes it on.

Arguments: the file, the largest number of voxels, seconds of processor time, and where modules are.
The HDF5 library loops for ever, or ends the process, on some damaged files. Here it can: this process has a
limit of time, and nothing else to lose. What goes to the standard output is a line of JSON, a list of
``kind``, ``fixed``, ``parameters`` (null for a field) and ``count``, and then the ``count`` float32 numbers
of each field in turn. A file that is refused ends with code 3 and the reason on the standard error.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

REFUSED = 3
FIELD_GRID_NUMBERS = 18
"""Size, origin, spacing and direction of a field's grid."""
AFFINE_NUMBERS = 12
MOST_GROUPS = 1000
PIECE = 2**20
"""Numbers read at a time, where a file is not stored in pieces of its own."""
MAX_RATIO = 2080
"""Bytes that one stored byte can become: deflate, twice."""
LONGEST_KIND = 200
"""Bytes of the name of a transform's class; ITK's longest has about 60."""
ADDRESS_SPACE = 2**31
"""Bytes that this process may take beside the pieces of a field: modules take half a GiB."""


def main(arguments: list[str]) -> int:
    """Read the file; returns the exit code."""
    path, most_voxels, seconds = arguments[0], int(arguments[1]), int(arguments[2])
    _limit(seconds)
    _allow(0)
    import h5py

    try:
        with h5py.File(path, "r") as file:
            _pass_on(_parts(file, most_voxels))
    except (OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
        sys.stderr.write(" ".join(str(error).split()) or type(error).__name__)
        return REFUSED
    return 0


def _limit(seconds: int) -> None:
    """End this process when it has worked for long enough."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    # at the soft limit it ends by SIGXCPU: SIGKILL, which ends it at the hard one, is somebody else's
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _allow(more: int) -> None:
    """Limit the memory of this process to what modules take and so many bytes more."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = ADDRESS_SPACE + more
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    with suppress(OSError, ValueError):  # some systems have no such limit
        resource.setrlimit(resource.RLIMIT_AS, (allowed, most))


def _parts(file: Any, most_voxels: int) -> list[dict[str, Any]]:
    """What each transform of the file is; the numbers of a field stay where they are."""
    groups = _linked(file, "TransformGroup")
    names = sorted(groups, key=int)
    if len(names) > MOST_GROUPS:
        msg = f"{len(names)} transforms, expected {MOST_GROUPS} at most"
        raise ValueError(msg)
    return [_part(_linked(groups, name), most_voxels) for name in names]


def _part(group: Any, most_voxels: int) -> dict[str, Any]:
    kind = _kind(group)
    if kind.startswith("CompositeTransform"):
        return {"kind": kind, "fixed": [], "parameters": [], "count": 0}
    # files written by ITK before 4.9 spell the names without the first "s"
    prefix = "Transform" if "TransformParameters" in group else "Tranform"
    fixed = _row(group, prefix + "FixedParameters", FIELD_GRID_NUMBERS)[:].tolist()
    if len(fixed) != FIELD_GRID_NUMBERS:
        parameters = _row(group, prefix + "Parameters", FIELD_GRID_NUMBERS)[:].tolist()
        return {"kind": kind, "fixed": fixed, "parameters": parameters, "count": 0}
    i, j, k = sizes = fixed[:3]
    if not all(1 <= size <= most_voxels for size in sizes) or i * j * k > most_voxels:
        msg = f"a field of {i:g} x {j:g} x {k:g}, expected positive sizes and {most_voxels} in all at most"
        raise ValueError(msg)
    i, j, k = (int(size) for size in sizes)
    numbers = _row(group, prefix + "Parameters", 3 * i * j * k)
    if len(numbers) != 3 * i * j * k:
        msg = f"a field of {i} x {j} x {k} with {len(numbers)} numbers"
        raise ValueError(msg)
    return {"kind": kind, "fixed": fixed, "parameters": None, "count": len(numbers), "numbers": numbers}


def _kind(group: Any) -> str:
    """ITK's name of a transform's class: one text, and a short one."""
    name = "TransformType"
    row = _stored(group, name)
    piece = row.chunks[0] if row.chunks else 1
    if row.shape != (1,) or row.dtype.kind not in "SO" or max(row.dtype.itemsize, piece) > LONGEST_KIND:
        msg = f"{name} is not one text of {LONGEST_KIND} bytes at most"
        raise ValueError(msg)
    text = row[0]
    kind = text.decode() if isinstance(text, bytes) else str(text)
    if len(kind) > LONGEST_KIND:
        msg = f"{name} has {len(kind)} characters, expected {LONGEST_KIND} at most"
        raise ValueError(msg)
    return kind


def _linked(group: Any, name: str) -> Any:
    """Member of a group, which has to be in this very file."""
    import h5py

    if not isinstance(group, h5py.Group):
        msg = f"{name} has no group around it"
        raise TypeError(msg)
    link = group.get(name, getlink=True)
    if type(link) is not h5py.HardLink:
        msg = f"{name} is not there, or is a link to another place"
        raise ValueError(msg)
    return group[name]


def _row(group: Any, name: str, most: int) -> Any:
    """Row of numbers that is no longer than expected, and than what is stored can fill."""
    row = _stored(group, name)
    if len(row.shape) != 1 or row.dtype.kind not in "iuf":
        msg = f"{name} is not a row of numbers"
        raise ValueError(msg)
    piece = row.chunks[0] if row.chunks else 0
    capacity = row.id.get_storage_size() * MAX_RATIO
    if row.size > most or piece > max(most, PIECE) or row.nbytes > capacity:
        msg = f"{name} has {row.size} numbers in pieces of {piece}, expected {most} and as many stored"
        raise ValueError(msg)
    return row


def _stored(group: Any, name: str) -> Any:
    """Array of a group that is kept in this very file."""
    import h5py

    row = _linked(group, name)
    if not isinstance(row, h5py.Dataset) or row.shape is None:
        msg = f"{name} is no array"
        raise ValueError(msg)
    if row.external or row.is_virtual:
        msg = f"{name} is kept in another file"
        raise ValueError(msg)
    return row


def _pass_on(parts: list[dict[str, Any]]) -> None:
    """Write the line, then the numbers of the fields."""
    import json

    import numpy as np

    told = [{key: value for key, value in part.items() if key != "numbers"} for part in parts]
    out = sys.stdout.buffer
    out.write(json.dumps(told).encode() + b"\n")
    for row in (part["numbers"] for part in parts if part["count"]):
        step = row.chunks[0] if row.chunks else PIECE
        _allow(4 * step * row.dtype.itemsize)  # as stored, unpacked, in two types
        for start in range(0, len(row), step):
            with np.errstate(over="ignore"):  # what does not fit is infinite, and refused by the reader
                out.write(np.asarray(row[start : start + step], dtype="<f4").tobytes())
    out.flush()


if __name__ == "__main__":
    first, sys.path[:] = sys.argv[1:4], sys.argv[4:]
    sys.exit(main(first))
