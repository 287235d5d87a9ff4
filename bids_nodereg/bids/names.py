"""BIDS file names: the table of entities, reading a name, building a name.

The order of the entities is that of the BIDS specification 1.11 (``rules/entities``); ``from``,
``to`` and ``mode`` are not yet part of it (BEP014) and stand just before ``desc``, where
fMRIPrep has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DESCRIPTION = "dataset_description.json"
"""File at the root of every data set."""

Entity = tuple[str, str]

# short key as in a file name -> long name as pybids (and so a filter file) calls it, in BIDS order
ENTITIES: dict[str, str] = {
    "sub": "subject",
    "ses": "session",
    "sample": "sample",
    "task": "task",
    "tracksys": "tracksys",
    "acq": "acquisition",
    "nuc": "nucleus",
    "voi": "volume",
    "ce": "ceagent",
    "trc": "tracer",
    "stain": "staining",
    "rec": "reconstruction",
    "dir": "direction",
    "run": "run",
    "mod": "modality",
    "echo": "echo",
    "flip": "flip",
    "inv": "inv",
    "mt": "mt",
    "part": "part",
    "proc": "proc",
    "hemi": "hemi",
    "space": "space",
    "split": "split",
    "recording": "recording",
    "chunk": "chunk",
    "atlas": "atlas",
    "seg": "segmentation",
    "scale": "scale",
    "res": "res",
    "den": "den",
    "label": "label",
    "from": "from",
    "to": "to",
    "mode": "mode",
    "desc": "desc",
}
LONG_TO_SHORT = {long: short for short, long in ENTITIES.items()}
_POSITION = {short: position for position, short in enumerate(ENTITIES)}
_UNKNOWN_POSITION = _POSITION["hemi"]  # an entity of a newer BIDS: after the acquisition, before the space

IMAGE_EXTENSIONS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class FileName:
    """The parts of a BIDS file name.

    Attributes
    ----------
    entities
        ``(short key, label)`` pairs as spelled in the name, leading zeros kept, in BIDS order.
    suffix
        Last part of the stem, such as ``T1w``.
    extension
        Everything from the first dot on, such as ``.nii.gz``.
    """

    entities: tuple[Entity, ...]
    suffix: str
    extension: str

    def get(self, key: str) -> str | None:
        """Label of an entity by its short key, or None."""
        return dict(self.entities).get(key)


def parse_name(name: str) -> FileName | None:
    """Read a file name; None if it is not of the form ``key-label_..._suffix.extension``.

    Examples
    --------
    >>> parse_name("sub-01_run-02_acq-mprage_T1w.nii.gz").entities
    (('sub', '01'), ('acq', 'mprage'), ('run', '02'))
    >>> parse_name("README.md") is None
    True
    """
    stem, dot, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    split = [pair.partition("-") for pair in pairs]
    entities = {key: label for key, _, label in split}
    is_whole = bool(dot and suffix and pairs) and "-" not in suffix and all(all(parts) for parts in split)
    if not is_whole or len(entities) != len(pairs):
        return None
    return FileName(bids_order(entities.items()), suffix, dot + extension)


def bids_order(entities: Iterable[Entity]) -> tuple[Entity, ...]:
    """Sort entities as BIDS wants them in a name."""
    return tuple(sorted(entities, key=lambda entity: _POSITION.get(entity[0], _UNKNOWN_POSITION)))


def build_name(entities: Iterable[Entity], suffix: str, extension: str) -> str:
    """Write a file name from its parts, the entities put in BIDS order.

    Examples
    --------
    >>> build_name([("sub", "01"), ("space", "T1w"), ("run", "1")], "T2w", ".nii.gz")
    'sub-01_run-1_space-T1w_T2w.nii.gz'
    """
    parts = [f"{key}-{label}" for key, label in bids_order(entities)]
    return "_".join([*parts, suffix]) + extension


def clean_label(text: str) -> str:
    """Keep the characters that a BIDS label may hold: letters, digits and ``+``.

    Examples
    --------
    >>> clean_label("aparc.a2009s")
    'aparca2009s'
    """
    return re.sub(r"[^A-Za-z0-9+]", "", text)


def beside(path: Path, extension: str) -> Path:
    """Give the file of the same stem with another extension, such as the sidecar ``.json`` of an image."""
    return path.with_name(path.name.partition(".")[0] + extension)


def strip_prefix(label: str, key: str) -> str:
    """Drop a leading ``key-`` that a user may have typed, with the space around.

    Examples
    --------
    >>> strip_prefix(" sub-01", "sub")
    '01'
    """
    return label.strip().removeprefix(f"{key}-")


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``run-2`` before ``run-10``, and is total: equal only for equal texts.

    Examples
    --------
    >>> sorted(["run-10", "run-2", "run-02"], key=natural_key)
    ['run-02', 'run-2', 'run-10']
    """
    pieces = re.findall(r"[0-9]+|[^0-9]+", text)
    numbered = [(0, int(piece), "") if piece[0] in "0123456789" else (1, 0, piece) for piece in pieces]
    return (*numbered, (-1, 0, text))
