"""Transforms of an ITK file in HDF5, read by another process (:mod:`bids_nodereg.imaging.h5_program`)."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from subprocess import PIPE
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from bids_nodereg.children import child
from bids_nodereg.errors import DataError, ShortOfMemoryError
from bids_nodereg.imaging import h5_program
from bids_nodereg.imaging.nifti_file import MAX_VOXELS, fill

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LONGEST_LINE = 2**22
KILLED = -9
"""What :mod:`subprocess` gives for a process that was killed; limits of its own end it otherwise."""
SECONDS, BYTES_PER_SECOND = 10, 2_000_000
"""Processor time that reading may take: so much, and for each so many bytes one more. It takes a tenth."""


@dataclass(frozen=True, eq=False)
class H5Part:
    """One transform of a file.

    Attributes
    ----------
    kind
        ITK's name of its class, with precision and dimensions.
    fixed
        The fixed parameters, float64.
    parameters
        The parameters: float64, and float32 for a field.
    """

    kind: str
    fixed: NDArray[np.float64]
    parameters: NDArray[Any]


def read_h5(path: Path) -> list[H5Part]:
    """Read all transforms of an ITK file in HDF5, in their order.

    Raises
    ------
    DataError
        If the file is damaged, or is none.
    ShortOfMemoryError
        If the other process was killed from outside.
    """
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    seconds = SECONDS + path.stat().st_size // BYTES_PER_SECOND
    # an absolute path begins with no dash; modules come from where this process has them, and never from
    # the current folder
    modules = [folder for folder in sys.path if os.path.isabs(folder)]  # noqa: PTH117 - text, as Python has it
    numbers = [str(MAX_VOXELS), str(seconds)]
    words = [sys.executable, h5_program.__file__, str(path.absolute()), *numbers, *modules]
    parts, problem = [], ""
    with tempfile.TemporaryFile() as told:
        with child(words, stdout=PIPE, stderr=told, env=environment) as process:
            try:
                parts = _received(process.stdout, path)  # type: ignore[arg-type] # it is piped
                process.wait()
            except (DataError, ValueError, KeyError, TypeError) as error:
                problem = str(error)
        code = process.returncode
        told.seek(0)
        reason = told.read(2000).decode("utf-8", "replace")
    if code or problem:
        raise _killed(path) if code == KILLED else _refused(path, code, reason)
    return parts


def _received(stream: IO[bytes], path: Path) -> list[H5Part]:
    """Put together what the other process passes on."""
    line = stream.readline(LONGEST_LINE)
    return [_part(told, stream, path) for told in json.loads(line)]


def _part(told: dict[str, Any], stream: IO[bytes], path: Path) -> H5Part:
    fixed = np.array(told["fixed"], np.float64)
    if told["parameters"] is not None:
        return H5Part(told["kind"], fixed, np.array(told["parameters"], np.float64))
    values = np.empty(told["count"], "<f4")
    fill(stream, values, path)
    return H5Part(told["kind"], fixed, values.astype(np.float32, copy=False))


def _killed(path: Path) -> ShortOfMemoryError:
    """Say that the other process was killed from outside, as by the kernel when memory is short."""
    return ShortOfMemoryError(
        f"{path}: the process that reads it was killed (SIGKILL). Look for the kernel's out-of-memory "
        "messages (dmesg), and give the run more memory."
    )


def _refused(path: Path, code: int, reason: str) -> DataError:
    """Say why the other process gave nothing."""
    if code == h5_program.REFUSED:
        told = reason
    elif code < 0:
        told = "the HDF5 library did not come to an end with it, or crashed"
    else:
        told = reason.strip().rpartition("\n")[2] or "it breaks off"
    return DataError(f"{path}: not a readable ITK transform file ({told}). Write it again.")
