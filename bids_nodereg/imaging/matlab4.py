"""Reading small matrices from MATLAB 4 files, the form of ITK's ``.mat`` transforms.

The format: per matrix five 32-bit integers (type, rows, columns, whether complex, length of the name), the
name with a final zero, the numbers column by column ("MAT-File Format", The MathWorks, chapter 2).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LARGEST_FILE = 2**16
"""Bytes; an affine of ITK has some hundred."""
_BYTE_ORDERS = {0: "<", 1: ">"}
_PRECISIONS = {0: "f8", 1: "f4", 2: "i4", 3: "i2", 4: "u2", 5: "u1"}


def read_matrices(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read all matrices of a file, each as a row of numbers, column by column.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is of another form, or cut short.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        msg = f"it is larger than {LARGEST_FILE} bytes"
        raise ValueError(msg)
    matrices: dict[str, NDArray[np.float64]] = {}
    place = 0
    while place < len(content):
        name, values, place = _matrix(content, place)
        matrices[name] = values
    return matrices


def _matrix(content: bytes, place: int) -> tuple[str, NDArray[np.float64], int]:
    """Name and numbers of the matrix that begins at a place, and where the next one does."""
    order = ">" if content[place : place + 2] == b"\0\0" and content[place : place + 4] != bytes(4) else "<"
    try:
        kind, rows, columns, is_complex, length = struct.unpack_from(order + "5i", content, place)
    except struct.error as error:
        msg = "it is cut short"
        raise ValueError(msg) from error
    numbers = _BYTE_ORDERS.get(kind // 1000, "") + _PRECISIONS.get(kind // 10 % 10, "")
    if len(numbers) != 3 or kind % 10 or is_complex or min(rows, columns, length) < 0:
        msg = "it has no matrix of real numbers in the form of MATLAB 4"
        raise ValueError(msg)
    place += 20
    values_at = place + length
    size = rows * columns * np.dtype(numbers).itemsize
    if values_at + size > len(content):
        msg = "it is cut short"
        raise ValueError(msg)
    name = content[place:values_at].rstrip(b"\0").decode("ascii")
    values = np.frombuffer(content, numbers, rows * columns, values_at).astype(np.float64)
    return name, values, values_at + size
