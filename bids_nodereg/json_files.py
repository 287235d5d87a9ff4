"""Reading JSON that somebody else wrote: of a bounded size, without what standard JSON does not have."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 2**26
"""The largest sidecars (of motion and EEG) have a few MiB."""


def read_json(path: Path) -> Any:
    """Read a JSON file; a byte-order mark is tolerated.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not UTF-8 or not JSON, too large, nested too deeply, holds NaN, infinity, a number that is
        too large, or half a surrogate pair: what could not be written again.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        msg = f"it is larger than {MAX_BYTES} bytes"
        raise ValueError(msg)
    text = content.decode("utf-8-sig")
    try:
        parsed = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        msg = "it is nested too deeply"
        raise ValueError(msg) from error
    if "\\ud" in text.lower():  # an escape may be half of a pair, which UTF-8 has no form for
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    return parsed


def _refuse(word: str) -> Any:
    msg = f"{word} is not a JSON number"
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)
