"""Explicit pairs from a TSV file, also across participants and data sets."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from bids_nodereg.bids.image import RAW, Image, LabelMap, SideFile, file_problem, image_from_name
from bids_nodereg.bids.names import beside, clean_label, parse_name
from bids_nodereg.bids.pairs import Candidate, Pair
from bids_nodereg.errors import MissingInputError, UsageError
from bids_nodereg.tables import as_rows, read_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bids_nodereg.bids.dataset import Dataset

RULE = "pairs-file"
REQUIRED = ("fixed", "moving")


def read_pairs_file(path: Path, dataset: Dataset) -> list[Candidate]:
    """Read a TSV file of pairs.

    Columns ``fixed`` and ``moving`` name images, the optional ``fixed_mask``, ``moving_mask``,
    ``fixed_dseg``, ``moving_dseg``, ``fixed_lesion``, ``moving_lesion`` what belongs to them, and
    ``stiffness`` a map in the world of the fixed image: each a path relative to the data set's
    root, or a BIDS URI (``bids::sub-01/...``, or ``bids:NAME:...`` for a derivative data set that
    was given by name). Empty or ``n/a`` means none; a lesion mask is then looked for like a brain mask.

    Returns
    -------
    list of Candidate
        One a row; a row with a file that is not there is not taken and says so, nor is one that stands there
        before.

    Raises
    ------
    UsageError
        If the columns are wrong, or a path is absolute, leaves its data set, or is no image.
    MissingInputError
        If the file is not there, or no row is left.
    """
    rows = _read_rows(path)
    candidates = [_candidate(f"{path}: line {number}", row, dataset) for number, row in rows]
    candidates = _each_once([number for number, _ in rows], candidates)
    if not any(candidate.taken for candidate in candidates):
        reasons = "; ".join(dict.fromkeys(candidate.reason for candidate in candidates)) or "it has no rows"
        msg = f"{path}: no pair is left: {reasons}."
        raise MissingInputError(msg)
    return candidates


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    columns, lines = read_cells(path, what="pairs file", problem=UsageError)
    unknown = set(columns) - {*REQUIRED, *OPTIONAL}
    if not set(REQUIRED) <= set(columns) or unknown or len(set(columns)) != len(columns):
        msg = (
            f"{path}: tab-separated columns are {columns}, expected {', '.join(REQUIRED)} "
            f"and optionally {', '.join(OPTIONAL)}, each once."
        )
        raise UsageError(msg)
    return as_rows(path, columns, lines, problem=UsageError)


def _each_once(lines: Sequence[int], candidates: Sequence[Candidate]) -> list[Candidate]:
    """Take a row that stands there twice, with all that belongs to it, once."""
    first: dict[Pair, int] = {}
    kept = []
    for line, candidate in zip(lines, candidates, strict=True):
        before = line if candidate.pair is None else first.setdefault(candidate.pair, line)
        again = replace(candidate, pair=None, reason=f"the pair of line {before} again")
        kept.append(candidate if before == line else again)
    return kept


def _candidate(where: str, row: dict[str, str], dataset: Dataset) -> Candidate:
    fixed, moving = (_image(f"{where}: {column}", row[column], dataset) for column in REQUIRED)
    if fixed.path == moving.path:
        msg = f"{where}: fixed and moving are the same file {fixed.relative}."
        raise UsageError(msg)
    problems = [f"{image.relative}: {image.problem}" for image in (fixed, moving) if image.problem]
    extras: dict[str, Any] = {}
    for column, record in OPTIONAL.items():
        if row.get(column):
            name, relative, path = _resolve(f"{where}: {column}", row[column], dataset)
            extras[column] = record(name, relative, path)
            if file_problem(path):
                problems.append(f"{column} bids:{name}:{relative}: {file_problem(path)}")
    if problems:
        unusable = tuple(image for image in (fixed, moving) if image.problem)
        return Candidate(RULE, fixed, moving, "; ".join(problems), unusable=unusable)
    return Candidate(RULE, fixed, moving, "asked for in the pairs file", Pair(RULE, fixed, moving, **extras))


def _image(where: str, text: str, dataset: Dataset) -> Image:
    if not text:
        msg = f"{where} is empty, expected an image."
        raise UsageError(msg)
    name, relative, path = _resolve(where, text, dataset)
    image = image_from_name(path, relative, name)
    if image is None:
        msg = (
            f"{where}: {text!r} is no image of a participant, expected .../sub-<label>_..._<suffix>.nii[.gz]."
        )
        raise UsageError(msg)
    return image


def _resolve(where: str, text: str, dataset: Dataset) -> tuple[str, str, Path]:
    """Give the data set's name, the path relative to it, and the absolute path; links are not followed."""
    name, relative = RAW, text
    if text.startswith("bids:"):
        name, _, relative = text.removeprefix("bids:").partition(":")
        name, relative = name or RAW, unquote(relative)
    roots = {RAW: dataset.root, **dict(dataset.derivatives)}
    if name not in roots:
        msg = f"{where}: {text!r}: no data set {name!r}; known: {', '.join(roots)} (--derivatives)."
        raise UsageError(msg)
    normal = posixpath.normpath(relative)
    if relative.startswith("/") or normal.split("/")[0] == ".." or not relative:
        msg = f"{where}: {text!r} leaves {roots[name]}, expected a path inside it, relative to it."
        raise UsageError(msg)
    return name, normal, roots[name] / normal


def _mask(_dataset: str, _relative: str, path: Path) -> Path:
    return path


def _label_maps(dataset: str, relative: str, path: Path) -> tuple[LabelMap]:
    name = parse_name(path.name)
    desc = clean_label((name.get("desc") or name.get("seg") or "") if name else "") or "dseg"
    table = beside(path, ".tsv")
    return (LabelMap(path, desc, f"bids:{dataset}:{relative}", table if table.is_file() else None),)


def _side_file(dataset: str, relative: str, path: Path) -> SideFile:
    return SideFile(path, f"bids:{dataset}:{quote(relative)}")


# each makes, of the data set's name, the relative and the absolute path, what the pair holds under this name
OPTIONAL: Mapping[str, Callable[[str, str, Path], object]] = {
    "fixed_mask": _mask,
    "moving_mask": _mask,
    "fixed_dseg": _label_maps,
    "moving_dseg": _label_maps,
    "fixed_lesion": _side_file,
    "moving_lesion": _side_file,
    "stiffness": _side_file,
}
