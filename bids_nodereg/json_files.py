"""Reading JSON that somebody else wrote: of a bounded size, without what standard JSON does not have."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from bids_nodereg.bounded import read_bounded

if TYPE_CHECKING:
    from pathlib import Path


def read_json(path: Path, *, is_ours: bool = False) -> Any:
    """Read a JSON file; a byte-order mark is tolerated.

    Parameters
    ----------
    path
        The file.
    is_ours
        Whether this program writes such files: then half a surrogate pair is kept, which is how a name
        that is not UTF-8 is written (:func:`bids_nodereg.files.write_text`).

    Raises
    ------
    OSError
        If the file cannot be read, or is no regular file.
    ValueError
        If it is not UTF-8 or not JSON, too large, nested too deeply, holds NaN, infinity, a number that is
        too large, or half a surrogate pair: what could not be written again.
    """
    text = read_bounded(path).decode("utf-8-sig")
    try:
        parsed = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        msg = "it is nested too deeply"
        raise ValueError(msg) from error
    if not is_ours and "\\ud" in text.lower():  # an escape may be half of a pair, which UTF-8 has no form for
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    return parsed


def _refuse(word: str) -> Any:
    msg = f"{word} is not a JSON number"
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)
