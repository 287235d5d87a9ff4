"""Figures as data URIs, drawn smaller where a page has so many that it would not open easily."""

from __future__ import annotations

import base64
import math
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from PIL import Image

from bids_nodereg.errors import DataError, MissingInputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TYPES = {".webp": "image/webp", ".png": "image/png", ".svg": "image/svg+xml"}
MOST_BYTES = 6_600_000
"""Of all figures of a page before base64, which makes them a third larger: a page stays below 10 MB."""
LEAST_SCALE = 0.45
"""Below this a slice can no longer be judged; a page with still more pairs is larger."""
QUALITY = 75


def figure_path(folder: Path, relative: str) -> Path:
    """Find a figure that a section of a report names; a section that was tampered with names no other file.

    Raises
    ------
    DataError
        If it is no picture in a folder ``figures`` below ``folder``.
    """
    path = PurePosixPath(relative)
    is_inside = path.parts[-2:-1] == ("figures",) and not {"..", "/"} & set(path.parts)
    if not is_inside or path.suffix not in TYPES:
        msg = (
            f"{relative!r}: no figure of a report; expected sub-<label>/figures/<name> with the ending "
            f"{', '.join(TYPES)}. The section of the report was changed by hand: run the pair with --force."
        )
        raise DataError(msg)
    return folder / relative


def fitting_scale(paths: Iterable[Path]) -> float:
    """Part of their width at which figures together are small enough for one page; 1 for as they are.

    Raises
    ------
    MissingInputError
        If a figure is not there.
    """
    total = sum(len(_read(path)) for path in paths)
    return 1.0 if total <= MOST_BYTES else max(LEAST_SCALE, math.sqrt(MOST_BYTES / total))


def data_uri(path: Path, scale: float = 1.0) -> str:
    """Read a figure as a data URI, a raster at a part of its width.

    Raises
    ------
    MissingInputError
        If the figure is not there.
    """
    content = _read(path)
    if scale < 1 and path.suffix == ".webp":
        content = _smaller(content, scale)
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(content).decode()}"


def _smaller(content: bytes, scale: float) -> bytes:
    with Image.open(BytesIO(content)) as picture:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        drawn = BytesIO()
        picture.resize(size, Image.Resampling.LANCZOS).save(drawn, format="WEBP", quality=QUALITY)
    return drawn.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = (
            f"{path}: figure cannot be read ({error.strerror}). The report needs every figure drawn; "
            "run the pair again with --force."
        )
        raise MissingInputError(msg) from error
