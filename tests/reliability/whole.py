"""Is every file of an output folder whole, and what does it say but for times and names of runs."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import h5py
import nibabel as nib
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

OF_THE_RUN = {"RunID", "OutputFiles", "SecondsRegistration", "PeakMemoryMiB", "SHA256"}
OF_THE_PLACE = {"DatasetLinks", "SourceDatasets"}
"""Links from one folder to another."""
OF_THE_CLOCK = re.compile(r"time_|memory_|^Run$|^Registration$|^Peak memory$|seconds")
RANDOM_NAMES = re.compile(rb"\b[mp][0-9a-f]{10}\b")
RUN_ID = re.compile(r"\d{8}-\d{6}_[0-9a-f-]{36}")


def results(out: Path) -> list[Path]:
    """Files under final names: those that do not start with a dot, but for the log that grows."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != "run.log")
    return sorted(path for path in files if not path.name.startswith(".") or path.name == ".bidsignore")


def leftovers(out: Path) -> list[Path]:
    """Hidden files that no finished run leaves."""
    return sorted(path for path in out.rglob(".*") if path.name != ".bidsignore")


def check_whole(out: Path) -> int:
    """Open every file under a final name to its end; how many there are.

    Raises
    ------
    AssertionError
        If one is not whole.
    """
    paths = results(out)
    for path in paths:
        _check(path)
    return len(paths)


def _check(path: Path) -> None:
    try:
        _open(path)
    except Exception as error:
        msg = f"{path} is not whole: {error!r}"
        raise AssertionError(msg) from error


def _open(path: Path) -> None:
    text = "" if path.suffix in {".gz", ".h5", ".webp"} else path.read_text("utf-8")
    if path.suffix == ".gz":
        gzip.decompress(path.read_bytes())
        np.asarray(nib.load(path).dataobj)
    elif path.suffix == ".h5":
        with h5py.File(path) as file:
            assert file["TransformGroup/0/TransformType"][0]
    elif path.suffix == ".webp":
        Image.open(path).load()
    elif path.suffix == ".json":
        json.loads(text)
    else:
        ends = {".html": "</html>", ".svg": "</svg>"}
        assert text.rstrip().endswith(ends.get(path.suffix, ""))
        assert text


def contents(out: Path) -> dict[str, Any]:
    """What each result says, by its path: digest of the data; of a text what does not change with the run."""
    files = {path.relative_to(out).as_posix(): path for path in results(out)}
    return {name: _content(path) for name, path in files.items() if not name.startswith("logs/2")}


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text("utf-8")))
    if path.suffix == ".html":
        return "a page"  # made of the sections that stand in JSON files; it shows times
    data = RANDOM_NAMES.sub(b"", path.read_bytes()) if path.suffix == ".svg" else path.read_bytes()
    return hashlib.sha256(data).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in OF_THE_RUN | OF_THE_PLACE}
        return {key: _timeless(each) for key, each in kept.items() if not OF_THE_CLOCK.search(key)}
    if isinstance(value, list):
        return [_timeless(each) for each in value if not _is_a_row_of_times(each)]
    return RUN_ID.sub("", value) if isinstance(value, str) else value


def _is_a_row_of_times(value: Any) -> bool:
    """Whether a row of a table, a list that starts with a name, is about time or memory."""
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], str)
        and bool(OF_THE_CLOCK.search(value[0]))
    )
